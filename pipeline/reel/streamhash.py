"""FFmpeg's streamhash text: a line a stream with the SHA-256 over the bytes of its packets, one behind the other.

``ffmpeg -i FILE -map 0 -c copy -f streamhash -`` gives these lines, and one more for the picture, which framemd5 tells
frame by frame. Of PCM sound the hash does not depend on how a container cuts it into packets.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, MutableMapping
from dataclasses import dataclass

from av.stream import Discard

from pipeline.errors import VerifyError
from pipeline.reel.source import open_container
from pipeline.types import Sha256

_ROW = re.compile(r"(\d{1,4}),([vasdt]),SHA256=([0-9a-f]{64})")
_LETTERS = {"video": "v", "audio": "a", "subtitle": "s", "data": "d", "attachment": "t"}


@dataclass(frozen=True, slots=True)
class StreamHash:
    """One stream of a file."""

    index: int
    letter: str
    """FFmpeg's for its kind: ``v``, ``a``, ``s``, ``d``, ``t``."""
    sha256: Sha256


def of_kind(index: int, kind: str, sha256: Sha256) -> StreamHash:
    """``kind``: ``audio``, ``subtitle``…"""
    return StreamHash(index, _LETTERS[kind], sha256)


def streamhash_text(streams: Iterable[StreamHash]) -> str:
    """Line for line as FFmpeg writes it, in the order of the file's streams."""
    return "".join(f"{s.index},{s.letter},SHA256={s.sha256}\n" for s in sorted(streams, key=lambda s: s.index))


def parse(text: str, *, where: str = "streamhash") -> tuple[StreamHash, ...]:
    """Read such a text back. Raises VerifyError naming the line that is not as FFmpeg writes it."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _ROW.fullmatch(line)
        if match is None:
            raise VerifyError(f"line {number} is no row of a stream: {line[:80]!r}", where=where)
        found.append(StreamHash(int(match[1]), match[2], match[3]))
    return tuple(found)


def stream_hashes(
    uri: str, wanted: Collection[int], running: MutableMapping[int, hashlib._Hash] | None = None
) -> tuple[StreamHash, ...]:
    """Read a file through once and hash these streams, by index. One that it has not is left out, and so is an
    attachment. ``running``: of a split film, hashes over the parts so far, which go on. Raises SourceError where it
    cannot be read."""
    with open_container(uri) as (container, *_):
        streams = {s.index: s for s in container.streams if s.index in wanted and s.type != "attachment"}
        for stream in container.streams:
            if stream.index not in streams:
                stream.discard = Discard.all
        hashes = {index: hashlib.sha256() for index in streams}
        if streams:
            for packet in container.demux(list(streams.values())):
                if packet.size:
                    hashes[packet.stream_index].update(packet)
                    if running is not None:
                        running.setdefault(packet.stream_index, hashlib.sha256()).update(packet)
        return tuple(of_kind(i, streams[i].type, h.hexdigest()) for i, h in sorted(hashes.items()))
