"""The figures of FFmpeg's ``signalstats``, which QCTools shows, on torch tensors.

Levels, differences, saturation, hue, VREP and BRNG are the filter's own to the last bit, in the code values of the
picture's depth. TOUT is that of the picture's 8-bit codes: beyond 8 bits FFmpeg's filter looks at the low byte of each
code, which says nothing about the picture (vf_signalstats.c, ``filter_tout_outlier``).

Nothing here waits for the device: what is found are float64 scalars.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.quality import measures
from pipeline.types import PixelFormat

LEVELS = 5
"""Of a histogram: least, tenth percentile, mean, ninetieth percentile, greatest."""
_VREP_ROWS = 4
_TOUT_STEP = 4
_DEGREES = 360
_PART, _GPU_PART = 1 << 16, 1 << 24
"""Pixels that a histogram is counted over at once."""
_COLOURS = 1 << 20
"""So many colours between the least and the greatest Cb and Cr, and no more, are counted one by one."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A picture as signalstats takes it: Y, and Cb and Cr where there is colour, float32 code values."""

    luma: Tensor
    """Y; of RGB, not rounded."""
    y: Tensor
    """Y in whole codes."""
    u: Tensor | None
    v: Tensor | None
    depth: int
    ranged: bool
    """Whether its codes have a broadcast range to be outside of: YUV. Full-range gray and RGB have none."""


def codes_of(components: Sequence[Tensor], luma: Tensor, pixel_format: PixelFormat) -> Codes:
    """The picture of one frame's components (``measures.component_codes``) and their luma.

    RGB becomes full-range Y'CbCr 4:4:4 of ITU-R BT.709, rounded to whole codes of the same depth: FFmpeg's filter takes
    no RGB. Nor does it take floats: they become whole codes of 16 bits.
    """
    depth = measures.code_depth(pixel_format)
    top, middle = float(2**depth - 1), float(2 ** (depth - 1))
    if pixel_format.model == "gray":
        y = luma.round().clamp_(0, top) if pixel_format.is_float else luma
        return Codes(y, y, None, None, depth, ranged=False)
    if pixel_format.model == "yuv":
        return Codes(luma, luma, components[1], components[2], depth, ranged=True)
    red, _, blue = components
    u, v = ((c - luma).mul_(1 / n).add_(middle).round_().clamp_(0, top) for c, n in ((blue, 1.8556), (red, 1.5748)))
    return Codes(luma, luma.round().clamp_(0, top), u, v, depth, ranged=False)


