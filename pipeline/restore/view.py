"""Small pictures of frames, for people to look at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Box = tuple[int, int, int, int]
"""x, y, width, height in px of the frame."""
_BLOCK = 16


def smaller(rgb: Tensor, side: int) -> Tensor:
    """``(3, H, W)`` RGB of 0..1 as ``(h, w, 3)`` uint8, its longer side at most ``side`` px; every pixel counts."""
    height, width = rgb.shape[1:]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return as_bytes(rgb if scale == 1.0 else F.interpolate(rgb[None], size=size, mode="area")[0])


def as_bytes(rgb: Tensor) -> Tensor:
    """``(3, H, W)`` RGB of 0..1, clipped, as ``(H, W, 3)`` uint8 in the computer's memory."""
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu()


def most_changed(before: Tensor, after: Tensor, size: tuple[int, int]) -> Box:
    """The box of ``size`` (width, height) around the place that changed most; the middle where nothing did."""
    height, width = before.shape[1:]
    w, h = min(width, size[0]), min(height, size[1])
    apart = (after - before).abs().amax(0)
    x, y = width // 2, height // 2
    if min(height, width) >= _BLOCK:
        blocks = F.avg_pool2d(apart[None, None], _BLOCK)[0, 0]
        worst = int(blocks.flatten().argmax())
        if float(blocks.max()) > 0:
            y, x = (int(i) * _BLOCK + _BLOCK // 2 for i in divmod(worst, blocks.shape[1]))
    return min(max(0, x - w // 2), width - w), min(max(0, y - h // 2), height - h), w, h
