"""What looks like dirt in a frame: spots that differ from both neighbours, and what speaks for their being things that
move. SDIp (Kokaram 1998): a pixel is suspect where it differs from both motion-compensated neighbours, in the same
direction, while those agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.motion import Regions

Picture = NDArray[np.float32]
Planes = NDArray[np.float32]
"""(H, W, 3): luma, and what blue and red differ from it by (see ``planes``); (H, W, 1) of grey film."""
Mask = NDArray[np.bool_]

AROUND = 31
"""Side in px of the neighbourhood that tells of movement and brightness under a spot."""
_STANDS_OUT = 9.0
"""A spot stands out this many times from what the frame differs by around it."""
_COLOUR = 0.64
"""Of a difference of colour, what counts as much as one of luma."""
_GREY = 1 / 1024
"""Share of full range up to which a difference of colour is none: rounding."""
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
_TWIN, _TWIN_LEVEL, _TWIN_REACH = 0.8, 0.03, 3.0
"""One alone is no chance where it is the spot over again: the smaller has this share of the larger's area, and the mean
lumas differ by no more than this share of full range. Where both neighbours have one, it may be so many times as far
away: on a dirty film one is found by chance."""
LARGE, _SHAPED = 0.5, 1.4
"""A spot has a shape where its side is this share of the way that things go; then what is like it is no more than so
many times as long or as wide, however it is turned."""


@dataclass(frozen=True, slots=True)
class Outside:
    """By how much a picture differs from both others, place by place, all (H, W)."""

    strength: Picture
    """In thresholds of the place: the smaller of the two differences; 0 where they have not the same sign."""
    plain: Picture
    """The same without the room for half a pixel of error: how far a spot reaches, once it is known to be one."""
    kind: NDArray[np.int8]
    """Twice the number of the plane in which it differs the most, and 1 more where it lies above both there."""
    by_kind: Sequence[Picture]
    """Strength of each kind alone."""
    far: tuple[Mapping[int, Picture], Mapping[int, Picture]]
    """Of each other picture: number of a plane → by how many thresholds this one lies above it."""

    def spots(self) -> Regions:
        return motion.regions(self.strength > _SPOT)


@dataclass(frozen=True, slots=True)
class Suspects:
    """What differs from both neighbours, spot by spot."""

    kind: NDArray[np.int8]
    """(H, W) as in ``Outside``."""
    spots: Regions
    peaks: NDArray[np.float32]
    """(N,) strength of each spot where it is greatest."""
    by_kind: NDArray[np.float32]
    """(N, 2·planes) the same of each kind alone."""
    areas: NDArray[np.float64]
    """(N, 2·planes) px of each spot that are of each kind."""
    levels: NDArray[np.float64]
    """(N, 2·planes) their means in the kind's plane."""
    axes: NDArray[np.float64]
    """(N, 2·planes, 2) px of each kind's part of each spot (see ``Regions.axes``)."""
    apart: tuple[Apart, Apart]
    """What differs from the picture before, and from the one after, whatever the other shows: a thing that moves is
    there even where it stands still for a moment on its other side, as limbs do when they turn back."""


@dataclass(frozen=True, slots=True)
class Apart:
    """What lies above one other picture in a plane, and what below: regions, all together."""

    middles: NDArray[np.float64]
    """(N, 2): x, y."""
    sides: NDArray[np.int64]
    """(N,) px, the longer one."""
    areas: NDArray[np.int64]
    """(N,) px."""
    peaks: NDArray[np.float32]
    """(N,) by how many thresholds, at most."""
    kinds: NDArray[np.int64]
    """(N,) as ``kind`` in ``Suspects``."""
    levels: NDArray[np.float64]
    """(N,) mean in the plane."""
    axes: NDArray[np.float64]
    """(N, 2) px (see ``Regions.axes``)."""

    @staticmethod
    def of(far: Mapping[int, Picture], here: Planes) -> Apart:
        """far: number of a plane → (H, W) by how many thresholds ``here`` lies above the other picture in it."""
        found = [
            (motion.regions(sign * f > _APART), sign * f, here[..., plane], 2 * plane + (sign > 0))
            for plane, f in far.items()
            for sign in (1, -1)
        ]
        return Apart(
            np.concatenate([r.middles[1:] for r, *_ in found]),
            np.concatenate([(r.boxes[1:, 2:] - r.boxes[1:, :2]).max(1, initial=0) for r, *_ in found]),
            np.concatenate([r.areas[1:] for r, *_ in found]),
            np.concatenate([r.most(f)[1:] for r, f, _, _ in found]),
            np.concatenate([np.full(len(r) - 1, kind) for r, _, _, kind in found]),
            np.concatenate([_levels(r, plane)[1:] for r, _, plane, _ in found]),
            np.concatenate([r.axes()[1:] for r, *_ in found]),
        )


def planes(rgb: Tensor, luma: Picture) -> Planes:
    """Of (3, H, W): luma, and by what blue and red differ from it: a spot as bright as what it hides is seen by its
    colour. Of a picture without any colour luma alone."""
    differences = (rgb[[2, 0]] - torch.from_numpy(luma).to(rgb.device)).mul_(_COLOUR)
    if float(differences.abs().max()) < _GREY:
        return luma[..., None]
    return np.dstack((luma, *differences.cpu().numpy()))


def evened(*pictures: Picture | Planes) -> list[Planes]:
    """With as many planes as the one of them that has the most; those that one lacks are without colour."""
    number = max(p.shape[2] if p.ndim == 3 else 1 for p in pictures)
    found = [p if p.ndim == 3 else p[..., None] for p in pictures]
    return [np.pad(p, ((0, 0), (0, 0), (0, number - p.shape[2]))) if p.shape[2] < number else p for p in found]