def levels(codes: Codes) -> Tensor:
    """``(n,)`` float64: YMIN YLOW YAVG YHIGH YMAX, and of colour the same of U, V and saturation, HUEMED and HUEAVG."""
    bins = 1 << codes.depth
    found = [_five(_histogram(codes.y, bins), codes.luma.numel())]
    if codes.u is not None and codes.v is not None:
        size = codes.u.numel()
        u, v, saturation, hue = _colours(codes.u, codes.v, bins)
        found += [_five(plane, size) for plane in (u, v, saturation)]
        found += [_place(hue.cumsum(0), [size // 2 + 1]), _mean(hue)]
    return torch.cat(found)


def _colours(u: Tensor, v: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Histograms of U, V, saturation and hue.

    A film has few colours beside its pixels: where they lie close together each is counted first, and then asked once.
    A GPU would have to be waited for to learn how close.
    """
    if not u.is_cuda:
        (u0, u1), (v0, v1) = ([int(x) for x in torch.aminmax(c)] for c in (u, v))
        wide, high = v1 - v0 + 1, u1 - u0 + 1
        if u0 >= 0 <= v0 and max(u1, v1) < bins and wide * high <= min(_COLOURS, 4 * u.numel()):
            counts = _histogram((u - u0).mul_(wide).add_(v - v0), wide * high)
            there = counts.nonzero()[:, 0]
            counts, x, y = counts[there], there // wide + u0, there % wide + v0
            saturation, hue = _polar(x.double(), y.double(), bins)
            each = ((x, bins), (y, bins), (saturation, bins), (hue, _DEGREES))
            a, b, c, d = (_zeros(n, u).index_add_(0, at.clamp(max=n - 1), counts) for at, n in each)
            return a, b, c, d
    saturations, hues = _zeros(bins, u), _zeros(_DEGREES, u)
    for p, q in zip(_parts(u), _parts(v), strict=True):
        saturation, hue = _polar(p.double(), q.double(), bins)
        saturations += _count(saturation, bins)
        hues += _count(hue, _DEGREES)
    return _histogram(u, bins), _histogram(v, bins), saturations, hues


def _polar(u: Tensor, v: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Saturation and hue, whole numbers, of colours in double."""
    x, y = u - (bins >> 1), v - (bins >> 1)
    # As the filter has it: radius and angle rounded to float, the degrees in double, their sum in float again.
    saturation = (x * x).addcmul_(y, y).sqrt_().float()
    degrees = torch.atan2(x, y).float().double().mul_(180.0 / math.pi).add_(180.0)
    return saturation.to(torch.int64), degrees.float().floor_().fmod_(_DEGREES).to(torch.int64)


def _five(counts: Tensor, total: int) -> Tensor:
    # C's lrint, and Python's round, take the even one of two that are as near.
    low, high = round(total * 10 / 100), round(total * 90 / 100)
    least, tenth, ninetieth, most = _place(counts.cumsum(0), [1, low, high, total]).unbind()
    return torch.stack((least, tenth, _mean(counts)[0], ninetieth, most))


def _parts(picture: Tensor, bins: int = 0) -> tuple[Tensor, ...]:
    """A picture in parts that a core's cache holds, but longer than as many bins; whole on a GPU, where each step costs
    more than its pixels."""
    flat, size = picture.flatten(), _GPU_PART if picture.is_cuda else max(_PART, 4 * bins)
    return tuple(flat[at : at + size] for at in range(0, len(flat), size))


def _histogram(picture: Tensor, bins: int) -> Tensor:
    """How often each whole number below ``bins`` stands in a picture of none below 0: int64. Greater ones count as the
    greatest: a broken source may hold codes that its depth does not allow."""
    found = _zeros(bins, picture)
    for part in _parts(picture, bins):
        found += _count(part.to(torch.int64), bins)
    return found


def _count(part: Tensor, bins: int) -> Tensor:
    if not part.is_cuda:
        found = torch.bincount(part, minlength=bins)
        if len(found) > bins:
            found[bins - 1] += found[bins:].sum()
        return found[:bins]
    # bincount would wait for the device to learn the greatest number.
    at = part.clamp(0, bins - 1)
    ones = torch.ones((), dtype=torch.int64, device=at.device).expand_as(at)
    return _zeros(bins, part).scatter_add_(0, at, ones)


def _zeros(bins: int, beside: Tensor) -> Tensor:
    return torch.zeros(bins, dtype=torch.int64, device=beside.device)


def _place(reached: Tensor, counts: Sequence[int]) -> Tensor:
    """The first bin at which a histogram's running sum has come to each of the counts, float64."""
    return torch.searchsorted(reached, _constant(tuple(counts), reached.device)).double()


@functools.lru_cache(64)
def _constant(counts: tuple[int, ...], device: torch.device) -> Tensor:
    """The same few of every frame of a size: to send them to a GPU each time would be to wait for it."""
    return torch.tensor(counts, dtype=torch.int64, device=device)


def _mean(counts: Tensor) -> Tensor:
    values = torch.arange(len(counts), dtype=torch.float64, device=counts.device)
    return ((counts * values).sum() / counts.sum()).reshape(1)


def outliers(codes: Codes) -> Tensor:
    """TOUT: share of the pixels that stand out, with both beside them, from the rows above and below."""
    height, width = codes.luma.shape
    if height < 3 or width < 3:
        return torch.zeros((), dtype=torch.float64, device=codes.luma.device)
    y = codes.y if codes.depth == 8 else (codes.y * 2.0 ** (8 - codes.depth)).floor_()
    y = y.to(torch.int16)
    near = _stands_out(y, 1)
    if height > 4:
        near[1:-1].logical_and_(_stands_out(y, 2))
    three = near[:, :-2] & near[:, 1:-1] & near[:, 2:]
    return torch.count_nonzero(three).double() / (height * width)


def _stands_out(y: Tensor, rows: int) -> Tensor:
    """Of every pixel that has one so many rows above and below: whether (|a-b| + |c-b|) / 2 - |c-a| > 4."""
    above, here, below = y[: -2 * rows], y[rows:-rows], y[2 * rows :]
    both = (above - here).abs_().add_((below - here).abs_())
    return both.sub_((below - above).abs_(), alpha=2) >= 2 * (_TOUT_STEP + 1)


def repeated(codes: Codes) -> Tensor:
    """VREP: share of rows that differ from the fourth above by less than one code a pixel in the mean."""
    y = codes.y
    height, width = y.shape
    if height <= _VREP_ROWS:
        return torch.zeros((), dtype=torch.float64, device=y.device)
    apart = (y[_VREP_ROWS:] - y[:-_VREP_ROWS]).abs_().sum(-1)
    return torch.count_nonzero(apart < width).double() / height


def outside(codes: Codes, pixel_format: PixelFormat) -> Tensor:
    """BRNG: share of pixels of YUV with a code outside 16–235 (luma) or 16–240 (chroma), at their depth.

    As FFmpeg, by the codes alone, whatever the range's tag. 0 for gray and RGB, which are read as full range.
    """
    y = codes.luma  # of YUV these are the codes
    if not codes.ranged or codes.u is None or codes.v is None:
        return torch.zeros((), dtype=torch.float64, device=y.device)
    step = float(1 << (codes.depth - 8))
    whole = _beyond(y, 16 * step, 235 * step)
    u, v = (_beyond(c, 16 * step, 240 * step) for c in (codes.u, codes.v))
    chroma = [c for c in (u, v) if c is not None]
    if chroma:
        layout = pixel_format.planes[pixel_format.components[1].plane]
        mask = chroma[0] if len(chroma) == 1 else chroma[0].logical_or_(chroma[1])
        wide = measures.covered(mask, layout.log2_w, layout.log2_h, y.shape[1], y.shape[0])
        whole = wide if whole is None else whole.logical_or_(wide)
    return torch.zeros((), dtype=torch.float64, device=y.device) if whole is None else measures.share_of(whole)


def _beyond(plane: Tensor, low: float, high: float) -> Tensor | None:
    """Where codes are below or above; None where it is seen at once that none is. A GPU is not waited for."""
    if not plane.is_cuda:
        least, most = torch.aminmax(plane)
        if low <= float(least) and float(most) <= high:
            return None
    return (plane < low).logical_or_(plane > high)
