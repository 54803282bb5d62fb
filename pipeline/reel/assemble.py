"""Segments, one behind the other, into the deliverable's container, with everything else that the source held.

Nothing is decoded or encoded here: packets go over as they are, and only their times are set. The file is then read
again and every packet of every stream is held against what was written. Memory does not grow with the pictures: a
packet or two of each stream, and 16 bytes of record for each packet.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream

from pipeline.errors import SourceError, VerifyError
from pipeline.reel import carry, hdr, logs, matroska, tags
from pipeline.reel.deliver import CONTAINER, output_pts, time_shift
from pipeline.reel.joined import REORDER, Joined
from pipeline.reel.parted import CarriedStream as CarriedStream
from pipeline.reel.parted import Parted, opened
from pipeline.reel.probe import check_unchanged
from pipeline.reel.source import TRY_OTHER_COPY
from pipeline.reel.timecode import timecode_at
from pipeline.reel.trace import PictureTrace, StreamTrace, Trace, check
from pipeline.reel.writing import CONTAINER_OPTIONS, ReadingError, nearest, writing
from pipeline.spec import Output
from pipeline.types import FrameIndex, Reel

_MOST_TIMESCALE = 100_000_000


@dataclass(frozen=True, slots=True)
class Assembled:
    """What a deliverable holds, all of it read again and found right."""

    frames: int
    bytes: int
    streams: tuple[CarriedStream, ...]
    left_out: tuple[str, ...]
    """One sentence for each thing of the source that the container cannot carry, or not as it was."""
    lacking: tuple[int, ...] = ()
    """The source's streams of which that is said."""


def assemble(
    reel: Reel,
    index: FrameIndex,
    first: int,
    last: int,
    output: Output,
    segments: Iterator[Path],
    path: Path,
    *,
    local: Path | None = None,
    parted: Parted | None = None,
) -> Assembled:
    """Write the deliverable of frames ``[first, last)`` to ``path`` and verify it.

    ``segments`` are files of ``encode_segment`` in order; each is read to its end and closed before the next is asked
    for. ``local`` is a copy of the source on this machine. The picture's times are those of ``output_pts``; every other
    stream keeps its distance to the picture. An excerpt carries what sounds or begins within its time. ``parted``: this
    is the next part of a split deliverable, and what began before it is in the part before alone. Two calls give the
    same bytes. mp4 files have their index in front.

    Raises VerifyError where segments do not fit together or the file does not hold what was written; SourceError where
    the source's other streams cannot be read, or it is no longer the file that was probed; ScratchFullError where the
    disk is full. Nothing is left at ``path`` then.
    """
    logs.install()
    check_unchanged(reel)
    with writing(path), Joined(segments, reel, output) as joined:
        made = _assembled(reel, index, (first, last), output, joined, path, local, parted)
    assert made is not None  # there are pictures
    return made


def assemble_others(
    reel: Reel, index: FrameIndex, first: int, last: int, path: Path, *, local: Path | None = None
) -> Assembled | None:
    """As ``assemble`` into Matroska, without the picture; None where the source has nothing that goes into it.

    For deliverables of images, which hold nothing but pictures. Times are the source's.
    """
    if not reel.others:
        return None
    logs.install()
    check_unchanged(reel)
    return _assembled(reel, index, (first, last), Output(), None, path, local)


def _assembled(
    reel: Reel,
    index: FrameIndex,
    span: tuple[int, int],
    output: Output,
    joined: Joined | None,
    path: Path,
    local: Path | None,
    parted: Parted | None = None,
) -> Assembled | None:
    first, last = span
    template = joined.template if joined is not None else None
    with opened(reel, local) as source:
        carried, without = carry.choose(reel, source, template, CONTAINER[output.codec], whole=first == 0)
    if joined is None and not carried:
        return None
    silent: list[str] = []
    if carried and CONTAINER[output.codec] != "matroska":
        heard = (parted or Parted([span])).heard(reel, index, carried, local)
        carried, silent = heard.carried, heard.silent
        without += heard.left_out
    # Opened anew, because choosing has read the start of it.
    with opened(reel, local) as source:
        mux = _Mux(reel, index, first, last, output, source, parted)
        with logs.errors() as told:
            try:
                with writing(path):
                    mux.write(joined, carried, path)
            except ReadingError as error:
                # The source's fault, not the deliverable's: ``open_source`` knows what to say.
                raise error.cause from None
        if source is not None and index.found_by == "cues":
            # Only now was all of the container read. What its reader stumbles over it passes over, sound too.
            bad = next((text for writer, text in told if writer == source.format.name), None)
            if bad is not None:
                path.unlink(missing_ok=True)
                raise SourceError(f"the container is damaged: {bad[:200]}", where=reel.uri, todo=TRY_OTHER_COPY)
    check_unchanged(reel)
    if mux.edits:
        matroska.edit_tracks(path, mux.edits)
    running = parted.made(mux.place) if parted is not None else None
    found = check(path, mux.traces, running)
    left_out = [one.sentence for one in without] + silent + tags.lost(path, reel, mux.place, picture=joined is not None)
    if joined is not None:
        left_out += hdr.left_out(reel, output) + tags.fields_lost(path, reel)
    if reel.sequence is not None:
        left_out += reel.sequence.not_carried
    left_out += [
        f"Packets of stream {place} go back in time and were set behind the ones before them: {count}"
        for place, count in mux.moved.items()
    ]
    streams = [
        CarriedStream(c.index, c.said.kind, c.said.codec, place, len(t), found[place], mux.hashes[c.index].hexdigest())
        for c in carried
        if isinstance(t := mux.traces.get(place := mux.place[c.index]), StreamTrace)
    ]
    if parted is not None:
        parted.done(carried, streams)
    frames = last - first if joined is not None else 0
    lacking = tuple(one.index for one in without)
    return Assembled(frames, path.stat().st_size, tuple(streams), tuple(left_out), lacking)


