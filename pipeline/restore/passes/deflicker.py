"""De-flicker: a tone curve and a grid of gains for every frame, as the plan found them for its whole shot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.plan.curves import GRID, KNOTS
from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.types import PassPlan

FLASH = "flash"
"""Flag of a frame whose brightness stands out further than the spec lets it be moved; it is left as it is."""
_DARK = 1e-3
"""Mean level, as a share of full range, below which a frame has no light to speak of a gain."""


class DeflickerPass:
    """See ``treatments.DeflickerPass``."""

    radius = 0
    group = 1

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> DeflickerPass:  # noqa: ARG003
        """As every factory."""
        return cls()

    def reset(self) -> None:
        """It keeps nothing."""

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [_one(job.window[0], job.parameters) for job in jobs]


def _one(rgb: Tensor, said: Mapping[str, float]) -> Restored:
    marks = frozenset({FLASH}) if said.get("flash", 0.0) > 0 else frozenset[str]()
    levels = [said.get(f"level_{i}", 0.0) for i in range(KNOTS)]
    gains = [said.get(f"gain_{i:02d}", 0.0) for i in range(GRID * GRID)]
    out = rgb
    if any(levels):
        out = out + _curve(rgb, torch.tensor(levels, dtype=torch.float32, device=rgb.device))
    if any(gains):
        grid = torch.tensor(gains, dtype=torch.float32, device=rgb.device).view(1, 1, GRID, GRID)
        # Blocks' middles are the grid's points; between them straight, beyond them level.
        out = out * F.interpolate(grid, size=rgb.shape[1:], mode="bilinear", align_corners=False)[0].exp_()
    if out is rgb:
        return Restored(rgb, marks=marks, found={"gain_stops": 0.0})
    # As the frame is brightened in the end: the chain keeps ``strength`` of the change.
    before, after = torch.stack((rgb.mean(), out.mean())).tolist()
    after = before + said.get("strength", 1.0) * (after - before)
    gain = math.log2(max(after, _DARK) / max(before, _DARK))
    return Restored(out, marks=marks, found={"gain_stops": gain})


def _curve(rgb: Tensor, added: Tensor) -> Tensor:
    """What the curve adds at each level: straight between its knots, level beyond black and white."""
    place = rgb.clamp(0.0, 1.0).mul_(KNOTS - 1)
    low = place.floor().clamp_(max=KNOTS - 2)
    part = place.sub_(low)
    index = low.to(torch.int64)
    first = added[index]
    return first.add_((added[index + 1] - first).mul_(part))
