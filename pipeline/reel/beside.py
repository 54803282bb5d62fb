"""What the first deliverable cannot carry, as files that lie beside it.

An attachment is its own bytes. A stream becomes Matroska (``.mka``, ``.mks``, ``.mkv``), or MP4 where only that knows
it, with its packets as they are, at the source's times. What neither takes, timed data as a rule, is its packets' bytes
one behind the other (``.bin``) and a table of their times and lengths (``.tsv``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pipeline.errors import VerifyError
from pipeline.reel import carry, logs
from pipeline.reel.source import Source, open_source
from pipeline.reel.trace import check
from pipeline.reel.writing import CONTAINER_OPTIONS, ReadingError, nearest, writing
from pipeline.types import FrameIndex, OtherStream, Reel, Sha256

_SUFFIXES = {"audio": ".mka", "subtitle": ".mks", "video": ".mkv"}
_CONTAINERS = (("matroska", None), ("mp4", ".mp4"))
_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Beside:
    """One stream of the source that lies beside the deliverables."""

    index: int
    """In the source."""
    kind: str
    codec: str
    files: tuple[str, ...]
    """Names in the reel's folder."""
    source_sha256: Sha256
    """Over the attachment, or over the packets' bytes as they lie in the source, one behind the other."""


def lay_beside(
    reel: Reel,
    index: FrameIndex,
    first: int,
    last: int,
    streams: Sequence[int],
    folder: Path,
    base: str,
    *,
    local: Path | None = None,
) -> tuple[Beside, ...]:
    """Write these streams of the source below ``folder``, in files whose names begin with ``base``. ``local`` is a copy
    of the source on this machine.

    Of an excerpt, what sounds or begins within the frames ``[first, last)``. Every file is read again and its packets
    are compared. Raises SourceError where the source cannot be read, ScratchFullError where the disk is full.
    """
    span = (index.time(first) if first > 0 else None, index.time(last) if last < len(index) else None)
    made = []
    for said in reel.others:
        if said.index not in streams:
            continue
        stem = f"{base}.{said.index:02d}-{said.kind}"
        if said.kind == "attachment":
            made.append(_attachment(reel, local, said, folder, stem))
            continue
        one = carry.Carried(said.index, said)
        for container, suffix in _CONTAINERS if said.kind in _SUFFIXES else ():
            path = folder / f"{stem}{suffix or _SUFFIXES[said.kind]}"
            digest = _contained(reel, local, one, span, container, path)
            if digest is not None:
                made.append(Beside(said.index, said.kind, said.codec, (path.name,), digest))
                break
        else:
            made.append(_raw(reel, local, one, span, folder, stem))
    return tuple(made)


def _attachment(reel: Reel, local: Path | None, said: OtherStream, folder: Path, stem: str) -> Beside:
    with open_source(reel.uri, local=local, stream=reel.stream) as source:
        attached: Any = source.container.streams[said.index]
        data = bytes(attached.data or b"")
        # A name from a file that a stranger made: no path, nothing hidden, nothing to be executed by its name.
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(attached.metadata.get("filename", ""))).strip("._-")
    path = folder / f"{stem}.{name[-_NAME_CHARACTERS:].lstrip('._-') or 'bin'}"
    with writing(path):
        path.write_bytes(data)
    return Beside(said.index, said.kind, said.codec, (path.name,), hashlib.sha256(data).hexdigest())


def _contained(
    reel: Reel, local: Path | None, one: carry.Carried, span: carry.Span, container: str, path: Path
) -> Sha256 | None:
    """Write one stream into a container of its own; gives its hash in the source, None where the container has no
    place for it."""
    with _opened(reel, local) as source:
        stream = source.container.streams[one.index]
        trace, digest = carry.trace_of(stream, one), hashlib.sha256()
        with logs.errors():
            try:
                with (
                    writing(path),
                    av.open(str(path), "w", container, container_options=dict(CONTAINER_OPTIONS)) as out,
                ):
                    new = carry.add(out, stream, one)
                    out.start_encoding()
                    tick = new.time_base or Fraction(1, 1000)
                    for piece in carry.pieces(reel.uri, source.container, [one], span, {one.index: digest}):
                        packet: Any = piece.packet
                        ahead = None if packet.dts is None else (packet.pts - packet.dts) * packet.time_base
                        packet.pts = nearest(piece.start / tick)
                        packet.dts = None if ahead is None else nearest((piece.start - ahead) / tick)
                        packet.duration = nearest(piece.lasts / tick)
                        packet.stream, packet.time_base = new, tick
                        trace.add(piece.payload, packet.pts)
                        out.mux(packet)
            except (ValueError, VerifyError):
                path.unlink(missing_ok=True)
                return None
        try:
            check(path, {0: trace})
        except VerifyError:
            # The muxer takes it and does not give it back as it was: then it goes as it is.
            path.unlink(missing_ok=True)
            return None
    return digest.hexdigest()


def _raw(reel: Reel, local: Path | None, one: carry.Carried, span: carry.Span, folder: Path, stem: str) -> Beside:
    data, times, digest = folder / f"{stem}.bin", folder / f"{stem}.tsv", hashlib.sha256()
    with (
        _opened(reel, local) as source,
        writing(data),
        writing(times),
        data.open("wb") as bytes_,
        times.open("w", encoding="ascii") as table,
    ):
        table.write("time_s\tlasts_s\tbytes\n")
        # No header of the packets is taken off: these are the source's bytes.
        one = replace(one, adts=False, as_text=False)
        for piece in carry.pieces(reel.uri, source.container, [one], span, {one.index: digest}):
            payload = bytes(piece.packet)
            bytes_.write(payload)
            table.write(f"{piece.start}\t{piece.lasts}\t{len(payload)}\n")
    return Beside(one.index, one.said.kind, one.said.codec, (data.name, times.name), digest.hexdigest())


@contextmanager
def _opened(reel: Reel, local: Path | None) -> Iterator[Source]:
    with open_source(reel.uri, local=local, stream=reel.stream) as source:
        try:
            yield source
        except ReadingError as error:
            # The source's fault: ``open_source`` knows what to say.
            raise error.cause from None
