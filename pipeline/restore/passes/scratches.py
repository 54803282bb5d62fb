"""Scratches: thin vertical lines that run far and stay with the frame while the scene moves behind them.

A line is looked for in bands of rows, each averaged (Kokaram 1998 averages columns so), and followed from band to band,
for it may lean. What makes it a scratch is not its looks: panelling, poles and rails look the same. It is that it goes
its own way: over the frames of the window the scene beside it moves otherwise. Without that evidence it stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.restore.passes.kept import Kept
from pipeline.types import PassPlan

Picture = NDArray[np.float32]

BANDS = 16
"""Bands of rows that a line is followed through."""
_LEAN = 2
"""Px sideways that a line may go from one band to the next."""
_WANDERS = 0.8
"""Px rms by which a line may stray from straight."""
_MOST = 8
"""Lines of a frame that are looked at."""
_WALK = 0.003
"""Share of the width that a scratch may wander from one frame to the next, besides one px."""
_SEEN = 0.6
"""Share of the window's frames that must show the line."""
_TEXTURE = 0.01
"""Change of luma a px, across, that tells how the scene moves sideways."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line in one frame."""

    columns: NDArray[np.int64]
    """(BANDS,) px from the left, at the middle of each band."""
    bright: bool
    contrast: float
    """Of full range, in the median band."""

    @property
    def place(self) -> float:
        return float(np.median(self.columns))


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

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [self._one(job.window) for job in jobs]

    def _lines(self, picture: Tensor) -> list[Line]:
        return self._kept.of("lines", lambda p: find_lines(self._kept.luma(p), self._said), picture)

    def _one(self, window: Sequence[Tensor]) -> Restored:
        self._kept.hold(window)
        here = window[self.radius]
        if min(here.shape[1:]) < 4 * BANDS:
            return Restored(here)
        wide = _widest(here.shape[2], self._said)
        scratches = [line for line in self._lines(here) if self._goes_its_own_way(line, window)]
        if not scratches:
            return Restored(here, found={"scratch_columns": 0.0})
        out = here.cpu().numpy().copy()
        columns = sum(_taken_off(out, line, wide) for line in scratches)
        return Restored(torch.from_numpy(out).to(here.device), found={"scratch_columns": float(columns)})

    def _goes_its_own_way(self, line: Line, window: Sequence[Tensor]) -> bool:
        """Whether the line is there in most frames of the window, and the scene beside it moved otherwise."""
        middle = self.radius
        seen, own = 1, 0.0
        own_parts: list[float] = []
        for direction in (-1, 1):
            place, scene = line.place, 0.0
            for k in range(1, self.radius + 1):
                a, b = window[middle + direction * (k - 1)], window[middle + direction * k]
                if a is b:  # the shot ends
                    break
                moved = self._beside(a, b, place)
                if moved is None:
                    break
                scene += moved
                match = _match(self._lines(b), line, place, 1 + _WALK * a.shape[2])
                if match is not None:
                    seen += 1
                    place = match.place
                    own_parts.append(abs(scene - (place - line.place)))
            own = max(own, *own_parts) if own_parts else own
        there = 1 + sum(p is not window[middle] for i, p in enumerate(window) if i != middle)
        return seen >= max(3, _SEEN * there) and own >= float(self._said["moves"])

    def _beside(self, a: Tensor, b: Tensor, place: float) -> float | None:
        """Px to the right that the scene on both sides of a column moves from a to b; None where nothing tells it."""
        luma = self._kept.luma(a)
        w = luma.shape[1]
        gap, reach = 2 * _widest(w, self._said) + 2, max(12, w // 24)
        x = round(place)
        moved = []
        for left, right in ((x - gap - reach, x - gap), (x + gap, x + gap + reach)):
            left, right = max(0, left), min(w - 1, right)
            if right - left < 4:
                continue
            steep = np.abs(np.diff(motion.mean(luma[:, left : right + 1], 3), axis=1)) > _TEXTURE
            if steep.mean() < 0.01:
                continue
            moved.append(float(np.median(self._kept.flow(a, b)[:, left:right, 0][steep])))
        # Both sides must tell of a movement: the smaller one counts.
        return min(moved, key=abs) if len(moved) == 2 and moved[0] * moved[1] >= 0 else None


def _widest(width: int, said: Mapping[str, Any]) -> int:
    return max(2, round(float(said["width"]) * width))


def _bands(luma: Picture) -> Picture:
    """(BANDS, W): means of the rows of each band."""
    h = luma.shape[0] // BANDS
    return np.asarray(luma[: h * BANDS].reshape(BANDS, h, luma.shape[1]).mean(1), np.float32)


def find_lines(luma: Picture, said: Mapping[str, Any]) -> list[Line]:
    """The thin lines of a picture (H, W) that run through as much of its height as ``length`` says.

    said: the pass's settings, ``threshold``, ``length`` and ``width`` of them.
    """
    w = luma.shape[1]
    wide = _widest(w, said)
    bands = _bands(luma)
    found: list[Line] = []
    sides = np.pad(bands, ((0, 0), (wide + 1, wide + 1)), mode="edge")
    left, right = sides[:, :w], sides[:, 2 * (wide + 1) :]
    for bright in (True, False):
        sign = 1.0 if bright else -1.0
        # Above both sides, and those alike: an edge is no line.
        over = np.minimum(sign * (bands - left), sign * (bands - right))
        over = np.where(np.abs(left - right) < np.maximum(2 * over, 0.02), over, 0)
        over = np.clip(over, 0, 4 * float(said["threshold"]))
        total, back = _followed(over)
        for _ in range(_MOST):
            end = int(np.argmax(total))
            columns = _traced(back, end)
            along = over[np.arange(BANDS), columns]
            if along.mean() < 0.5 * float(said["threshold"]):
                break
            total[max(0, end - 2 * wide) : end + 2 * wide + 1] = -1
            line = Line(columns, bright, float(np.median(along)))
            far = (along >= float(said["threshold"])).mean() >= float(said["length"])
            if far and _straight(columns) and not any(abs(o.place - line.place) <= 2 * wide for o in found):
                found.append(line)
    return found


def _followed(over: Picture) -> tuple[Picture, NDArray[np.int64]]:
    """Best sum down to each column of the last band, and for each band and column the one it came from."""
    n, w = over.shape
    back = np.zeros((n, w), np.int64)
    total = over[0].copy()
    here = np.arange(w)
    for b in range(1, n):
        padded = np.pad(total, _LEAN, constant_values=-1)
        # A line that does not lean is the likelier: going sideways costs a little.
        options = np.stack([padded[d : d + w] - 1e-3 * abs(d - _LEAN) for d in range(2 * _LEAN + 1)])
        best = options.argmax(0)
        back[b] = np.clip(here + best - _LEAN, 0, w - 1)
        total = options[best, here] + over[b]
    return total, back


def _straight(columns: NDArray[np.int64]) -> bool:
    """Whether a path is one line, upright or leaning: in texture a path can always be found, but it wanders."""
    bands = np.arange(BANDS)
    wanders = columns - np.polyval(np.polyfit(bands, columns, 1), bands)
    return bool(np.sqrt(np.mean(np.square(wanders))) <= _WANDERS)


def _traced(back: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    columns = np.empty(len(back), np.int64)
    columns[-1] = end
    for b in range(len(back) - 1, 0, -1):
        columns[b - 1] = back[b, columns[b]]
    return columns


def _match(lines: Sequence[Line], line: Line, place: float, reach: float) -> Line | None:
    near = [o for o in lines if o.bright == line.bright and abs(o.place - place) <= reach]
    return min(near, key=lambda o: abs(o.place - place)) if near else None


def _taken_off(out: NDArray[np.float32], line: Line, wide: int) -> int:
    """Take a line's profile off ``out`` (3, H, W), in place; how many columns that touches in the median band.

    A scratch adds to what is there. Its profile is measured band by band, steadied over five of them, and subtracted,
    so that grain and detail beneath stay.
    """
    h, w = out.shape[1:]
    tall = h // BANDS
    reach = 2 * wide
    offsets = np.arange(-reach, reach + 1)
    profiles = np.empty((3, BANDS, len(offsets)), np.float32)
    for b, x in enumerate(line.columns):
        columns = np.clip(x + offsets, 0, w - 1)
        strip = out[:, b * tall : (b + 1) * tall, :][:, :, columns]
        middle = np.median(strip, axis=1)
        # Between the outermost columns straight: what the scene would show.
        base = middle[:, :1] + (middle[:, -1:] - middle[:, :1]) * np.linspace(0, 1, len(offsets), dtype=np.float32)
        profiles[:, b] = middle - base
    padded = np.pad(profiles, ((0, 0), (2, 2), (0, 0)), mode="edge")
    steady = np.median(np.stack([padded[:, k : k + BANDS] for k in range(5)]), axis=0)
    mean = steady.mean((0, 1))
    peak = float(np.abs(mean).max())
    # What does not rise above a sixth of the line is not its.
    steady = np.where(np.abs(mean) > peak / 6, steady, 0).astype(np.float32)
    middles = (np.arange(BANDS) + 0.5) * tall - 0.5
    for row in range(h):
        place = float(np.interp(row, middles, line.columns))
        at = float(np.interp(row, middles, np.arange(BANDS)))
        low = min(int(at), BANDS - 2)
        part = np.float32(at - low)
        profile = steady[:, low] * (1 - part) + steady[:, low + 1] * part
        columns = round(place) + offsets
        inside = (columns >= 0) & (columns < w)
        out[:, row, columns[inside]] -= profile[:, inside]
    return int((np.abs(mean) > peak / 6).sum())
