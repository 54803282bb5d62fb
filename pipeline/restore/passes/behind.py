"""What stays with the frame while the scene moves behind it: band by band, the frames of a window against each other.

Each frame is parted into bands of rows. Two frames' bands are compared where the scene of one lies in the other: the
scene cancels, and so does every line that goes with it, however strong. What is a frame's own is left at its place, and
as a ghost of the other sign where the scene has gone to; over the pairs of a window the ghosts spread out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.restore.passes.kept import Kept

Picture = NDArray[np.float32]

BANDS = 16
"""Bands of rows that a line is followed through."""
LEAST = 1.0
"""Px, as lines are looked for, that the scene must have moved between two frames for them to be compared; twice that,
and they count in full."""
_SEEN_AT = 800
"""Px of width at which lines are looked for: of a picture twice as wide or more, the mean of whole px is taken."""
_FLOWN_AT = 480
"""Px of width at which movement is looked for."""
_STEEP = 0.005
"""Change of luma a px, across, from which a place tells how the scene moves sideways."""
_BROAD = 8
"""Share of the width, one in so many, over which movement is averaged: a line has little say in it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A frame as lines are looked for in it."""

    summed: Picture
    """(BANDS · rows + 1, W) sums of the rows above."""
    bands: Picture
    """(BANDS, W) means."""
    by: int
    """Px of the frame that one column stands for."""

    @property
    def rows(self) -> int:
        """Of a band."""
        return (len(self.summed) - 1) // BANDS


@dataclass(frozen=True, slots=True)
class Apart:
    """A frame's bands against another's, where the scene lies. All (BANDS, W)."""

    left: Picture
    """What the frame shows and the other does not."""
    weight: Picture
    """0 to 1: how far the scene has moved; 0 outside of the other frame."""
    x: Picture
    """Px to the right that the scene goes from the frame to the other."""


class Behind:
    """The frames of a window, compared. Pure; answers are kept as long as their frames are in the window."""

    def __init__(self, kept: Kept):
        self._kept = kept

    def sight(self, picture: Tensor) -> Sight:
        return self._kept.of("sight", lambda p: _sight(self._kept.luma(p)), picture)

    def apart(self, frames: Sequence[Tensor], j: int, k: int) -> Apart:
        """Frame j against frame k of a shot's successive frames."""

        def make(a: Tensor, b: Tensor) -> Apart:
            return _apart(self.sight(a), self.sight(b), self.way(frames, j, k))

        return self._kept.of("apart", make, frames[j], frames[k])

    def way(self, frames: Sequence[Tensor], j: int, k: int) -> Picture:
        """(BANDS, W, 2) px that the scene goes from frame j to frame k: right, then down."""
        if j == k:
            return np.zeros((*self.sight(frames[j]).bands.shape, 2), np.float32)
        before = k - 1 if k > j else k + 1

        def make(_: Tensor, __: Tensor) -> Picture:
            step = self._step(frames[before], frames[k], forward=k > j)
            if before == j:
                return step
            far = self.way(frames, j, before)
            return far + at_columns(step, far[..., 0])

        return self._kept.of("way", make, frames[j], frames[k])

    def _step(self, a: Tensor, b: Tensor, *, forward: bool) -> Picture:
        if forward:
            return self._kept.of("step", lambda p, q: _step(self._kept.luma(p), self._kept.luma(q)), a, b)
        there = self._step(b, a, forward=True)
        return -at_columns(there, -there[..., 0])


def at_columns(rows: Picture, shift: Picture) -> Picture:
    """``rows`` (BANDS, W, …) read ``shift`` (BANDS, W) px further right, linearly; beyond the edge the edge goes on."""
    w = rows.shape[1]
    x = np.clip(np.arange(w, dtype=np.float32) + shift, 0, w - 1)
    low = np.minimum(x.astype(np.int64), w - 2)
    part = (x - low).astype(np.float32)
    b = np.arange(len(rows))[:, None]
    if rows.ndim > 2:
        part = part[..., None]
    first = rows[b, low]
    return np.asarray(first + (rows[b, low + 1] - first) * part, np.float32)


