"""Dirt: spots that lie in one frame alone, found against both neighbours as they moved, and filled from them.

``looking`` finds what stands out, ``evidence`` what speaks for and against it, and ``judge`` weighs that: what is more
likely a thing that moves is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.motion import Flow, Regions
from pipeline.restore.passes.base import Bench, Job, Restored, Spared
from pipeline.restore.passes.evidence import evidence, passing
from pipeline.restore.passes.judge import likelihood
from pipeline.restore.passes.looking import RADIUS, Looker
from pipeline.restore.passes.suspects import AROUND
from pipeline.types import PassPlan

LIMIT = "dirt-limit"
"""Flag of a frame with more that looks like dirt than the spec takes for dirt: it is left as it is."""
MOTION = "fast-motion"
"""Flag of a frame where something that looked like dirt was left alone, because it may be something that moves."""

Mask = NDArray[np.bool_]

_THING = 0.003
"""Share of the picture above which what is no dirt, for whatever reason, is a thing."""
_EDGE = 2
"""Px around a spot that its edge may reach."""
_TOLD = 2e-4
"""Share of the picture left alone as moving, above which that is flagged."""


class DirtPass:
    """See ``treatments.DirtPass``."""

    radius = RADIUS
    group = 1

    def __init__(self, settings: Mapping[str, Any]):
        self._doubt = float(settings["doubt"])
        self._settings = settings
        self.reset()

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> DirtPass:  # noqa: ARG003
        """As every factory."""
        return cls(plan.settings)

    def reset(self) -> None:
        self._looker = looker(self._settings)

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [self._one(job.window) for job in jobs]

    def _one(self, window: Sequence[Tensor]) -> Restored:
        here = window[self.radius]
        between = self._looker.first(window)
        if between is None:
            return Restored(here, spared=_all_spared(here))
        spots, asked = between.suspects.spots, between.asked
        size = here.shape[1] * here.shape[2]
        if between.too_many:
            spared = _spared(here, spots, spots.areas > _THING * size)
            return Restored(here, marks=frozenset({LIMIT}), spared=spared)
        if not asked.any():
            return Restored(here, found={"dirt_fraction": 0.0}, spared=_spared(here, spots, between.large))
        look = self._looker.second(here, between)
        told = evidence(look.scene)
        moving = told.unsure.copy()
        moving[told.weighed] = likelihood(told.rows) > self._doubt
        dirt = asked & ~moving & (look.scene.again >= 1.0)
        passes = passing(look.scene, dirt)
        dirt, moving = dirt & ~passes, moving | passes
        left = int(spots.areas[asked & ~dirt].sum()) / size
        marks = frozenset({MOTION}) if left > _TOLD else frozenset()
        large = between.large | (asked & ~dirt & (spots.areas > _THING * size))
        spared = _spared(here, spots, moving | large)
        sure = spots.chosen(dirt) & (look.again.strength > 0.4)
        mask = sure | (motion.grow(sure, 2) & (look.again.plain > 0.5))
        found = {"dirt_fraction": float(mask.mean())}
        if not mask.any():
            return Restored(here, marks=marks, found=found, spared=spared)
        rgb = filled(here, between.nearest, look.scene.flows, mask)
        return Restored(rgb, marks=marks, found=found, spared=spared)


def looker(settings: Mapping[str, Any]) -> Looker:
    """What looks as the pass's settings say."""
    return Looker(**{name: float(settings[name]) for name in ("threshold", "trust", "largest", "most")})


def _spared(here: Tensor, spots: Regions, things: NDArray[np.bool_]) -> Spared:
    """All but the spots, with their edges, and those of them that are things, with theirs."""
    parts = (motion.grow(spots.chosen(which), _EDGE) for which in (~things, things))
    spot, thing = (torch.from_numpy(part).to(here.device) for part in parts)
    return Spared(~spot, thing)


def _all_spared(picture: Tensor) -> Spared:
    plain = torch.ones(picture.shape[1:], dtype=torch.bool, device=picture.device)
    return Spared(plain, ~plain)


def filled(here: Tensor, beside: tuple[Tensor, Tensor], flows: tuple[Flow, Flow], mask: Mask) -> Tensor:
    """The picture with the masked spots from its neighbours, as bright as it is around them. Outside bit for bit.

    Pictures (3, H, W); flows from here to those beside it.
    """
    shown, p, q = (np.ascontiguousarray(t.permute(1, 2, 0).cpu().numpy()) for t in (here, *beside))
    fill = 0.5 * (motion.warp(p, flows[0]) + motion.warp(q, flows[1]))
    # Fine detail where it is shown, and in the square around that tells of brightness; what is further needs none.
    close = motion.grow(mask, AROUND * 3 // 4 + 1)
    fill[close] = 0.5 * (motion.warp_at(close, p, flows[0]) + motion.warp_at(close, q, flows[1]))
    wide = motion.grow(mask, 1)
    fill = fill + motion.mean_outside(shown - fill, motion.grow(mask, 3), AROUND)
    # The spot's own faint edge: half of each.
    edge = motion.grow(mask, 2) & ~wide
    out = np.where(wide[..., None], fill, np.where(edge[..., None], 0.5 * (fill + shown), shown))
    return torch.from_numpy(out.transpose(2, 0, 1).copy()).to(here.device)
