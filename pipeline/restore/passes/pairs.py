"""All pairs of a window's frames around lines: what each shows alone, and what a line adds to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.restore.passes.behind import BANDS, Behind, smooth

Picture = NDArray[np.float32]

_HELD = 1.01
"""How much what a frame shows of its own line counts, against what the others show of theirs: what is as broad as the
scene moves cannot be told from the scene, and is held back."""
_ALIKE = 2.0
"""And how much it counts that a line is the same in all frames."""
_BROAD = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Weights of a px and its neighbours: only so smoothed is a line the same, for one finer than a px comes out otherwise
at every part of a px."""


@dataclass(frozen=True, slots=True)
class Line:
    """A scratch in one window. px are those that lines are looked for at."""

    column: float
    """Px from the left at half height."""
    lean: float
    """Px to the right from one band to the next."""
    profiles: Picture
    """(frames, 2·reach + 1) what it adds to the luma of each frame of the window, across."""

    @property
    def columns(self) -> NDArray[np.int64]:
        """(BANDS,)."""
        return track(self.column, self.lean)

    @property
    def reach(self) -> int:
        """Px to each side."""
        return int(self.profiles.shape[1]) // 2


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs of a window's frames, J the frame itself and K the one that it is held against: (J, K, BANDS, W)."""

    left: Picture
    weight: Picture
    x: Picture
    """As in ``Apart``; of a frame against itself 0."""

    @classmethod
    def of(cls, behind: Behind, frames: Sequence[Tensor]) -> Pairs:
        n = len(frames)
        left, weight, x = (np.zeros((n, n, *behind.sight(frames[0]).bands.shape), np.float32) for _ in range(3))
        for j in range(n):
            for k in range(n):
                if j != k:
                    apart = behind.apart(frames, j, k)
                    left[j, k], weight[j, k], x[j, k] = apart.left, apart.weight, apart.x
        return cls(left, weight, x)

    def alone(self, broad: int) -> Picture:
        """(J, BANDS, W) what each frame shows and the others, where the scene lies, do not; less its mean over
        ``broad`` px: light that changes from frame to frame."""
        weight = self.weight.sum(1)
        total = np.einsum("jkbx,jkbx->jbx", self.left, self.weight) / np.maximum(weight, np.float32(1e-3))
        flat = np.reshape(total, (-1, total.shape[2]))
        return np.asarray(np.where(weight > 0, total - smooth(flat, broad).reshape(total.shape), 0), np.float32)

    def at(self, columns: NDArray[np.int64], reach: int) -> tuple[Picture, Picture, Picture]:
        """The three, (J, K, BANDS, 2·reach + 1), around a line."""
        where = np.clip(columns[:, None] + np.arange(-reach, reach + 1), 0, self.left.shape[3] - 1)
        bands = np.arange(BANDS)[:, None]
        return self.left[:, :, bands, where], self.weight[:, :, bands, where], self.x[:, :, bands, where]

    def take(self, line: Line) -> None:
        """Take a line and its ghosts out, in place."""
        way = self.x[:, :, np.arange(BANDS), np.clip(line.columns, 0, self.x.shape[3] - 1)]
        far = min(self.x.shape[3], int(np.abs(way).max()) + 2 * line.reach)
        columns = line.columns[:, None] + np.arange(-far, far + 1)
        inside = (columns >= 0) & (columns < self.x.shape[3])
        at = np.nonzero(inside)[0], columns[inside]
        offsets = np.broadcast_to(np.arange(-far, far + 1), columns.shape)[inside]
        n = len(self.left)
        for k in range(n):
            ghost = _drawn(line.profiles[k], offsets + self.x[:, k, at[0], at[1]])
            self.left[:, k, at[0], at[1]] += np.where(self.weight[:, k, at[0], at[1]] > 0, ghost, 0)
            own = _drawn(line.profiles[k], offsets.astype(np.float32))
            self.left[k, :, at[0], at[1]] -= np.where(self.weight[k, :, at[0], at[1]] > 0, own[:, None], 0)


def _drawn(profile: Picture, far: Picture) -> Picture:
    """A profile at places in px from its middle; 0 beyond its ends."""
    reach = len(profile) // 2
    padded = np.pad(profile, (1, 1))
    place = np.clip(far + np.float32(reach + 1), 0, 2 * reach + 1.999)
    low = place.astype(np.int64)
    return np.asarray(padded[low] + (padded[low + 1] - padded[low]) * (place - low), np.float32)


def track(column: float, lean: float) -> NDArray[np.int64]:
    return np.asarray(np.rint(column + lean * (np.arange(BANDS) - (BANDS - 1) / 2)), np.int64)


def profiles(window: Pairs, columns: NDArray[np.int64], reach: int) -> Picture:
    """(frames, 2·reach + 1) what the line adds to each frame: what is left there, and the ghosts taken out of it.

    Where the scene has gone to, another frame's own line lies upon it: left = own − other's, there. That is linear in
    all frames' profiles, so they are found together, by least squares.
    """
    left, weight, x = window.at(columns, reach)
    n, wide = len(left), 2 * reach + 1
    far = np.arange(wide, dtype=np.float32) + x
    low = np.floor(far).astype(np.int64)
    own = np.arange(n)[:, None, None, None] * wide + np.arange(wide)
    other = np.arange(n)[None, :, None, None] * wide
    size = n * wide
    ghosts = np.zeros(size * size)
    for at, share in ((low, 1 - far + low), (low + 1, far - low)):
        # Beyond its ends a profile is 0.
        meant = (at >= 0) & (at < wide) & (weight > 0)
        ghosts += np.bincount((own * size + other + at)[meant], (share * weight)[meant], size * size)
    total = weight.sum((1, 2)).ravel().astype(np.float64)
    system = np.diag(_HELD * total + 1e-3) - ghosts.reshape(size, size)
    # What moves with the scene through all of them is nobody's line; a line is much the same in each.
    alike = _ALIKE * float(total.mean()) * (np.eye(n) - 1 / n)
    broad = np.sum([c * np.eye(wide, k=k) for k, c in zip(range(-2, 3), _BROAD, strict=True)], axis=0)
    system += np.kron(alike, broad @ broad)
    told = (np.clip(left, -0.5, 0.5) * weight).sum((1, 2)).ravel()
    # torch's, which keeps to the threads of the engine; numpy's would take all cores.
    solved = torch.linalg.solve(torch.from_numpy(system), torch.from_numpy(told.astype(np.float64)))
    profiles = solved.numpy().reshape(n, wide).astype(np.float32)
    return np.asarray(profiles - slope(profiles), np.float32)


def slope(profiles: Picture) -> Picture:
    """What goes straight from one end of each profile to the other: the scene's and its light's, not a line's."""
    first, last = (profiles[..., part].mean(-1, keepdims=True) for part in (slice(0, 2), slice(-2, None)))
    way = np.linspace(0, 1, profiles.shape[-1], dtype=np.float32)
    return np.asarray(first * (1 - way) + last * way, np.float32)
