"""From a reel's pixel format to a deliverable's, and the colour tags that are then true.

FFV1: the same code values in other planes, by our own copying. H.264 and ProRes, which are viewing and editing copies:
FFmpeg's swscale, with matrix, range and chroma siting always said and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import VerifyError
from pipeline.reel.deliver import chroma_shift, same_samples
from pipeline.reel.formats import frame_of, planes_of
from pipeline.types import Colour, Component, PixelFormat

Planes = tuple[NDArray[Any], ...]

# swscale's names of the matrices that we use.
_SWSCALE_MATRIX = {"bt601": "bt601", "bt709": "bt709", "bt2020": "bt2020"}
_TAG_OF_MATRIX = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}
_HD_LINES = 720
_ANY_TIME = Fraction(1, 25)
# Rounded alike on every processor, and every chroma sample computed: slower, exact to a code value.
_SWSCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"

# What FFmpeg prints → what its options take, where the two differ.
_OPTION_NAMES: Mapping[str, Mapping[str, str]] = {
    "colorspace": {"gbr": "rgb"},
    "color_trc": {"bt470m": "gamma22", "bt470bg": "gamma28"},
}


@dataclass(frozen=True, slots=True)
class Tags:
    """Colour tags of a deliverable, by FFmpeg's names; ``unknown`` is not written."""

    matrix: str
    range: str
    primaries: str
    transfer: str
    chroma_location: str

    def options(self) -> dict[str, str]:
        """As options of an FFmpeg encoder."""
        said = {
            "colorspace": self.matrix,
            "color_range": self.range,
            "color_primaries": self.primaries,
            "color_trc": self.transfer,
            "chroma_sample_location": self.chroma_location,
        }
        return {k: _OPTION_NAMES.get(k, {}).get(v, v) for k, v in said.items() if v not in ("unknown", "reserved")}


def tags(source: PixelFormat, target: PixelFormat, colour: Colour, height: int) -> Tags:
    """The colour tags of a deliverable: the source's own, save what a conversion makes untrue.

    ``yuvj`` formats say their range in their name, so it is tagged. RGB that becomes YUV is limited range, BT.601 below
    720 lines and BT.709 from there. Gray that becomes YUV is limited range.
    """
    full = "pc" if source.name.startswith("yuvj") else colour.range
    if target.model == source.model:
        siting = _siting(source, target, colour)
        return Tags(colour.matrix, full, colour.primaries, colour.transfer, siting)
    matrix = _TAG_OF_MATRIX[_matrix_to(source, colour, height)] if source.model == "rgb" else colour.matrix
    return Tags(matrix, "tv", colour.primaries, colour.transfer, _siting(source, target, colour))


def _matrix_to(source: PixelFormat, colour: Colour, height: int) -> str:
    """Matrix of the YUV that this source becomes."""
    if source.model == "yuv" and colour.matrix_used in _SWSCALE_MATRIX:
        return colour.matrix_used
    if colour.primaries == "bt2020":
        return "bt2020"
    return "bt709" if height >= _HD_LINES else "bt601"


def _siting(source: PixelFormat, target: PixelFormat, colour: Colour) -> str:
    """Where chroma lies: as in the source where it is subsampled alike, else left, as MPEG-2 has it."""
    if chroma_shift(source) == chroma_shift(target):
        return colour.chroma_location
    return "left" if chroma_shift(target) != (0, 0) else "unknown"


class Converter:
    """Makes a reel's frames into frames for an encoder. One for a whole segment: swscale's tables are built once."""

    def __init__(self, source: PixelFormat, target: PixelFormat, colour: Colour, width: int, height: int):
        self._source, self._target = source, target
        self._graph: av.filter.Graph | None = None
        if not same_samples(source, target):
            self._graph = _graph(source, target, colour, width, height)

    def __call__(self, planes: Sequence[NDArray[Any]]) -> Planes:
        """One frame's native planes of the target; shapes as ``PixelFormat.plane_shape`` gives them."""
        if self._graph is None:
            return regroup(planes, self._source, self._target)
        self._graph.push(frame_of(planes, self._source, pts=0, time_base=_ANY_TIME))
        found = self._graph.pull()
        if not isinstance(found, av.VideoFrame):
            raise VerifyError(f"swscale gave no picture in {self._target.name}")
        return planes_of(found, self._target)


