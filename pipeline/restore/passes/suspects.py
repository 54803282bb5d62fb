"""What looks like dirt in a frame: spots that differ from both neighbours, and what speaks for their being things that
move. SDIp (Kokaram 1998): a pixel is suspect where it differs from both motion-compensated neighbours, in the same
direction, while those agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import motion
from pipeline.motion import Regions

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

AROUND = 31
"""Side in px of the neighbourhood that tells of movement and brightness under a spot."""
_STANDS_OUT = 9.0
"""A spot stands out this many times from what the frame differs by around it."""
_SPOT = 0.4
"""Thresholds down to which a spot reaches."""
_APART = 0.6
"""Thresholds by which a region differs from one neighbour alone."""
_LARGER, _PIECE = 2.5, 0.08
"""What a neighbour has nearby is like a spot where it has no more than so many times its area: else it is another
blotch altogether; and no less than this share of it."""
_FAINTER = 0.5
"""And where it stands out by this share of what the spot does."""
_PART = 0.4
"""It counts where, together, it has this share of the spot's area in one of the neighbours."""
_SEVERAL = 3
"""So many, in both neighbours together, are no chance, though one of them had none."""
_CLOSE = 15
"""Side in px of the neighbourhood that tells of unrest."""
_UNREST = 3.0
"""Times the picture's usual difference between the neighbours that is unrest."""
_MOST, _LEAST = 0.2, 0.002
"""A pixel's greatest share in unrest, and the least that is usual: shares of full range."""
_TWIN, _TWIN_LEVEL, _TWIN_REACH = 0.8, 0.03, 3.0
"""One alone is no chance where it is the spot over again: the smaller has this share of the larger's area, and the mean
lumas differ by no more than this share of full range. It may be so many times as far away."""


@dataclass(frozen=True, slots=True)
class Suspects:
    """What differs from both neighbours."""

    strength: Picture
    """(H, W) by how much, in thresholds of the place: the smaller of the two differences; 0 where they have not the
    same sign."""
    plain: Picture
    """The same without the room for half a pixel of error: how far a spot reaches, once it is known to be one."""
    sign: Mask
    """Brighter than both."""
    spots: Regions
    peaks: NDArray[np.float32]
    """(N,) strength of each spot where it is greatest."""
    bright: NDArray[np.bool_]
    """(N,) whether it is brighter than both."""
    levels: NDArray[np.float64]
    """(N,) mean luma."""
    apart: tuple[Apart, Apart]
    """What differs from the picture before, and from the one after, whatever the other shows: a thing that moves is
    there even where it stands still for a moment on its other side, as limbs do when they turn back."""


@dataclass(frozen=True, slots=True)
class Apart:
    """What is brighter than one other picture, and what is darker: regions, those of both together."""

    middles: NDArray[np.float64]
    """(N, 2): x, y."""
    sides: NDArray[np.int64]
    """(N,) px, the longer one."""
    areas: NDArray[np.int64]
    """(N,) px."""
    peaks: NDArray[np.float32]
    """(N,) by how many thresholds, at most."""
    bright: NDArray[np.bool_]
    """(N,)."""
    levels: NDArray[np.float64]
    """(N,) mean luma."""

    @staticmethod
    def of(far: Picture, luma: Picture) -> Apart:
        """far: (H, W) by how many thresholds ``luma`` differs, brighter above 0."""
        found = [(motion.regions(sign * far > _APART), sign) for sign in (1, -1)]
        return Apart(
            np.concatenate([r.middles[1:] for r, _ in found]),
            np.concatenate([(r.boxes[1:, 2:] - r.boxes[1:, :2]).max(1, initial=0) for r, _ in found]),
            np.concatenate([r.areas[1:] for r, _ in found]),
            np.concatenate([r.most(sign * far)[1:] for r, sign in found]),
            np.concatenate([np.full(len(r) - 1, sign > 0) for r, sign in found]),
            np.concatenate([_levels(r, luma)[1:] for r, _ in found]),
        )


