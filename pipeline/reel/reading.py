"""A source's pictures one by one, from wherever decoding must start, and what is wrong with them.

A frame is known by its pts, through the index, never by a counter. Decoding starts at the key frame at or before the
span and drops what comes before it. Where a wanted frame does not come out (open GOP, a container that seeks coarsely),
it starts again further back.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import av.error
import numpy as np
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.reel import ffv1, images, logs
from pipeline.reel.damage import Finding
from pipeline.reel.damage import error as error_of
from pipeline.reel.formats import planes_of
from pipeline.reel.source import TRY_OTHER_COPY, Source, demuxing, open_source
from pipeline.types import FrameIndex, Reel

_BACK = (0, 1, 2, 4, 8, 16)
"""How many key frames further back each try starts. The last resort is the file's start, where that can help."""
_MAX_DEPTH = 16
# Codecs that log an error only where pixels are wrong. H.264 and its kin also log what a start within the film lacks.
_HONEST_LOGS = frozenset(("ffv1", "prores", "dnxhd", "jpeg2000", "v210", "cfhd", "huffyuv", "ffvhuff", "utvideo"))
_CONCEALED = ("concealing", "error while decoding", "damaged")


def frames(
    reel: Reel,
    index: FrameIndex,
    first: int,
    last: int,
    *,
    threads: int,
    local: Path | None = None,
    damage: dict[int, Finding] | None = None,
) -> Generator[tuple[int, tuple[NDArray[Any], ...]], None, None]:
    """As ``decode.decode``, one frame at a time: its number and its planes, read-only views that keep their memory.

    Without ``damage``, the first damaged picture is an error.
    """
    if not 0 <= first < last <= len(index):
        raise ValueError(f"frames {first}:{last} are not inside 0:{len(index)}")
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    if reel.sequence is not None:
        yield from images.frames(reel, index, first, last, threads=threads, damage=damage)
        return
    keys = np.flatnonzero(index.key)
    depth = _reorder_depth(index)
    number, tries = first, 0
    corrupt: int | None = None
    resigned = False
    held: tuple[NDArray[Any], ...] | None = None
    while number < last:
        begun = number
        nearest = int(np.searchsorted(keys, number, side="right")) - 1
        start = nearest - _BACK[tries] if tries < len(_BACK) else -1
        with open_source(reel.uri, local=local, stream=reel.stream) as source:
            reader = _Reading(reel, index, source, threads, depth, damage)
            with closing(reader.run(int(keys[start]) if start >= 0 else None)) as run:
                shown: int | None = None
                for frame in run:
                    _check_listed(reel, index, frame, shown)
                    shown = frame.pts
                    if held is not None:
                        continue
                    due = int(index.pts[number])
                    if frame.pts is None or frame.pts < due:
                        continue
                    # Not what is due, or not whole: from further back it may be.
                    if frame.pts > due:
                        break
                    noted = damage is not None and number in damage
                    if frame.is_corrupt and not noted:
                        corrupt = number
                        if not resigned or damage is None:
                            break
                        damage[number] = Finding(number, "FFmpeg marks it as corrupt")
                    if noted and start >= 0 and number not in reader.concealed:
                        break
                    planes = _planes(reel, frame, number)
                    if index.found_by == "cues" and number + 1 == len(index):
                        held, number = planes, last  # until it is seen that nothing follows it
                        continue
                    yield number, planes
                    number += 1
                    if number == last:
                        return
        if held is not None:
            yield last - 1, held
            return
        if number > begun:
            tries, resigned = 0, False
        elif start >= 0 and (tries + 1 < len(_BACK) or reader.false_start or (damage is not None and number in damage)):
            tries += 1
        elif damage is not None and corrupt == number and not resigned:
            tries, resigned = len(_BACK), True
        else:
            raise SourceError(
                "the container lists this picture, but it does not decode whole",
                where=reel.uri,
                frame=number,
                todo=TRY_OTHER_COPY,
            )


def _check_listed(reel: Reel, index: FrameIndex, frame: VideoFrame, before: int | None) -> None:
    """A cue table is believed to list every picture; one that it does not must not be passed over in silence.

    ``before``: pts of the picture before.
    """
    if index.found_by != "cues" or frame.pts is None:
        return
    place = int(np.searchsorted(index.pts, frame.pts))
    if frame.pts == before:
        raise SourceError("two pictures have the same presentation time", where=reel.uri, frame=place)
    if place == len(index) or index.pts[place] != frame.pts:
        raise SourceError(
            f"there is a picture (pts {frame.pts}) that the container's cue table does not list",
            where=reel.uri,
            frame=place,
            todo="Write the table anew: ffmpeg -i FILE -map 0 -c copy NEW.mkv",
        )


def _planes(reel: Reel, frame: VideoFrame, number: int) -> tuple[NDArray[Any], ...]:
    if (frame.width, frame.height) != (reel.width, reel.height):
        raise SourceError(
            f"the picture is {frame.width}x{frame.height} from here on, it was {reel.width}x{reel.height}",
            where=reel.uri,
            frame=number,
            todo="Split the film where its size changes",
        )
    if frame.interlaced_frame and not reel.interlaced:
        raise SourceError(
            f"the picture is interlaced from here on, the film's header says {reel.field_order}",
            where=reel.uri,
            frame=number,
            todo="Split the film there, or deinterlace it first",
        )
    try:
        return planes_of(frame, reel.format)
    except SourceError as error:
        raise SourceError(error.what, where=reel.uri, frame=number, todo="Split the film there") from None


