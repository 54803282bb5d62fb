"""Figures of pictures as pure functions of tensors, on whatever device the tensors lie.

A picture is an ``(H, W)`` float32 tensor of code values. Sums are taken a row at a time in float32 and over the rows in
float64: a row is always summed by one thread, so that a figure does not depend on how many threads there are, and an
8-bit row of absolute values is summed without any rounding. Nothing here waits for the device: scalars stay float64
tensors. One picture at a time, because an allocator that gives large blocks back makes the next one dear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.types import PixelFormat

NOISE_BLOCK = 16
"""Side in px of the blocks that noise is measured on."""

BLOCKS = (18, 24)
"""Rows and columns of the blocks that two restorations of one frame are held together by."""

_MOST_CODE = 2.0**28
"""Of floats: so large that figures of them stay numbers."""
_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5
# 64 rows of four blurred planes stay in a core's second-level cache up to 2K; a GPU gets the whole picture at once.
_SSIM_ROWS = 64


def luma_scale(depth: int, full_range: bool) -> float:
    """What a code value is multiplied by to be in 8-bit code units: the 8-bit code of the same signal level.

    Limited range: ``2**(8 - depth)`` (10-bit 64–940 is 16–235); full range: ``255 / (2**depth - 1)`` (ITU-R BT.2100).
    """
    return 255.0 / (2**depth - 1) if full_range else 2.0 ** (8 - depth)


def code_depth(pixel_format: PixelFormat) -> int:
    """Bits of the code values that ``component_codes`` gives; floats are measured as codes of 16 bits."""
    return 16 if pixel_format.is_float else pixel_format.depth


def component_codes(planes: Sequence[Tensor], pixel_format: PixelFormat) -> list[Tensor]:
    """Each component's code values as ``(h, w)`` float32, from one frame's native planes; exact up to 16 bits.

    Alpha and padding are no components: they are never restored. Floats come out 65536 times as large, which is exact;
    what is no number counts as 0, and 4096 times white is the most.
    """
    found = []
    for c in pixel_format.components:
        plane = planes[c.plane]
        if pixel_format.planes[c.plane].samples > 1:
            plane = plane[..., c.sample]
        if pixel_format.is_float:
            found.append((plane.to(torch.float32) * 65536.0).nan_to_num_().clamp_(-_MOST_CODE, _MOST_CODE).contiguous())
            continue
        if c.shift:
            plane = plane.to(torch.int32) >> c.shift
        found.append(plane.to(torch.float32).contiguous())
    return found


def luma_of(codes: Sequence[Tensor], model: Literal["gray", "yuv", "rgb"]) -> Tensor:
    """Y in code values, ``(H, W)``: the Y or gray component itself; of RGB, ITU-R BT.709's luma of the R'G'B' codes."""
    if model != "rgb":
        return codes[0]
    r, g, b = codes
    return (r * 0.2126).add_(g, alpha=0.7152).add_(b, alpha=0.0722)


def mean_of(picture: Tensor) -> Tensor:
    """Mean of a picture, float64 scalar."""
    return picture.sum(-1).double().sum() / picture.numel()


def square_sum(picture: Tensor) -> Tensor:
    """Sum of squares, float64 scalar; 0 exactly where all is 0."""
    return (picture * picture).sum(-1).double().sum()


def variance_of(picture: Tensor, mean: Tensor) -> Tensor:
    """Variance of a picture whose mean is known, float64 scalar; both steps in turn, so that nothing cancels."""
    return square_sum(picture - mean.to(torch.float32)) / picture.numel()


def mean_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of two pictures, float64 scalar."""
    return mean_of((a - b).abs_())


def block_means(picture: Tensor) -> Tensor:
    """Means of the blocks that a picture falls into, at most ``BLOCKS`` high and wide: flat, row by row, float32."""
    size = (min(picture.shape[0], BLOCKS[0]), min(picture.shape[1], BLOCKS[1]))
    return F.adaptive_avg_pool2d(picture[None, None], size).flatten()


