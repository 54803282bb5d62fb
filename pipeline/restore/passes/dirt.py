"""Dirt: spots that lie in one frame alone, found against both neighbours as they moved, and filled from them.

Spots lead the flow astray, far around them. So a first, quick look fills whatever may be dirt in every frame, for the
flow alone; the flows between frames so cleaned are those that count, with what lies under a spot taken from around it.
What speaks against dirt: flows there and back that disagree around the spot; neighbours that do so; the spot itself
nearby in a neighbour, or things of its kind in both (limbs beyond the flow's reach, rain, sparkle); its going on from
frame to frame; and much of all that around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

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

T = TypeVar("T")
Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

_ASTRAY = 8
"""Px around a spot where the flow is not its own: the side of the flow's patches."""
_REACH = 0.04
"""How far a spot is looked for in the neighbours, as a share of the width: as far as things move between frames."""
_LIKE, _LIKE_LARGE = 0.5, 0.45
"""A place in a neighbour is like a spot where it differs by less than this share of the spot's own contrast; of a large
one by less, for on a dirty film others come near it by chance."""
_THING = 0.003
"""Share of the picture above which what is no dirt, for whatever reason, is a thing."""
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

    def _known(self, what: str, make: Callable[..., T], *pictures: Tensor) -> T:
        """As ``Kept.of``, for what hangs as well on the frames beside the pictures, which these are cleaned from."""
        beside = (p for picture in pictures for p in self._beside.get(id(picture), ()))
        return self._kept.of(what, lambda *known: make(*known[: len(pictures)]), *pictures, *beside)

    def _apart(self, a: Tensor, b: Tensor) -> Picture:
        """Px by which the flow from a to b and the one back disagree."""
        return self._known("apart", lambda x, y: motion.disagreement(self._flow(x, y), self._flow(y, x)), a, b)

    def _one(self, window: Sequence[Tensor]) -> Restored:
        self._kept.hold(window)
        here = window[self.radius]
        behind, ahead = self._neighbours(window)
        if not behind or not ahead:
            return Restored(here, spared=_all_spared(here))  # at a cut: what one side alone says is no evidence
        self._beside = _adjacent((*behind[::-1], here, *ahead))
        before, after = behind[0], ahead[0]
        suspects = self._known("suspects", self._suspects, before, here, after)
        spots = suspects.spots
        size = here.shape[1] * here.shape[2]
        if int(spots.areas[1:].sum()) > self._most * size:
            spared = _spared(here, spots, spots.areas > _THING * size)
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
        moving = self._moves(strong, suspects, here, (behind[:2], ahead[:2]), own, moved)
        dirt = sound & ~moving
        crowd = dirt & amid_movement(spots, dirt, strong & calm & ~dirt)
        dirt &= ~crowd
        left = int(spots.areas[1:][(strong & ~dirt)[1:]].sum()) / size
        marks = frozenset({MOTION}) if left > _TOLD else frozenset()
        large |= strong & ~dirt & (spots.areas > _THING * size)
        spared = _spared(here, spots, moving | crowd | large)
        sure = spots.chosen(dirt) & (again.strength > 0.4)
        mask = sure | (motion.grow(sure, 2) & (again.plain > 0.5))
        found = {"dirt_fraction": float(mask.mean())}
        if not mask.any():
            return Restored(here, marks=marks, found=found, spared=spared)
        return Restored(_filled(here, before, after, flows, mask), marks=marks, found=found, spared=spared)

    def _neighbours(self, window: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The frames of the shot on both sides, the nearest first, without those that repeat the one before them: they
        have its dirt as well. The outermost only helps to clean the one beside it."""

        def differs(p: Tensor, q: Tensor) -> float:
            # The same both ways: known by the pair, which stands in several windows.
            return self._kept.of("differs", self._differs, *sorted((p, q), key=id))

        here = window[self.radius]
        # The median: one frame that flashes would make repeats of all others.
        usual = float(np.median([differs(p, here) for p in window[1:-1] if p is not here] or [0.0]))
        sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        copies = 0
        for side, outward in zip(sides, (window[self.radius - 1 :: -1], window[self.radius + 1 :]), strict=True):
            last = here
            for p in outward:
                if p is last:
                    continue  # the shot ends
                if differs(p, last) > _REPEAT * usual:
                    side.append(p)
                    last = p
                elif not side:
                    copies += 1
        # Of more copies only those in the middle would see past them on both sides, and the dirt would blink.
        return sides if copies < self.radius else ([], [])

    def _differs(self, p: Tensor, q: Tensor) -> float:
        return float(np.abs(self._kept.luma(p) - self._kept.luma(q)).mean())

    def _suspects(self, before: Tensor, here: Tensor, after: Tensor) -> Suspects:
        moved = [motion.warp(self._planes(p), self._flow(here, p)) for p in (before, after)]
        return against(self._planes(here), moved, self._threshold)

    def _planes(self, picture: Tensor) -> Planes:
        return self._kept.of("planes", lambda p: planes(p, self._kept.luma(p)), picture)

    def _flow(self, a: Tensor, b: Tensor) -> Picture:
        """From a to b, as it is without what may be dirt in either: a spot leads the flow astray far around it."""
        return self._known("clean flow", lambda x, y: motion.flow(self._cleaned(x), self._cleaned(y)), a, b)

    def _cleaned(self, picture: Tensor) -> Picture:
        """Luma with whatever may be dirt filled: for the flow alone, so nothing is lost where it was none."""
        if id(picture) not in self._beside:  # at a cut
            return self._kept.luma(picture)
        before, after = self._beside[id(picture)]
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
        picture: Tensor,
        beside: tuple[Sequence[Tensor], Sequence[Tensor]],
        here: Planes,
        moved: Sequence[Planes],
    ) -> NDArray[np.bool_]:
        """(N,) whether a neighbour has something like the spot nearby, or it passes by. beside: one or two frames
        before and after, the nearest first; here: the picture's planes; moved: the nearest ones', as they moved."""
        spots = suspects.spots
        reach = max(8, round(_REACH * here.shape[1]))
        others = self._others(picture, beside)
        middle = 0.5 * (moved[0] + moved[1])
        as_it_is = [(evened(here, self._planes(p[0]))[1], self._flow(picture, p[0])) for p in beside]
        found = np.zeros(len(spots), np.bool_)
        before, after = (
            Side([evened(here, self._planes(p))[1][..., : here.shape[2]] for p in frames], apart)
            for frames, apart in zip(beside, others, strict=True)
        )
        for n in np.flatnonzero(asked):
            if n == 0:
                continue
            box = spots.boxes[n]
            found[n] = speak_of_movement(suspects, int(n), others, reach)
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
            found[n] = found[n] or (large and passes(here, (before, after), spots, int(n), middle))
        return found

    def _others(self, here: Tensor, beside: tuple[Sequence[Tensor], Sequence[Tensor]]) -> list[Apart]:
        """What differs from this frame in each of its neighbours."""
        (before, *behind), (after, *ahead) = beside
        # Where the neighbour is the shot's first or last frame, both frames on its one side speak.
        first = (behind[0], before, here) if behind else (here, before, after)
        last = (here, after, ahead[0]) if ahead else (here, after, before)
        found = []
        for three in (first, last):
            theirs = self._known("suspects", self._suspects, *three)
            found.append(theirs.apart[0 if three[0] is here else 1])
        return found


def _adjacent(frames: Sequence[Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    """id of a frame → the frames before and after it; not of the outermost ones."""
    return {id(frames[i]): (frames[i - 1], frames[i + 1]) for i in range(1, len(frames) - 1)}


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