def _reorder_depth(index: FrameIndex) -> int:
    """How many pictures the decoder must hold back, read off the order of the packets in the file.

    Without it H.264 learns the depth as it goes, and drops a picture each time that it learns.
    """
    if np.any(index.position < 0):
        return 0
    decoded = np.empty(len(index), np.int64)
    decoded[np.argsort(index.position, kind="stable")] = np.arange(len(index))
    return min(int(np.max(decoded - np.arange(len(index)))), _MAX_DEPTH)


def _stands_alone(frame: VideoFrame) -> bool:
    return frame.key_frame or frame.pict_type in (PictureType.NONE, PictureType.I)


class _Reading:
    """One run of the decoder over an open film."""

    def __init__(
        self,
        reel: Reel,
        index: FrameIndex,
        source: Source,
        threads: int,
        depth: int,
        damage: dict[int, Finding] | None,
    ):
        self._reel = reel
        self._index = index
        self._source = source
        self._threads = threads
        self._depth = depth
        self._oldest = int(index.pts[0])
        self.false_start = False
        """The key frame was none: its picture leans on earlier ones (H.264 with intra refresh)."""
        self.concealed: set[int] = set()
        """Damaged pictures whose lost parts were filled from a picture before them, so always with the same."""
        self._damage_found = damage
        self._began_well = False
        self._root: int | None = None
        """The damaged picture that all up to the next key frame may build on."""
        self._before_key: tuple[int, int] | None = None
        """The same for pictures that follow a key frame in the file and are shown before it; and its pts."""
        self._codec = source.stream.codec_context
        # AUTO has hung and leaked; frame threads also decode ahead of what is asked.
        self._codec.thread_type = "SLICE"
        self._codec.thread_count = threads
        # FFV1 of versions 0 and 1 has no header of its own, and neither slices nor CRC.
        self._checked = self._codec.name == "ffv1" and bool(self._codec.extradata)

    def run(self, start: int | None) -> Generator[VideoFrame, None, None]:
        """Decoded frames from key frame ``start``, or from the file's start, in presentation order.

        Nothing at all where the container cannot seek to that key frame or one before it.
        """
        container, stream = self._source.container, self._source.stream
        if start is not None:
            self._oldest = int(self._index.pts[start])
            try:
                container.seek(self._oldest, stream=stream)
            except av.error.FFmpegError:
                return
        if self._codec.name == "h264":
            self._codec.reorder_depth = max(self._codec.reorder_depth, self._depth)
        started = checked = start is None
        with demuxing(self._source) as packets:
            for packet in packets:
                if not started and packet.size:
                    if not packet.is_keyframe:
                        continue
                    if packet.pts is None or packet.pts > self._oldest:
                        return
                    started, self._oldest = True, packet.pts
                for frame in self._decode(packet):
                    if not checked and frame.pts is not None and frame.pts >= self._oldest:
                        if frame.pts > self._oldest or not _stands_alone(frame):
                            self.false_start = True
                            return
                        checked = True
                    yield frame

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        if packet.is_keyframe and packet.size:
            self._before_key = None if self._root is None or packet.pts is None else (self._root, packet.pts)
            self._root = None
        what = self._failed_check(packet)
        before = logs.foreign_errors()
        with logs.errors() as told:
            try:
                decoded = packet.decode()
            except av.error.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                if self._matters(packet):
                    raise self._error(packet, what or error.strerror or "it does not decode") from error
                return []
        honest = self._codec.name in _HONEST_LOGS
        bad = [t for _, t in told if honest or any(word in t for word in _CONCEALED)]
        if what is None and bad and self._matters(packet):
            what = bad[0][:200]
        if what is None and honest and self._threads > 1 and logs.foreign_errors() != before:
            what = self._second_look(packet)
        if packet.size:
            self._note(packet, what)
        return decoded

    def _failed_check(self, packet: Packet[VideoStream]) -> str | None:
        """What the packet's own checksums say against it."""
        if not self._checked or not packet.size:
            return None
        damaged, count = ffv1.damaged_slices(bytes(packet))
        return f"{len(damaged)} of its {count} slices fail their CRC" if damaged else None

    def _second_look(self, packet: Packet[VideoStream]) -> str | None:
        """An error was logged on some slice thread, ours or another reader's: with one thread it is told apart."""
        number = self._number(packet)
        if number is None:
            return None
        found: dict[int, Finding] = {}
        local = self._source.local
        for _ in frames(self._reel, self._index, number, number + 1, threads=1, local=local, damage=found):
            pass
        return found[number].what if number in found and found[number].root == number else None

    def _note(self, packet: Packet[VideoStream], what: str | None) -> None:
        """Keep what is wrong with a packet's picture, or raise it where nobody keeps it."""
        number = self._number(packet)
        if what is None:
            self._began_well = True
            root = self._root
            if self._before_key is not None and packet.pts is not None and packet.pts < self._before_key[1]:
                root = self._before_key[0]
            if root is not None and number is not None and self._damage_found is not None:
                self._damage_found.setdefault(number, Finding(root, f"it builds on the damaged frame {root}"))
                self.concealed.add(number)
            return
        if self._damage_found is None or number is None:
            raise self._error(packet, what)
        self._root = number
        self._damage_found[number] = Finding(number, what)
        if self._began_well:
            self.concealed.add(number)

    def _matters(self, packet: Packet[VideoStream]) -> bool:
        """Not so for a picture that comes after its key frame in the file but is shown before: nothing builds on it."""
        return packet.pts is None or packet.pts >= self._oldest

    def _number(self, packet: Packet[VideoStream]) -> int | None:
        if packet.pts is None:
            return None
        place = int(np.searchsorted(self._index.pts, packet.pts))
        return place if place < len(self._index) and self._index.pts[place] == packet.pts else None

    def _error(self, packet: Packet[VideoStream], what: str) -> SourceError:
        return error_of(self._reel.uri, what, self._number(packet))
