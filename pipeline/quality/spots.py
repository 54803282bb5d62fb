"""Spots that one frame shows alone: dirt, counted where no pass repaired it.

SDIp (Kokaram 1998): a pixel is suspect where it differs from both neighbours, as they moved, in the same direction. It
does not count where the flows there and back disagree around it, nor where both neighbours show that something of the
spot's kind went elsewhere: what moves too fast for the flow leaves a hole where it was and where it will be. Pictures
are ``(H, W)`` float32 in 8-bit codes, reduced to about 320 px of width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import motion

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

_LEAST = 32
"""Px of a side below which there is no flow, and nothing is told."""
_STANDS_OUT = 20.0
"""8-bit codes by which a spot differs from both neighbours; what is larger than a px of the reduced picture does."""
_USUAL = 9.0
"""And this many times what the frame differs by around it: grain, and what moves badly."""
_AROUND = 15
"""Side in px of the neighbourhood that tells of brightness and movement under a spot."""
_REACH = 0.04
"""How far things move between frames, as a share of the width, at most: so far around a spot its kind is looked for."""
_PART = 0.4
"""What is found there counts where it has this share of the spot's area."""
_LARGEST = 0.005
"""Area of the largest spot, as a share of the picture: more is what passes by."""
_TRUST = 0.75
"""Px by which the flows there and back may disagree, besides a tenth of their length."""
_EVERY = 4
"""Px between the places where that is asked."""
_FAR = 8.0
"""Px of disagreement beyond which more makes no difference."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A frame beside another."""

    picture: Picture
    there: motion.Flow
    """From the frame to it."""
    back: motion.Flow
    """From it to the frame."""


def share(here: Picture, neighbours: tuple[Neighbour, Neighbour]) -> float:
    """Share of the pixels of ``here`` that lie in spots which neither neighbour has."""
    if min(here.shape) < _LEAST:
        return 0.0
    moved = (motion.warp(n.picture, n.there) for n in neighbours)
    (a, plain_a), (b, plain_b) = (motion.beyond(here, m, _STANDS_OUT, 2 * _AROUND + 1) for m in moved)
    size = np.minimum(np.abs(a), np.abs(b))
    size[(a > 0) != (b > 0)] = 0
    usual = np.minimum(np.minimum(np.abs(plain_a), np.abs(plain_b)), _STANDS_OUT)
    level = np.maximum(_STANDS_OUT, _USUAL * _outside(usual, motion.grow(size > 0.5 * _STANDS_OUT, 2), _AROUND))
    # Where the neighbours themselves are of two minds, something moves.
    size[np.abs(plain_a - plain_b) > np.maximum(0.7 * size, 0.5 * level)] = 0
    if not (size >= level).any():
        return 0.0
    rough = size > 0.4 * level
    spots = motion.regions(rough)

    def share_of(mask: Mask) -> NDArray[np.float64]:
        """(N,) of each spot's pixels."""
        return np.asarray(spots.sum(mask) / np.maximum(spots.areas, 1))

    strong = (share_of(size >= level) > 0) & (spots.areas <= _LARGEST * here.size)
    strong &= share_of(_astray(here, neighbours, rough)) < 0.3
    moves = _went(spots, strong, [plain_a, plain_b], share_of(a > 0) > 0.5, level)
    kept = strong & ~moves
    if kept.any() and moves.any():
        # Amid more that moves than that is dirt a spot is no safer than they: rain, water, crowds.
        side = here.shape[1] // 4 | 1
        dirt, moving = (motion.mean(spots.chosen(w).astype(np.float32), side) for w in (kept, moves))
        kept &= share_of(moving > dirt) <= 0.5
    return float(spots.areas[kept].sum() / here.size)


def _outside(picture: Picture, mask: Mask, side: int) -> Picture:
    """Means of what is not in the mask around each pixel."""
    weight = np.float32(1) - mask
    return np.asarray(motion.mean(picture * weight, side) / np.maximum(motion.mean(weight, side), np.float32(0.02)))


def _astray(here: Picture, neighbours: Sequence[Neighbour], rough: Mask) -> Mask:
    """Where the flows there and back disagree around a pixel, other than in a flat place, where they may. A flow is
    smooth: it is asked at every fourth pixel each way."""
    few = (slice(None, None, _EVERY),) * 2
    covered = motion.grow(rough, 3)[few]
    smooth = motion.mean(here, _EVERY)[few]
    steep = np.maximum(
        np.abs(np.diff(smooth, axis=1, append=smooth[:, -1:])), np.abs(np.diff(smooth, axis=0, append=smooth[-1:]))
    )
    steep *= np.float32(1 / _EVERY)
    rows, columns = np.ogrid[: here.shape[0] : _EVERY, : here.shape[1] : _EVERY]
    astray = np.zeros(smooth.shape, np.bool_)
    for n in neighbours:
        there = n.there[few]
        x = np.clip(columns + np.rint(there[..., 0]).astype(np.int32), 0, here.shape[1] - 1)
        y = np.clip(rows + np.rint(there[..., 1]).astype(np.int32), 0, here.shape[0] - 1)
        apart = np.sqrt(np.square(there + n.back[y, x]).sum(-1))
        allowed = _TRUST + 0.1 * np.sqrt(np.square(there).sum(-1))
        matters = np.clip(apart - allowed, 0, _FAR) * steep
        astray |= _outside(matters, covered, _AROUND // _EVERY | 1) > 0.4 * _STANDS_OUT
    whole: Mask = astray.repeat(_EVERY, 0).repeat(_EVERY, 1)[: here.shape[0], : here.shape[1]]
    return whole


def _went(
    spots: motion.Regions, asked: NDArray[np.bool_], apart: Sequence[Picture], bright: NDArray[np.bool_], level: Picture
) -> NDArray[np.bool_]:
    """(N,) whether a spot is asked for, and both neighbours lack near it about as much of its kind as it is. bright:
    (N,)."""
    found = np.zeros(len(spots), np.bool_)
    least = max(6, round(_REACH * level.shape[1]))
    for n in np.flatnonzero(asked):
        left, top, right, bottom = (int(v) for v in spots.boxes[n])
        # What is seen between the neighbours counts too: the larger it is, the farther it may have come.
        reach = least + max(right - left, bottom - top)
        near = np.s_[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach]
        enough = (-0.6 if bright[n] else 0.6) * level[near]
        holes = (a[near] < enough if bright[n] else a[near] > enough for a in apart)
        found[n] = all(np.count_nonzero(h) >= _PART * spots.areas[n] for h in holes)
    return found
