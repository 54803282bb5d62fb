"""Frame number ↔ pts ↔ key frame ↔ byte span, once for a reel.

From the container's own table where it says all of that (QuickTime and MP4 of a codec without predicted pictures), else
by one demux, which decodes nothing. Of a remote Matroska film the cue table will do where it lists every picture: a
demux would fetch all of the film once more than restoring it does.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import av.error
import numpy as np
from av.stream import Discard

from pipeline.errors import SourceError
from pipeline.reel import logs, rates, sequence, whole
from pipeline.reel.probe import header_rates
from pipeline.reel.source import TRY_OTHER_COPY, Source, demuxing, open_source
from pipeline.storage import store
from pipeline.types import FrameIndex, Reel

MAX_FRAMES = 10_000_000
"""About 115 hours at 24 frames a second."""
INTRA_CODECS = frozenset(
    ("prores", "dnxhd", "v210", "v410", "rawvideo", "jpeg2000", "mjpeg", "png", "tiff", "dpx", "cfhd", "qtrle", "r210")
)
"""Codecs whose pictures all stand alone, so that presentation order is file order. FFV1 may carry its coder on."""


_CUED_CODECS = INTRA_CODECS | {"ffv1"}


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
        packets, found_by = _table(source), "table"
        if packets is None and store.local_path(reel.uri) is None:
            packets, found_by = _cues(reel, source), "cues"
        if packets is None:
            packets, found_by = _demux(source), "demux"
        return _index(reel, source, packets, found_by)


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


def _cues(reel: Reel, source: Source) -> _Packets | None:
    """The packets by Matroska's cue table; None where it cannot be known to list every picture.

    It is known where it lists key frames at one rate, from the stream's first picture to the end that the stream's own
    duration tells, without a gap. A picture that it hides between two others is told when it is decoded (``reading``).
    """
    stream = source.stream
    if not source.container.format.name.startswith("matroska") or stream.codec_context.name not in _CUED_CODECS:
        return None
    try:
        source.container.seek(stream.start_time or 0, stream=stream)  # the first seek reads the table
    except av.error.FFmpegError:
        return None
    entries = stream.index_entries
    count = len(entries)
    if not 1 < count <= MAX_FRAMES or stream.time_base is None:
        return None
    packets = _Packets()
    for entry in entries:
        if entry.is_discard or not entry.is_keyframe:
            return None
        packets.pts.append(entry.timestamp)
        packets.key.append(1)
        packets.position.append(entry.pos)
    pts, places = np.array(packets.pts, np.int64), np.array(packets.position, np.int64)
    if np.any(np.diff(pts) <= 0) or np.any(np.diff(places) < 0) or places[0] < 0 or places[-1] >= source.size:
        return None
    # Only rates that the headers claim: key frames alone, every fourth one say, have a rate too.
    claimed = dict.fromkeys([reel.rate, *header_rates(stream)])
    found = next((rate for rate in claimed if rates.fits(pts, stream.time_base, rate)), None)
    if found is None or stream.start_time != packets.pts[0]:
        return None
    end = whole.told_end(source)
    if end is None or abs(end - (packets.pts[0] * stream.time_base + count / found)) > 1 / (2 * found):
        return None
    if not all(_comes(source, packets.pts[n]) for n in (0, count - 1)):
        return None
    packets.size.extend([*np.diff(places).tolist(), source.size - int(places[-1])])
    return packets


def _comes(source: Source, pts: int) -> bool:
    """Whether a key frame of this time is what is found at it."""
    try:
        source.container.seek(pts, stream=source.stream)
        with demuxing(source) as found:
            packet = next(found)
    except av.error.FFmpegError:
        return False
    return packet.pts == pts and packet.is_keyframe


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


def _index(reel: Reel, source: Source, packets: _Packets, found_by: str) -> FrameIndex:
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
    if found_by == "demux":
        whole.check_cues(source, pts, rate)
    return FrameIndex(
        pts=pts,
        key=np.array(packets.key, np.bool_)[order],
        position=np.array(packets.position, np.int64)[order],
        size=np.array(packets.size, np.int64)[order],
        time_base=reel.time_base,
        rate=rate,
        constant=found is not None,
        found_by=found_by,  # type: ignore[arg-type]
    )
