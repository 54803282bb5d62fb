"""Exact frame rates from headers and from presentation times."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_WHOLE = (8, 10, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 30, 36, 40, 48, 50, 60, 72, 96, 100, 120)
STANDARD = tuple(
    sorted([Fraction(n) for n in _WHOLE] + [Fraction(n * 1000, 1001) for n in (12, 15, 24, 30, 48, 60, 120)])
)
"""Rates that film and video are made at, silent film's among them. 24 and 24000/1001 differ by a thousandth."""

SLOWEST, FASTEST = Fraction(1, 60), Fraction(1000)
"""Bounds of a believable frame rate."""


def snap(rate: Fraction) -> Fraction:
    """The standard rate within one ten-thousandth of this one, else the rate itself.

    Headers hold 23.98, 41.708333 ms or an estimate over the first frames where 24000/1001 is meant.
    """
    near = min(STANDARD, key=lambda s: abs(s - rate))
    return near if abs(near / rate - 1) <= Fraction(1, 10_000) else rate


def fits(pts: NDArray[np.int64], time_base: Fraction, rate: Fraction) -> bool:
    """Whether every pts is the tick of ``start + n / rate`` to within one tick, and to within half a frame.

    Of ticks as long as a frame (AVI), one off is a frame that is not there.
    """
    step = 1 / (rate * time_base)
    up, down = step.numerator, step.denominator
    ticks = int(pts[-1]) - int(pts[0])
    # In whole numbers, so that nothing is rounded: |(pts - start) * down - n * up| <= down, and < up / 2.
    big = 2 * max(abs(ticks) * down, len(pts) * up) >= 2**62
    kind = object if big else np.int64
    n = np.arange(len(pts)).astype(kind)
    off = (pts - pts[0]).astype(kind) * down - n * up
    return bool(np.all(np.abs(off) <= down) and np.all(2 * np.abs(off) < up))


def find(
    pts: NDArray[np.int64], time_base: Fraction, headers: Iterable[Fraction]
) -> tuple[Fraction | None, Fraction | None]:
    """The exact rate that the pts hold, and the mean rate that they have.

    The first of ``headers`` that fits, then the standard rates by nearness, then the mean itself where it is a whole
    number of ticks. The first value is None where the rate is not constant; both where there is a single frame.
    """
    if len(pts) < 2:
        return next(iter(headers), None), None
    mean = (len(pts) - 1) / ((int(pts[-1]) - int(pts[0])) * time_base)
    for rate in headers:
        if fits(pts, time_base, rate):
            return rate, mean
    near = sorted((s for s in STANDARD if abs(s / mean - 1) < Fraction(1, 5)), key=lambda s: abs(s - mean))
    for rate in [*near, mean]:
        if fits(pts, time_base, rate):
            return rate, mean
    return None, mean
