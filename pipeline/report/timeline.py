"""Figures over time, as many as fit on a screen: the reel's frames in buckets, and lines of SVG through them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_BUCKETS = 900
WIDTH, HEIGHT = 900, 90
"""Of a chart, in units of its SVG; a bucket is as wide as its share of the frames."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Runs of frames that are shown as one point, with what their figures came to."""

    edges: tuple[int, ...]
    """First frame of each, and the frame after the last one's."""
    mean: Mapping[str, NDArray[np.float64]]
    low: Mapping[str, NDArray[np.float64]]
    high: Mapping[str, NDArray[np.float64]]
    """Figure → a value a bucket; NaN where none of its frames has the figure."""

    def __len__(self) -> int:
        return len(self.edges) - 1

    def at(self, frame: int) -> int:
        """The bucket that a frame is in."""
        return int(np.searchsorted(self.edges, frame, "right")) - 1


def gather(first: int, last: int, parts: Iterable[Mapping[str, NDArray[np.float64]]], names: Sequence[str]) -> Buckets:
    """Buckets of the frames ``[first, last)``, whose figures come in order, some rows at a time."""
    count = min(MOST_BUCKETS, last - first)
    edges = np.linspace(0, last - first, count + 1).round().astype(np.int64)
    sums, counts = np.zeros((len(names), count)), np.zeros((len(names), count))
    low, high = np.full((len(names), count), np.inf), np.full((len(names), count), -np.inf)
    at = 0
    for part in parts:
        rows = len(next(iter(part.values())))
        place = np.searchsorted(edges, np.arange(at, at + rows), "right") - 1
        for i, name in enumerate(names):
            values = part[name]
            there = ~np.isnan(values)
            where, seen = place[there], values[there]
            sums[i] += np.bincount(where, seen, count)
            counts[i] += np.bincount(where, minlength=count)
            np.minimum.at(low[i], where, seen)
            np.maximum.at(high[i], where, seen)
        at += rows
    with np.errstate(invalid="ignore"):
        mean = sums / counts
    empty = counts == 0
    low[empty] = high[empty] = np.nan
    return Buckets(
        tuple(int(e) + first for e in edges),
        *({name: values[i] for i, name in enumerate(names)} for values in (mean, low, high)),
    )


def line(values: NDArray[np.float64], top: float, bottom: float = 0.0) -> str:
    """A path through a value a bucket; ``top`` and ``bottom`` are the chart's upper and lower end. Gaps stay gaps."""
    return " ".join(
        "M" + "L".join(f"{_x(i, len(values))},{_y(values[i], top, bottom)}" for i in run) for run in _runs(values)
    )


def band(low: NDArray[np.float64], high: NDArray[np.float64], top: float, bottom: float = 0.0) -> str:
    """The area between the least and the greatest value of each bucket, as a path."""
    shapes = []
    for run in _runs(low):
        there = [f"{_x(i, len(low))},{_y(high[i], top, bottom)}" for i in run]
        back = [f"{_x(i, len(low))},{_y(low[i], top, bottom)}" for i in reversed(run)]
        shapes.append("M" + "L".join([*there, *back]) + "Z")
    return " ".join(shapes)


def _runs(values: NDArray[np.float64]) -> list[list[int]]:
    there = (~np.isnan(values)).tolist()
    runs = [list(g) for has, g in itertools.groupby(range(len(values)), lambda i: there[i]) if has]
    # A run of one would draw nothing.
    return [run if len(run) > 1 else run * 2 for run in runs]


def _x(bucket: int, count: int) -> str:
    return f"{(bucket + 0.5) * WIDTH / count:.1f}".rstrip("0").rstrip(".")


def _y(value: float, top: float, bottom: float) -> str:
    share = (value - bottom) / (top - bottom) if top > bottom else 0.0
    return f"{HEIGHT * (1 - min(1.0, max(0.0, share))):.1f}".rstrip("0").rstrip(".")


def spans(runs: Iterable[tuple[int, int]], buckets: Buckets) -> list[tuple[float, float]]:
    """Runs of frames as (x, width) in a chart's units; those that touch on the screen become one."""
    first, frames = buckets.edges[0], buckets.edges[-1] - buckets.edges[0]
    found: list[tuple[float, float]] = []
    for a, b in sorted(runs):
        x, end = (a - first) * WIDTH / frames, (b - first) * WIDTH / frames
        end = max(end, x + 1.0)
        if found and x <= found[-1][0] + found[-1][1] + 0.5:
            found[-1] = (found[-1][0], max(end, sum(found[-1])) - found[-1][0])
        else:
            found.append((round(x, 1), round(end - x, 1)))
    return [(round(x, 1), round(w, 1)) for x, w in found]
