"""What a reel is, from its headers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction

import av.error
from av.audio.codeccontext import AudioCodecContext
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipeline import spec
from pipeline.errors import MissingError, SourceError
from pipeline.reel import colour, display, hdr, logs, rates, sequence, whole
from pipeline.reel.formats import pixel_format
from pipeline.reel.source import MAX_EXTRADATA, MAX_SIDE, TRY_OTHER_COPY, Source, open_source
from pipeline.reel.tags import FIELD_ORDERS
from pipeline.storage import store
from pipeline.types import Colour, Mastering, OtherStream, PixelFormat, Reel

_TWO_FIELDS = {
    "tt": "upper field first",
    "bb": "lower field first",
    "tb": "upper field first in the file, lower one first in time",
    "bt": "lower field first in the file, upper one first in time",
}
_MAX_TAGS = 256
_MAX_TAG = 16 << 10


def probe(uri: str, name: str, say: spec.Source) -> Reel:
    """Read a source's headers: streams, exact rate, size, pixel format, colour, timecode, other streams.

    ``name`` becomes the reel's name. ``say`` fills in what the source does not say. Raises SourceError where there is
    no picture that can be restored exactly, StorageError where the store says no.
    """
    if sequence.is_sequence(uri):
        return sequence.probe(uri, name, say)
    try:
        about = store.stat(uri)
    except MissingError as error:
        raise SourceError(error.what, where=uri, todo=error.todo or "Check the name") from None
    with open_source(uri) as source:
        if source.size != about.bytes:
            raise SourceError(
                f"the file changed while it was looked at: {about.bytes} bytes, then {source.size}",
                where=uri,
                todo="Run again when nothing writes to it any more",
            )
        whole.check_length(source)
        stream = source.stream
        fmt = _format(source)
        described = logs.describe(source.container)
        return Reel(
            name=name,
            uri=uri,
            source_id=_identity(about),
            bytes=about.bytes,
            container=source.container.format.name,
            stream=stream.index,
            codec=stream.codec_context.name,
            width=stream.width,
            height=stream.height,
            format=fmt,
            rate=_rate(source, say),
            time_base=stream.time_base or Fraction(1, 1000),
            sample_aspect=stream.sample_aspect_ratio or Fraction(1),
            colour=_colour(source, fmt, say, described),
            field_order=_field_order(source, fmt, say),
            timecode=_timecode(source),
            others=tuple(_other(s) for s in source.container.streams if s.index != stream.index),
            tags=_tags(source.container.metadata),
            picture_tags=_tags(stream.metadata),
            display_matrix=display.matrix(source, described),
            mastering=_mastering(source, described),
        )


def _tags(metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((k[:_MAX_TAG], v[:_MAX_TAG]) for k, v in list(metadata.items())[:_MAX_TAGS])


def _identity(about: store.Stat) -> str:
    return hashlib.sha256(f"{about.uri}\n{about.bytes}\n{about.version}".encode(errors="surrogateescape")).hexdigest()


def check_unchanged(reel: Reel) -> None:
    """Raises SourceError where the source is no longer the file that was probed: half of two films is neither."""
    if reel.sequence is not None:
        sequence.check_unchanged(reel)
    elif _identity(store.stat(reel.uri)) != reel.source_id:
        raise SourceError(
            "the file changed since it was probed",
            where=reel.uri,
            todo="Run again when nothing writes to it any more: a changed file is restored from its start",
        )


def _format(source: Source) -> PixelFormat:
    """The picture's format, once its header is believable."""
    stream, uri = source.stream, source.uri
    context = stream.codec_context
    if context is None:
        raise SourceError("FFmpeg has no decoder for the picture", where=uri, todo="Convert it to FFV1 first")
    if not context.pix_fmt or stream.width < 1 or stream.height < 1:
        raise SourceError(
            f"the header of the {context.name} picture is incomplete: size {stream.width}x{stream.height}, "
            f"pixel format {context.pix_fmt or 'unknown'}",
            where=uri,
            todo=TRY_OTHER_COPY,
        )
    if max(stream.width, stream.height) > MAX_SIDE:
        raise SourceError(
            f"the picture is {stream.width}x{stream.height}; at most {MAX_SIDE} px a side are read", where=uri
        )
    if len(context.extradata or b"") > MAX_EXTRADATA:
        raise SourceError(
            f"the codec's header has {len(context.extradata or b'')} bytes; at most {MAX_EXTRADATA} are read", where=uri
        )
    try:
        return pixel_format(context.pix_fmt)
    except SourceError as error:
        raise SourceError(error.what, where=uri, todo=error.todo) from None


