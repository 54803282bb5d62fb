"""FFmpeg's framemd5 text, version 2: a line a frame with time and MD5, which FFmpeg itself writes and others can check.

The times are in ticks of the time base that the header names; the MD5 is of the decoded frame in its own pixel format,
planes in order, without line padding. For a film of constant rate the time base is one frame, and
``ffmpeg -i FILE -map 0:v:0 -fflags +bitexact -f framemd5 -`` gives the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from pipeline.errors import SourceError, VerifyError
from pipeline.reel import images, sequence
from pipeline.reel.formats import hash_planes, pixel_format, planes_of
from pipeline.reel.source import open_source
from pipeline.spec import Source
from pipeline.types import Md5

_MOST_BYTES = 1 << 30
_ROW = re.compile(r"\s*(\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*([0-9a-f]{32})\s*")
_COLUMNS = "#stream#, dts,        pts, duration,     size, hash"


@dataclass(frozen=True, slots=True)
class FrameHashes:
    """A film's frames by time and hash."""

    time_base: Fraction
    width: int
    height: int
    sample_aspect: Fraction
    """0 where it is not known."""
    frame_bytes: int
    """Bytes of one frame's native planes."""
    pts: tuple[int, ...]
    durations: tuple[int, ...]
    md5s: tuple[Md5, ...]


def framemd5_text(film: FrameHashes) -> str:
    """The whole text, line for line as FFmpeg's muxer writes it with ``-fflags +bitexact``."""
    base, aspect = film.time_base, film.sample_aspect
    head = [
        "#format: frame checksums",
        "#version: 2",
        "#hash: MD5",
        f"#tb 0: {base.numerator}/{base.denominator}",
        "#media_type 0: video",
        "#codec_id 0: rawvideo",
        f"#dimensions 0: {film.width}x{film.height}",
        f"#sar 0: {aspect.numerator}/{aspect.denominator}",
        _COLUMNS,
    ]
    rows = (
        f"0, {pts:10d}, {pts:10d}, {duration:8d}, {film.frame_bytes:8d}, {md5}"
        for pts, duration, md5 in zip(film.pts, film.durations, film.md5s, strict=True)
    )
    return "\n".join([*head, *rows]) + "\n"


def of_constant_rate(
    rate: Fraction,
    size: tuple[int, int],
    sample_aspect: Fraction,
    frame_bytes: int,
    md5s: Sequence[Md5],
    *,
    start: int = 0,
) -> FrameHashes:
    """Frames at a constant rate: the time base is one frame, so pts count frames from ``start``.

    ``size`` is (width, height) in px.
    """
    pts = tuple(range(start, start + len(md5s)))
    return FrameHashes(1 / rate, *size, sample_aspect, frame_bytes, pts, (1,) * len(md5s), tuple(md5s))


def of_times(
    time_base: Fraction,
    size: tuple[int, int],
    sample_aspect: Fraction,
    frame_bytes: int,
    pts: Sequence[int],
    md5s: Sequence[Md5],
) -> FrameHashes:
    """Frames at times of their own, in ticks of ``time_base``; each lasts until the next, the last as its neighbour."""
    durations = [b - a for a, b in pairwise(pts)]
    durations.append(durations[-1] if durations else 0)
    times = tuple(int(p) for p in pts)
    return FrameHashes(
        time_base, *size, sample_aspect, frame_bytes, times, tuple(int(d) for d in durations), tuple(md5s)
    )


def parse(text: str, *, where: str = "framemd5") -> FrameHashes:
    """Read such a text back. Raises VerifyError naming the line that is not as FFmpeg writes it."""
    if len(text) > _MOST_BYTES:
        raise VerifyError(f"it has {len(text)} bytes; at most {_MOST_BYTES} are read", where=where)
    head: dict[str, str] = {}
    pts: list[int] = []
    durations: list[int] = []
    md5s: list[Md5] = []
    sizes: set[int] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            key, _, value = line[1:].partition(": ")
            head[key] = value.strip()
            continue
        match = _ROW.fullmatch(line)
        if match is None or match[1] != "0":
            raise VerifyError(f"line {number} is no row of a frame: {line[:80]!r}", where=where)
        pts.append(int(match[3]))
        durations.append(int(match[4]))
        sizes.add(int(match[5]))
        md5s.append(match[6])
    if len(sizes) > 1:
        raise VerifyError(f"its frames have {len(sizes)} sizes, one was expected", where=where)
    if head.get("hash", "MD5") != "MD5" or head.get("version", "2") != "2":
        raise VerifyError("it is not version 2 with MD5", where=where)
    try:
        width, height = (int(v) for v in head["dimensions 0"].split("x"))
        base, aspect = Fraction(head["tb 0"]), Fraction(head.get("sar 0", "0/1"))
    except (KeyError, ValueError, ZeroDivisionError):
        raise VerifyError("its header does not name time base and dimensions", where=where) from None
    return FrameHashes(base, width, height, aspect, max(sizes, default=0), tuple(pts), tuple(durations), tuple(md5s))


def _of_images(uri: str, threads: int) -> Iterator[tuple[int, Md5]]:
    reel = sequence.probe(uri, "", Source(interlaced="per_field"))  # nothing is restored here
    index = sequence.build(reel)
    for number, planes in images.frames(reel, index, 0, len(index), threads=threads):
        yield number, hash_planes(planes, reel.format)


def decoded_hashes(uri: str, threads: int = 1, *, local: Path | None = None) -> Iterator[tuple[int, Md5]]:
    """Decode a film and give ``(pts, MD5)`` of every frame in order; ``pts`` in ticks of its own time base.

    Memory does not grow with the film. ``local`` is a copy on this machine to read in its place. Raises SourceError
    where it cannot be decoded, or a frame has no time or another pixel format. A damaged FFV1 slice decodes to wrong
    pixels without an error: the hashes are what tells.
    """
    if sequence.is_sequence(uri):
        yield from _of_images(uri, threads)
        return
    with open_source(uri, local=local) as source:
        context = source.stream.codec_context
        context.thread_type, context.thread_count = "SLICE", threads
        fmt = None
        for number, frame in enumerate(source.container.decode(source.stream)):
            if fmt is None:
                fmt = pixel_format(frame.format.name)
            if frame.pts is None:
                raise SourceError("the picture has no time", where=uri, frame=number)
            if frame.format.name != fmt.name:
                raise SourceError(f"it changes from {fmt.name} to {frame.format.name}", where=uri, frame=number)
            yield frame.pts, hash_planes(planes_of(frame, fmt), fmt)