def against(here: Picture, others: Sequence[Picture], threshold: float, mask: Mask | None = None) -> Suspects:
    """What lies outside both other pictures' range alike. Their brightness is first made this one's.

    here: (H, W) luma; others: the two neighbours', as they moved; threshold: share of full range. mask: known spots;
    what the pictures differ by elsewhere tells how far a spot must stand out. Without it the first look finds them.
    """
    (e1, d1), (e2, d2) = (motion.beyond(here, other, threshold, 2 * AROUND + 1) for other in others)
    size = np.minimum(np.abs(e1), np.abs(e2))
    size[(e1 > 0) != (e2 > 0)] = 0
    usual = np.minimum(np.minimum(np.abs(d1), np.abs(d2)), threshold)
    rough = size > 0.5 * threshold if mask is None else mask
    around = motion.mean_outside(usual, motion.grow(rough, 3), AROUND)
    level = np.maximum(np.float32(threshold), _STANDS_OUT * around)
    # Where the neighbours themselves are of two minds, something moves.
    size[np.abs(d1 - d2) > np.maximum(0.7 * size, 0.5 * level)] = 0
    plain = np.where((d1 > 0) == (d2 > 0), np.minimum(np.abs(d1), np.abs(d2)), 0) / level
    strength, spots = size / level, motion.regions(size > _SPOT * level)
    return Suspects(
        strength,
        plain,
        e1 > 0,
        spots,
        spots.most(strength),
        spots.sum(e1 > 0) > 0.5 * spots.areas,
        _levels(spots, here),
        (Apart.of(e1 / level, here), Apart.of(e2 / level, here)),
    )


def _levels(regions: Regions, luma: Picture) -> NDArray[np.float64]:
    return regions.sum(luma) / np.maximum(regions.areas, 1)


def amid_unrest(spots: Regions, found: NDArray[np.bool_], unlike: Picture) -> NDArray[np.bool_]:
    """(N,) whether the neighbours are of two minds close around a spot, by far more than elsewhere in the picture.

    Legs that open and close, a stick, a hand: between them the neighbours may agree by chance on what is not there.
    found: (N,) the spots that are known; beneath them nothing is asked. unlike: (H, W)
    by how much the two neighbours differ, as they moved.
    """
    close = motion.mean_outside(np.minimum(unlike, _MOST), motion.grow(spots.chosen(found), 3), _CLOSE)
    usual = max(float(np.median(unlike)), _LEAST)
    return spots.sum(close) > _UNREST * usual * np.maximum(spots.areas, 1)


def speak_of_movement(suspects: Suspects, n: int, others: Sequence[Apart], reach: float) -> bool:
    """Whether the neighbours have something of a spot's kind nearby, and more than by chance: in each of them, or much
    in one.

    n: the spot; others: what differs from this frame in each neighbour; reach: px that things may move, besides their
    own size. By kind: as bright or dark, and together a good part as large, for what rains or sparkles comes in other
    pieces each time, and limbs turn.
    """
    alike = [_alike(suspects, n, other, reach) for other in others]
    count, part = [number for number, _ in alike], [share for _, share in alike]
    return bool(alike) and max(part) >= _PART and (min(count) > 0 or sum(count) >= _SEVERAL)


def _alike(suspects: Suspects, n: int, other: Apart, reach: float) -> tuple[int, float]:
    """How many a neighbour has nearby that are like the spot, and their area as a share of the spot's."""
    box, area = suspects.spots.boxes[n], suspects.spots.areas[n]
    own = int((box[2:] - box[:2]).max())
    away = np.hypot(*(other.middles - suspects.spots.middles[n]).T) - 0.75 * (other.sides + own)
    ratio = other.areas / area
    kind = (other.bright == suspects.bright[n]) & (other.peaks >= _FAINTER * suspects.peaks[n])
    twins = kind & (away < _TWIN_REACH * reach) & (ratio > _TWIN) & (ratio < 1 / _TWIN)
    twins &= np.abs(other.levels - suspects.levels[n]) < _TWIN_LEVEL
    near = kind & (away < reach) & (ratio <= _LARGER) & (ratio >= _PIECE)
    return (_SEVERAL, 1.0) if twins.any() else (int(near.sum()), float(ratio[near].sum()))
