"""A source's other streams: sound, subtitles, further pictures, attachments, carried into the deliverable untouched.

What its container cannot carry is left out and said in a sentence; ``beside.py`` lays it beside the deliverables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from pipeline.errors import SourceError
from pipeline.reel import logs, matroska, tags
from pipeline.reel.trace import MovTextTrace, PcmTrace, StreamTrace
from pipeline.reel.writing import CONTAINER_OPTIONS, nearest, reading
from pipeline.types import FrameIndex, OtherStream, Reel

Span = tuple[Fraction | None, Fraction | None]
"""Seconds ``[from, to)`` of the source; None is open."""


def span(index: FrameIndex, first: int, last: int) -> Span:
    """Of the frames ``[first, last)``; open where the reel's ends are."""
    begin = index.time(first) if first > 0 else None
    return begin, index.time(last) if last < len(index) else None


_PCM_BITS = re.compile(r"pcm_(?:[suf](8|16|24|32|64)(?:[lb]e)?|(alaw|mulaw))")
_UNSAID_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}
_FLAC_HEADER = 34
# Enough for the first packets of many tracks; more would read far into a film whose second track starts late.
_LOOK_FOR_FIRST = 100
_SLACK = Fraction(10)
"""Seconds by which streams of a file may lie apart from each other, for reading an excerpt of it."""


@dataclass(frozen=True, slots=True)
class Carried:
    """One other stream that goes into the deliverable."""

    index: int
    """In the source."""
    said: OtherStream
    as_text: bool = False
    """mov_text, which Matroska does not know, becomes SubRip: the same words and times, without its styles."""
    delay: Fraction = Fraction(0)
    """Seconds of run-up at its start that the container must be told of, because FFmpeg's muxer is not."""
    correction: Fraction = Fraction(0)
    """Seconds to add to its times: Matroska's milliseconds rounded the run-up, which is known exactly."""
    step: Fraction = Fraction(0)
    """Seconds of sound in a packet, where the source's ticks are too coarse to say it; else 0."""
    adts: bool = False
    """Every packet of AAC begins with a header that belongs to a transport stream and that muxers take off."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A stream that does not go into the deliverable, or not as it was."""

    index: int
    """In the source."""
    sentence: str


def choose(
    reel: Reel, source: InputContainer | None, picture: Stream | None, container: str, *, whole: bool
) -> tuple[list[Carried], list[LeftOut]]:
    """The other streams that a container can carry, in the source's order but attachments last; and the rest.

    ``picture`` is the stream of a segment, None where no picture goes along. Whether a container takes a stream is
    tried out: its header is written with that stream, in memory. ``whole``: the deliverable begins where the source
    does. A folder of images has no container: ``source`` is None then.
    """
    if source is None:
        return [], []
    carried, left_out = [], []
    run_ups = _run_ups(source) if whole else {}
    chapters = bool(source.chapters())
    for said in reel.others:
        stream = source.streams[said.index]
        if said.kind == "data":
            # A timecode track and the titles of chapters are made anew by the muxer.
            if not ("timecode" in stream.metadata and reel.timecode) and not (said.codec == "bin_data" and chapters):
                left_out.append(_left_out(said, container, "it is neither picture, sound nor subtitles"))
            continue
        if said.kind == "attachment" and container != "matroska":
            left_out.append(_left_out(said, container, "it has no attachments"))
            continue
        attempt = Carried(said.index, said)
        if isinstance(stream.codec_context, AudioCodecContext):
            attempt = replace(attempt, adts=said.codec.startswith("aac") and not stream.codec_context.extradata)
            if container != "matroska":
                attempt = replace(attempt, step=_step(stream, stream.codec_context))
        if said.codec == "mov_text" and container == "matroska":
            attempt = replace(attempt, as_text=True)
            left_out.append(
                LeftOut(
                    said.index,
                    f"Subtitle stream {said.index} ({said.detail}) is carried as SubRip text, without its styles",
                )
            )
        refused, delays = _try(picture, stream, attempt, container)
        if refused is not None:
            left_out.append(_left_out(said, container, refused))
            continue
        run_up = run_ups.get(said.index, Fraction(0))
        if "matroska" in reel.container:
            tick = stream.time_base or Fraction(1, 1000)
            attempt = replace(attempt, correction=nearest(run_up / tick) * tick - run_up)
        elif container == "matroska" and not delays:
            attempt = replace(attempt, delay=run_up)
        carried.append(attempt)
    return sorted(carried, key=lambda c: _is_attached(source.streams[c.index])), left_out


