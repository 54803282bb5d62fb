"""Dirt: spots that lie in one frame alone, found against both neighbours as they moved, and filled from them.

Spots lead the flow astray, far around them. So a first, quick look fills whatever may be dirt in every frame, for the
flow alone; the flows between frames so cleaned are those that count, with what lies under a spot taken from around it.
What speaks against dirt: flows there and back that disagree around the spot; neighbours that do so; the spot itself
nearby in a neighbour, or things of its kind in both (limbs beyond the flow's reach, rain, sparkle); its going on from
frame to frame; and much of all that around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.motion import Regions
from pipeline.restore.passes.base import Bench, Job, Restored, Spared
from pipeline.restore.passes.carried import carried
from pipeline.restore.passes.kept import Kept
from pipeline.restore.passes.passing import Side, passes
from pipeline.restore.passes.suspects import (
    AROUND,
    LARGE,
    Apart,
    Planes,
    Suspects,
    against,
    amid_movement,
    amid_unrest,
    evened,
    planes,
    speak_of_movement,
)
from pipeline.types import PassPlan

LIMIT = "dirt-limit"
"""Flag of a frame with more that looks like dirt than the spec takes for dirt: it is left as it is."""
MOTION = "fast-motion"
"""Flag of a frame where something that looked like dirt was left alone, because it may be something that moves."""

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

_ASTRAY = 8
"""Px around a spot where the flow is not its own: the side of the flow's patches."""
_REACH = 0.04
"""How far a spot is looked for in the neighbours, as a share of the width: as far as things move between frames."""
_LIKE, _LIKE_LARGE = 0.5, 0.45
"""A place in a neighbour is like a spot where it differs by less than this share of the spot's own contrast; of a large
one by less, for on a dirty film others come near it by chance."""
_UNPROVEN = 0.003
"""Share of the picture that a blotch may have where a neighbour repeats the frame: whether it is a thing that passes by
is not asked there."""
_SPECK = 2
"""Px below which a spot is too small to be told from others by its looks: flakes of snow are not."""
_REPEAT = 0.25
"""A neighbour repeats a frame where it differs from it by less than this share of what others of the window do."""
_EDGE = 2
"""Px around a spot that its edge may reach."""
_TOLD = 2e-4
"""Share of the picture left alone as moving, above which that is flagged."""


