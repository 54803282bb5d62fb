"""What speaks for a spot's being dirt, and what for its being a thing that moves: numbers, for ``judge`` to weigh.

No single one of them decides: dirt may lie beside an edge that moves, and have its like in a neighbour by chance; a
limb may swing before a flat wall, where both neighbours agree on what lies behind it. All are free of the picture's
size: lengths go by the way that things move between frames, levels by the spot's own contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import motion
from pipeline.restore.passes.passing import passes
from pipeline.restore.passes.scene import Scene
from pipeline.restore.passes.spot import EDGE, Apart, Spot, around, likes, log, looks, seen_again
from pipeline.restore.passes.suspects import alike, speak_of_movement

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

_CLOSE = 15
"""Side in px of the neighbourhood that tells of unrest."""
_MOST, _LEAST, _CALM = 0.2, 0.002, 0.3
"""A pixel's greatest share in unrest, and the least that is usual: shares of full range. And the least ratio to what is
usual: calmer is as good."""
_DISTRUST, _UNREST = 0.3, 3.0
"""From this share of distrust on, and this many times the usual difference of the neighbours, movement is in doubt."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of the spots that are asked about."""

    unsure: NDArray[np.bool_]
    """(N,) those that are small, with the movement around them in doubt: little is lost by leaving such a one, and the
    tips of limbs are such. Nothing more is told of them."""
    weighed: NDArray[np.bool_]
    """(N,) all the others."""
    rows: NDArray[np.float32]
    """(K, ``NAMES``) of these, in the order of their numbers."""


def evidence(scene: Scene) -> Evidence:
    """Of a scene's spots."""
    spots = scene.suspects.spots
    distrust = np.max([spots.sum(doubtful) for doubtful in scene.doubtful], axis=0) / np.maximum(spots.areas, 1)
    close, usual = _unrest(scene)
    unrest = np.log(np.maximum(close / usual, _CALM))
    unsure = scene.asked & (spots.areas < scene.shaped) & ((distrust >= _DISTRUST) | (unrest > np.log(_UNREST)))
    alikes = {n: [alike(scene.suspects, n, s.apart, scene.reach) for s in scene.sides] for n in _numbers(scene.asked)}
    spoken = np.zeros(len(spots), np.bool_)
    for n, found in alikes.items():
        spoken[n] = speak_of_movement(found)
    apart = Apart.of(scene)
    crowd = _crowd(scene, spoken)
    taken = motion.grow(spots.chosen(scene.asked), EDGE)
    weighed = scene.asked & ~unsure
    rows = np.zeros((int(weighed.sum()), len(NAMES)), np.float32)
    for row, n in zip(rows, _numbers(weighed), strict=True):
        spot = Spot.of(scene, n)
        row[:] = (
            distrust[n],
            unrest[n],
            log(close[n] / spot.contrast),
            *around(scene, spot, apart, taken),
            *looks(scene, spot),
            *likes(alikes[n]),
            spoken[n],
            *seen_again(scene, spot),
            *crowd[n],
        )
    return Evidence(unsure, weighed, rows)


def passing(scene: Scene, which: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) those ``which`` (N,) go on from frame to frame: what five frames show is no chance, whatever else is told of
    a spot. A small one has no look that others would not have by chance."""
    found = np.zeros(len(which), np.bool_)
    spots = scene.suspects.spots
    for n in _numbers(which & (spots.areas >= scene.shaped)):
        found[n] = passes(scene.here, scene.sides, spots, n, scene.middle)
    return found


def _numbers(which: NDArray[np.bool_]) -> list[int]:
    return [int(n) for n in np.flatnonzero(which)]


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