def _step(stream: Stream, context: AudioCodecContext) -> Fraction:
    rate, extradata = context.sample_rate, bytes(context.extradata or b"")
    if not rate or (stream.time_base or Fraction(1)) <= Fraction(1, rate):
        return Fraction(0)
    samples = context.frame_size
    if context.name == "flac" and len(extradata) >= _FLAC_HEADER and extradata[:2] == extradata[2:4]:
        # Least and greatest size of a block, which are one in all but exotic encoders.
        samples = int.from_bytes(extradata[:2], "big")
    return Fraction(samples, rate)


def _left_out(said: OtherStream, container: str, reason: str) -> LeftOut:
    what = f"The {said.kind} stream {said.index} ({said.detail}) is left out, {container} cannot carry it: {reason}"
    return LeftOut(said.index, what)


def _is_attached(stream: Stream) -> bool:
    return stream.type == "attachment" or bool(stream.disposition & Disposition.attached_pic)


def _try(picture: Stream | None, stream: Stream, attempt: Carried, container: str) -> tuple[str | None, bool]:
    """Write a header with this stream into memory.

    Returns why that is refused, None where it is not; and whether Matroska's header then names a run-up of the codec.
    """
    file = io.BytesIO()
    options = dict(CONTAINER_OPTIONS)
    if container != "matroska":
        # The whole description of every stream comes with the header then, before there is a packet.
        options["movflags"] = "+empty_moov"
    refused: str | None = None
    with logs.errors() as told:
        try:
            with av.open(file, "w", container, container_options=options) as trial:
                if picture is not None:
                    trial.add_stream_from_template(picture, opaque=True)
                add(trial, stream, attempt)
                trial.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            refused = (error.strerror if isinstance(error, av.FFmpegError) else None) or str(error)
    if refused is not None:
        return next((text for _, text in told if text), refused), False
    return None, container == "matroska" and bool(matroska.codec_delays(file.getvalue()))


def add(container: OutputContainer, stream: Stream, carried: Carried) -> Stream:
    """Add the stream with its tags and disposition to a deliverable."""
    new: Stream
    if carried.as_text:
        new = container.add_mux_stream("subrip")
    else:
        new = container.add_stream_from_template(stream, opaque=True)
        context = new.codec_context
        if isinstance(context, AudioCodecContext) and context.layout.name in _UNSAID_LAYOUTS:
            # Matroska names no layout; some muxers want one, and of one or two channels there is no doubt.
            context.layout = _UNSAID_LAYOUTS[context.layout.name]
    if stream.type != "attachment":
        new.metadata.update(tags.for_container(stream.metadata, container.format.name))
    new.disposition = stream.disposition
    if carried.delay:
        new.metadata["title"] = new.metadata.get("title", "") + matroska.RESERVE
    return new


