"""Dye fade: each colour's density stretched from its clearest, as the plan found for the shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.plan.fade import DARKEST
from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.types import PassPlan


class FadePass:
    """See ``treatments.FadePass``."""

    radius = 0
    group = 1

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> FadePass:  # noqa: ARG003
        """As every factory."""
        return cls()

    def reset(self) -> None:
        """It keeps nothing."""

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [Restored(_one(job.window[0], job.parameters)) for job in jobs]


def _one(rgb: Tensor, said: Mapping[str, float]) -> Tensor:
    factors = [said.get(f"factor_{c}", 1.0) for c in "rgb"]
    if all(f == 1.0 for f in factors):
        return rgb
    shape = (3, 1, 1)
    factor = torch.tensor(factors, dtype=torch.float32, device=rgb.device).view(shape)
    clear = torch.tensor([said.get(f"clear_{c}", 0.0) for c in "rgb"], dtype=torch.float32, device=rgb.device).view(
        shape
    )
    # What lies below the darkest level told moves with it.
    seen = rgb.clamp(min=DARKEST)
    dense = seen.log10().neg_().sub_(clear).mul_(factor).add_(said["clear"])
    return rgb + (torch.pow(10.0, dense.neg_()) - seen)
