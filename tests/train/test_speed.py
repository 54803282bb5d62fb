"""How fast damage is made, in small."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.train import speed
from tests.train.conftest import photo


class Counted(list[np.ndarray]):
    """Overlays that know how often one was asked for."""

    asked = 0

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        self.asked += 1
        return super().__getitem__(number)


def test_overlays_are_laid_where_they_are_given() -> None:
    threads = torch.get_num_threads()
    picture = photo(1, 300, 360)
    given = Counted(speed.made_overlays(3))
    assert speed.damaged_per_second(picture, 6, frames=3, side=32, overlays=given) > 0
    assert given.asked > 0
    assert speed.damaged_per_second(picture, 2, frames=3, side=32) > 0
    assert torch.get_num_threads() == threads


def test_made_overlays_are_as_large_as_real_ones() -> None:
    made = speed.made_overlays(20)
    assert {ink.dtype.name for ink in made} == {"uint8"}
    assert all(90 <= side < 400 for ink in made for side in ink.shape)
