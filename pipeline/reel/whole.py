"""Whether a film is whole: what its container promises, held against what is there.

A Matroska or AVI file that was cut short opens and plays to the cut without an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import av.error
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.reel.source import TRY_OTHER_COPY, Source

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_DURATION = re.compile(r"^(\d{1,4}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)$")


def check_length(source: Source) -> None:
    """SourceError where the container says in its first bytes that the file must be longer than it is."""
    for promised in (_matroska_end(source.head), _riff_end(source.head)):
        if promised is not None and promised > source.size:
            raise SourceError(
                f"the file is cut short: it has {source.size} bytes and says itself that it has {promised}",
                where=source.uri,
                todo=TRY_OTHER_COPY,
            )


def check_end(source: Source, frames: int, start: Fraction, end: Fraction, rate: Fraction) -> None:
    """SourceError where the container promises pictures beyond the last one found.

    ``start`` and ``end`` are the first picture's time and the time at which the last one ends, in seconds.
    """
    for promised in _ends(source, start, rate):
        # Half a frame: a lost last frame is seen, a duration rounded to milliseconds is not.
        if end < promised - 1 / (2 * rate) - Fraction(2, 1000):
            raise SourceError(
                f"pictures are missing at the end: {frames} are there and last until {float(end):.3f} s, "
                f"the container promises {float(promised):.3f} s (some {round((promised - end) * rate)} more)",
                where=source.uri,
                frame=frames,
                todo=TRY_OTHER_COPY,
            )


def check_cues(source: Source, pts: NDArray[np.int64], rate: Fraction) -> None:
    """SourceError where a Matroska film's cue table lists a picture in a place where the demux found none."""
    if not source.container.format.name.startswith("matroska") or source.stream.time_base is None:
        return
    # The first seek reads the table.
    try:
        source.container.seek(int(pts[0]), stream=source.stream)
    except av.error.FFmpegError:
        return
    cues = np.array([entry.timestamp for entry in source.stream.index_entries], np.int64)
    after = np.clip(np.searchsorted(pts, cues), 1, len(pts)) if len(pts) > 1 else np.ones(len(cues), np.int64)
    away = np.minimum(np.abs(cues - pts[after - 1]), np.abs(cues - pts[np.minimum(after, len(pts) - 1)]))
    lost = np.flatnonzero(away > 1 / (2 * rate * source.stream.time_base))
    if len(lost):
        raise SourceError(
            f"a picture is missing: the container's cue table lists one at pts {cues[lost[0]]}, and none is there",
            where=source.uri,
            frame=int(np.searchsorted(pts, cues[lost[0]])),
            todo=TRY_OTHER_COPY,
        )


def told_end(source: Source) -> Fraction | None:
    """When a Matroska film's picture ends, in seconds, by its stream's own word or that of a film of one stream."""
    return next(_ends(source, Fraction(0), Fraction(1)), None)


def _ends(source: Source, start: Fraction, rate: Fraction) -> Iterator[Fraction]:
    """Times in seconds at which the container says that the picture ends; only what a cut copy would not inherit."""
    stream, kind = source.stream, source.container.format.name
    if kind.startswith("matroska"):
        told = _DURATION.match(stream.metadata.get("DURATION", ""))
        if told:
            yield int(told[1]) * 3600 + int(told[2]) * 60 + Fraction(told[3])
        elif source.container.duration and len(source.container.streams) == 1:
            yield Fraction(source.container.duration, 1_000_000)
    elif kind == "mxf" and stream.duration and stream.time_base:
        yield start + stream.duration * stream.time_base
    elif kind == "avi" and stream.frames:
        yield start + stream.frames / rate


def _matroska_end(head: bytes) -> int | None:
    """Where the Segment ends by its own word; None where it does not say (a recording that was never finished)."""
    if not head.startswith(_EBML):
        return None
    size = _vint(head, 4)
    at = None if size is None or size[0] is None else size[1] + size[0]
    if at is None or head[at : at + 4] != _SEGMENT:
        return None
    size = _vint(head, at + 4)
    return None if size is None or size[0] is None else size[1] + size[0]


def _vint(data: bytes, at: int) -> tuple[int | None, int] | None:
    """An EBML size and the place after it; the size is None where it is marked unknown."""
    if at >= len(data) or data[at] == 0:
        return None
    length = 9 - data[at].bit_length()
    if at + length > len(data):
        return None
    value = int.from_bytes(data[at : at + length], "big") - (1 << (7 * length))
    return (None if value == (1 << (7 * length)) - 1 else value), at + length


def _riff_end(head: bytes) -> int | None:
    if head[:4] != b"RIFF" or head[8:11] != b"AVI":
        return None
    return 8 + int.from_bytes(head[4:8], "little") or None
