"""Signals of every frame, from the frame and the one before it.

A survey is taken span by span. A span reads HALO frames more on either side, so that what is found does not depend on
where spans begin; joined, they are the reel's. It depends on the source alone (and on how its colours are read).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import motion
from pipeline.motion.shift import COLUMNS, ROWS
from pipeline.plan import cuts
from pipeline.survey.luma import factor, small
from pipeline.types import COLOUR_LEVELS, LUMA_LEVELS, Colour, Frames, Survey


class Look:
    """Looks at one span's frames as they come, a few at a time, and holds no more than the last of them."""

    def __init__(self, first: int, last: int, colour: Colour, width: int):
        """first, last: the span ``[first, last)`` that is to be told of. width: px of the film's picture."""
        self._span = (first, last)
        self._colour, self._width = colour, width
        self._signatures: list[NDArray[np.float32]] = []
        self._begin: int | None = None
        self._before: NDArray[np.float32] | None = None
        self._rows: list[tuple[NDArray[np.float32], ...]] = []
        motion.settle(1)

    def see(self, frames: Frames) -> None:
        """The next frames, without gaps; the first ones from at most HALO frames before the span. At least one frame
        before the span is wanted unless it begins the reel."""
        self._begin = frames.first if self._begin is None else self._begin
        self._signatures.append(cuts.signature(frames))
        for number in range(frames.first, frames.last):
            if not self._span[0] - 1 <= number < self._span[1]:
                continue
            luma, rgb = small(frames.frame(number), frames.format, self._colour, self._width)
            if number >= self._span[0]:
                self._rows.append(self._signals(luma, rgb))
            self._before = luma

    def _signals(self, luma: NDArray[np.float32], rgb: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        levels = _levels(luma, LUMA_LEVELS)
        colours = np.concatenate([_levels(part[::2, ::2], COLOUR_LEVELS) for part in rgb])
        if self._before is None:
            return levels, colours, np.zeros(5, np.float32), np.zeros(ROWS * COLUMNS, np.float32)
        k = factor(self._width)
        found = motion.align(self._before, luma)
        apart = float(np.abs(luma - self._before).mean())
        moved = np.array([found.x * k, found.y * k, found.confidence, found.still, apart], np.float32)
        return levels, colours, moved, found.gains

    def result(self) -> Survey:
        """The span's signals. Raises ValueError where not every frame of it was seen."""
        first, last = self._span
        if self._begin is None or len(self._rows) != last - first:
            raise ValueError(f"{len(self._rows)} frames were seen of {first}:{last}")
        found = cuts.find(np.concatenate(self._signatures))[first - self._begin : last - self._begin]
        levels, colours, moved, gains = (np.stack(part) for part in zip(*self._rows, strict=True))
        return Survey(first, found, levels, colours, moved[:, :2], moved[:, 2], moved[:, 3], moved[:, 4], gains)


def _levels(picture: NDArray[np.float32], shares: Sequence[float]) -> NDArray[np.float32]:
    """The levels that these shares of the pixels stay below."""
    ordered = np.sort(picture, axis=None)
    places = np.round(np.asarray(shares) * (ordered.size - 1)).astype(np.int64)
    return np.asarray(ordered[places], np.float32)
