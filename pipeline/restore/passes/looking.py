"""A frame between its neighbours: what of it may be dirt, and how the picture moves beneath.

Spots lead the flow astray, far around them. So a first, quick look fills whatever may be dirt in every frame, for the
flow alone; the flows between frames so cleaned are those that count, with what lies under a spot taken from around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.motion import Flow
from pipeline.restore.passes.kept import Kept
from pipeline.restore.passes.passing import Side
from pipeline.restore.passes.scene import Scene
from pipeline.restore.passes.suspects import (
    AROUND,
    Apart,
    Outside,
    Planes,
    Suspects,
    by_spot,
    evened,
    outside,
    planes,
)

T = TypeVar("T")
Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

RADIUS = 3
"""Frames on each side that a look needs."""
_ASTRAY = 8
"""Px around a spot where the flow is not its own: the side of the flow's patches."""
_REPEAT = 0.25
"""A neighbour repeats a frame where it differs from it by less than this share of what others of the window do."""
_DOUBTFUL = 0.4
"""Thresholds by which a disagreement of flows would show in the picture, where it matters."""
_FARTHEST = 16.0
"""Px of disagreement: more says no more."""


@dataclass(frozen=True, slots=True)
class Between:
    """A frame's neighbours, nearest first, and what it shows that neither of them does."""

    behind: Sequence[Tensor]
    ahead: Sequence[Tensor]
    suspects: Suspects
    too_many: bool
    """More looks like dirt than may be."""
    large: NDArray[np.bool_]
    """(N,) the spots that are too large to be dirt."""
    asked: NDArray[np.bool_]
    """(N,) those that are not, and stand out far enough."""

    @property
    def nearest(self) -> tuple[Tensor, Tensor]:
        return self.behind[0], self.ahead[0]


@dataclass(frozen=True, slots=True)
class Look:
    """A second look, at chosen spots."""

    scene: Scene
    again: Outside
    """What the second look saw."""