class _Mux:
    """One deliverable being written."""

    def __init__(
        self,
        reel: Reel,
        index: FrameIndex,
        first: int,
        last: int,
        output: Output,
        source: InputContainer | None,
        parted: Parted | None,
    ):
        self._reel, self._output, self._source, self._parted = reel, output, source, parted
        self._first, self._last = first, last
        self._base, self._ticks = output_pts(index, reel, first, last, output)
        self._rate = index.rate if index.constant else None
        self._shift = time_shift(index, first, output)
        self._span = carry.span(index, first, last)
        self._tags = tags.useful(dict(reel.tags))
        self.traces: dict[int, Trace] = {}
        """Stream of the deliverable → what was written of it."""
        self.place: dict[int, int] = {}
        """Stream of the source → stream of the deliverable."""
        self.edits: dict[int, matroska.TrackEdit] = {}
        self.moved: dict[int, int] = {}
        """Stream of the source → how many of its packets went back in time."""
        self.hashes: dict[int, hashlib._Hash] = {}
        """Stream of the source → over its packets as they lie there."""
        self._last_dts: dict[int, int] = {}

    def write(self, joined: Joined | None, carried: Sequence[carry.Carried], path: Path) -> None:
        """Write the file, picture and other streams interleaved by time."""
        with av.open(str(path), "w", CONTAINER[self._output.codec], container_options=self._options(carried)) as out:
            picture = None
            if joined is not None:
                with hdr.described(joined.template, self._reel, self._output) as template:
                    picture = self._picture(out, template)
            streams = {c.index: self._other(out, c) for c in carried}
            out.metadata.update(self._tags)
            out.set_chapters(self._chapters())
            out.start_encoding()
            if picture is not None and picture.time_base != self._base:
                raise VerifyError(f"the muxer counts in {picture.time_base} s, expected {self._base}", where=str(path))
            self.hashes = {c.index: hashlib.sha256() for c in carried}
            follows = self._parted is not None and self._parted.begun
            told = self._parted.taken(self.hashes) if self._parted is not None else self.hashes
            others = carry.pieces(self._reel.uri, self._source, carried, self._span, told, follows=follows)
            waiting = next(others, None)
            for packet, time in self._pictures(joined, picture) if joined is not None else ():
                while waiting is not None and waiting.start - self._shift <= time:
                    self._put(out, streams[waiting.carried.index], waiting)
                    waiting = next(others, None)
                out.mux(packet)
            while waiting is not None:
                self._put(out, streams[waiting.carried.index], waiting)
                waiting = next(others, None)

    def _options(self, carried: Sequence[carry.Carried]) -> dict[str, str]:
        # Packets come in their right order already: FFmpeg need not hold any back to sort them.
        options = dict(CONTAINER_OPTIONS) | {"max_interleave_delta": "1"}
        if self._output.codec == "ffv1":
            return options
        # Edit lists, which hold the start of every track, count in this: so that none is rounded.
        rates = [self._source.streams[c.index].codec_context for c in carried if self._source is not None]
        scale = self._base.denominator
        for rate in (getattr(c, "sample_rate", None) for c in rates):
            if rate and math.lcm(scale, rate) <= _MOST_TIMESCALE:
                scale = math.lcm(scale, rate)
        options["movie_timescale"] = str(scale)
        if CONTAINER[self._output.codec] == "mp4":
            options["movflags"] = "+faststart"
        return options

    def _picture(self, out: OutputContainer, template: Stream) -> Any:
        reel = self._reel
        stream: Any = out.add_stream_from_template(template, opaque=True)
        stream.time_base = self._base
        stream.codec_context.framerate = self._rate or Fraction(0)
        if self._output.codec == "hevc":
            # The headers stand in the container alone, as `hvc1` says: QuickTime plays nothing else.
            stream.codec_context.codec_tag = "hvc1"
        elif self._output.codec == "prores":
            # By it decoders tell 4444 from 422, and the muxer's own choice is 422.
            stream.codec_context.codec_tag = template.codec_context.codec_tag
        if reel.sample_aspect > 0:
            stream.codec_context.sample_aspect_ratio = reel.sample_aspect
        if self._source is not None:
            source = self._source.streams[reel.stream]
            stream.metadata.update(tags.useful(source.metadata))
            stream.disposition = source.disposition & ~Disposition.attached_pic
        timecode = timecode_at(reel.timecode, self._first, reel.rate)
        if timecode is not None:
            stream.metadata["timecode"] = timecode
        if self._output.codec == "ffv1" and reel.sample_aspect not in (0, 1):
            title = stream.metadata.get("title", "")
            stream.metadata["title"] = title + matroska.RESERVE
            self.edits[1] = matroska.TrackEdit(title, reel.sample_aspect, reel.width, reel.height)
        self.traces[stream.index] = PictureTrace(self._ticks, self._first)
        return stream

    def _other(self, out: OutputContainer, one: carry.Carried) -> Stream:
        assert self._source is not None  # nothing is carried from a folder
        source = self._source.streams[one.index]
        stream = carry.add(out, source, one)
        self.place[one.index] = stream.index
        if stream.type != "attachment":
            self.traces[stream.index] = carry.trace_of(source, one)
        if one.delay:
            # FFmpeg numbers Matroska's tracks from 1, in the order of the streams; attachments come last.
            title = tags.useful(source.metadata).get("title")
            self.edits[stream.index + 1] = matroska.TrackEdit(title, delay=one.delay)
        return stream

    def _chapters(self) -> list[Any]:
        """The chapters that lie in the span, cut to it."""
        begin, end = self._span
        kept = []
        for chapter in self._source.chapters() if self._source is not None else ():
            tick = chapter["time_base"] or Fraction(1)
            start, stop = chapter["start"] * tick, max(chapter["end"], chapter["start"]) * tick
            if (end is not None and start >= end) or (begin is not None and stop <= begin):
                continue
            start = start if begin is None else max(start, begin)
            stop = stop if end is None else min(stop, end)
            ticks = {k: nearest((t - self._shift) / tick) for k, t in (("start", start), ("end", stop))}
            kept.append(chapter | ticks)
        return kept

    def _pictures(self, joined: Joined, stream: Any) -> Iterator[tuple[Any, Fraction]]:
        """The picture's packets with their times set, and the time by which each is interleaved."""
        count, reorder = len(self._ticks), REORDER[self._output.codec]
        seen = np.zeros(count, bool)
        frame = int(np.median(np.diff(self._ticks))) if count > 1 else max(1, nearest(1 / self._reel.rate / self._base))
        for place, one in enumerate(joined.packets()):
            if one.frame >= count or seen[one.frame]:
                found = "twice" if one.frame < count else f"beyond the {count} that are wanted"
                raise VerifyError(
                    f"the segments hold a frame {found}", where=self._reel.uri, frame=self._first + one.frame
                )
            seen[one.frame] = True
            pts = int(self._ticks[one.frame])
            dts = (
                int(self._ticks[place - reorder])
                if place >= reorder
                else int(self._ticks[0]) - (reorder - place) * frame
            )
            packet = one.packet
            packet.stream, packet.time_base = stream, self._base
            packet.pts, packet.dts = pts, dts
            packet.duration = int(self._ticks[one.frame + 1]) - pts if one.frame + 1 < count else frame
            self.traces[stream.index].add(packet, pts)
            yield packet, dts * self._base
        if not seen.all():
            missing = int(np.flatnonzero(~seen)[0])
            raise VerifyError(
                f"the segments hold {int(seen.sum())} frames, {count} were expected",
                where=self._reel.uri,
                frame=self._first + missing,
            )

    def _put(self, out: OutputContainer, stream: Stream, piece: carry.Piece) -> None:
        packet, tick = piece.packet, stream.time_base or Fraction(1, 1000)
        # How far a packet's order runs ahead of its time, for further pictures with B-frames.
        ahead = None if packet.dts is None else (packet.pts - packet.dts) * packet.time_base
        pts = nearest((piece.start - self._shift) / tick)
        # The muxer of Matroska is not told of the run-up, so it does not add it to the times itself.
        later = nearest(piece.carried.delay / tick)
        packet.pts = pts + later
        packet.dts = None if ahead is None else nearest((piece.start - ahead - self._shift) / tick) + later
        packet.duration = nearest(piece.lasts / tick)
        packet.stream, packet.time_base = stream, tick
        self.traces[stream.index].add(piece.payload, self._forward(packet, piece.carried) - later)
        out.mux(packet)

    def _forward(self, packet: Any, one: carry.Carried) -> int:
        """Set a packet that goes back in time, which no muxer takes, behind the one before it. Returns its pts."""
        if packet.dts is not None:
            last = self._last_dts.get(one.index)
            least = (
                packet.dts if last is None else last + (self._output.codec != "ffv1" and one.said.kind != "subtitle")
            )
            if packet.dts < least:
                if packet.dts < least - 1:
                    self.moved[one.index] = self.moved.get(one.index, 0) + 1
                packet.pts, packet.dts = max(packet.pts, least), least
            self._last_dts[one.index] = packet.dts
        return int(packet.pts)
