"""Sums over a reel and over its shots, taken while its rows stream by."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.schema import FIGURES
from pipeline.types import SIGNALS, FrameRow, Shot


@dataclass(frozen=True, slots=True)
class JoinSummary:
    """What ``join_rows`` saw."""

    reel: str
    first: int
    """Number of the first frame."""
    frames: int
    shots: tuple[Shot, ...]
    """In order, numbered from 0; spans are half-open in frame numbers of the source."""
    means: Mapping[str, float | None]
    """Figure → mean over the frames that have it; None where none has."""
    psnr_min_db: float
    touched_frames: int
    """Frames of which any code value changed."""
    flagged_frames: int
    flags: Mapping[str, int]
    """Flag → frames that carry it, by name."""
    by_shot: Mapping[str, NDArray[Any] | Sequence[tuple[str, ...]]]
    """Columns of ``shots.parquet`` beyond the spans, ``(shots,)`` each: ``time_s``, ``touched_frames``,
    ``flagged_frames``, ``psnr_min_db``, ``flags`` and every figure's mean, NaN where no frame of the shot has it."""

    @property
    def last(self) -> int:
        return self.first + self.frames


@dataclass(frozen=True, slots=True)
class _Part:
    """Sums over the shots of some rows; a part's first shot may go on from the part before."""

    start: NDArray[np.int64]
    time_s: NDArray[np.float64]
    touched: NDArray[np.int64]
    flagged: NDArray[np.int64]
    psnr_min: NDArray[np.float64]
    flags: list[set[str]]
    sums: NDArray[np.float64]
    """(shots, figures)"""
    counts: NDArray[np.int64]
    """(shots, figures): frames that have the figure."""


class Summariser:
    """Numbers the shots of rows that come in order, and adds up their figures."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._reel = ""
        self._first = self._frames = self._shots = 0
        self._flags: Counter[str] = Counter()

    def add(self, rows: Sequence[FrameRow]) -> NDArray[np.int64]:
        """The shot number of each of some consecutive rows (at least one), which follow those added before."""
        cut = np.array([r.cut for r in rows], np.bool_)
        goes_on = bool(self._parts) and not cut[0]
        if not self._parts:
            self._reel, self._first = rows[0].reel, rows[0].frame
        cut[0] = True
        local = np.cumsum(cut) - 1
        base = self._shots - 1 if goes_on else self._shots
        part = _sum_up(rows, cut)
        if goes_on:
            part = _merge(self._parts[-1], part)
        if len(part.start):
            self._parts.append(part)
        self._shots = base + int(local[-1]) + 1
        self._frames += len(rows)
        self._flags.update(f for r in rows for f in set(r.flags))
        return base + local

    def result(self) -> JoinSummary:
        """The sums over all rows added; at least one."""
        parts = self._parts
        start = np.concatenate([p.start for p in parts])
        end = np.append(start[1:], self._first + self._frames)
        sums, counts = np.concatenate([p.sums for p in parts]), np.concatenate([p.counts for p in parts])
        psnr_min = np.concatenate([p.psnr_min for p in parts])
        touched, flagged = (np.concatenate([getattr(p, k) for p in parts]) for k in ("touched", "flagged"))
        with np.errstate(invalid="ignore"):
            shot_means, means = sums / counts, sums.sum(0) / counts.sum(0)
        return JoinSummary(
            reel=self._reel,
            first=self._first,
            frames=self._frames,
            shots=tuple(Shot(i, int(a), int(b)) for i, (a, b) in enumerate(zip(start, end, strict=True))),
            means={f: None if np.isnan(m) else float(m) for f, m in zip(FIGURES, means, strict=True)},
            psnr_min_db=float(psnr_min.min()),
            touched_frames=int(touched.sum()),
            flagged_frames=int(flagged.sum()),
            flags=dict(sorted(self._flags.items())),
            by_shot={
                "time_s": np.concatenate([p.time_s for p in parts]),
                "touched_frames": touched,
                "flagged_frames": flagged,
                "psnr_min_db": psnr_min,
                "flags": [tuple(sorted(f)) for p in parts for f in p.flags],
                **{f: shot_means[:, i] for i, f in enumerate(FIGURES)},
            },
        )


def _sum_up(rows: Sequence[FrameRow], cut: NDArray[np.bool_]) -> _Part:
    at = np.flatnonzero(cut).tolist()
    values = np.array([_figures(r) for r in rows], np.float64)  # None becomes NaN
    has = ~np.isnan(values)
    touched = np.array([r.touched_fraction > 0 for r in rows], np.int64)
    flagged = np.array([bool(r.flags) for r in rows], np.int64)
    return _Part(
        start=np.array([rows[i].frame for i in at], np.int64),
        time_s=np.array([rows[i].time_s for i in at], np.float64),
        touched=np.add.reduceat(touched, at),
        flagged=np.add.reduceat(flagged, at),
        flags=[{f for r in rows[a:b] for f in r.flags} for a, b in itertools.pairwise([*at, len(rows)])],
        psnr_min=np.minimum.reduceat(values[:, FIGURES.index("psnr_db")], at),
        sums=np.add.reduceat(np.where(has, values, 0.0), at),
        counts=np.add.reduceat(has.astype(np.int64), at),
    )


_PLAIN = tuple(f for f in FIGURES if f.rpartition("_")[0] not in SIGNALS)
_PLACES = [
    _PLAIN.index(f) if f in _PLAIN else len(_PLAIN) + SIGNALS.index(name) + (len(SIGNALS) if stream == "output" else 0)
    for f in FIGURES
    for name, _, stream in (f.rpartition("_"),)
]
"""Where each figure stands in a row's plain ones, followed by its signals."""


def _figures(row: FrameRow) -> list[float | None]:
    flat = [*(getattr(row, f) for f in _PLAIN), *row.signals_source, *row.signals_output]
    return [flat[i] for i in _PLACES]


def _merge(before: _Part, part: _Part) -> _Part:
    """Add the first shot of ``part`` to the last one of ``before``; gives the rest of ``part``."""
    for name in ("touched", "flagged", "sums", "counts"):
        getattr(before, name)[-1] += getattr(part, name)[0]
    before.flags[-1] |= part.flags[0]
    before.psnr_min[-1] = min(before.psnr_min[-1], part.psnr_min[0])
    return _Part(**{f.name: getattr(part, f.name)[1:] for f in fields(_Part)})