def header_rates(stream: VideoStream) -> list[Fraction]:
    """Frame rates that the headers claim and that are believable, the likeliest first."""
    claimed = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    believable = [r for r in claimed if r and rates.SLOWEST <= r <= rates.FASTEST]
    found = [rates.snap(r) for r in believable] + believable
    return list(dict.fromkeys(found))


def _rate(source: Source, say: spec.Source) -> Fraction:
    if say.rate is not None:
        return Fraction(say.rate)
    claimed = header_rates(source.stream)
    if not claimed:
        raise SourceError(
            "the container names no frame rate", where=source.uri, todo="Say it in the config: source.rate, e.g. 18"
        )
    return claimed[0]


def _colour(source: Source, fmt: PixelFormat, say: spec.Source, described: str) -> Colour:
    context = source.stream.codec_context
    try:
        return colour.resolve(
            fmt,
            matrix=colour.matrix_name(context.colorspace),
            range_=colour.range_name(context.color_range),
            primaries=colour.primaries_name(context.color_primaries),
            transfer=colour.transfer_name(context.color_trc),
            location=colour.chroma_location(described, source.stream.index, fmt.name),
            height=source.stream.height,
            say=say,
        )
    except SourceError as error:
        raise SourceError(error.what, where=source.uri, todo=error.todo) from None


def _field_order(source: Source, fmt: PixelFormat, say: spec.Source) -> str:
    order, height = FIELD_ORDERS.get(source.stream.codec_context.field_order, "unknown"), source.stream.height
    if order not in _TWO_FIELDS:
        return order
    if say.interlaced == "refuse":
        raise SourceError(
            f"the picture is interlaced ({_TWO_FIELDS[order]}): a frame is two pictures, which no net may mix",
            where=source.uri,
            todo="Say source.interlaced: per_field to restore each field by itself, or deinterlace the film first",
        )
    if not fmt.parts_into_fields(height):
        raise SourceError(
            f"the {height} lines of interlaced {fmt.name} do not part into two fields with their chroma",
            where=source.uri,
            todo="Convert it to 4:2:2 first",
        )
    return order


def _mastering(source: Source, described: str) -> Mastering | None:
    with suppress(av.error.FFmpegError):
        source.container.seek(0)  # a picture may have been decoded for something else
    return hdr.mastering(source, described)


def _timecode(source: Source) -> str | None:
    """The first frame's timecode, from the picture stream, the container, or a timecode track."""
    tracks = [source.stream, *(s for s in source.container.streams if s.type == "data")]
    told = [source.stream.metadata, source.container.metadata, *(s.metadata for s in tracks[1:])]
    # Matroska's tags come in capitals.
    said = (m.get(name) for m in told for name in ("timecode", "TIMECODE"))
    return next((text[:32] for text in said if text), None)


def _other(stream: Stream) -> OtherStream:
    context = stream.codec_context
    codec = context.name if context is not None else getattr(stream, "name", None) or "unknown"
    detail = [codec]
    if isinstance(context, AudioCodecContext):
        detail += [f"{context.sample_rate} Hz", context.layout.name]
    elif isinstance(context, VideoCodecContext):
        detail += [f"{context.width}x{context.height}"]
        detail += ["cover picture"] if stream.disposition & Disposition.attached_pic else []
    elif stream.type == "attachment":
        detail += [stream.metadata.get("filename", "")]
    told = " ".join(d for d in detail if d)[:200]
    return OtherStream(stream.index, stream.type, codec, stream.language, told, _tags(stream.metadata))
