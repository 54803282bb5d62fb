"""Smoothing over time that leaves slow change alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]


def smooth(values: Series, sigma: float, weights: Series | None = None) -> Series:
    """Each frame's value on the straight line that fits its neighbourhood best.

    values: (N, K), one shot. sigma: standard deviation of the Gaussian weights over time, in frames. weights: (N,) how
    much each frame counts, 0 not at all. A straight line through time comes out as it went in, at the shot's ends too,
    so that fades and slow pans are not held back.
    """
    n = len(values)
    counts = np.ones(n) if weights is None else weights.astype(np.float64)
    reach = min(n - 1, int(np.ceil(3 * sigma)))
    s0, s1, s2 = np.zeros(n), np.zeros(n), np.zeros(n)
    t0, t1 = np.zeros_like(values), np.zeros_like(values)
    for d in range(-reach, reach + 1):
        here = slice(max(0, -d), min(n, n - d))
        there = slice(max(0, d), min(n, n + d))
        w = np.exp(-0.5 * (d / sigma) ** 2) * counts[there]
        s0[here] += w
        s1[here] += w * d
        s2[here] += w * d * d
        weighted = w[:, None] * values[there]
        t0[here] += weighted
        t1[here] += weighted * d
    # Two frames far from this one say little of a slope: where the line is ill founded, the mean stands.
    determinant = s0 * s2 - s1 * s1
    sound = determinant > 1e-6 * np.maximum(s0 * s2, 1e-12)
    line = (s2[:, None] * t0 - s1[:, None] * t1) / np.where(sound, determinant, 1.0)[:, None]
    mean = t0 / np.maximum(s0, 1e-12)[:, None]
    found = np.where(sound[:, None], line, mean)
    return np.where((s0 > 0)[:, None], found, values)


def running_median(values: Series, reach: int) -> Series:
    """(N, K) → (N, K): the median of ``2 · reach + 1`` frames around each; fewer at the ends."""
    n = len(values)
    padded = np.full((n + 2 * reach, *values.shape[1:]), np.nan)
    padded[reach : reach + n] = values
    windows = np.stack([padded[k : k + n] for k in range(2 * reach + 1)])
    found: Series = np.nanmedian(windows, axis=0)
    return found


def onset(value: float, floor: float) -> float:
    """0 up to a floor, 1 from twice the floor on, a ramp between: nothing switches on within a hair's breadth."""
    return 1.0 if floor <= 0 else min(max(value / floor - 1.0, 0.0), 1.0)