def outside(here: Planes, others: Sequence[Planes], threshold: float, mask: Mask | None = None) -> Outside:
    """What lies outside both other pictures' range alike, in one plane or more. Their brightness is first made this
    one's.

    others: the two neighbours', as they moved; threshold: share of full range. mask: known spots; what the pictures
    differ by elsewhere tells how far a spot must stand out. Without it the first look finds them. Pictures (H, W) are
    of luma alone.
    """
    here, *others = evened(here, *others)
    strength, plain = np.zeros(here.shape[:2], np.float32), np.zeros(here.shape[:2], np.float32)
    kind = np.zeros(here.shape[:2], np.int8)
    of_kind: list[Picture] = []
    far: tuple[dict[int, Picture], dict[int, Picture]] = ({}, {})
    for plane in range(here.shape[2]):
        three = [np.ascontiguousarray(p[..., plane]) for p in (here, *others)]
        if plane and max(p.max() for p in three) - min(p.min() for p in three) < 0.5 * threshold:
            of_kind += [np.zeros_like(strength)] * 2
            continue  # no colour, or one tint: nothing in it can stand out by the threshold
        differs = _differs(three[0], three[1:], threshold, mask)
        of_kind += [np.where(side, differs.strength, 0) for side in (~differs.above, differs.above)]
        more = differs.strength > strength
        kind[more] = 2 * plane + differs.above[more]
        strength, plain = np.maximum(strength, differs.strength), np.maximum(plain, differs.plain)
        for side, found in zip(far, differs.far, strict=True):
            side[plane] = found
    return Outside(strength, plain, kind, of_kind, far)


def by_spot(found: Outside, here: Planes) -> Suspects:
    """What stands out of a picture, spot by spot."""
    spots, of_kind = found.spots(), found.by_kind
    peaks = np.stack([spots.most(s) for s in of_kind], axis=1)
    # Of each kind the pixels that are of it, as the neighbours' regions are of one kind each.
    parts = [s > _SPOT for s in of_kind]
    areas = np.stack([spots.sum(part) for part in parts], axis=1)
    levels = np.stack([spots.sum(np.where(part, here[..., k // 2], 0)) for k, part in enumerate(parts)], axis=1)
    levels /= np.maximum(areas, 1)
    axes = np.stack([spots.axes(part) for part in parts], axis=1)
    before, after = (Apart.of(side, here) for side in found.far)
    return Suspects(found.kind, spots, peaks.max(1), peaks, areas, levels, axes, (before, after))


class _Differs(NamedTuple):
    """In one plane, all (H, W) and in thresholds of the place."""

    strength: Picture
    plain: Picture
    above: Mask
    far: tuple[Picture, Picture]


def _differs(here: Picture, others: Sequence[Picture], threshold: float, mask: Mask | None) -> _Differs:
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
    return _Differs(size / level, plain, e1 > 0, (e1 / level, e2 / level))


def _levels(regions: Regions, luma: Picture) -> NDArray[np.float64]:
    return regions.sum(luma) / np.maximum(regions.areas, 1)


def speak_of_movement(found: Sequence[Alike]) -> bool:
    """Whether what each neighbour has that is like a spot is more than chance: some in each of them, or much in one,
    for what rains or sparkles comes in other pieces each time, and limbs turn."""
    count, part = [a.number for a in found], [a.share for a in found]
    return all(a.far for a in found) or (max(part) >= _PART and (min(count) > 0 or sum(count) >= _SEVERAL))


def kind_of(suspects: Suspects, n: int) -> int:
    """The kind of most of a spot: a highlight on a coloured thing does not speak for the thing."""
    strong = suspects.by_kind[n] >= 1.0
    return int(np.argmax(np.where(strong, suspects.areas[n], 0)))


class Alike(NamedTuple):
    """What a neighbour has that is like a spot."""

    number: int
    share: float
    """Their area as a share of the spot's."""
    far: bool
    """It has the spot's twin, though perhaps further away."""


def alike(suspects: Suspects, n: int, other: Apart, reach: float) -> Alike:
    """What differs from this frame in a neighbour, is of spot ``n``'s kind (above or below in the same plane), and lies
    within ``reach`` px of it, besides their own sizes; a twin alone counts as several."""
    kind = kind_of(suspects, n)
    box, area = suspects.spots.boxes[n], max(1.0, float(suspects.areas[n, kind]))
    own = int((box[2:] - box[:2]).max())
    away = np.hypot(*(other.middles - suspects.spots.middles[n]).T) - 0.75 * (other.sides + own)
    ratio = other.areas / area
    like = (other.kinds == kind) & (other.peaks >= _FAINTER * suspects.by_kind[n, kind])
    if area >= np.square(LARGE * reach):  # it has a shape, that a chance meeting would not have
        like &= np.abs(np.log(other.axes / suspects.axes[n, kind])).max(1, initial=0) < np.log(_SHAPED)
    twins = like & (away < _TWIN_REACH * reach) & (ratio > _TWIN) & (ratio < 1 / _TWIN)
    twins &= np.abs(other.levels - suspects.levels[n, kind]) < _TWIN_LEVEL
    if (twins & (away < reach)).any():
        return Alike(_SEVERAL, 1.0, True)
    near = like & (away < reach) & (ratio <= _LARGER) & (ratio >= _PIECE)
    return Alike(int(near.sum()), float(ratio[near].sum()), bool(twins.any()))
