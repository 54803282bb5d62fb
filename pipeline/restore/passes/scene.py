"""A frame that has been looked at twice, between its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.motion import Flow
from pipeline.restore.passes.passing import Side
from pipeline.restore.passes.suspects import LARGE, Planes, Suspects

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

_REACH = 0.04
"""How far a spot is looked for in the neighbours, as a share of the width: as far as things move between frames."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the two looks found."""

    suspects: Suspects
    """Of the first look."""
    asked: NDArray[np.bool_]
    """(N,) the spots that are asked about."""
    again: NDArray[np.float64]
    """(N,) how far they stand out at the second look, in thresholds."""
    here: Planes
    moved: tuple[Planes, Planes]
    """The neighbours as they moved, with what lies under spots as it is around them."""
    middle: Planes
    """The mean of these."""
    ways: tuple[Flow, Flow]
    """From here to them, as found."""
    flows: tuple[Flow, Flow]
    """As ``moved`` went."""
    sides: tuple[Side, Side]
    doubtful: tuple[Mask, Mask]
    """Where the flows there and back disagree."""
    unlike: Picture
    """By how much the neighbours differ, as they moved."""

    @property
    def beside(self) -> tuple[Planes, Planes]:
        """The neighbours as they are."""
        return self.sides[0].frames[0], self.sides[1].frames[0]

    @property
    def reach(self) -> int:
        """px that things move between frames."""
        width: int = self.here.shape[1]
        return max(8, round(_REACH * width))

    @property
    def shaped(self) -> float:
        """px of area from which a spot is large, and has a look of its own."""
        return float(np.square(LARGE * self.reach))
