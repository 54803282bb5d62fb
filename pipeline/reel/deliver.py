"""What a deliverable is: its container, its pixel format, and the time of each of its frames.

Pure decisions, no writing. FFV1 keeps the source's code values and at most regroups its planes; the others are viewing
and editing copies, for which ``convert.py`` may change the pixel format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.reel.formats import chroma_shift as chroma_shift
from pipeline.reel.formats import pixel_format
from pipeline.reel.formats import same_samples as same_samples
from pipeline.reel.image_formats import IMAGES as IMAGES
from pipeline.reel.image_formats import image_format, image_formats
from pipeline.spec import Output
from pipeline.types import FrameIndex, PixelFormat, Reel

CONTAINER: Mapping[str, str] = MappingProxyType(
    {"ffv1": "matroska", "prores": "mov", "dnxhr": "mov", "h264": "mp4", "hevc": "mp4", "av1": "mp4"}
)
"""Codec of the spec → FFmpeg's muxer."""

SUFFIX: Mapping[str, str] = MappingProxyType(
    {codec: {"matroska": ".mkv", "mov": ".mov", "mp4": ".mp4"}[muxer] for codec, muxer in CONTAINER.items()}
)
"""Codec of the spec → suffix of the deliverable and of its segments."""

MOST_IMAGES = 200_000
"""Of one deliverable, more than two hours at 24 frames a second: bounds the manifest."""

MATROSKA_TICK = Fraction(1, 1000)
"""The only time base that FFmpeg's Matroska muxer writes."""

# A lower timescale is raised by FFmpeg's muxer; one far above makes 32-bit durations run over.
_LEAST_TIMESCALE, _MOST_TIMESCALE = 10_000, 10_000_000

# The formats of each lossy encoder that decoders commonly hold, by log2 of the chroma subsampling and by depth.
_LOSSY: Mapping[str, Mapping[tuple[int, int, int], str]] = {
    "h264": {
        (1, 1, 8): "yuv420p",
        (1, 0, 8): "yuv422p",
        (0, 0, 8): "yuv444p",
        (1, 1, 10): "yuv420p10le",
        (1, 0, 10): "yuv422p10le",
        (0, 0, 10): "yuv444p10le",
    },
    # x265 also holds 8 bit; what is asked of HEVC here is what H.264 players mostly cannot do.
    "hevc": {(1, 1, 10): "yuv420p10le", (1, 0, 10): "yuv422p10le", (0, 0, 10): "yuv444p10le"},
    "av1": {(1, 1, 8): "yuv420p", (1, 1, 10): "yuv420p10le"},
    "prores": {(1, 0, 10): "yuv422p10le", (0, 0, 10): "yuv444p10le"},
    "dnxhr": {(1, 0, 10): "yuv422p10le", (0, 0, 10): "yuv444p10le"},
}
_PRORES_ALPHA = "yuva444p10le"
_LEAST_SIZE = {"hevc": (16, 16), "av1": (4, 4), "dnxhr": (256, 120)}
"""Width and height in px below which an encoder refuses a picture, or (x265) has been seen to spoil its memory."""
_HOLDS_ODD_CHROMA = frozenset(("av1",))
"""Codecs whose encoder takes subsampled chroma of an odd width or height as it is."""
# These go in, but come out as gbrp16le and gbrap16le.
_FFV1_TAKES_ONLY = frozenset(("rgb48le", "rgba64le"))