def _graph(source: PixelFormat, target: PixelFormat, colour: Colour, width: int, height: int) -> av.filter.Graph:
    matrix = _SWSCALE_MATRIX[_matrix_to(source, colour, height)]
    if source.model == target.model:
        in_full = out_full = colour.full_range_used
    elif source.model == "gray" and not colour.full_range_used:
        # swscale takes every gray for full range; so told on both sides, it leaves the code values alone.
        in_full = out_full = True
    else:
        in_full, out_full = source.model in ("gray", "rgb") and colour.full_range_used, False
    if source.model == "rgb":
        in_full = True
    siting = colour.chroma_location if colour.chroma_location != "unknown" else "left"
    out_siting = tags(source, target, colour, height).chroma_location
    said = {
        "in_range": "full" if in_full else "limited",
        "out_range": "full" if out_full else "limited",
        "in_color_matrix": matrix,
        "out_color_matrix": matrix,
        "in_chroma_loc": siting,
        "out_chroma_loc": out_siting if out_siting != "unknown" else siting,
        "flags": _SWSCALE_FLAGS,
    }
    graph = av.filter.Graph()
    graph.threads = 1
    feed = graph.add_buffer(width=width, height=height, format=av.VideoFormat(source.name), time_base=_ANY_TIME)
    scale = graph.add("scale", ":".join(f"{k}={v}" for k, v in said.items()))
    wanted = graph.add("format", f"pix_fmts={target.name}")
    sink = graph.add("buffersink")
    feed.link_to(scale)
    scale.link_to(wanted)
    wanted.link_to(sink)
    graph.configure()
    return graph


def image_planes(planes: Sequence[NDArray[Any]], a: PixelFormat, b: PixelFormat) -> Planes:
    """One frame's planes of gray or RGB format ``a`` in ``b``: the same code values, or, where ``b`` has 16 bits and
    ``a`` fewer, each stretched to the nearest of the same share of full scale, from which it can be told again."""
    if a.depth == b.depth:
        return regroup(planes, a, b)
    top, wide = (1 << a.depth) - 1, (1 << b.depth) - 1
    table = ((np.arange(top + 1, dtype=np.uint64) * wide + top // 2) // top).astype(b.dtype)
    height, width = planes[0].shape[:2]
    out = [np.zeros(b.plane_shape(i, width, height), b.dtype) for i in range(len(b.planes))]
    for from_, to in zip(_parts(a), _parts(b), strict=True):
        _sample(out[to.plane], b, to)[...] = table[_sample(planes[from_.plane], a, from_) >> from_.shift]
    return tuple(out)


def regroup(planes: Sequence[NDArray[Any]], a: PixelFormat, b: PixelFormat) -> Planes:
    """One frame's planes of format ``a`` as planes of ``b``, which holds the same code values (``same_samples``).

    Padding samples become 0, which is also what FFmpeg's decoders write there. Planes that are right as they are come
    back as they are.
    """
    if a.planes == b.planes and _parts(a) == _parts(b):
        return tuple(_without_padding(p, a, i) for i, p in enumerate(planes))
    height, width = planes[0].shape[:2]
    out = [np.zeros(b.plane_shape(i, width, height), b.dtype) for i in range(len(b.planes))]
    for from_, to in zip(_parts(a), _parts(b), strict=True):
        value = _sample(planes[from_.plane], a, from_)
        _sample(out[to.plane], b, to)[...] = (value >> from_.shift) << to.shift if from_.shift != to.shift else value
    return tuple(out)


def _parts(fmt: PixelFormat) -> tuple[Component, ...]:
    return fmt.components if fmt.alpha is None else (*fmt.components, fmt.alpha)


def _sample(plane: NDArray[Any], fmt: PixelFormat, part: Component) -> NDArray[Any]:
    return plane if fmt.planes[part.plane].samples == 1 else plane[..., part.sample]


def _without_padding(plane: NDArray[Any], fmt: PixelFormat, number: int) -> NDArray[Any]:
    used = {c.sample for c in _parts(fmt) if c.plane == number}
    unused = [i for i in range(fmt.planes[number].samples) if i not in used]
    if not unused or not any(plane[..., i].any() for i in unused):
        return plane
    plane = plane.copy()
    plane[..., unused] = 0
    return plane
