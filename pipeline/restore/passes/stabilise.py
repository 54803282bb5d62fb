"""Gate weave: each frame moved by the fraction of a pixel that the plan found for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.types import PassPlan

WEAVE = "weave"
"""Flag of a frame that trembles, in a shot where that may be the camera's own movement: it is left as it is."""

_LOBES = 3
"""Lanczos' a: a window of six samples keeps detail to nearly the finest."""
_NOTHING = 0.01
"""Px below which a shift is none."""


class StabilisePass:
    """See ``treatments.StabilisePass``."""

    radius = 0
    group = 1

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> StabilisePass:  # noqa: ARG003
        """As every factory."""
        return cls()

    def reset(self) -> None:
        """It keeps nothing."""

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        found = []
        for job in jobs:
            x, y = job.parameters.get("shift_x", 0.0), job.parameters.get("shift_y", 0.0)
            marks = frozenset({WEAVE}) if job.parameters.get("weave", 0.0) > 0 else frozenset()
            strength = job.parameters.get("strength", 1.0)
            rgb = job.window[0]
            moved = shifted(rgb, x, y)
            found.append(Restored(moved, marks=marks, found={"shift_x_px": strength * x, "shift_y_px": strength * y}))
        return found


def shifted(rgb: Tensor, x: float, y: float) -> Tensor:
    """(3, H, W) moved x px to the right and y px downwards; what that uncovers is filled from the edge."""
    for axis, by in ((2, x), (1, y)):
        if abs(by) >= _NOTHING:
            rgb = _along(rgb, axis, by)
    return rgb


def _along(rgb: Tensor, axis: int, by: float) -> Tensor:
    whole = math.floor(-by)
    part = -by - whole
    taps = range(1 - _LOBES, _LOBES + 1)
    weights = [_lanczos(k - part) for k in taps]
    total = sum(weights)
    before, after = max(0, _LOBES - 1 - whole), max(0, _LOBES + whole)
    pad = (before, after, 0, 0) if axis == 2 else (0, 0, before, after)
    wide = F.pad(rgb[None], pad, mode="replicate")[0]
    n = rgb.shape[axis]
    out = torch.zeros_like(rgb)
    for k, w in zip(taps, weights, strict=True):
        out.add_(wide.narrow(axis, before + whole + k, n), alpha=w / total)
    return out


def _lanczos(t: float) -> float:
    if abs(t) < 1e-9:
        return 1.0
    if abs(t) >= _LOBES:
        return 0.0
    a = math.pi * t
    return math.sin(a) / a * math.sin(a / _LOBES) / (a / _LOBES)
