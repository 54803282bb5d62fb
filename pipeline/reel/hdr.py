"""What a picture was graded on, and how bright it gets: mastering display (SMPTE ST 2086) and content light level
(CTA-861.3), out of the source and into the container of a deliverable.

``av`` shows them on decoded pictures only, and has no way to set them on a stream. But a stream that is added from a
template has what the template has, and a Matroska header can say all of it: so the template makes a detour through one.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import islice
from typing import Any

import av
import av.error
from av.sidedata.sidedata import Type
from av.stream import Stream

from pipeline.reel import logs, matroska
from pipeline.reel.source import Source
from pipeline.reel.writing import CONTAINER_OPTIONS
from pipeline.spec import Output
from pipeline.types import Mastering, Reel

_SAID = re.compile(r"mastering display|content light", re.IGNORECASE)
_IN_THE_STREAM = frozenset(("h264", "hevc", "av1", "vp9"))
"""Codecs that say it beside their pictures, where the container's description does not show it."""
_NOT_IN_MATROSKA = frozenset(("dnxhr",))
"""Codecs of the spec whose template cannot make the detour."""
_STRUCT, _LIGHT = struct.Struct("=22i"), struct.Struct("=2I")


def mastering(source: Source, description: str) -> Mastering | None:
    """What the source says of it; None where it says nothing. ``description`` is FFmpeg's own (``logs.describe``).

    The source is not where it was afterwards.
    """
    if source.stream.codec_context.name not in _IN_THE_STREAM and _SAID.search(description) is None:
        return None
    found: dict[Any, bytes] = {}
    context = source.stream.codec_context
    if not context.is_open:
        context.thread_type, context.thread_count = "SLICE", 1
    with logs.errors(), suppress(av.error.FFmpegError, ValueError):
        # A ValueError: av stumbles over kinds of data that it has no name for (EXIF).
        for frame in islice(source.container.decode(source.stream), 1):
            sides: Any = frame.side_data
            found = {side.type: bytes(side) for side in sides}
    display, light = found.get(Type.MASTERING_DISPLAY_METADATA), found.get(Type.CONTENT_LIGHT_LEVEL)
    primaries = luminance = levels = None
    if display is not None and len(display) >= _STRUCT.size:
        *values, has_primaries, has_luminance = _STRUCT.unpack_from(display)
        pairs = list(zip(values[::2], values[1::2], strict=True))
        if has_primaries and all(d > 0 for _, d in pairs[:8]):
            primaries = tuple(Fraction(n, d) for n, d in pairs[:8])
        if has_luminance and all(d > 0 for _, d in pairs[8:]):
            luminance = (Fraction(*pairs[8]), Fraction(*pairs[9]))
    if light is not None and len(light) >= _LIGHT.size:
        levels = _LIGHT.unpack_from(light)
    return Mastering(primaries, luminance, levels) if primaries or luminance or levels else None


def left_out(reel: Reel, output: Output) -> list[str]:
    """A sentence, where a deliverable does not say what the source does."""
    if reel.mastering is None or output.codec not in _NOT_IN_MATROSKA:
        return []
    return [f"What the picture was mastered on is left out of {output.name}; provenance.json has it"]


@contextmanager
def described(template: Stream, reel: Reel, output: Output) -> Iterator[Stream]:
    """The template, a segment's picture stream, with what the source says of its mastering: what is added from it
    writes it into any container that has a place for it."""
    if reel.mastering is None or output.codec in _NOT_IN_MATROSKA:
        yield template
        return
    file = io.BytesIO()
    with (
        av.open(str(template.container.name)) as segment,
        av.open(file, "w", "matroska", container_options=dict(CONTAINER_OPTIONS)) as out,
    ):
        picture = segment.streams.video[0]
        new = out.add_stream_from_template(picture, opaque=True)
        new.metadata["title"] = matroska.RESERVE
        packet = next(p for p in segment.demux(picture) if p.size)
        packet.stream = new
        out.mux(packet)
    edit = matroska.TrackEdit(None, mastering=reel.mastering)
    with av.open(io.BytesIO(matroska.edited(file.getvalue(), {1: edit}))) as film:
        yield film.streams.video[0]
