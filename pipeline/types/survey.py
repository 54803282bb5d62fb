"""What a first look at every frame tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LUMA_LEVELS: tuple[float, ...] = (0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Shares of a picture's pixels whose levels a survey tells: its inverse distribution of luma."""

COLOUR_LEVELS: tuple[float, ...] = (0.005, 0.02, 0.5, 0.98, 0.995)
"""The same of each of R, G and B."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Signals of the frames ``[first, first + N)``. Levels: 0 black, 1 white of the nominal range."""

    first: int
    cut: NDArray[np.bool_]
    """(N,) the picture changes before the frame."""
    levels: NDArray[np.float32]
    """(N, 15) the luma that LUMA_LEVELS of the pixels stay below."""
    colours: NDArray[np.float32]
    """(N, 15) the same of COLOUR_LEVELS for R, then G, then B."""
    shift: NDArray[np.float32]
    """(N, 2) px to the right and downwards by which the picture moved since the frame before; 0 for the reel's first,
    and without meaning after a cut."""
    confidence: NDArray[np.float32]
    """(N,) correlation of the two frames once this shift is taken off, outliers left out, 0 to 1."""
    still: NDArray[np.float32]
    """(N,) share of its textured blocks that moved by this shift and no other, 0 to 1."""
    change: NDArray[np.float32]
    """(N,) mean absolute difference of luma to the frame before."""
    gains: NDArray[np.float32]
    """(N, 16) natural logarithm of the brightness over the frame before's, in 4 × 4 blocks, row by row."""

    def __len__(self) -> int:
        return len(self.cut)

    @property
    def last(self) -> int:
        return self.first + len(self)

    def rows(self, a: int, b: int) -> Survey:
        """Those of its frames that stand in the rows ``[a, b)``."""
        return Survey(self.first + a, *(getattr(self, name)[a:b] for name in self.signals()))

    @classmethod
    def signals(cls) -> tuple[str, ...]:
        """The arrays' names, in order."""
        return ("cut", "levels", "colours", "shift", "confidence", "still", "change", "gains")