def trace_of(stream: Stream, carried: Carried) -> StreamTrace:
    """An empty record of what will be written of this stream."""
    what = f"{carried.said.kind} stream {carried.index} ({carried.said.codec})"
    context = stream.codec_context
    bits = _PCM_BITS.fullmatch(carried.said.codec)
    if bits and isinstance(context, AudioCodecContext) and context.sample_rate and context.layout.nb_channels:
        return PcmTrace(what, int(bits[1] or 8) // 8 * context.layout.nb_channels * context.sample_rate)
    if carried.said.codec == "mov_text" and not carried.as_text:
        return MovTextTrace(what)
    return StreamTrace(what)


def _run_ups(source: InputContainer) -> dict[int, Fraction]:
    """Stream index → seconds at its start that a decoder throws away, where the first packet says so."""
    found: dict[int, Fraction] = {}
    rates = {s.index: s.codec_context.sample_rate for s in source.streams.audio if s.codec_context is not None}
    waiting = set(rates)
    sound = [source.streams[i] for i in rates]
    for count, packet in enumerate(source.demux(*sound) if sound else ()):
        if packet.stream_index in waiting and packet.size:
            waiting.discard(packet.stream_index)
            rate = rates[packet.stream_index]
            if packet.has_sidedata("skip_samples") and rate:
                skip = int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
                found[packet.stream_index] = Fraction(skip, rate)
        if not waiting or count > _LOOK_FOR_FIRST:
            break
    return found


class Takes(Protocol):
    """Something that is told bytes, packet by packet, as hashes are."""

    def update(self, data: Any, /) -> None:
        """The next ones."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One packet of another stream."""

    carried: Carried
    packet: Any
    payload: Any
    """What is found in the deliverable again: the packet itself, or its bytes without an ADTS header."""
    start: Fraction
    """Seconds, in the source."""
    lasts: Fraction
    """Seconds."""


def pieces(
    uri: str,
    source: InputContainer | None,
    carried: Sequence[Carried],
    span: Span,
    hashes: Mapping[int, Takes] | None = None,
    *,
    follows: bool = False,
) -> Iterator[Piece]:
    """The packets of these streams in the order in which the source holds them, one in memory at a time.

    Of an excerpt, those that sound within it, and the subtitles that begin in it. ``hashes``: source stream → what
    is told the bytes of its packets as the source has them. ``follows``: what began before the span is in the part
    before it, so that of adjoining spans each packet is in one. Raises SourceError where a packet has no time.
    """
    if source is None:
        return
    by_index = {c.index: c for c in carried if source.streams[c.index].type != "attachment"}
    if not by_index:
        return
    begin, end = span
    due: dict[int, Fraction] = {}
    if begin is not None:
        _seek(source, begin)
    for stream in source.streams:
        if stream.index not in by_index:
            stream.discard = Discard.all
    for packet in reading(source.demux([source.streams[i] for i in by_index])):
        if not packet.size:
            continue
        one = by_index[packet.stream_index]
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.pts is None:
            raise SourceError(f"a packet of the {one.said.kind} stream {one.index} has no time", where=uri)
        told = packet.pts * packet.time_base
        start = told + one.correction
        lasts = one.step or (packet.duration or 0) * packet.time_base
        if end is not None and start > end + _SLACK:
            return
        # By its own time: the correction is not the same in every part.
        if not _within(one, told, lasts, span, follows=follows):
            continue
        if hashes is not None:
            hashes[one.index].update(packet)
        if one.step:
            # Sound that runs on without a gap is set by its samples, not by what rounding left of its time.
            if abs(due.get(one.index, start) - start) <= packet.time_base:
                start = due.get(one.index, start)
            due[one.index] = start + one.step
        if one.said.codec == "mov_text" and bytes(packet) == MovTextTrace.EMPTY:
            continue
        if one.as_text:
            text = _text(bytes(packet))
            yield Piece(one, _like(packet, text), text, start, lasts)
        else:
            yield Piece(one, packet, _without_adts(bytes(packet)) if one.adts else packet, start, lasts)


def _within(one: Carried, start: Fraction, lasts: Fraction, span: Span, *, follows: bool) -> bool:
    begin, end = span
    if end is not None and start >= end:
        return False
    if begin is None or start >= begin:
        return True
    return not follows and one.said.kind != "subtitle" and start + lasts > begin


def _seek(source: InputContainer, begin: Fraction) -> None:
    """Go to a place before ``begin``; where a container cannot, it is read from its start."""
    with logs.errors(), suppress(av.FFmpegError):
        source.seek(int((begin - _SLACK) * av.time_base))


def _text(sample: bytes) -> bytes:
    """The words of a mov_text sample (3GPP TS 26.245: their length in two bytes, then they, then styles)."""
    length = int.from_bytes(sample[:2], "big")
    words = sample[2 : 2 + length]
    wide = words[:2] in (b"\xfe\xff", b"\xff\xfe")
    text = words.decode("utf-16" if wide else "utf-8", "replace")
    return "\n".join(line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line).encode()


def _like(packet: Any, payload: bytes) -> Any:
    new: Any = Packet(payload)
    new.time_base, new.pts, new.dts, new.duration = packet.time_base, packet.pts, packet.dts, packet.duration
    return new


def _without_adts(payload: bytes) -> bytes:
    """AAC without its transport header of 7 bytes, or 9 with a checksum (ISO/IEC 13818-7, 6.2)."""
    if len(payload) < 7 or payload[0] != 0xFF or payload[1] & 0xF6 != 0xF0:
        return payload
    return payload[7 if payload[1] & 1 else 9 :]
