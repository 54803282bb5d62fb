"""Frame number ↔ pts ↔ key frame ↔ byte span, once for a reel.

From the container's own table where it says all of that (QuickTime and MP4 of a codec without predicted pictures), else
by one demux, which decodes nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from av.stream import Discard

from pipeline.errors import SourceError
from pipeline.reel import logs, rates, sequence, whole
from pipeline.reel.probe import header_rates
from pipeline.reel.source import TRY_OTHER_COPY, Source, demuxing, open_source
from pipeline.types import FrameIndex, Reel

MAX_FRAMES = 10_000_000
"""About 115 hours at 24 frames a second."""
INTRA_CODECS = frozenset(
    ("prores", "dnxhd", "v210", "v410", "rawvideo", "jpeg2000", "mjpeg", "png", "tiff", "dpx", "cfhd", "qtrle", "r210")
)
"""Codecs whose pictures all stand alone, so that presentation order is file order. FFV1 may carry its coder on."""


@dataclass(slots=True)
class _Packets:
    """What is known of each packet, in file order."""

    pts: array[int] = field(default_factory=lambda: array("q"))
    key: array[int] = field(default_factory=lambda: array("b"))
    position: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("q"))
    end: int = 0
    """Largest pts + duration, in ticks; 0 durations are left out."""


def build(reel: Reel) -> FrameIndex:
    """Index a reel.

    Raises SourceError, with the frame where there is one, for a film that is cut short, has no frames, missing or
    repeated presentation times, or more than MAX_FRAMES frames.
    """
    if reel.sequence is not None:
        return sequence.build(reel)
    with open_source(reel.uri, stream=reel.stream) as source:
        if source.size != reel.bytes:
            raise SourceError(
                f"the file changed since it was probed: {reel.bytes} bytes, now {source.size}",
                where=reel.uri,
                todo="Run again when nothing writes to it any more",
            )
        whole.check_length(source)
        _complain(source, source.complaints, None)
        packets = _table(source)
        found_by = "table" if packets is not None else "demux"
        if packets is None:
            packets = _demux(source)
        return _index(reel, source, packets, found_by == "table")


def _table(source: Source) -> _Packets | None:
    """The packets by the container's table; None where it does not hold everything."""
    stream = source.stream
    if not source.container.format.name.startswith("mov") or stream.codec_context.name not in INTRA_CODECS:
        return None
    entries = stream.index_entries
    count = len(entries)
    if not 0 < count <= MAX_FRAMES or count != stream.frames:
        return None
    packets = _Packets()
    for n, entry in enumerate(entries):
        if entry.is_discard or not entry.is_keyframe:
            return None
        _check_span(source, entry.pos, entry.size, n)
        packets.pts.append(entry.timestamp)
        packets.key.append(1)
        packets.position.append(entry.pos)
        packets.size.append(entry.size)
    # The table holds decoding times. Where no picture is predicted, all are shown at theirs if the first and last are.
    for n in (0, count - 1):
        if not _agrees(source, packets, n):
            source.container.seek(packets.pts[0], stream=stream)
            return None
    packets.end = packets.pts[-1]
    return packets


def _agrees(source: Source, packets: _Packets, number: int) -> bool:
    source.container.seek(packets.pts[number], stream=source.stream)
    with demuxing(source) as found:
        packet = next(found)
    wanted = (packets.pts[number], packets.position[number], packets.size[number])
    return (packet.pts, packet.pos, packet.size) == wanted


def _demux(source: Source) -> _Packets:
    """The packets by reading through the file once."""
    container, stream = source.container, source.stream
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    packets = _Packets()
    is_mov = container.format.name.startswith("mov")
    seen = 0
    with logs.errors() as told, demuxing(source) as found:
        for packet in found:
            if packet.size == 0:
                continue
            number = len(packets.pts)
            seen += 1
            if packet.is_corrupt:
                raise SourceError(
                    "the film is cut short or damaged: the container cannot give this picture whole",
                    where=source.uri,
                    frame=number if packet.pts is None else sum(pts < packet.pts for pts in packets.pts),
                    todo=TRY_OTHER_COPY,
                )
            if packet.is_discard:
                continue
            if packet.pts is None:
                raise SourceError(
                    "a picture has no presentation time",
                    where=source.uri,
                    frame=number,
                    todo="Give it times by a remux: ffmpeg -fflags +genpts -i FILE -c copy NEW.mkv",
                )
            if number >= MAX_FRAMES:
                raise SourceError(f"the film has more than {MAX_FRAMES} frames", where=source.uri, todo="Split it")
            position = -1 if packet.pos is None else packet.pos
            if is_mov:
                _check_span(source, position, packet.size, number)
            packets.pts.append(packet.pts)
            packets.key.append(packet.is_keyframe)
            packets.position.append(position)
            packets.size.append(packet.size)
            if packet.duration:
                packets.end = max(packets.end, packet.pts + packet.duration)
    _complain(source, [text for writer, text in told if writer == container.format.name], len(packets.pts))
    if is_mov and seen < len(stream.index_entries):
        raise SourceError(
            f"the film is cut short: its table lists {len(stream.index_entries)} pictures, {seen} can be read",
            where=source.uri,
            frame=len(packets.pts),
            todo=TRY_OTHER_COPY,
        )
    return packets


def _complain(source: Source, complaints: Sequence[str], found: int | None) -> None:
    """SourceError where the container's reader logged errors: it then goes on with what it could make of the rest."""
    if complaints:
        place = "in its header" if found is None else f"or cut short ({found} pictures were found)"
        raise SourceError(
            f"the container is damaged {place}: {complaints[0][:200]}", where=source.uri, todo=TRY_OTHER_COPY
        )


def _check_span(source: Source, position: int, size: int, number: int) -> None:
    if position + size > source.size:
        raise SourceError(
            f"the film is cut short: this picture should end at byte {position + size}, the file has {source.size}",
            where=source.uri,
            frame=number,
            todo=TRY_OTHER_COPY,
        )


def _index(reel: Reel, source: Source, packets: _Packets, by_table: bool) -> FrameIndex:
    if not packets.pts:
        raise SourceError("the picture stream has no frames", where=reel.uri, todo=TRY_OTHER_COPY)
    pts = np.array(packets.pts, np.int64)
    order = np.argsort(pts, kind="stable")
    pts = pts[order]
    twice = np.flatnonzero(np.diff(pts) == 0)
    if len(twice):
        raise SourceError(
            f"two pictures have the same presentation time (pts {pts[twice[0]]})",
            where=reel.uri,
            frame=int(twice[0]) + 1,
            todo="Remux it with times of its own for each picture",
        )
    headers = list(dict.fromkeys([reel.rate, *header_rates(source.stream)]))
    found, _ = rates.find(pts, reel.time_base, headers)
    rate = found or reel.rate
    start, last = int(pts[0]) * reel.time_base, int(pts[-1]) * reel.time_base
    end = max(last + 1 / rate, packets.end * reel.time_base)
    if found is None and len(pts) > 1:
        # Matroska does not say how long the last picture lasts: no longer than any other, it is hoped.
        end = max(end, last + int(np.diff(pts).max()) * reel.time_base)
    whole.check_end(source, len(pts), start, end, rate)
    whole.check_cues(source, pts, rate)
    return FrameIndex(
        pts=pts,
        key=np.array(packets.key, np.bool_)[order],
        position=np.array(packets.position, np.int64)[order],
        size=np.array(packets.size, np.int64)[order],
        time_base=reel.time_base,
        rate=rate,
        constant=found is not None,
        found_by="table" if by_table else "demux",
    )
