"""Where the picture changes from one shot to the next: a local matter, decided from a frame's nearest neighbours alone.

Because a decision reads RADIUS frames on either side and nothing else, every tile that holds them finds the same cuts,
wherever its borders lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Frames

RADIUS = 2
"""Frames on either side of a border between two frames that decide whether it is a cut."""

ROWS, COLUMNS = 24, 32
_PATTERN = 0.42
"""Least distance of two frames at a cut: 0 equal, about 0.8 for unrelated pictures; movement seldom reaches 0.2."""
_KEPT = 0.8
"""Share of the blocks that count: a blotch or a passer-by in the rest is no cut."""
_STANDS_OUT = 1.6
"""A cut's distance stands out this many times from the movement beside it."""
_UNRELATED = 0.6
"""Distance of pictures that need not stand out: so unlike are 94 in 100 pairs of unrelated photographs, and a pan only
where it crosses a quarter of the picture's width from frame to frame, when a neighbour is of no use either."""
_FLASH = 0.5
"""Around a flash the frames on its two sides differ by less than this share of their distance to it."""
_NOISE = 2.0
"""Contrast in 8-bit codes that counts as none: two flat frames are alike whatever their grain."""
_MEAN_STEP = 110.0
"""A step of mean brightness, in 8-bit codes, that is a cut between flat pictures; old film's flicker is far less."""


def signature(frames: Frames) -> NDArray[np.float32]:
    """Small pictures to compare frames by.

    Returns (N, ROWS, COLUMNS) float32 block means of luma (of the mean of R, G and B), in 8-bit codes 0–255.
    Each frame's depends on that frame alone.
    """
    fmt = frames.format
    parts = fmt.components if fmt.model == "rgb" else fmt.components[:1]
    total: NDArray[np.float32] | None = None
    for c in parts:
        plane = frames.planes[c.plane]
        plane = plane if plane.ndim == 3 else plane[..., c.sample]
        block = _block_means(plane)
        total = block if total is None else total + block
    assert total is not None  # every format has a component
    full = 1.0 if fmt.is_float else float((1 << fmt.depth) - 1) * (1 << parts[0].shift)
    return (total * np.float32(255.0 / (full * len(parts)))).astype(np.float32)


def _block_means(plane: NDArray[Any]) -> NDArray[np.float32]:
    n, h, w = plane.shape
    rows, columns = min(ROWS, h), min(COLUMNS, w)
    bh, bw = h // rows, w // columns
    # At most 8 × 8 samples a block: enough for a mean, and a 4K frame costs no more than a small one.
    sh, sw = -(-bh // 8), -(-bw // 8)
    out = np.empty((n, ROWS, COLUMNS), np.float32)
    for i in range(n):
        part = plane[i, : bh * rows, : bw * columns].reshape(rows, bh, columns, bw)[:, ::sh, :, ::sw]
        if part.dtype.kind == "f":
            part = np.nan_to_num(part.astype(np.float32), posinf=1.0, neginf=0.0).clip(0.0, 1.0)
        mean = part.mean(axis=(1, 3), dtype=np.float64)
        # A picture smaller than the grid repeats its last row and column: a constant shape for every picture.
        out[i] = np.pad(mean, ((0, ROWS - rows), (0, COLUMNS - columns)), mode="edge")
    return out


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """How unlike two runs of signatures are, pair by pair.

    Brightness is taken out, so that flicker does not count, and the blocks that differ most are left out, so that a
    large blotch does not: at a cut nearly every block differs.
    """
    x, y = a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
    mx, my = np.median(x, 1, keepdims=True), np.median(y, 1, keepdims=True)
    x, y = x - mx, y - my
    apart = (x - y) ** 2
    kept = np.argsort(apart, axis=1, kind="stable")[:, : int(apart.shape[1] * _KEPT)]
    top = np.take_along_axis(apart, kept, 1).sum(1)
    power = np.take_along_axis(x * x + y * y, kept, 1).sum(1) + kept.shape[1] * _NOISE**2
    distance: NDArray[np.float64] = np.maximum(np.sqrt(top / power), np.abs(mx - my)[:, 0] / _MEAN_STEP * _PATTERN)
    return distance


def find(signatures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which frames begin a shot.

    signatures: (N, ROWS, COLUMNS) of consecutive frames. Returns (N,) bool: True where the picture changes before the
    frame. The first is False (nothing is known before it). A decision is final where RADIUS frames lie on either side
    of the border, or where the reel itself ends there.

    A border is a cut where the two frames are unlike, more so than their neighbours are or as much as unrelated
    pictures, and where neither of them is a one-frame flash (or blotch, or lightning), after which the same picture
    goes on. So shots of a single frame are told apart too, where their pictures are unrelated enough.
    """
    n = len(signatures)
    cuts = np.zeros(n, np.bool_)
    if n < 2:
        return cuts
    near = _distance(signatures[:-1], signatures[1:])  # near[i]: between i and i+1
    over = _distance(signatures[:-2], signatures[2:]) if n > 2 else np.empty(0)  # over[i]: between i and i+2
    for i in np.flatnonzero(near >= _PATTERN) + 1:
        d = near[i - 1]
        before = near[i - 2] if i >= 2 else 0.0
        after = near[i] if i < n - 1 else 0.0
        if i < n - 1 and over[i - 1] < _FLASH * min(d, after):
            continue  # frame i flashes: i+1 looks like i-1 again
        if i >= 2 and over[i - 2] < _FLASH * min(before, d):
            continue  # frame i-1 flashed, and i goes on from i-2
        if d >= min(_UNRELATED, _STANDS_OUT * min(before, after)):
            cuts[i] = True
    return cuts
