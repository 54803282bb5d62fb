"""The numbers that are told of one spot: its surroundings, its tone and where that is seen again, its looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import motion
from pipeline.restore.passes.carried import carried
from pipeline.restore.passes.scene import Scene
from pipeline.restore.passes.suspects import Alike, Planes, kind_of

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

EDGE = 2
"""Px around a spot that its edge may reach: there its surroundings begin."""
_LIKE, _LIKE_LARGE = 0.5, 0.45
"""A place in a neighbour is like a spot where it differs by less than this share of the spot's own contrast; of a large
one by less, for on a dirty film others come near it by chance."""
_SPECK = 2
"""Px below which a spot is too small to be told from others by its looks: flakes of snow are not."""
_TONE, _TONE_SPREAD = 0.3, 0.5
"""A pixel has a spot's tone where it differs by less than this share of its contrast, and this much of its own
unevenness."""
_ANEW = 0.5
"""And has it anew where it differs from the frame by this share of the contrast."""
_RING, _WIDE_RING = 6, 7
"""Px from a spot to where its surroundings end."""
_SMALL, _FAINT = 1e-3, 0.02
"""Below them nothing is told apart: a ratio, and a share of full range."""


@dataclass(frozen=True, slots=True)
class Spot:
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
    def of(scene: Scene, n: int) -> Spot:
        spots = scene.suspects.spots
        left, top, right, bottom = (int(v) for v in spots.boxes[n])
        box = (left, top, right, bottom)
        part = _near(box, EDGE, scene.here.shape)
        own = spots.labels[part] == n
        differs = scene.here[part] - scene.middle[part]
        contrast = float(np.sqrt(np.mean(np.square(differs[motion.grow(own, EDGE)]))))
        shown = scene.here[part][own]
        tone = np.median(shown, axis=0)
        uneven = float(np.sqrt(np.square(shown - tone).sum(1).mean()))
        apart = float(np.sqrt(np.square(differs[own].mean(0)).sum()))
        return Spot(n, int(spots.areas[n]), box, max(contrast, _FAINT), tone, uneven, apart)

    @property
    def near_tone(self) -> float:
        """How far a pixel may be from its tone."""
        return _TONE * self.apart + _TONE_SPREAD * self.uneven


def _near(box: tuple[int, int, int, int], px: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns of a box and so many px around it, as far as they lie in the picture."""
    left, top, right, bottom = box
    return slice(max(0, top - px), min(shape[0], bottom + px)), slice(max(0, left - px), min(shape[1], right + px))


def log(value: float) -> float:
    """Of a ratio; not of less than can be told."""
    return float(np.log(max(value, _SMALL)))


def _square(planes: Planes) -> Picture:
    """(…) of (…, C): squared length of differences."""
    return np.asarray(np.einsum("...c,...c->...", planes, planes), np.float32)


@dataclass(frozen=True, slots=True)
class Apart:
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
    def of(scene: Scene) -> Apart:
        (before, after), here = scene.moved, scene.here
        beside, moved = ((_square(here - first), _square(here - last)) for first, last in (scene.beside, scene.moved))
        return Apart(_square(here - scene.middle), _square(before - after), beside, moved)


def around(scene: Scene, spot: Spot, apart: Apart, taken: Mask) -> tuple[float, ...]:
    """From ``ring`` to ``ring_tone_apart``."""
    part = _near(spot.box, _WIDE_RING + 1, scene.here.shape)
    own = scene.suspects.spots.labels[part] == spot.n
    differs, unlike = apart.middle[part], apart.unlike[part]
    edge = motion.grow(own, EDGE)
    ring = motion.grow(own, _WIDE_RING) & ~motion.grow(own, EDGE + 1) & ~taken[part]
    inner = motion.grow(own, _RING) & ~edge
    alike = inner & (_square(scene.here[part] - spot.tone) < spot.near_tone**2)
    number = max(1, int(inner.sum()))

    def rms(squares: Picture, mask: Mask) -> float:
        return float(np.sqrt(squares[mask].mean())) if mask.any() else 0.0

    return (
        *(log(max(rms(squares, ring), _FAINT / 5) / spot.contrast) for squares in (differs, unlike)),
        log(max(rms(unlike, edge), _FAINT / 5) / spot.contrast),
        *_tones(scene, spot, apart),
        int(alike.sum()) / number,
        int((alike & (differs > (_ANEW * spot.apart) ** 2)).sum()) / number,
    )


def _tones(scene: Scene, spot: Spot, apart: Apart) -> tuple[float, ...]:
    """From ``tone_most`` to ``far_tone_least``."""
    found: list[float] = []
    near, anew = spot.near_tone**2, (_ANEW * spot.apart) ** 2
    beside, moved = (scene.beside, apart.beside), (scene.moved, apart.moved)
    for px, most, looked_at in ((scene.reach, 2.0, (beside, moved)), (3 * scene.reach, 4.0, (beside,))):
        part = _near(spot.box, px, scene.here.shape)
        room = ~motion.grow(scene.suspects.spots.labels[part] == spot.n, EDGE)
        room &= _square(scene.here[part] - spot.tone) > near
        for pictures, differs in looked_at:
            shares = []
            for picture, differ in zip(pictures, differs, strict=True):
                has = room & (differ[part] > anew) & (_square(picture[part] - spot.tone) < near)
                shares.append(min(np.count_nonzero(has) / spot.area, most))
            found += sorted(shares, reverse=True)
    return tuple(found)


def looks(scene: Scene, spot: Spot) -> tuple[float, ...]:
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


def likes(found: Sequence[Alike]) -> tuple[float, ...]:
    """From ``like_share`` to ``twins``."""
    shares = [min(a.share, 5.0) for a in found]
    return np.log1p(sum(shares)), max(shares), min(sum(a.number for a in found), 5), sum(a.far for a in found)


def seen_again(scene: Scene, spot: Spot) -> tuple[bool, bool]:
    """``nearby`` and ``carried``."""
    if spot.area < _SPECK:
        return False, False
    spots = scene.suspects.spots
    rows, columns = _near(spot.box, EDGE, scene.here.shape)
    inside = motion.grow(spots.labels[rows, columns] == spot.n, EDGE)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    like = (_LIKE_LARGE if spot.area >= scene.shaped else _LIKE) * spot.contrast
    return (
        any(motion.found_nearby(scene.here, inside, box, other, scene.reach, like) for other in scene.moved),
        any(
            carried(scene.here, p, way, spots, spot.n, scene.middle)
            for p, way in zip(scene.beside, scene.ways, strict=True)
        ),
    )
