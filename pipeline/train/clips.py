"""Moving footage with a known truth: a camera that pans over a still."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.float32]
"""A run of frames: float32 ``(N, 3, H, W)``, RGB, 0 to 1."""


def to_clip(rgb: NDArray[np.uint8]) -> Clip:
    """Pictures of 8 bit, ``(N, H, W, 3)`` uint8, as a clip. Raises ValueError for another shape or type."""
    if rgb.dtype != np.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3:
        raise ValueError(f"pictures are uint8 (N, H, W, 3), these are {rgb.dtype} {rgb.shape}")
    return np.ascontiguousarray(rgb.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


def shrink(still: Clip, factor: int) -> Clip:
    """The mean of every ``factor`` × ``factor`` pixels; what is left over at the right and the bottom is cut off."""
    if factor < 1:
        raise ValueError(f"a still is shrunk by 1 or more, not by {factor}")
    n, c, h, w = still.shape
    h, w = h // factor, w // factor
    blocks = still[:, :, : h * factor, : w * factor].reshape(n, c, h, factor, w, factor)
    small: Clip = blocks.mean(axis=(3, 5), dtype=np.float32)
    return small


def pan(
    still: Clip, *, frames: int, size: tuple[int, int], start: tuple[float, float], step: tuple[float, float]
) -> Clip:
    """A window of ``size`` (height, width in px) that moves over a still in a straight line.

    ``start`` is (y, x) in px of the window's upper left corner in the first frame, ``step`` its way from one frame to
    the next. Fractions of a pixel are sampled bilinearly. ``still`` is a clip of one frame.

    Raises ValueError where the window leaves the still.
    """
    if still.ndim != 4 or still.shape[0] != 1:
        raise ValueError(f"a still is (1, 3, H, W), this is {still.shape}")
    if frames < 1:
        raise ValueError(f"a pan has 1 frame or more, not {frames}")
    picture = still[0]
    ways = [(start[0] + i * step[0], start[1] + i * step[1]) for i in range(frames)]
    for y, x in (ways[0], ways[-1]):
        # One pixel more is read than shown: the right-hand neighbour of the last sample.
        if y < 0 or x < 0 or y + size[0] + 1 > picture.shape[1] or x + size[1] + 1 > picture.shape[2]:
            raise ValueError(
                f"a window of {size[0]}×{size[1]} px at (y {y:g}, x {x:g}) leaves the still of "
                f"{picture.shape[1]}×{picture.shape[2]} px"
            )
    return np.stack([_window(picture, y, x, size) for y, x in ways])


def _window(picture: NDArray[Any], y: float, x: float, size: tuple[int, int]) -> NDArray[np.float32]:
    y0, x0 = int(y), int(x)
    fy, fx = np.float32(y - y0), np.float32(x - x0)
    patch = picture[:, y0 : y0 + size[0] + 1, x0 : x0 + size[1] + 1]
    rows = patch[:, :-1] * (1 - fy) + patch[:, 1:] * fy
    return np.asarray(rows[:, :, :-1] * (1 - fx) + rows[:, :, 1:] * fx, np.float32)
