"""What speaks for a spot's being dirt, and what for its being a thing that moves: numbers, for ``judge`` to weigh.

No single one of them decides: dirt may lie beside an edge that moves, and have its like in a neighbour by chance; a
limb may swing before a flat wall, where both neighbours agree on what lies behind it. All are free of the picture's
size: lengths go by the way that things move between frames, levels by the spot's own contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import motion
from pipeline.motion import Flow
from pipeline.restore.passes.carried import carried
from pipeline.restore.passes.passing import Side, passes
from pipeline.restore.passes.suspects import (
    LARGE,
    Apart,
    Planes,
    Suspects,
    alike,
    kind_of,
    speak_of_movement,
)

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

NAMES = (
    "distrust",  # share of it around which the flows there and back disagree, on the worse side
    "unrest",  # log: how much the neighbours differ close around it, over what they differ by elsewhere
    "unrest_contrast",  # log: the same over its contrast
    "ring",  # log: what the frame differs by from the neighbours' mean in a ring around it, over its contrast
    "ring_unlike",  # log: what the neighbours differ by from each other there, over its contrast
    "inside_unlike",  # log: and inside it
    "tone_most",  # its tone near its place in the neighbour that has more of it anew, in areas of its own
    "tone_least",  # and in the other one
    "moved_tone_most",  # the same in the neighbours as they moved
    "moved_tone_least",
    "far_tone_most",  # the same as the first two, three times as far around
    "far_tone_least",
    "ring_tone",  # share of the ring that has its tone
    "ring_tone_apart",  # share that has it and is not what the neighbours show
    "area",  # log: over the square of the way
    "peak",  # log: how far it stands out at the first look, in thresholds
    "again",  # log: at the second
    "kept",  # log: the second over the first
    "mottled",  # how uneven it is, over its contrast
    "contrast",  # log: a share of full range
    "outline",  # log: px along its edge, over the root of its area
    "at_edge",  # whether it touches the picture's edge
    "speed",  # log(1 + way): of the flow under it, in ways
    "long",  # log: its length over its width
    "like_share",  # log(1 + areas): what both neighbours have nearby of its kind, in areas of its own
    "like_most",  # what one of them has
    "like_number",  # how many there are
    "twins",  # in how many neighbours it has a twin
    "spoken",  # whether all that is more than by chance: speak_of_movement
    "nearby",  # whether a neighbour shows it near its place, as it moved
    "carried",  # whether one shows it where something around it went
    "crowd",  # log(1 + number): of spots within an eighth of the width
    "crowd_spoken",  # share of them that are spoken for
)
"""Every number, in order."""

REACH = 0.04
"""How far a spot is looked for in the neighbours, as a share of the width: as far as things move between frames."""
_LIKE, _LIKE_LARGE = 0.5, 0.45
"""A place in a neighbour is like a spot where it differs by less than this share of the spot's own contrast; of a large
one by less, for on a dirty film others come near it by chance."""
_SPECK = 2
"""Px below which a spot is too small to be told from others by its looks: flakes of snow are not."""
_CLOSE = 15
"""Side in px of the neighbourhood that tells of unrest."""
_MOST, _LEAST = 0.2, 0.002
"""A pixel's greatest share in unrest, and the least that is usual: shares of full range."""
_TONE, _TONE_SPREAD = 0.3, 0.5
"""A pixel has a spot's tone where it differs by less than this share of its contrast, and this much of its own
unevenness."""
_ANEW = 0.5
"""And has it anew where it differs from the frame by this share of the contrast."""
_EDGE, _RING, _WIDE_RING = 2, 6, 7
"""Px from a spot to where its surroundings begin, and end."""
_DISTRUST, _UNREST = 0.3, 3.0
"""From this share of distrust on, and this many times the usual difference of the neighbours, movement is in doubt."""
_SMALL, _FAINT = 1e-3, 0.02
"""Below them nothing is told apart: a ratio, and a share of full range."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scene:
    """A frame that has been looked at twice, between its neighbours."""

    suspects: Suspects
    """Of the first look."""
    asked: NDArray[np.bool_]
    """(N,) the spots that are asked about."""
    again: Numbers
    """(N,) how far they stand out at the second look, in thresholds."""
    here: Planes
    moved: tuple[Planes, Planes]
    """As they moved, with what lies under spots as it is around them."""
    ways: tuple[Flow, Flow]
    """From here to them, as found."""
    flows: tuple[Flow, Flow]
    """As ``moved`` went."""
    sides: tuple[Side, Side]
    doubtful: tuple[Mask, Mask]
    """Where the flows there and back disagree."""
    unlike: Picture
    """By how much the neighbours differ, as they moved."""

    @property
    def beside(self) -> tuple[Planes, Planes]:
        """The neighbours as they are."""
        return self.sides[0].frames[0], self.sides[1].frames[0]

    @property
    def reach(self) -> int:
        """px that things move between frames."""
        width: int = self.here.shape[1]
        return max(8, round(REACH * width))


def evidence(scene: Scene) -> NDArray[np.float32]:
    """(K, ``NAMES``) of the K spots asked about, in the order of their numbers."""
    spots = scene.suspects.spots
    numbers = [int(n) for n in np.flatnonzero(scene.asked)]
    others = [side.apart for side in scene.sides]
    spoken = np.zeros(len(spots), np.bool_)
    for n in numbers:
        spoken[n] = speak_of_movement(scene.suspects, n, others, scene.reach)
    distrust = np.max([spots.sum(doubtful) for doubtful in scene.doubtful], axis=0) / np.maximum(spots.areas, 1)
    apart = _Apart.of(scene)
    close, usual = _unrest(scene)
    crowd = _crowd(scene, spoken)
    taken = motion.grow(spots.chosen(scene.asked), _EDGE)
    found = np.zeros((len(numbers), len(NAMES)), np.float32)
    for row, n in zip(found, numbers, strict=True):
        spot = _Spot.of(scene, n)
        row[:] = (
            distrust[n],
            np.log(max(close[n] / usual, 0.3)),
            _log(close[n] / spot.contrast),
            *_around(scene, spot, apart, taken),
            *_looks(scene, spot),
            *_likes(scene, spot, others),
            spoken[n],
            *_seen_again(scene, spot),
            *crowd[n],
        )
    return found


def passing(scene: Scene, which: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) those ``which`` (N,) go on from frame to frame: what five frames show is no chance, whatever else is told of
    a spot. A small one has no look that others would not have by chance."""
    found = np.zeros(len(which), np.bool_)
    middle = 0.5 * (scene.moved[0] + scene.moved[1])
    for n in map(int, np.flatnonzero(which)):
        found[n] = _is_large(scene, n) and passes(scene.here, scene.sides, scene.suspects.spots, n, middle)
    return found


