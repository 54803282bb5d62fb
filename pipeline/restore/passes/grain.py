"""Grain: what the net before took away at the finest scale, given back in part, or new grain of the same strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.types import PassPlan

LEVELS = 8
"""Levels of brightness, from black to white, that grain is measured at: it is strongest between the two."""


class GrainPass:
    """See ``treatments.GrainPass``. It measures what the last net before it was given against what that made of it."""

    radius = 0
    group = 1

    def __init__(self, settings: Mapping[str, Any]):
        self._synthesise = settings["mode"] == "synthesise"
        self._share = float(settings["share"])
        self._limit = float(settings["limit"])
        self._seed = int(settings["seed"])

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> GrainPass:  # noqa: ARG003
        """As every factory."""
        return cls(plan.settings)

    def reset(self) -> None:
        """It keeps nothing."""

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [Restored(self._one(job)) for job in jobs]

    def _one(self, job: Job) -> Tensor:
        rgb, before = job.window[0], job.before
        if before is None or before is rgb:
            return rgb  # nothing was taken away
        lost = _fine(before - rgb)
        # Spots and scratches that the net mended are no grain; a little around them neither.
        large = (lost.abs().amax(0, keepdim=True) > self._limit).to(lost.dtype)[None]
        kept = 1.0 - F.max_pool2d(large, 5, 1, 2)[0]
        if not self._synthesise:
            return rgb + lost.mul_(kept).mul_(self._share)
        return rgb + self._share * _strength(rgb, lost, kept[0]) * self._noise(rgb, job.number + (job.field << 41))

    def _noise(self, rgb: Tensor, number: int) -> Tensor:
        """(3, H, W) of standard deviation 1, a px and a half wide, mostly common to the colours; drawn on the CPU, so
        that it is the same on every device."""
        drawn = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % (1 << 63))
        _, h, w = rgb.shape
        common = torch.randn((1, h, w), generator=drawn)
        own = torch.randn((3, h, w), generator=drawn)
        noise = 0.9 * common + 0.435_889_9 * own
        noise = _blurred(noise)
        return (noise / noise.std()).to(rgb.device)


def _blurred(picture: Tensor) -> Tensor:
    """[1 2 1]/4 both ways."""
    for axis in (1, 2):
        wide = F.pad(picture[None], (1, 1, 0, 0) if axis == 2 else (0, 0, 1, 1), mode="replicate")[0]
        n = picture.shape[axis]
        picture = 0.25 * (wide.narrow(axis, 0, n) + wide.narrow(axis, 2, n)) + 0.5 * picture
    return picture


def _fine(change: Tensor) -> Tensor:
    """The part of a change that is finer than some 9 px: brightness that was evened out is no grain."""
    wide = F.pad(change[None], (4, 4, 4, 4), mode="replicate")
    return change - F.avg_pool2d(wide, 9, 1)[0]


def _strength(rgb: Tensor, lost: Tensor, kept: Tensor) -> Tensor:
    """(1, H, W) the grain's standard deviation at each pixel's brightness, as measured where nothing else changed."""
    luma = rgb.mean(0)
    place = luma.clamp(0.0, 1.0) * (LEVELS - 1)
    bin_of = place.round().to(torch.int64)
    sums, counts = (torch.zeros(LEVELS, dtype=torch.float64, device=rgb.device) for _ in range(2))
    for level in range(LEVELS):
        here = (bin_of == level) & (kept > 0)
        sums[level] = lost.square().mean(0)[here].double().sum()
        counts[level] = here.sum()
    # A level that the frame hardly has takes the frame's mean.
    mean = sums.sum() / counts.sum().clamp(min=1)
    sigma = torch.where(counts > 64, sums / counts.clamp(min=1), mean).sqrt().to(torch.float32)
    low = place.floor().clamp(max=LEVELS - 2)
    part = place - low
    index = low.to(torch.int64)
    return (sigma[index] + (sigma[index + 1] - sigma[index]) * part)[None]
