"""The spans that a survey is taken in, and their join. Light: no pictures, no OpenCV."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pipeline.plan import cuts
from pipeline.types import Survey

VERSION = 2
"""Raised whenever a signal comes out otherwise, so that an older survey is not taken for it."""

HALO = cuts.RADIUS
"""Frames that a span reads beyond itself on either side."""

SPAN = 480
"""Frames of a span: minutes of work at 2K, which is what a kill may cost."""


def spans(total: int) -> tuple[tuple[int, int], ...]:
    """The spans ``[a, b)`` of a reel of so many frames; they depend on nothing else."""
    count = max(1, round(total / SPAN))
    borders = [total * i // count for i in range(count + 1)]
    return tuple(itertools.pairwise(borders))


def join(parts: Sequence[Survey]) -> Survey:
    """Spans that follow each other, as one. Raises ValueError where there is a gap."""
    for a, b in itertools.pairwise(parts):
        if a.last != b.first:
            raise ValueError(f"the survey's span to {a.last} is followed by one from {b.first}")
    arrays = [np.concatenate([getattr(p, name) for p in parts]) for name in Survey.signals()]
    return Survey(parts[0].first, *arrays)
