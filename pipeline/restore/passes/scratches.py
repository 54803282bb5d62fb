"""Scratches: thin, more or less upright lines that stay with the frame while the scene moves behind them.

A scratch adds to what is there. What it adds is measured where the scene has cancelled (``behind``, ``pairs``,
``lines``) and subtracted, so that grain and detail beneath it stay. Without evidence that it goes its own way a line
stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.restore.passes.behind import BANDS, Behind
from pipeline.restore.passes.kept import Kept
from pipeline.restore.passes.lines import find
from pipeline.restore.passes.pairs import Line, slope
from pipeline.types import PassPlan

Picture = NDArray[np.float32]

_FINE = 4
"""Places a px at which a line's profile is held."""
_FADES = 1 / 12
"""Share of its height from which what is further out belongs to the line."""
_PART = 3
"""One row in so many tells what is usual."""
_SURE = 3.5
"""And how many times as much as chance gives."""


class ScratchesPass:
    """See ``treatments.ScratchesPass``."""

    radius = 3
    group = 1

    def __init__(self, settings: Mapping[str, Any]):
        self._said = settings
        self.reset()

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> ScratchesPass:  # noqa: ARG003
        """As every factory."""
        return cls(plan.settings)

    def reset(self) -> None:
        self._kept = Kept()
        self._behind = Behind(self._kept)

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [self._one(job.window) for job in jobs]

    def _one(self, window: Sequence[Tensor]) -> Restored:
        self._kept.hold(window)
        here = window[self.radius]
        if min(here.shape[1:]) < 4 * BANDS:
            return Restored(here)
        # At a shot's ends the nearest frame stands for those that are not there.
        frames = [p for i, p in enumerate(window) if i == 0 or p is not window[i - 1]]
        middle = next(i for i, p in enumerate(frames) if p is here)
        by = self._behind.sight(here).by
        wide = max(2.0, float(self._said["width"]) * here.shape[2])
        lines = find(self._behind, frames, middle, self._said, max(8, round(4 * wide / by)))
        if not lines:
            return Restored(here, found={"scratch_columns": 0.0})
        out = self._rows(here).copy()
        columns = sum(self._taken_off(out, frames, middle, line, lines) for line in lines)
        rgb = torch.from_numpy(np.ascontiguousarray(out.transpose(2, 0, 1))).to(here.device)
        return Restored(rgb, found={"scratch_columns": float(columns)})

    def _rows(self, picture: Tensor) -> Picture:
        """(H, W, 3)."""
        return self._kept.of("rows", lambda p: np.ascontiguousarray(p.permute(1, 2, 0).cpu().numpy()), picture)

    def _taken_off(self, out: Picture, frames: Sequence[Tensor], middle: int, line: Line, lines: Sequence[Line]) -> int:
        """Take a line, one of ``lines``, off ``out`` (H, W, 3), in place; how many columns that touches."""
        h, w = out.shape[:2]
        sight = self._behind.sight(frames[middle])
        band = np.asarray((np.arange(h) + 0.5) / (sight.by * sight.rows) - 0.5, np.float32)
        place = _place(line, band, sight.by)
        reach = line.reach * sight.by
        columns = np.rint(place).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
        left = self._left(out, frames, middle, columns, line, lines, band)
        far = (columns - place[:, None]).astype(np.float32)
        inside = (columns >= 0) & (columns < w)
        profile, lowest = _profile(left, far, inside, reach)
        drawn = _at(profile, far, lowest)
        drawn *= _along(left, drawn, inside)[:, None, None]
        rows, which = np.nonzero(inside)
        out[rows, columns[rows, which]] -= drawn[rows, which]
        return int(np.ceil(np.any(profile != 0, axis=1).sum() / _FINE))

    def _left(
        self,
        out: Picture,
        frames: Sequence[Tensor],
        middle: int,
        columns: NDArray[np.int64],
        line: Line,
        lines: Sequence[Line],
        band: Picture,
    ) -> Picture:
        """(H, 2·reach + 1, 3) what ``out`` shows around a line and the other frames, where the scene lies, do not."""
        h, w = out.shape[:2]
        sight = self._behind.sight(frames[middle])
        at = np.arange(BANDS), np.clip(line.columns, 0, sight.bands.shape[1] - 1)
        strip = out[np.arange(h)[:, None], np.clip(columns, 0, w - 1)]
        total, weights = np.zeros_like(strip), np.zeros((h, 1, 1), np.float32)
        for k, frame in enumerate(frames):
            if k == middle:
                continue
            apart, way = self._behind.apart(frames, middle, k), self._behind.way(frames, middle, k)[at]
            weight, x, y = (
                np.interp(band, np.arange(BANDS), v).astype(np.float32)
                for v in (apart.weight[at], way[:, 0] * sight.by, way[:, 1] * sight.by)
            )
            if not weight.any():
                continue
            there = (columns + x[:, None]).astype(np.float32)
            shift = np.dstack([there - np.arange(columns.shape[1]), np.broadcast_to(y[:, None], there.shape)])
            shown = motion.warp(self._rows(frame), shift.astype(np.float32))
            # The other frame's own lines, at the pixels that it was read from.
            down = np.asarray(band + y / (sight.by * sight.rows), np.float32)
            for other in lines:
                far = (there - np.rint(_place(other, down, sight.by))[:, None]) / sight.by
                ghost = np.interp(far, np.arange(-other.reach, other.reach + 1), other.profiles[k])
                shown -= ghost[..., None].astype(np.float32)
            total += weight[:, None, None] * (strip - shown)
            weights += weight[:, None, None]
        return np.asarray(total / np.maximum(weights, np.float32(1e-3)), np.float32)