def reduced(picture: Tensor, factor: int) -> Tensor:
    """A picture a whole number of times smaller: means of squares of ``factor`` px; what is left at the right and below
    goes. Raises ValueError where nothing would stay."""
    if factor == 1:
        return picture
    height, width = (side // factor for side in picture.shape)
    if not height or not width:
        raise ValueError(f"a picture of {tuple(picture.shape)} cannot be made {factor} times smaller")
    picture = _together([picture[k : height * factor : factor] for k in range(factor)])
    picture = _together([picture[:, k : width * factor : factor] for k in range(factor)])
    return picture.mul_(1 / factor**2)


def _together(pictures: Sequence[Tensor]) -> Tensor:
    total = pictures[0] + pictures[1]
    for picture in pictures[2:]:
        total.add_(picture)
    return total


def share_of(mask: Tensor) -> Tensor:
    """Share of a mask that is set, float64 scalar."""
    return torch.count_nonzero(mask).double() / mask.numel()


def psnr_db(square_error: float, samples: int, depth: int) -> float:
    """Peak signal-to-noise ratio in dB for a peak of ``2**depth - 1``.

    100 exactly where the error is 0. A difference that is too small for 99.99 dB says 99.99, so that 100 always means
    equal.
    """
    if square_error == 0.0:
        return 100.0
    return min(99.99, 10.0 * math.log10((2**depth - 1) ** 2 * samples / square_error))


def ssim(a: Tensor, b: Tensor, peak: float) -> Tensor:
    """Structural similarity of two ``(H, W)`` pictures, float64 scalar; 1 exactly where they are equal.

    Wang, Bovik, Sheikh, Simoncelli 2004: 11×11 gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03, mean over the positions
    where the whole window is inside the picture. A side below 11 px is repeated outwards to 11 first. ``peak`` is the
    data range.
    """
    centre = mean_of(a).to(torch.float32)
    a, b = _padded(a), _padded(b)
    height, width = a.shape[0] - 2 * _SSIM_RADIUS, a.shape[1] - 2 * _SSIM_RADIUS
    band = height if a.is_cuda else _SSIM_ROWS
    rows = []
    for top in range(0, height, band):
        bottom = min(top + band, height) + 2 * _SSIM_RADIUS
        rows.append(_ssim_rows(a[top:bottom], b[top:bottom], centre, peak))
    return torch.cat(rows).sum() / (height * width)


def _padded(picture: Tensor) -> Tensor:
    side = 2 * _SSIM_RADIUS + 1
    down, right = max(0, side - picture.shape[0]), max(0, side - picture.shape[1])
    if not down and not right:
        return picture
    around = (right // 2, right - right // 2, down // 2, down - down // 2)
    return F.pad(picture[None, None], around, mode="replicate")[0, 0]


def _ssim_rows(a: Tensor, b: Tensor, centre: Tensor, peak: float) -> Tensor:
    """Row sums of the SSIM map, float64.

    With s = a+b-2c (c a constant that keeps squares small), d = a-b and m(·) the blur, the windowed moments that SSIM
    needs follow from four blurs instead of five: 2·μa·μb = (S²-D²)/2 and μa²+μb² = (S²+D²)/2 with S = m(s)+2c, D =
    m(d); likewise the variances. d is small where the pictures are close, which is where float32 has to tell them
    apart.
    """
    both = torch.empty((4, *a.shape), dtype=a.dtype, device=a.device)
    torch.add(a, b, out=both[0]).sub_(2.0 * centre)
    torch.sub(a, b, out=both[1])
    torch.mul(both[:2], both[:2], out=both[2:])
    s, d, ss, dd = _blur(both).unbind(0)
    ss -= s * s
    apart = d.mul_(d)
    dd -= apart
    level = s.add_(2.0 * centre).square_()
    c1, c2 = 2.0 * (0.01 * peak) ** 2, 2.0 * (0.03 * peak) ** 2
    over = (level - apart).add_(c1).mul_((ss - dd).add_(c2))
    under = level.add_(apart).add_(c1).mul_(ss.add_(dd).add_(c2))
    return over.div_(under).sum(-1).double()


def _blur(pictures: Tensor) -> Tensor:
    """Separable gaussian where its window is inside; by shifted sums, for a GPU's convolutions may round to TF32."""
    taps = [math.exp(-0.5 * (k / _SSIM_SIGMA) ** 2) for k in range(-_SSIM_RADIUS, _SSIM_RADIUS + 1)]
    taps = [t / sum(taps) for t in taps]
    for axis in (-2, -1):
        size = pictures.shape[axis] - 2 * _SSIM_RADIUS
        blurred = pictures.narrow(axis, 0, size) * taps[0]
        for k in range(1, len(taps)):
            blurred.add_(pictures.narrow(axis, k, size), alpha=taps[k])
        pictures = blurred
    return pictures


def noise_sigma(picture: Tensor) -> Tensor:
    """Standard deviation of a picture's noise, in the picture's own units: float64 scalar.

    Immerkær 1996: mean |I * N| · sqrt(π/2) / 6 with N = [1,-2,1]ᵀ[1,-2,1], which is blind to ramps and to straight
    edges along the axes; here on blocks of 16×16 px, of which the median counts, so that texture on less than half of
    the picture does not. White noise comes out at its own sigma; grain that is correlated between neighbours comes out
    lower. A picture below 18 px on a side is one block; below 3 px it has no noise.
    """
    if min(picture.shape) < 3:
        return torch.zeros((), dtype=torch.float64, device=picture.device)
    detail = picture.diff(dim=1).diff(dim=1).diff(dim=0).diff(dim=0).abs_()
    down, right = detail.shape[0] // NOISE_BLOCK, detail.shape[1] // NOISE_BLOCK
    if not down or not right:
        mean = mean_of(detail)
    else:
        whole = detail[: down * NOISE_BLOCK, : right * NOISE_BLOCK]
        columns = whole.view(down, NOISE_BLOCK, -1).sum(1)
        blocks = columns.view(down, right, NOISE_BLOCK).sum(2).flatten().sort().values.double()
        last = len(blocks) - 1
        mean = (blocks[last // 2] + blocks[(last + 1) // 2]) / (2 * NOISE_BLOCK**2)
    return mean * (math.sqrt(math.pi / 2) / 6)


def gradient_energy(picture: Tensor) -> Tensor:
    """Mean of gx² + gy² by Sobel's 3×3 kernels over 8 (Tenengrad), in the picture's units² per px²: float64 scalar."""
    found = torch.zeros((), dtype=torch.float64, device=picture.device)
    height, width = picture.shape
    if height < 3 or width < 3:
        return found
    for smooth, across in ((0, 1), (1, 0)):
        size = picture.shape[across] - 2
        g = picture.narrow(across, 2, size) - picture.narrow(across, 0, size)
        for _ in range(2):
            size = g.shape[smooth] - 1
            g = g.narrow(smooth, 0, size) + g.narrow(smooth, 1, size)
        found += square_sum(g)
    return found / (64 * (height - 2) * (width - 2))


def sharpness(energy: float, variance: float, noise: float) -> float:
    """Steepness of the picture's structure for its contrast, in 1/px: rms Sobel gradient over the luma's deviation.

    A gain leaves it as it is (flicker, a fade), blur lowers it. What white noise of the given sigma adds to both (12/32
    of its variance to the gradient, its variance to the contrast) is taken off, so that removing grain is not losing
    sharpness. All in 8-bit code units; a contrast of 1 unit² is added below, so that a flat frame has no sharpness
    rather than any.
    """
    steep = max(0.0, energy - 0.375 * noise**2)
    return math.sqrt(steep / (max(0.0, variance - noise**2) + 1.0))


def touched(before: Sequence[Tensor], after: Sequence[Tensor], pixel_format: PixelFormat) -> tuple[Tensor, Tensor]:
    """From two frames' components: mask ``(H, W)`` of the pixels where any differs, and the sum of squared differences.

    A changed sample of subsampled chroma touches all the luma pixels that it covers. The sum is a float64 scalar.
    """
    height, width = before[0].shape
    masks: dict[tuple[int, int], Tensor] = {}
    errors = []
    for a, b, component in zip(before, after, pixel_format.components, strict=True):
        apart = a - b
        errors.append(square_sum(apart))
        layout = pixel_format.planes[component.plane]
        grid = layout.log2_w, layout.log2_h
        here = apart != 0
        masks[grid] = masks[grid].logical_or_(here) if grid in masks else here
    whole = torch.zeros((height, width), dtype=torch.bool, device=before[0].device)
    for (log2_w, log2_h), mask in masks.items():
        whole.logical_or_(covered(mask, log2_w, log2_h, width, height))
    return whole, torch.stack(errors).sum()


def covered(mask: Tensor, log2_w: int, log2_h: int, width: int, height: int) -> Tensor:
    """A mask of subsampled samples as the ``(height, width)`` luma pixels that they cover."""
    if log2_w:
        mask = mask.unsqueeze(-1).expand(*mask.shape, 1 << log2_w).flatten(1)
    if log2_h:
        mask = mask.unsqueeze(1).expand(mask.shape[0], 1 << log2_h, mask.shape[1]).flatten(0, 1)
    return mask[:height, :width]
