"""Small pictures of frames: luma and RGB of at most 480 px in width, from native planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.plan.shown import shown
from pipeline.types import Colour, Component, PixelFormat

WIDEST = 480
"""Px in width of what is looked at: enough to find a shift to a few hundredths of these, at any size of film."""

_KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
_ROWS = 32
"""Rows of small picture that are worked on at once."""

Picture = NDArray[np.float32]


def factor(width: int) -> int:
    """By how much a picture of this width is shrunk on both sides."""
    return max(1, -(-width // WIDEST))


def small(planes: Sequence[NDArray[Any]], format: PixelFormat, colour: Colour, width: int) -> tuple[Picture, Picture]:  # noqa: A002
    """One frame's luma (h, w) and RGB (3, h', w'), both float32 with 0 black and 1 white of the nominal range.

    Each sample is the mean of a block of pixels; RGB may be smaller than luma where chroma is. A gray picture's RGB is
    its luma three times.
    """
    k = factor(width)
    full = colour.full_range_used or format.is_float
    top = 1.0 if format.is_float else float((1 << format.depth) - 1)
    step = 0.0 if format.is_float else float(1 << (format.depth - 8))
    offset, scale = (0.0, top) if full else (16.0 * step, 219.0 * step)
    middle, across = 128.0 * step, top if full else 224.0 * step
    c = format.components

    def read(component: Component, by: tuple[int, int]) -> Picture:
        return _mean(planes[component.plane], component, by)

    if format.model == "rgb":
        rgb = np.stack([(read(i, (k, k)) - np.float32(offset)) / np.float32(scale) for i in c[:3]])
        rgb = shown(rgb, colour.transfer_used)
        return rgb[0] * np.float32(0.2126) + rgb[1] * np.float32(0.7152) + rgb[2] * np.float32(0.0722), rgb
    y = (read(c[0], (k, k)) - np.float32(offset)) / np.float32(scale)
    if format.model == "gray":
        y = shown(y, colour.transfer_used)
    if format.model == "gray" or colour.matrix_used not in _KR_KB:
        return y, np.stack([y, y, y])
    layout = format.planes[c[1].plane]
    by_w, by_h = max(1, k >> layout.log2_w), max(1, k >> layout.log2_h)
    cb, cr = ((read(i, (by_h, by_w)) - np.float32(middle)) / np.float32(across) for i in c[1:3])
    # Luma over the very pixels that a sample of this chroma covers.
    down, right = by_h << layout.log2_h, by_w << layout.log2_w
    part = y if (down, right) == (k, k) else (read(c[0], (down, right)) - np.float32(offset)) / np.float32(scale)
    h, w = min(part.shape[0], cb.shape[0]), min(part.shape[1], cb.shape[1])
    part, cb, cr = part[:h, :w], cb[:h, :w], cr[:h, :w]
    kr, kb = _KR_KB[colour.matrix_used]
    red, blue = part + np.float32(2 * (1 - kr)) * cr, part + np.float32(2 * (1 - kb)) * cb
    green = (part - np.float32(kr) * red - np.float32(kb) * blue) / np.float32(1 - kr - kb)
    return y, np.stack([red, green, blue])


def _mean(plane: NDArray[Any], component: Component, by: tuple[int, int]) -> Picture:
    """Means of blocks of ``by`` (rows, columns) samples, in codes; what is left over at the edges is not looked at."""
    if plane.ndim == 3:
        plane = plane[..., component.sample]
    if component.shift:
        plane = plane >> component.shift
    kind: type[np.uint32] | type[np.float32] = np.uint32
    if plane.dtype.kind == "f":
        # As for a net: what is no number is black.
        plane, kind = np.nan_to_num(plane.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0), np.float32
    by_h, by_w = min(by[0], plane.shape[0]), min(by[1], plane.shape[1])
    h, w = plane.shape[0] // by_h, plane.shape[1] // by_w
    whole = plane[: h * by_h, : w * by_w]
    if by_h == by_w == 1:
        return whole.astype(np.float32)
    found = np.empty((h, w), np.float32)
    for top in range(0, h, _ROWS):
        rows = whole[top * by_h : (top + _ROWS) * by_h]
        # Rows first: whole numbers, which add up exactly and along memory.
        added = rows.reshape(-1, by_h, rows.shape[1]).sum(1, dtype=kind)
        found[top : top + _ROWS] = added.reshape(len(added), w, by_w).sum(2, dtype=kind)
    found /= np.float32(by_h * by_w)
    return found
