"""Grain: each frame's own against what its neighbours show in the same place, as the picture moved.

Averages over motion-compensated neighbours, as MVDegrain has it, but robustly: what a frame or a neighbour shows alone
(a faint line, a speck) takes no part. A neighbour counts where the block around a pixel is alike: whatever moves
otherwise than the flow says finds nothing alike, and stays as it is. A larger change than grain makes is not made.

Behind a net it also gives back what that took away in all of them alike (``detail``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.restore.passes.base import Bench, Job, Restored, Through
from pipeline.restore.passes.detail import detail
from pipeline.restore.passes.kept import Kept
from pipeline.types import PassPlan

Picture = NDArray[np.float32]

_BLOCK = 9
"""Px, side of the neighbourhood that is to be alike."""
_WIDE = 31
"""Px, side of the neighbourhood over which a neighbour is first made as bright as the frame: what is that broad is no
grain, and where one place takes it and the next does not an edge would show."""
_FLOOR = 0.004
"""Mean difference of blocks, as a share of full range, below which they are alike in any film."""
_USUAL = 1.6
"""And below this many times what blocks of the frame usually differ by: its grain."""


class DegrainPass:
    """See ``treatments.DegrainPass``."""

    radius = 3
    group = 1

    def __init__(self, settings: Mapping[str, Any]):
        self._alike = float(settings["alike"])
        self._limit = float(settings["limit"])
        self._own = float(settings["own"])
        self._detail = float(settings["detail"])
        self.reset()

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> DegrainPass:  # noqa: ARG003
        """As every factory."""
        return cls(plan.settings)

    def reset(self) -> None:
        self._kept = Kept()

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [self._one(job.window, job.nets if self._detail else ()) for job in jobs]

    def _one(self, window: Sequence[Tensor], nets: Sequence[Through | None]) -> Restored:
        self._kept.hold((*window, *(p for net in nets if net for p in (net.given, net.made))))
        here = window[self.radius]
        # The nearest first: the median is of the frame and those. At a cut the window repeats frames.
        nearest = sorted(range(len(window)), key=lambda i: abs(i - self.radius))
        others = {id(window[i]): i for i in reversed(nearest) if window[i] is not here}
        if len(others) < 2:
            return Restored(here)
        shown = self._rows(here)
        smooth = self._smooth(here)
        pictures, weights = [shown], [np.ones(shown.shape[:2], np.float32)]
        brightness, share = np.zeros(shown.shape[:2], np.float32), np.ones(shown.shape[:2], np.float32)
        lost, trust = {}, {}
        own = nets[self.radius] if nets else None
        if own:
            lost[0], trust[0] = self._lost(own), weights[0]
        for i in sorted(others.values(), key=nearest.index):
            other, flow = window[i], self._way(window, i)
            differs = motion.warp(self._smooth(other), flow) - smooth
            brighter = motion.mean(np.clip(differs, -self._alike, self._alike), _WIDE)
            apart = motion.mean(np.abs(differs - brighter), _BLOCK)
            level = min(max(_USUAL * float(np.median(apart)), _FLOOR), self._alike)
            pictures.append(motion.warp(self._rows(other), flow, "lanczos") - brighter[..., None])
            weights.append(np.clip(2 - apart / np.float32(level), 0, 1))
            near = motion.mean(weights[-1], _WIDE) * np.clip(2 - np.abs(brighter) / np.float32(0.5 * self._alike), 0, 1)
            brightness += near * brighter
            share += near
            net = nets[i] if own else None
            if net:
                trust[i - self.radius] = weights[-1]
                lost[i - self.radius] = motion.warp(self._lost(net), flow, "cubic") * weights[-1][..., None]
        out = shown + self._bounded(_robust(pictures, weights, self._own) - shown)
        # What is broad is evened out too, but as smoothly as it is broad.
        out += (brightness / share)[..., None]
        back = detail(lost, trust)
        if back is not None:
            out += np.float32(self._detail) * back
        return Restored(torch.from_numpy(out.transpose(2, 0, 1).copy()).to(here.device))

    def _lost(self, net: Through) -> Picture:
        """(H, W, 3) what a net took away at fine scale, but for what is larger than grain."""

        def fine(given: Tensor, made: Tensor) -> Picture:
            lost = self._bounded(self._rows(given) - self._rows(made))
            return lost - motion.mean(lost, _WIDE)

        return self._kept.of("lost", fine, net.given, net.made)

    def _bounded(self, change: Picture) -> Picture:
        """The change where it is no larger than the limit; none from twice that on."""
        kept = np.clip(2 - _largest(change) / np.float32(self._limit), 0, 1)
        return np.asarray(change * kept[..., None], np.float32)

    def _way(self, window: Sequence[Tensor], i: int) -> Picture:
        """The flow to frame i of the window. To the outermost one by way of the next frame, whose flow to there is
        wanted anyway."""
        here, beside = window[self.radius], window[self.radius + (1 if i > self.radius else -1)]
        if abs(i - self.radius) < self.radius or beside is here:
            return self._kept.of("flow", self._flow, here, window[i])
        first = self._kept.of("flow", self._flow, here, beside)
        return first + motion.warp(self._kept.of("flow", self._flow, beside, window[i]), first)

    def _flow(self, a: Tensor, b: Tensor) -> Picture:
        return motion.flow(self._kept.luma(a), self._kept.luma(b), kind="fine")

    def _rows(self, picture: Tensor) -> Picture:
        """(H, W, 3)."""
        return self._kept.of("rows", lambda p: np.ascontiguousarray(p.permute(1, 2, 0).cpu().numpy()), picture)

    def _smooth(self, picture: Tensor) -> Picture:
        """Luma without its finest grain."""
        return self._kept.of("smooth", lambda p: motion.mean(self._kept.luma(p), 3), picture)


def _largest(change: Picture) -> Picture:
    """(H, W) of (H, W, 3): the largest of the channels' sizes. Numpy's own maximum over a short last axis is slow."""
    r, g, b = (np.abs(change[..., k]) for k in range(3))
    return np.maximum(np.maximum(r, g), b)


def _median(of: Sequence[Picture]) -> Picture:
    """Of five pictures, pixel by pixel."""
    a, b, c, d, e = of
    low = np.maximum(np.minimum(a, b), np.minimum(c, d))
    high = np.minimum(np.maximum(a, b), np.maximum(c, d))
    found: Picture = np.maximum(np.minimum(low, high), np.minimum(np.maximum(low, high), e))
    return found


def _robust(pictures: Sequence[Picture], weights: Sequence[Picture], own: float) -> Picture:
    """(H, W, 3): the weighted mean of what lies near the median. ``pictures[0]`` is the frame, which stands in for what
    has no weight."""
    here = pictures[0]
    shown = [np.where((w > 0.5)[..., None], p, here) for p, w in zip(pictures, weights, strict=True)]
    middle = _median((shown + [here] * 5)[:5])
    total = np.zeros_like(here)
    share = np.zeros(here.shape[:2], np.float32)
    for p, w in zip(pictures, weights, strict=True):
        near = w / (1 + np.square(np.square(_largest(p - middle) / np.float32(own))))
        total += near[..., None] * p
        share += near
    return total / share[..., None]
