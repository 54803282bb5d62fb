"""What restoring did to a picture, and what of it a person should look at. Tensors as ``measures`` has them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHANGE_THRESHOLD = 4.0 / 255.0
"""A pixel counts as changed where an RGB channel moves by more than this share of full range."""

# A change of exactly 4/255 is none, though float32 may put it some ulps above.
_CHANGE_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Borders:
    """Where spatial tiles meet: numbers of the rows and columns that are the first of a tile, without 0."""

    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.rows or self.columns)


NO_BORDERS = Borders()


def changed(before: Tensor, after: Tensor) -> Tensor:
    """Mask ``(H, W)`` of the pixels where an RGB channel of ``(3, H, W)`` moved by more than the threshold."""
    most = (after[0] - before[0]).abs_()
    for channel in (1, 2):
        torch.maximum(most, (after[channel] - before[channel]).abs_(), out=most)
    return most > CHANGE_THRESHOLD + _CHANGE_SLACK


def seam(change: Tensor, borders: Borders) -> Tensor:
    """The step that the change makes across the worst border between spatial tiles, in code values: float64 scalar.

    Along a border, the mean absolute step from one side to the other, less the mean of the same one pixel to either
    side of it: what a net does everywhere is no seam. 0 at least.
    """
    worst = torch.zeros((), dtype=torch.float64, device=change.device)
    for picture, places in ((change, borders.rows), (change.T, borders.columns)):
        size = picture.shape[0]
        for at in places:
            if 2 <= at < size - 1:
                steps = (picture[at - 1 : at + 2] - picture[at - 2 : at + 1]).abs_().sum(-1).double()
                here = (steps[1] - (steps[0] + steps[2]) / 2) / picture.shape[1]
                worst = torch.maximum(worst, here)
    return worst