def unsure(scene: Scene, rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(K,) whether a spot is small, and the movement around it in doubt: little is lost by leaving such a one, and the
    tips of limbs are such. rows: the evidence."""
    small = np.array([not _is_large(scene, int(n)) for n in np.flatnonzero(scene.asked)], np.bool_)
    distrust, unrest = (rows[:, NAMES.index(name)] for name in ("distrust", "unrest"))
    return np.asarray(small & ((distrust >= _DISTRUST) | (unrest > np.log(_UNREST))), np.bool_)


def _is_large(scene: Scene, n: int) -> bool:
    return bool(scene.suspects.spots.areas[n] >= np.square(LARGE * scene.reach))


@dataclass(frozen=True, slots=True)
class _Spot:
    """One of them, and what stands out in it."""

    n: int
    area: int
    box: tuple[int, int, int, int]
    """Left, top, right, bottom in px."""
    contrast: float
    """Rms by which it and its edge differ from the neighbours' mean; not below a few codes."""
    tone: NDArray[np.float32]
    """(C,) median of it."""
    uneven: float
    """Rms distance of its pixels from that."""
    apart: float
    """How far it lies from the neighbours' mean as a whole."""

    @staticmethod
    def of(scene: Scene, n: int) -> _Spot:
        spots = scene.suspects.spots
        left, top, right, bottom = (int(v) for v in spots.boxes[n])
        box = (left, top, right, bottom)
        part = _near(box, _EDGE, scene.here.shape)
        own = spots.labels[part] == n
        differs = scene.here[part] - 0.5 * (scene.moved[0][part] + scene.moved[1][part])
        contrast = float(np.sqrt(np.mean(np.square(differs[motion.grow(own, _EDGE)]))))
        shown = scene.here[part][own]
        tone = np.median(shown, axis=0)
        uneven = float(np.sqrt(np.square(shown - tone).sum(1).mean()))
        apart = float(np.sqrt(np.square(differs[own].mean(0)).sum()))
        return _Spot(n, int(spots.areas[n]), box, max(contrast, _FAINT), tone, uneven, apart)

    @property
    def near_tone(self) -> float:
        """How far a pixel may be from its tone."""
        return _TONE * self.apart + _TONE_SPREAD * self.uneven


def _near(box: tuple[int, int, int, int], px: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns of a box and so many px around it, as far as they lie in the picture."""
    left, top, right, bottom = box
    return slice(max(0, top - px), min(shape[0], bottom + px)), slice(max(0, left - px), min(shape[1], right + px))


def _log(value: float) -> float:
    return float(np.log(max(value, _SMALL)))


def _square(planes: Planes) -> Picture:
    """(…) of (…, C): squared length of differences."""
    return np.asarray(np.einsum("...c,...c->...", planes, planes), np.float32)


@dataclass(frozen=True, slots=True)
class _Apart:
    """Squared differences of whole pictures, (H, W), which all spots ask for."""

    middle: Picture
    """Of the frame from the neighbours' mean, as they moved."""
    unlike: Picture
    """Of the neighbours, as they moved, from each other."""
    beside: tuple[Picture, Picture]
    """Of the frame from each neighbour as it is."""
    moved: tuple[Picture, Picture]
    """And as it moved."""

    @staticmethod
    def of(scene: Scene) -> _Apart:
        (before, after), here = scene.moved, scene.here
        beside, moved = ((_square(here - first), _square(here - last)) for first, last in (scene.beside, scene.moved))
        return _Apart(_square(here - 0.5 * (before + after)), _square(before - after), beside, moved)


def _unrest(scene: Scene) -> tuple[Numbers, float]:
    """(N,) how much the neighbours differ around each spot, those asked about left out; and what is usual."""
    spots = scene.suspects.spots
    hidden = motion.grow(spots.chosen(scene.asked), 3)
    close = motion.mean_outside(np.minimum(scene.unlike, _MOST), hidden, _CLOSE)
    return spots.sum(close) / np.maximum(spots.areas, 1), max(float(np.median(scene.unlike)), _LEAST)


def _crowd(scene: Scene, spoken: NDArray[np.bool_]) -> Numbers:
    """(N, 2): how many spots are near each, and how many of them are spoken for."""
    spots, shape = scene.suspects.spots, scene.here.shape[:2]
    side = max(3, shape[1] // 4) | 1
    x, y = np.clip(np.rint(spots.middles).astype(np.int64), 0, (shape[1] - 1, shape[0] - 1)).T
    counts = []
    for which in (scene.asked, spoken):
        places = np.zeros(shape, np.float32)
        np.add.at(places, (y[which], x[which]), 1.0)
        counts.append(motion.mean(places, side)[y, x] * side * side)
    return np.stack((np.log1p(counts[0]), counts[1] / np.maximum(counts[0], 1.0)), axis=1)


def _around(scene: Scene, spot: _Spot, apart: _Apart, taken: Mask) -> tuple[float, ...]:
    """From ``ring`` to ``ring_tone_apart``."""
    part = _near(spot.box, _WIDE_RING + 1, scene.here.shape)
    own = scene.suspects.spots.labels[part] == spot.n
    differs, unlike = apart.middle[part], apart.unlike[part]
    edge = motion.grow(own, _EDGE)
    ring = motion.grow(own, _WIDE_RING) & ~motion.grow(own, _EDGE + 1) & ~taken[part]
    inner = motion.grow(own, _RING) & ~edge
    alike = inner & (_square(scene.here[part] - spot.tone) < spot.near_tone**2)
    number = max(1, int(inner.sum()))

    def rms(squares: Picture, mask: Mask) -> float:
        return float(np.sqrt(squares[mask].mean())) if mask.any() else 0.0

    return (
        *(_log(max(rms(squares, ring), _FAINT / 5) / spot.contrast) for squares in (differs, unlike)),
        _log(max(rms(unlike, edge), _FAINT / 5) / spot.contrast),
        *_tones(scene, spot, apart),
        int(alike.sum()) / number,
        int((alike & (differs > (_ANEW * spot.apart) ** 2)).sum()) / number,
    )


def _tones(scene: Scene, spot: _Spot, apart: _Apart) -> tuple[float, ...]:
    """From ``tone_most`` to ``far_tone_least``."""
    found: list[float] = []
    near, anew = spot.near_tone**2, (_ANEW * spot.apart) ** 2
    for px, pictures, differs, most in (
        (scene.reach, scene.beside, apart.beside, 2.0),
        (scene.reach, scene.moved, apart.moved, 2.0),
        (3 * scene.reach, scene.beside, apart.beside, 4.0),
    ):
        part = _near(spot.box, px, scene.here.shape)
        room = ~motion.grow(scene.suspects.spots.labels[part] == spot.n, _EDGE)
        room &= _square(scene.here[part] - spot.tone) > near
        shares = []
        for picture, differ in zip(pictures, differs, strict=True):
            alike = room & (differ[part] > anew) & (_square(picture[part] - spot.tone) < near)
            shares.append(min(np.count_nonzero(alike) / spot.area, most))
        found += sorted(shares, reverse=True)
    return tuple(found)


def _looks(scene: Scene, spot: _Spot) -> tuple[float, ...]:
    """From ``area`` to ``long``."""
    spots, (left, top, right, bottom) = scene.suspects.spots, spot.box
    h, w = scene.here.shape[:2]
    part = _near(spot.box, 1, scene.here.shape)
    own = spots.labels[part] == spot.n
    peak, again = float(scene.suspects.peaks[spot.n]), max(float(scene.again[spot.n]), 0.1)
    under = [float(np.hypot(*f[top:bottom, left:right].reshape(-1, 2).mean(0))) for f in scene.flows]
    long, short = scene.suspects.axes[spot.n, kind_of(scene.suspects, spot.n)]
    return (
        np.log(spot.area / np.square(scene.reach)),
        np.log(peak),
        np.log(again),
        np.log(again / peak),
        spot.uneven / spot.contrast,
        np.log(spot.contrast),
        np.log(max(int((motion.grow(own, 1) & ~own).sum()), 1) / np.sqrt(spot.area)),
        float(left == 0 or top == 0 or right == w or bottom == h),
        np.log1p(max(under) / scene.reach),
        np.log(long / short),
    )


def _likes(scene: Scene, spot: _Spot, others: Sequence[Apart]) -> tuple[float, ...]:
    """From ``like_share`` to ``twins``."""
    found = [alike(scene.suspects, spot.n, other, scene.reach) for other in others]
    shares = [min(a.share, 5.0) for a in found]
    return np.log1p(sum(shares)), max(shares), min(sum(a.number for a in found), 5), sum(a.far for a in found)


def _seen_again(scene: Scene, spot: _Spot) -> tuple[bool, bool]:
    """``nearby`` and ``carried``."""
    if spot.area < _SPECK:
        return False, False
    spots, middle = scene.suspects.spots, 0.5 * (scene.moved[0] + scene.moved[1])
    rows, columns = _near(spot.box, _EDGE, scene.here.shape)
    inside = motion.grow(spots.labels[rows, columns] == spot.n, _EDGE)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    like = (_LIKE_LARGE if _is_large(scene, spot.n) else _LIKE) * spot.contrast
    return (
        any(motion.found_nearby(scene.here, inside, box, other, scene.reach, like) for other in scene.moved),
        any(
            carried(scene.here, p, way, spots, spot.n, middle) for p, way in zip(scene.beside, scene.ways, strict=True)
        ),
    )