def _place(line: Line, band: Picture, by: int) -> Picture:
    """Px from the left where a line lies, at places counted in bands from the middle of the first."""
    return np.asarray((line.column + line.lean * (band - (BANDS - 1) / 2) + 0.5) * by - 0.5, np.float32)


def _profile(left: Picture, far: Picture, inside: NDArray[np.bool_], reach: int) -> tuple[Picture, float]:
    """(places, 3) a line's profile in R, G and B, a few places a px from the lowest on, and that; 0 beyond its ends."""
    h, lowest = len(far), -reach - 1.0
    count = int((2 * reach + 2) * _FINE) + 2
    place = (far - lowest) * _FINE
    low = place.astype(np.int64)
    part = (place - low).astype(np.float64)
    profile, rest = np.zeros((count, 3), np.float32), np.zeros_like(left)
    values, trust = left, np.ones((h, 1))
    for again in range(3):
        if again:
            # What lies far off is of something that passes by; and where the scene has not cancelled little is told.
            spread = 3 * 1.4826 * float(np.median(np.abs(rest[::_PART][inside[::_PART]]).ravel())) + 1e-6
            values = left - rest + np.clip(rest, -spread, spread)
            trust = 1 / (_by_bands(np.square(values - left + rest).mean((1, 2)))[:, None] + np.float32(1e-5))
        weighted = inside * trust
        shares = ((low, (1 - part) * weighted), (low + 1, part * weighted))
        weight = np.sum([np.bincount(at.ravel(), share.ravel(), count) for at, share in shares], axis=0)
        known = weight > 0.02 * weight.max()
        for c in range(3):
            parts = [np.bincount(at.ravel(), (values[..., c] * share).ravel(), count) for at, share in shares]
            total = np.sum(parts, axis=0)
            profile[:, c] = np.interp(np.arange(count), np.flatnonzero(known), total[known] / weight[known])
        profile -= slope(profile.T).T
        rest = left - _at(profile, far, lowest)
    # By how much bands differ about it tells what is chance.
    shares_of = np.add.reduceat(np.clip(rest, -spread, spread).mean(2) * trust, _edges(h)) / trust.sum()
    chance = float(np.sqrt(np.square(shares_of).sum(0).mean()))
    # From its middle out as far as it rises above its own foot and above chance, zeros between its waves left aside.
    size = np.sqrt(np.square(profile).mean(1))
    peak, least = int(np.argmax(size)), max(_FADES * float(size.max()), _SURE * chance)
    told = np.flatnonzero(size >= least)
    gaps = np.diff(told) > 2 * _FINE
    before, after = told[:-1][gaps & (told[1:] <= peak)], told[1:][gaps & (told[:-1] >= peak)]
    ends = [t for t in told if (not len(before) or t > before[-1]) and (not len(after) or t < after[0])]
    if not ends:
        return np.zeros_like(profile), lowest
    profile[: max(0, ends[0] - _FINE // 2)] = profile[ends[-1] + _FINE // 2 + 1 :] = 0
    return profile, lowest


def _edges(h: int) -> NDArray[np.int64]:
    """First rows of the bands."""
    return np.linspace(0, h, BANDS + 1).astype(np.int64)[:-1]


def _by_bands(rows: NDArray[Any]) -> NDArray[Any]:
    """(H,) the mean of each row's band."""
    sizes = np.diff(np.append(_edges(len(rows)), len(rows)))
    return np.repeat(np.add.reduceat(rows, _edges(len(rows))) / sizes, sizes)


def _at(profile: Picture, far: Picture, lowest: float) -> Picture:
    """(…, 3) a profile (places, 3) at places in px from the line's middle."""
    place = (far - np.float32(lowest)) * _FINE
    low = np.clip(place.astype(np.int64), 0, len(profile) - 2)
    part = (place - low).astype(np.float32)[..., None]
    first = np.take(profile, low, axis=0)
    return np.asarray(first + (np.take(profile, low + 1, axis=0) - first) * part, np.float32)


def _along(left: Picture, drawn: Picture, inside: NDArray[np.bool_]) -> Picture:
    """(H,) how strong the line is from top to bottom, 1 being usual: band by band, steadied over five of them."""
    h = len(left)
    weighted = drawn * inside[..., None]
    hits, whole = (np.add.reduceat((v * weighted).sum((1, 2)), _edges(h)) for v in (left, drawn))
    share = np.clip(hits / np.maximum(whole, 1e-12), 0, 2)
    padded = np.pad(share, 2, mode="edge")
    steady = np.median(np.stack([padded[k : k + BANDS] for k in range(5)]), axis=0)
    middles = (np.arange(BANDS) + 0.5) * h / BANDS - 0.5
    return np.interp(np.arange(h), middles, steady).astype(np.float32)