class Looker:
    """Looks at frames. What it finds of pictures it keeps as long as they are in the window.

    threshold: share of full range by which a spot stands out. trust: px by which movement there and back may disagree.
    largest: share of the picture, of one spot of dirt. most: of all of them.
    """

    def __init__(self, *, threshold: float, trust: float, largest: float, most: float):
        self._threshold, self._trust, self._largest, self._most = threshold, trust, largest, most
        self._kept = Kept()
        self._beside: dict[int, tuple[Tensor, Tensor]] = {}

    def first(self, window: Sequence[Tensor]) -> Between | None:
        """The middle of a window between its neighbours; None at a cut, for what one side alone says is no evidence.

        window: 2·``RADIUS`` + 1 pictures (3, H, W).
        """
        self._kept.hold(window)
        behind, ahead = self._neighbours(window)
        if not behind or not ahead:
            return None
        here = window[RADIUS]
        self._beside = _adjacent((*behind[::-1], here, *ahead))
        suspects = self._known("suspects", self._suspects, behind[0], here, ahead[0])
        areas, size = suspects.spots.areas, here.shape[1] * here.shape[2]
        large = areas > self._largest * size
        asked = (suspects.peaks >= 1.0) & ~large
        asked[0] = False
        return Between(behind, ahead, suspects, int(areas[1:].sum()) > self._most * size, large, asked)

    def second(self, here: Tensor, between: Between) -> Look:
        """Of the frame that was looked at last, at the spots that are asked about, with the movement under them as it
        is around them."""
        behind, ahead, suspects, nearest = between.behind, between.ahead, between.suspects, between.nearest
        covered = motion.grow(suspects.spots.chosen(between.asked), _ASTRAY)
        before, after = (self._under(here, other, covered) for other in nearest)
        theirs = [motion.warp(self._planes(p), f) for p, f in zip(nearest, (before, after), strict=True)]
        own, *moved = evened(self._planes(here), *theirs)
        again = outside(own, moved, self._threshold, covered)
        kept = np.where(again.kind == suspects.kind, again.strength, 0)
        first, last = (
            Side([evened(own, self._planes(p))[1][..., : own.shape[2]] for p in frames], apart)
            for frames, apart in zip((behind[:2], ahead[:2]), self._others(here, behind, ahead), strict=True)
        )
        scene = Scene(
            suspects,
            between.asked,
            np.asarray(suspects.spots.most(kept), np.float64),
            own,
            (moved[0], moved[1]),
            0.5 * (moved[0] + moved[1]),
            (self._flow(here, nearest[0]), self._flow(here, nearest[1])),
            (before, after),
            (first, last),
            (self._doubtful(here, nearest[0], before, covered), self._doubtful(here, nearest[1], after, covered)),
            self._unlike(nearest, (before, after)),
        )
        return Look(scene, again)

    def _known(self, what: str, make: Callable[..., T], *pictures: Tensor) -> T:
        """As ``Kept.of``, for what hangs as well on the frames beside the pictures, which these are cleaned from."""
        beside = (p for picture in pictures for p in self._beside.get(id(picture), ()))
        return self._kept.of(what, lambda *known: make(*known[: len(pictures)]), *pictures, *beside)

    def _apart(self, a: Tensor, b: Tensor) -> Picture:
        """Px by which the flow from a to b and the one back disagree."""
        return self._known("apart", lambda x, y: motion.disagreement(self._flow(x, y), self._flow(y, x)), a, b)

    def _neighbours(self, window: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The frames of the shot on both sides, the nearest first, without those that repeat the one before them: they
        have its dirt as well. The outermost only helps to clean the one beside it."""

        def differs(p: Tensor, q: Tensor) -> float:
            # The same both ways: known by the pair, which stands in several windows.
            return self._kept.of("differs", self._differs, *sorted((p, q), key=id))

        here = window[RADIUS]
        # The median: one frame that flashes would make repeats of all others.
        usual = float(np.median([differs(p, here) for p in window[1:-1] if p is not here] or [0.0]))
        sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        copies = 0
        for side, outward in zip(sides, (window[RADIUS - 1 :: -1], window[RADIUS + 1 :]), strict=True):
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
        return sides if copies < RADIUS else ([], [])

    def _differs(self, p: Tensor, q: Tensor) -> float:
        return float(np.abs(self._kept.luma(p) - self._kept.luma(q)).mean())

    def _suspects(self, before: Tensor, here: Tensor, after: Tensor) -> Suspects:
        moved = [motion.warp(self._planes(p), self._flow(here, p)) for p in (before, after)]
        own, *moved = evened(self._planes(here), *moved)
        return by_spot(outside(own, moved, self._threshold), own)

    def _planes(self, picture: Tensor) -> Planes:
        return self._kept.of("planes", lambda p: planes(p, self._kept.luma(p)), picture)

    def _flow(self, a: Tensor, b: Tensor) -> Flow:
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
        first = outside(luma, moved, self._threshold)
        spots = first.spots()
        strong = (spots.most(first.strength) >= 1.0) & (spots.areas <= self._largest * luma.size)
        if not strong.any():
            return luma
        mask = motion.grow(spots.chosen(strong), 3)
        covered = motion.grow(mask, _ASTRAY)
        under = [motion.warp(o, motion.mean_outside(f, covered, AROUND)) for o, f in zip(others, flows, strict=True)]
        fill = np.float32(0.5) * (under[0] + under[1])
        fill += motion.mean_outside(luma - fill, mask, AROUND)
        return np.where(mask, fill, luma)

    def _unlike(self, nearest: tuple[Tensor, Tensor], flows: tuple[Flow, Flow]) -> Picture:
        """By how much the neighbours differ, as they moved, without what may be dirt in them."""
        a, b = (motion.warp(self._cleaned(p), f) for p, f in zip(nearest, flows, strict=True))
        apart = a - b
        brightness = motion.mean(np.clip(apart, -self._threshold, self._threshold), 2 * AROUND + 1)
        return np.asarray(np.abs(apart - brightness), np.float32)

    def _under(self, here: Tensor, other: Tensor, covered: Mask) -> Flow:
        """The flow, with what lies under spots taken from around them."""
        flow = self._flow(here, other)
        around = motion.mean_outside(flow, covered, AROUND)
        return np.where(covered[..., None], around, flow)

    def _doubtful(self, here: Tensor, other: Tensor, flow: Flow, covered: Mask) -> Mask:
        """(H, W) where the flows there and back disagree by what would be seen; under spots, what is around them."""
        steep = self._kept.of("steep", lambda p: _steepness(self._kept.luma(p)), here)
        apart = np.minimum(self._apart(here, other), _FARTHEST)
        allowed = self._trust + 0.1 * np.hypot(flow[..., 0], flow[..., 1])
        # In a flat place a flow may be anything, and it does not matter.
        matters = np.maximum(apart - allowed, 0) * steep
        return np.asarray(motion.mean_outside(matters, covered, AROUND) > _DOUBTFUL * self._threshold, np.bool_)

    def _others(self, here: Tensor, behind: Sequence[Tensor], ahead: Sequence[Tensor]) -> list[Apart]:
        """What differs from this frame in each of its neighbours."""
        before, after = behind[0], ahead[0]
        # Where the neighbour is the shot's first or last frame, both frames on its one side speak.
        first = (behind[1], before, here) if behind[1:] else (here, before, after)
        last = (here, after, ahead[1]) if ahead[1:] else (here, after, before)
        found = []
        for three in (first, last):
            theirs = self._known("suspects", self._suspects, *three)
            found.append(theirs.apart[0 if three[0] is here else 1])
        return found


def _adjacent(frames: Sequence[Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    """id of a frame → the frames before and after it; not of the outermost ones."""
    return {id(frames[i]): (frames[i - 1], frames[i + 1]) for i in range(1, len(frames) - 1)}


def _steepness(luma: Picture) -> Picture:
    """Change of luma from pixel to pixel; grain is smoothed away first."""
    luma = motion.mean(luma, 5)
    across = np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    down = np.abs(np.diff(luma, axis=0, append=luma[-1:]))
    return np.maximum(across, down)
