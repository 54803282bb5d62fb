"""The guard: a picture that a net broke is not delivered; its frame stays as it was.

Two things are looked at, both in means over cells of 16 px and more, which noise, grain and sharper edges leave alone:

- *Colours out of nowhere.* Restoration moves a place towards what its frames show elsewhere: dirt towards what it
  hides, blur towards its edges. It invents no colours. A cell is astray where it moved far beyond the colours of all
  the cells that the net was shown: on R, G and B, and on their differences, so that gray film allows no tint. How far
  is far is a floor, and the frame's own contrast: on a flat dark frame, where deblurring nets are known to fail,
  nothing is left but the floor.
- *Too much at once.* A blotch is replaced, a whole picture is not: a cell is astray too where it lies far from what
  each of the frames shows in that place.

A pure function of the frames that the net was shown and of what it made of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.spec import Guard

_CELL = 16
"""Least side of a cell in px."""
_TAIL = 0.01
"""Share of the cells, at either end, that does not count as shown: a white speck on black leader does not allow the
leader to turn white."""
_AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -1, 0), (0, 1, -1), (1, 0, -1))
"""What colours are compared on: R, G, B, R−G, G−B, R−B."""


def broken(stack: Tensor, restored: Tensor, limits: Guard) -> Tensor:
    """Which pictures must not be delivered: (B,) bool, on the device; nothing is waited for.

    stack: (B, 3·(2r+1), H, W) float32 RGB, the frame itself in the middle. restored: (B, 3, H, W) float32. Values that
    are not finite are broken whatever the limits.
    """
    b, _, h, w = stack.shape
    frames = stack.reshape(b, -1, 3, h, w)
    middle = frames.shape[1] // 2
    shown = _cells(frames)  # B, frames, axes, cells
    own, found = shown[:, middle], _cells(restored)
    low, high = _range(shown.transpose(1, 2).flatten(2))
    margin = limits.tint + _contrast(frames[:, middle])
    tinted = _beyond(found, torch.minimum(low, own), torch.maximum(high, own)) > margin
    changed = _beyond(found, shown.amin(1), shown.amax(1)) > limits.change
    return ~finite(restored) | (_share(tinted) > limits.tint_area) | (_share(changed) > limits.change_area)


def finite(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) → (B,) bool: one infinity or NaN makes the sum one."""
    return torch.isfinite(pictures.sum((1, 2, 3)))


def _axes(like: Tensor) -> Tensor:
    return torch.tensor(_AXES, dtype=like.dtype, device=like.device)


def _cells(pictures: Tensor) -> Tensor:
    """(…, 3, H, W) → (…, axes, cells), the means of equal cells that cover the picture."""
    h, w = (max(1, side // _CELL) for side in pictures.shape[-2:])
    means = F.adaptive_avg_pool2d(pictures.flatten(0, -4), (h, w)).flatten(2)
    found: Tensor = _axes(means) @ means
    return found.reshape(*pictures.shape[:-3], len(_AXES), h * w)


def _contrast(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, axes, 1), the standard deviation of the pixels on every axis."""
    x = pictures.flatten(2)
    x = x - x.mean(2, keepdim=True)
    axes = _axes(x)
    return ((axes @ (x @ x.mT)) * axes).sum(2, keepdim=True).clamp_min(0).div(x.shape[2]).sqrt()


def _range(cells: Tensor) -> tuple[Tensor, Tensor]:
    """(B, axes, n) → least and largest value shown, (B, axes, 1)."""
    n = cells.shape[2]
    tail = int(_TAIL * n)
    return cells.kthvalue(tail + 1, 2, True)[0], cells.kthvalue(n - tail, 2, True)[0]


def _beyond(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far values lie outside of a range; negative or zero inside."""
    return torch.maximum(low - x, x - high)


def _share(astray: Tensor) -> Tensor:
    """(B, axes, cells) → (B,), the share of the cells that are astray on any axis."""
    return astray.any(1).float().mean(1)
