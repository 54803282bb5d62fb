"""A neural network over every frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.restore import guard, weights
from pipeline.restore.engine import NetEngine
from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.restore.passes.placed import Placed
from pipeline.spec import Guard
from pipeline.types import PassPlan

GUARD = "guard"
"""Flag of a frame whose picture the net broke (``pipeline.restore.guard``); it is left as it was."""
NOT_FINITE = "not-finite"
"""Flag, beside the other, of a frame that a net answered with infinities or no numbers."""

_GRAIN = 0.06
"""Largest change kept whole, as a share of full range, where a pass before looked for dirt and spared what is there: as
much as grain is, or dirt that nobody can tell from it."""
_GREY = 1 / 4096
"""Share of full range by which the channels of a picture without colour differ at most: arithmetic."""


class NetPass:
    """Stacks each frame's window on the channels and gives what the net makes of it."""

    def __init__(self, engine: NetEngine, batch: int, limits: Guard | None = None, most: float | None = None):
        """limits: of the guard; None: only values that are not finite are stopped. most: see ``spec.NetPass.limit``."""
        self.radius = engine.info.radius
        self.group = batch
        self._engine = engine
        self._limits = limits
        self._most = most
        self._placed = Placed()

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> NetPass:
        """Loads the net that the plan names. Raises WeightsError where the weights at hand are not the plan's."""
        info = bench.nets[plan.name]
        if plan.weights_sha256 != info.sha256:
            raise WeightsError(
                f"the pass {plan.name!r} was planned with weights of sha256 {plan.weights_sha256}, "
                f"this worker has {info.sha256}",
                where=info.uri,
                todo="Install the same reelmend and the same weights on every node",
            )
        tlc = plan.settings.get("tlc")
        module = weights.load(info, tlc=(int(tlc[0]), int(tlc[1])) if tlc else False)
        said = plan.settings.get("guard")
        limits = None if said is None else Guard.model_validate(said)
        engine = NetEngine(module, info, bench.engine, bench.device)
        return cls(engine, bench.engine.batch, limits, plan.settings.get("limit"))

    def reset(self) -> None:
        self._engine.reset()
        self._placed = Placed()

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        # A frame has its place in the batch by its number, and free places are filled: so it is computed in the same
        # place of a call of the same shape, whatever the tile of film around it.
        by_place = {job.number % self.group: job for job in jobs}
        places = [by_place.get(i, jobs[0]) for i in range(self.group)]
        windows = {id(job): self._placed.window(job.window, self.radius) for job in jobs}
        stack = torch.cat([picture for job in places for picture in windows[id(job)]])
        stack = stack.view(self.group, -1, *stack.shape[1:])
        out = self._engine(stack)
        finite = guard.finite(out)
        broken = ~finite if self._limits is None else guard.broken(stack, out, self._limits)
        told = torch.stack(
            (broken, finite), 1
        ).tolist()  # beside a small copy of each new picture the only wait for the device
        found = []
        for job in jobs:
            place, marks = job.number % self.group, frozenset[str]()
            rgb, (stopped, sound) = out[place], told[place]
            if stopped:
                rgb, marks = job.window[self.radius], frozenset({GUARD} if sound else {GUARD, NOT_FINITE})
            else:
                rgb = self._held_back(job, _tinted_as(job.window[self.radius], rgb))
            found.append(Restored(rgb, self._engine.flags, marks))
        return found

    def _held_back(self, job: Job, rgb: Tensor) -> Tensor:
        """Without the changes that it is not to make."""
        here, most = job.window[self.radius], self._most
        if most is not None:
            rgb = _bounded(here, rgb, most)
        # One that sees a single frame takes nothing away for being in that alone.
        # And one whose own limit lets it take grain alone mends nothing anyway.
        if job.spared is None or self.radius == 0 or (most is not None and most <= 2 * _GRAIN):
            return rgb
        return torch.where(job.spared.mask, _bounded(here, rgb, _GRAIN), rgb)


def _tinted_as(before: Tensor, after: Tensor) -> Tensor:
    """(3, H, W) without colour where the whole picture had none: a net's three channels never come out quite alike."""
    grey = (before.amax(0) - before.amin(0)).amax() <= _GREY  # stays on the device: nothing waits for it
    return torch.where(grey, after.mean(0, keepdim=True), after)


def _bounded(before: Tensor, after: Tensor, most: float) -> Tensor:
    """(3, H, W) with the changes that are small; from ``most`` to twice that ever less of them."""
    change = after - before
    kept = change.abs().amax(0, keepdim=True).div_(-most).add_(2.0).clamp_(0.0, 1.0)
    return before + change.mul_(kept)
