"""Pictures, formats and plain-numpy references for the tests of this room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.types import Colour, PixelFormat


def colour(full_range: bool = False) -> Colour:
    return Colour("bt709", "tv", "bt709", "bt709", "left", "bt709", full_range)


def random_planes(fmt: PixelFormat, width: int, height: int, seed: int) -> tuple[NDArray[Any], ...]:
    r = np.random.default_rng(seed)
    shift = fmt.components[0].shift
    shapes = (fmt.plane_shape(i, width, height) for i in range(len(fmt.planes)))
    return tuple((r.integers(0, 1 << fmt.depth, s) << shift).astype(fmt.dtype) for s in shapes)


def tensors(planes: Sequence[NDArray[Any]]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(p.copy()) for p in planes)


def components(planes: Sequence[NDArray[Any]], fmt: PixelFormat) -> list[NDArray[np.int64]]:
    """Each component's code values, pixel by pixel in numpy."""
    found = []
    for c in fmt.components:
        plane = planes[c.plane].astype(np.int64)
        found.append((plane[..., c.sample] if plane.ndim == 3 else plane) >> c.shift)
    return found


def scene(width: int, height: int, seed: int = 0, contrast: float = 60.0) -> NDArray[np.float64]:
    """A picture with natural statistics: 1/f noise around mid gray, in 8-bit codes, not rounded."""
    r = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    f = np.hypot(fy, fx)
    f[0, 0] = 1.0
    spectrum = (r.standard_normal(f.shape) + 1j * r.standard_normal(f.shape)) / f**1.5
    spectrum[0, 0] = 0
    picture = np.fft.irfft2(spectrum, (height, width))
    found: NDArray[np.float64] = 128 + contrast * picture / picture.std()
    return found


def blurred(picture: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    fy, fx = np.fft.fftfreq(picture.shape[0])[:, None], np.fft.rfftfreq(picture.shape[1])[None]
    keep = np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
    found: NDArray[np.float64] = np.fft.irfft2(np.fft.rfft2(picture) * keep, picture.shape)
    return found


def reference_ssim(a: NDArray[Any], b: NDArray[Any], peak: float) -> float:
    """Wang et al. 2004 by its letter, in float64: a two-dimensional window at every position where it fits."""
    k = np.arange(-5, 6)
    window = np.exp(-(k[:, None] ** 2 + k[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    x = np.lib.stride_tricks.sliding_window_view(a.astype(np.float64), (11, 11))
    y = np.lib.stride_tricks.sliding_window_view(b.astype(np.float64), (11, 11))
    mx, my = (np.einsum("hwij,ij->hw", v, window) for v in (x, y))
    vx, vy = (np.einsum("hwij,hwij,ij->hw", v, v, window) - m**2 for v, m in ((x, mx), (y, my)))
    cov = np.einsum("hwij,hwij,ij->hw", x, y, window) - mx * my
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    return float(np.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))))