def encoder(output: Output, width: int) -> str:
    """FFmpeg's encoder for this deliverable.

    ``prores_aw`` rather than ``prores_ks``: measured on 1080p with grain it is 3.7 times as fast (13.2 against 3.6
    frames/s on one core) and 2.5–3 dB nearer to its source, for files that are a third larger. It refuses odd widths.
    """
    if output.codec == "prores":
        return "prores_ks" if width % 2 else "prores_aw"
    return {"ffv1": "ffv1", "dnxhr": "dnxhd", "h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}[output.codec]


def deliver_format(
    source: PixelFormat, output: Output, *, width: int | None = None, height: int | None = None
) -> PixelFormat:
    """The pixel format that the encoder of this deliverable is given.

    ``ffv1``: the source's own where FFV1 holds it, else the one with the same code values in other planes (rgb24 →
    bgr0, nv12 → yuv420p, p010le → yuv420p10le). All others: the nearest that loses no chroma and, where the codec has
    it, no depth (av1 has 4:2:0 alone, of 8 or 10 bits); gray becomes the most subsampled that the codec has, with
    neutral chroma. Subsampled chroma of an odd width or height (in px) is refused or spoilt by their encoders, but for
    av1's: such a picture becomes 4:4:4, because its size is never changed.

    A decoder may give more bits than the encoder got: ProRes 4444 decodes to 12 bits.

    Raises ConfigError where the spec names a format that the codec never holds, SourceError where the codec cannot hold
    this source.
    """
    check_asked(output)
    asked = None if output.pixel_format == "source" else output.pixel_format
    if output.codec in IMAGES:
        return image_format(source, output.codec, asked)
    if output.codec == "ffv1":
        return _ffv1_format(source, asked)
    if source.is_float:
        raise SourceError(
            f"{output.codec} holds whole codes, the picture is {source.name}: brightness beyond white would be lost",
            todo="Deliver it as exr",
        )
    least = _LEAST_SIZE.get(output.codec, (1, 1))
    if (width or least[0]) < least[0] or (height or least[1]) < least[1]:
        raise SourceError(
            f"{output.codec} holds no picture of {width}×{height} px; its least is {least[0]}×{least[1]}",
            todo="Choose another codec for this reel",
        )
    name = asked or _nearest(source, output.codec)
    wide, high = (0, 0) if output.codec in _HOLDS_ODD_CHROMA else chroma_shift(pixel_format(name))
    if (width or 0) % (1 << wide) or (height or 0) % (1 << high):
        name = _LOSSY[output.codec][0, 0, pixel_format(name).depth]
    return pixel_format(name)


def check_asked(output: Output) -> None:
    """Raise ConfigError where a spec names a pixel format that the codec never holds, whatever the source."""
    asked, where = output.pixel_format, f"deliver.outputs: {output.name}.pixel_format"
    if asked == "source":
        return
    if output.codec == "ffv1":
        if asked not in {f.name for f in _ffv1_formats()}:
            what = f"FFV1 holds no pixel format {asked!r}; leave `source`, which keeps every code value"
            raise ConfigError(what, where=where)
        return
    if output.codec in IMAGES:
        held = sorted(f.name for f in image_formats(output.codec))
        if asked not in held:
            raise ConfigError(f"{output.codec} is not written as {asked}; it can be {', '.join(held)}", where=where)
        return
    known = set(_LOSSY[output.codec].values()) | ({_PRORES_ALPHA} if output.codec == "prores" else set())
    if asked not in known:
        what = f"{output.codec} is not written as {asked}; it can be {', '.join(sorted(known))}"
        raise ConfigError(what, where=where)


def _ffv1_format(source: PixelFormat, asked: str | None) -> PixelFormat:
    same = [f for f in _ffv1_formats() if same_samples(source, f) and asked in (None, f.name)]
    if not same:
        wanted = f"as {asked} " if asked else ""
        raise SourceError(
            f"the pixel format {source.name} cannot go {wanted}into FFV1 without a change of code values",
            todo="Deliver it as exr"
            if source.is_float
            else "Take `pixel_format: source`, or prores or h264 as the first output",
        )
    by_name = {f.name: f for f in same}
    if source.name in by_name:
        return by_name[source.name]
    # Equal planes first: then not even their order in memory changes, and neither does FFmpeg's frame hash.
    return next((f for f in same if f.planes == source.planes), same[0])


@lru_cache(maxsize=1)
def _ffv1_formats() -> tuple[PixelFormat, ...]:
    """What FFV1 gives back as it was given, save floating point."""
    found = []
    for f in av.Codec("ffv1", "w").video_formats or ():
        if f.name in _FFV1_TAKES_ONLY:
            continue
        try:
            fmt = pixel_format(f.name)
        except SourceError:
            continue
        if not fmt.is_float:
            found.append(fmt)
    return tuple(found)


def _nearest(source: PixelFormat, codec: str) -> str:
    if codec == "prores" and source.alpha is not None:
        return _PRORES_ALPHA
    held = _LOSSY[codec]
    wide, high = (8, 8) if source.model == "gray" else chroma_shift(source)
    depth = 8 if source.depth == 8 and any(d == 8 for _, _, d in held) else 10
    shifts = [(w, h) for w, h, d in held if d == depth]
    # The strongest subsampling that is not stronger than the source's own, or the weakest that there is.
    return held[*max([(w, h) for w, h in shifts if w <= wide and h <= high] or [min(shifts)]), depth]


def time_shift(index: FrameIndex, first: int, output: Output) -> Fraction:
    """Seconds by which everything in the deliverable stands earlier than in the source: picture and sound alike.

    None in Matroska. In mp4 and mov the first frame of an excerpt takes the time of the reel's first frame, because
    players show the time before it as an empty screen.
    """
    if output.codec == "ffv1" or first == 0:
        return Fraction(0)
    return index.time(first) - index.time(0)


def output_pts(
    index: FrameIndex, reel: Reel, first: int, last: int, output: Output
) -> tuple[Fraction, NDArray[np.int64]]:
    """Time base of the deliverable's picture, and the pts of each of its frames ``[first, last)`` in ticks of it.

    A source's own pts pass unchanged where the time bases are equal; else each is the tick nearest to the frame's exact
    time. Matroska has milliseconds; mp4 and mov get a time base that holds the rate exactly.
    Raises SourceError where two frames would fall on one tick.
    """
    if not 0 <= first < last <= len(index):
        raise ValueError(f"frames {first}:{last} are not inside the reel's {len(index)}")
    if output.codec in IMAGES:
        if not index.constant:
            raise SourceError(
                f"its frames have times of their own, which numbered images ({output.codec}) cannot hold",
                where=reel.uri,
                todo="Deliver it as ffv1",
            )
        if last - first > MOST_IMAGES:
            raise SourceError(
                f"it has {last - first} frames; at most {MOST_IMAGES} are delivered as images in a folder",
                where=reel.uri,
                todo="Deliver it as ffv1, or in parts (--frames A:B, each into an output of its own)",
            )
        return 1 / index.rate, np.arange(last - first, dtype=np.int64)
    shift = time_shift(index, first, output)
    base = MATROSKA_TICK if output.codec == "ffv1" else _mov_time_base(index, shift)
    if base == index.time_base and not shift:
        ticks = index.pts[first:last].astype(np.int64)
    elif index.constant:
        # start/base + n·step, in whole numbers: nothing rounds before the end.
        start = (index.time(0) - shift) / base
        step = 1 / (index.rate * base)
        unit = math.lcm(start.denominator, step.denominator)
        a, b = int(start * unit), int(step * unit)
        ticks = np.array([_round(a + n * b, unit) for n in range(first, last)], np.int64)
    else:
        scale, move = index.time_base / base, shift / base
        unit = math.lcm(scale.denominator, move.denominator)
        a, b = int(move * unit), int(scale * unit)
        ticks = np.array([_round(p * b - a, unit) for p in index.pts[first:last].tolist()], np.int64)
    same = np.flatnonzero(np.diff(ticks) <= 0)
    if len(same):
        raise SourceError(
            f"two frames would get the same time in {SUFFIX[output.codec]}, whose tick is {base} s",
            where=reel.uri,
            frame=first + int(same[0]) + 1,
            todo="Deliver as prores or h264, whose time base is finer" if output.codec == "ffv1" else None,
        )
    return base, ticks


def _round(numerator: int, denominator: int) -> int:
    """To the nearest, halves up: as FFmpeg rounds times."""
    return (2 * numerator + denominator) // (2 * denominator)


def _mov_time_base(index: FrameIndex, shift: Fraction) -> Fraction:
    """One over a timescale in which the frame's length is whole and, where that stays sane, the start is too."""
    if index.constant:
        scale = index.rate.numerator
        with_start = math.lcm(scale, (index.time(0) - shift % (1 / index.rate)).denominator)
        if with_start <= _MOST_TIMESCALE:
            scale = with_start
        own = index.time_base
        if own.numerator == 1 and own.denominator % scale == 0 and own.denominator <= _MOST_TIMESCALE:
            scale = own.denominator
    else:
        scale = index.time_base.denominator
    while scale < _LEAST_TIMESCALE:
        scale *= 2
    return Fraction(1, scale)