class DirtPass:
    """See ``treatments.DirtPass``."""

    radius = 3
    group = 1

    def __init__(self, settings: Mapping[str, Any]):
        self._threshold = float(settings["threshold"])
        self._trust = float(settings["trust"])
        self._largest = float(settings["largest"])
        self._most = float(settings["most"])
        self.reset()

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> DirtPass:  # noqa: ARG003
        """As every factory."""
        return cls(plan.settings)

    def reset(self) -> None:
        self._kept = Kept()
        self._beside: dict[int, tuple[Tensor, Tensor]] = {}

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [self._one(job.window) for job in jobs]

    def _apart(self, a: Tensor, b: Tensor) -> Picture:
        """Px by which the flow from a to b and the one back disagree."""
        return self._kept.of("apart", lambda x, y: motion.disagreement(self._flow(x, y), self._flow(y, x)), a, b)

    def _one(self, window: Sequence[Tensor]) -> Restored:
        self._kept.hold(window)
        self._beside = _adjacent(window)
        window = window[1:-1]  # the outermost frames only help to clean those beside them
        here = window[2]
        before, after = self._neighbours(window)
        if before is None or after is None:
            return Restored(here, spared=_all_spared(here))  # at a cut: what one side alone says is no evidence
        suspects: Suspects = self._kept.of("suspects", self._suspects, before, here, after)
        spots = suspects.spots
        size = here.shape[1] * here.shape[2]
        if int(spots.areas[1:].sum()) > self._most * size:
            spared = _spared(here, spots, spots.areas > _UNPROVEN * size)
            return Restored(here, marks=frozenset({LIMIT}), spared=spared)
        large = spots.areas > self._largest * size
        strong = (suspects.peaks >= 1.0) & ~large
        if not strong[1:].any():
            return Restored(here, found={"dirt_fraction": 0.0}, spared=_spared(here, spots, large))
        # A second look, with the movement under the spots as it is around them.
        covered = motion.grow(spots.chosen(strong), _ASTRAY)
        flows = [self._under(here, other, covered) for other in (before, after)]
        theirs = [motion.warp(self._planes(p), f) for p, f in zip((before, after), flows, strict=True)]
        own, *moved = evened(self._planes(here), *theirs)
        again = against(own, moved, self._threshold, covered)
        sound = strong & self._trusted(spots, covered, here, before, after, flows)
        calm = ~amid_unrest(spots, strong, self._unlike(before, after, flows))
        sound &= calm
        sound &= spots.most(np.where(again.kind == suspects.kind, again.strength, 0)) >= 1.0
        moving = self._moves(strong, suspects, window, (before, after), own, moved)
        dirt = sound & ~moving
        crowd = dirt & amid_movement(spots, dirt, strong & calm & ~dirt)
        dirt &= ~crowd
        left = int(spots.areas[1:][(strong & ~dirt)[1:]].sum()) / size
        marks = frozenset({MOTION}) if left > _TOLD else frozenset()
        # A large one that is no dirt for whatever reason is a thing.
        large |= strong & ~dirt & (spots.areas > _UNPROVEN * size)
        spared = _spared(here, spots, moving | crowd | large)
        sure = spots.chosen(dirt) & (again.strength > 0.4)
        mask = sure | (motion.grow(sure, 2) & (again.plain > 0.5))
        found = {"dirt_fraction": float(mask.mean())}
        if not mask.any():
            return Restored(here, marks=marks, found=found, spared=spared)
        return Restored(_filled(here, before, after, flows, mask), marks=marks, found=found, spared=spared)

    def _neighbours(self, window: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """The nearest frames of the shot on both sides that are no repeats of this one."""

        def differs(p: Tensor) -> float:
            return float(np.abs(self._kept.luma(p) - self._kept.luma(window[2])).mean())

        # The median: one frame that flashes would make repeats of all others.
        usual = float(np.median([differs(p) for p in window if p is not window[2]] or [0.0]))
        sides: list[Tensor | None] = []
        for near, far in ((1, 0), (3, 4)):
            others = [window[i] for i in (near, far) if window[i] is not window[2]]
            sides.append(next((p for p in others if differs(p) > _REPEAT * usual), None))
        return sides[0], sides[1]

    def _suspects(self, before: Tensor, here: Tensor, after: Tensor) -> Suspects:
        moved = [motion.warp(self._planes(p), self._flow(here, p)) for p in (before, after)]
        return against(self._planes(here), moved, self._threshold)

    def _planes(self, picture: Tensor) -> Planes:
        return self._kept.of("planes", lambda p: planes(p, self._kept.luma(p)), picture)

    def _flow(self, a: Tensor, b: Tensor) -> Picture:
        """From a to b, as it is without what may be dirt in either: a spot leads the flow astray far around it."""
        return self._kept.of("clean flow", lambda x, y: motion.flow(self._cleaned(x), self._cleaned(y)), a, b)

    def _cleaned(self, picture: Tensor) -> Picture:
        """Luma with whatever may be dirt filled: for the flow alone, so nothing is lost where it was none."""
        before, after = self._beside.get(id(picture), (picture, picture))
        if len({id(before), id(picture), id(after)}) < 3:  # at a cut
            return self._kept.luma(picture)
        return self._kept.of("cleaned", self._clean, before, picture, after)

    def _clean(self, before: Tensor, here: Tensor, after: Tensor) -> Picture:
        luma, others = self._kept.luma(here), [self._kept.luma(p) for p in (before, after)]
        flows = [motion.flow(luma, other, kind="quick") for other in others]
        moved = [motion.warp(other, flow) for other, flow in zip(others, flows, strict=True)]
        first = against(luma, moved, self._threshold)
        spots = first.spots.chosen((first.peaks >= 1.0) & (first.spots.areas <= self._largest * luma.size))
        if not spots.any():
            return luma
        mask = motion.grow(spots, 3)
        covered = motion.grow(mask, _ASTRAY)
        under = [motion.warp(o, motion.mean_outside(f, covered, AROUND)) for o, f in zip(others, flows, strict=True)]
        fill = np.float32(0.5) * (under[0] + under[1])
        fill += motion.mean_outside(luma - fill, mask, AROUND)
        return np.where(mask, fill, luma)

    def _unlike(self, before: Tensor, after: Tensor, flows: Sequence[Picture]) -> Picture:
        """By how much the neighbours differ, as they moved, without what may be dirt in them."""
        a, b = (motion.warp(self._cleaned(p), f) for p, f in zip((before, after), flows, strict=True))
        apart = a - b
        brightness = motion.mean(np.clip(apart, -self._threshold, self._threshold), 2 * AROUND + 1)
        return np.asarray(np.abs(apart - brightness), np.float32)

    def _under(self, here: Tensor, other: Tensor, covered: Mask) -> Picture:
        """The flow, with what lies under spots taken from around them."""
        flow = self._flow(here, other)
        around = motion.mean_outside(flow, covered, AROUND)
        return np.where(covered[..., None], around, flow)

    def _trusted(
        self,
        spots: Regions,
        covered: Mask,
        here: Tensor,
        before: Tensor,
        after: Tensor,
        flows: Sequence[Picture],
    ) -> NDArray[np.bool_]:
        """(N,) whether the flows there and back agree around each spot."""
        sound = np.ones(len(spots), np.bool_)
        steep = self._kept.of("steep", lambda p: _steepness(self._kept.luma(p)), here)
        for other, flow in zip((before, after), flows, strict=True):
            apart = np.minimum(self._apart(here, other), 16.0)
            allowed = self._trust + 0.1 * np.hypot(flow[..., 0], flow[..., 1])
            # In a flat place a flow may be anything, and it does not matter.
            matters = np.maximum(apart - allowed, 0) * steep
            around = motion.mean_outside(matters, covered, AROUND)
            sound &= spots.sum(around > 0.4 * self._threshold) < 0.3 * np.maximum(spots.areas, 1)
        return sound

    def _moves(
        self,
        asked: NDArray[np.bool_],
        suspects: Suspects,
        window: Sequence[Tensor],
        beside: Sequence[Tensor],
        here: Planes,
        moved: Sequence[Planes],
    ) -> NDArray[np.bool_]:
        """(N,) whether a neighbour has something like the spot nearby, or it passes by. beside: the two neighbours;
        moved: as they moved."""
        spots = suspects.spots
        reach = max(8, round(_REACH * here.shape[1]))
        others = self._others(window)
        middle = 0.5 * (moved[0] + moved[1])
        as_it_is = [(evened(here, self._planes(p))[1], self._flow(window[2], p)) for p in beside]
        found = np.zeros(len(spots), np.bool_)
        sides = self._sides(here, window, beside, others)
        for n in np.flatnonzero(asked):
            if n == 0:
                continue
            box = spots.boxes[n]
            unproven = sides is None and spots.areas[n] > _UNPROVEN * spots.labels.size
            found[n] = unproven or speak_of_movement(suspects, int(n), others, reach)
            if found[n] or spots.areas[n] < _SPECK:
                continue
            left, top = (max(0, int(v) - 2) for v in box[:2])
            right, bottom = min(here.shape[1], int(box[2]) + 2), min(here.shape[0], int(box[3]) + 2)
            around = np.s_[top:bottom, left:right]
            inside = motion.grow(spots.labels[around] == n, 2)
            own = float(np.sqrt(np.mean(np.square((here[around] - middle[around])[inside]))))
            large = bool(spots.areas[n] >= np.square(LARGE * reach))
            like = (_LIKE_LARGE if large else _LIKE) * own
            found[n] = any(
                motion.found_nearby(here, inside, (left, top, right, bottom), other, reach, like) for other in moved
            ) or any(carried(here, p, f, spots, int(n), middle) for p, f in as_it_is)
            # A small one has no look that others would not have by chance.
            found[n] = found[n] or (large and sides is not None and passes(here, sides, spots, int(n), middle))
        return found

    def _sides(
        self, here: Planes, window: Sequence[Tensor], beside: Sequence[Tensor], others: Sequence[Apart]
    ) -> tuple[Side, Side] | None:
        """What lies before and behind, as it is; None where the shot ends, or a frame repeats."""
        if len(others) < 2 or beside[0] is not window[1] or beside[1] is not window[3]:
            return None
        before, after = (
            Side([evened(here, self._planes(p))[1][..., : here.shape[2]] for p in dict.fromkeys(frames)], apart)
            for frames, apart in zip((window[1::-1], window[3:]), others, strict=True)
        )
        return before, after

    def _others(self, window: Sequence[Tensor]) -> list[Apart]:
        """What differs from this frame in each of its neighbours."""
        found = []
        for far, near, other in ((0, 1, 3), (4, 3, 1)):
            # Where the neighbour is the shot's first or last frame, both frames on its one side speak.
            third = far if window[far] is not window[near] else other
            three = [window[i] for i in (min(2, third), near, max(2, third))]
            if third == other:
                three = [window[2], window[near], window[other]]
            if len({id(p) for p in three}) == 3:
                theirs: Suspects = self._kept.of("suspects", self._suspects, *three)
                found.append(theirs.apart[0 if three[0] is window[2] else 1])
        return found


def _adjacent(window: Sequence[Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    """id of a frame → the frames before and after it; not of the outermost ones."""
    return {id(window[i]): (window[i - 1], window[i + 1]) for i in range(1, len(window) - 1)}


def _spared(here: Tensor, spots: Regions, things: NDArray[np.bool_]) -> Spared:
    """All but the spots, with their edges, and those of them that are things, with theirs."""
    parts = (motion.grow(spots.chosen(which), _EDGE) for which in (~things, things))
    spot, thing = (torch.from_numpy(part).to(here.device) for part in parts)
    return Spared(~spot, thing)


def _all_spared(picture: Tensor) -> Spared:
    plain = torch.ones(picture.shape[1:], dtype=torch.bool, device=picture.device)
    return Spared(plain, ~plain)


def _steepness(luma: Picture) -> Picture:
    """Change of luma from pixel to pixel; grain is smoothed away first."""
    luma = motion.mean(luma, 5)
    across = np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    down = np.abs(np.diff(luma, axis=0, append=luma[-1:]))
    return np.maximum(across, down)


def _filled(here: Tensor, before: Tensor, after: Tensor, flows: Sequence[Picture], mask: Mask) -> Tensor:
    """The picture with the masked spots from its neighbours, as bright as it is around them. Outside bit for bit."""
    shown, p, q = (np.ascontiguousarray(t.permute(1, 2, 0).cpu().numpy()) for t in (here, before, after))
    fill = 0.5 * (motion.warp(p, flows[0], "lanczos") + motion.warp(q, flows[1], "lanczos"))
    wide = motion.grow(mask, 1)
    fill = fill + motion.mean_outside(shown - fill, motion.grow(mask, 3), AROUND)
    # The spot's own faint edge: half of each.
    edge = motion.grow(mask, 2) & ~wide
    out = np.where(wide[..., None], fill, np.where(edge[..., None], 0.5 * (fill + shown), shown))
    return torch.from_numpy(out.transpose(2, 0, 1).copy()).to(here.device)
