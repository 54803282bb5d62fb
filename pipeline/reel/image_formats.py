"""In which pixel format a picture goes into a numbered image of each kind: its own code values, or they stretched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

import av

from pipeline.errors import SourceError
from pipeline.reel.formats import pixel_format, same_samples
from pipeline.types import PixelFormat

IMAGES: Mapping[str, str] = MappingProxyType({"dpx": ".dpx", "tiff": ".tif", "exr": ".exr", "png": ".png"})
"""Codecs of the spec whose deliverable is a folder of numbered images → suffix of such a file, and of the folder."""

_WIDE = 16


def image_format(source: PixelFormat, codec: str, asked: str | None) -> PixelFormat:
    """The source's own code values in other planes; or in 16 bits, where the codec has no such depth.

    ``asked``: FFmpeg's name of the one that a spec names. Raises SourceError where there is none.
    """
    known = [f for f in image_formats(codec) if asked in (None, f.name)]
    wider = replace(source, depth=_WIDE)
    for like in (source, wider) if source.depth <= _WIDE and not source.is_float else (source,):
        same = [f for f in known if f.model == source.model and same_samples(like, f)]
        if same:
            # The source's own, as decoders name it; but DPX is high byte first by custom, and they name that the same.
            names = [source.name.replace("le", "be")] * (codec == "dpx" and source.name.startswith("gbrp1"))
            by_name = {f.name: f for f in same}
            return next((by_name[n] for n in (*names, source.name) if n in by_name), same[0])
    raise SourceError(
        f"{codec} does not hold the values of {source.name}{f' as {asked}' if asked else ''} unchanged",
        todo="Deliver it as ffv1 or prores, or as images that hold it"
        + (" (exr)" if source.is_float else " (dpx, tiff, png hold gray and RGB of whole numbers, exr of floats)"),
    )


@lru_cache(maxsize=8)
def image_formats(codec: str) -> tuple[PixelFormat, ...]:
    """What FFmpeg's encoder of such images takes, of gray and RGB; 24-bit TIFF of YUV is none that archives keep."""
    found = []
    for f in av.Codec(codec, "w").video_formats or ():
        try:
            fmt = pixel_format(f.name)
        except SourceError:
            continue
        if fmt.model != "yuv":
            found.append(fmt)
        if fmt.is_float:
            # What it takes as 32 bits it can write as 16, which the decoder gives as such.
            found.append(pixel_format(f.name.replace("f32", "f16")))
    return tuple(found)