def smooth(rows: Picture, wide: int) -> Picture:
    """Means over ``wide`` px (odd) along the second axis; beyond the edge the edge goes on."""
    half, w = wide // 2, rows.shape[1]
    padded = np.pad(rows, [(0, 0), (half + 1, half)] + [(0, 0)] * (rows.ndim - 2), mode="edge")
    summed = np.cumsum(padded, axis=1, dtype=np.float64)
    return np.asarray((summed[:, wide:] - summed[:, :w]) / wide, np.float32)


def _reduced(luma: Picture, by: int) -> Picture:
    """Means of ``by`` × ``by`` px."""
    if by == 1:
        return luma
    h, w = (n // by * by for n in luma.shape)
    total = np.zeros((h // by, w // by), np.float32)
    for y in range(by):
        for x in range(by):
            total += luma[y:h:by, x:w:by]
    return np.asarray(total / np.float32(by * by), np.float32)


def _seen_by(luma: Picture) -> int:
    """Px that are averaged, each way: of a wide and low picture only so many that its bands keep two rows."""
    return int(max(1, min(luma.shape[1] // _SEEN_AT, luma.shape[0] // (2 * BANDS))))


def _sight(luma: Picture) -> Sight:
    by = _seen_by(luma)
    small = _reduced(luma, by)
    h = small.shape[0] // BANDS
    summed = np.zeros((BANDS * h + 1, small.shape[1]), np.float32)
    np.cumsum(small[: BANDS * h], axis=0, out=summed[1:])
    return Sight(summed, np.asarray(np.diff(summed[::h], axis=0) / h, np.float32), by)


def _step(a: Picture, b: Picture) -> Picture:
    """(BANDS, W, 2) as ``Behind.way``, from one frame to the next: what textured places tell, averaged broadly."""
    seen = _seen_by(a)
    by = max(1, min(-(-a.shape[1] // _FLOWN_AT), a.shape[0] // (2 * BANDS)))
    small = _reduced(a, by)
    flow = motion.flow(small, _reduced(b, by))
    steep = np.abs(np.diff(motion.mean(small, 3), axis=1, append=small[:, -1:])) > 2 * _STEEP
    # A little of everything, for where nothing tells.
    weight = steep.astype(np.float32) + np.float32(1e-3)
    h, w = small.shape[0] // BANDS, small.shape[1]
    parts = np.dstack([flow * weight[..., None], weight])[: BANDS * h].reshape(BANDS, h, w, 3).mean(1)
    padded = np.pad(parts, ((1, 1), (0, 0), (0, 0)), mode="edge")
    parts = smooth(padded[:-2] + padded[1:-1] + padded[2:], max(9, w // _BROAD) | 1)
    told = parts[..., :2] / parts[..., 2:] * np.float32(by / seen)
    # As many columns as lines are looked for in.
    columns = (np.arange(a.shape[1] // seen, dtype=np.float32) + 0.5) * seen / by - 0.5
    low = np.clip(columns.astype(np.int64), 0, w - 2)
    part = np.clip(columns - low, 0, 1)[:, None].astype(np.float32)
    return np.asarray(told[:, low] * (1 - part) + told[:, low + 1] * part, np.float32)


def _apart(a: Sight, b: Sight, way: Picture) -> Apart:
    w, tall = a.bands.shape[1], BANDS * a.rows
    x = way[..., 0] + np.arange(w, dtype=np.float32)
    first = np.arange(BANDS, dtype=np.float32)[:, None] * a.rows
    high, low = (np.clip(first + way[..., 1] + d, 0, tall) for d in (0, a.rows))
    # Read at a row of the sums: `warp` counts from the band's number.
    upper, lower = (
        motion.warp(b.summed, np.dstack([way[..., 0], row - np.arange(BANDS, dtype=np.float32)[:, None]]))
        for row in (high, low)
    )
    rows = low - high
    weight = np.clip(np.abs(way[..., 0]) / np.float32(LEAST) - 1, 0, 1)
    weight[(x < 0) | (x > w - 1) | (rows < 0.5 * a.rows)] = 0
    left = np.where(weight > 0, a.bands - (lower - upper) / np.maximum(rows, 1), 0)
    return Apart(left.astype(np.float32), weight.astype(np.float32), way[..., 0])
