"""Figures between two films, frame by frame: what ``reelmend compare`` tells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CallError
from pipeline.quality import measures
from pipeline.types import Colour, Frames, PixelFormat


def compare(
    frames_a: Frames, frames_b: Frames, colour: Colour, colour_b: Colour | None = None
) -> list[dict[str, float | int | None]]:
    """Figures of B against A, one dict a frame in order, for two runs of equal length (frame i of A with frame i of B).

    ``frame`` is A's number. ``ssim`` (no unit) and ``psnr_y_db`` are of luma in 8-bit code units, peak 255, so that a
    10-bit master and its 8-bit copy can be compared; where one film is limited and the other full range, limited luma
    is stretched to full first. ``psnr_db`` (all components) and ``touched_fraction`` are None where the two formats do
    not hold the same components at the same depth, size and range. Both PSNR are 100 where equal, and only there.
    ``colour_b`` is B's colour where it differs from A's. Raises CallError where the pictures' sizes differ, ValueError
    where the lengths do.
    """
    if len(frames_a) != len(frames_b):
        raise ValueError(f"{len(frames_a)} frames against {len(frames_b)}")
    (height, width), other = _size(frames_a), _size(frames_b)
    if (height, width) != other:
        raise CallError(
            f"the pictures are {width}×{height} and {other[1]}×{other[0]}; only pictures of one size can be compared",
            frame=frames_a.first,
        )
    full_a, full_b = colour.full_range_used, (colour_b or colour).full_range_used
    format_a, format_b = frames_a.format, frames_b.format
    alike = _layout(format_a) == _layout(format_b) and full_a == full_b
    found: list[dict[str, float | int | None]] = []
    for i in range(len(frames_a)):
        a, b = _codes(frames_a, i), _codes(frames_b, i)
        luma_a = _level(measures.luma_of(a, format_a.model), measures.code_depth(format_a), full_a, full_b)
        luma_b = _level(measures.luma_of(b, format_b.model), measures.code_depth(format_b), full_b, full_a)
        row: dict[str, float | int | None] = {
            "frame": frames_a.first + i,
            "psnr_db": None,
            "psnr_y_db": measures.psnr_db(float(measures.square_sum(luma_a - luma_b)), luma_a.numel(), 8),
            "ssim": float(measures.ssim(luma_a, luma_b, 255.0)),
            "touched_fraction": None,
        }
        if alike:
            touched, square_error = measures.touched(a, b, format_a)
            samples, depth = sum(c.numel() for c in a), measures.code_depth(format_a)
            row["psnr_db"] = measures.psnr_db(float(square_error), samples, depth)
            row["touched_fraction"] = float(measures.share_of(touched))
        found.append(row)
    return found


def _level(luma: Tensor, depth: int, full: bool, other_full: bool) -> Tensor:
    """Luma in 8-bit code units; limited range with black at 0 and white at 255 where the other film is full range."""
    level = luma * measures.luma_scale(depth, full)
    return (level - 16.0) * (255.0 / 219.0) if other_full and not full else level


def _size(frames: Frames) -> tuple[int, ...]:
    first = frames.format.components[0].plane
    return frames.planes[first].shape[1:3]


def _layout(pixel_format: PixelFormat) -> tuple[Any, ...]:
    """What two formats must share for their code values to be compared: not the order in memory."""
    layouts = (pixel_format.planes[c.plane] for c in pixel_format.components)
    return pixel_format.model, pixel_format.depth, pixel_format.is_float, tuple((p.log2_w, p.log2_h) for p in layouts)


def _codes(frames: Frames, i: int) -> list[Tensor]:
    # torch wants memory that it may write to; arrays that come from shared memory are not.
    planes = [torch.from_numpy(p[i].copy()) for p in frames.planes]
    return measures.component_codes(planes, frames.format)
