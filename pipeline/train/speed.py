"""How fast damage is made."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.train.clips import pan, to_clip
from pipeline.train.damage import Overlays, Ranges, damage, draw

_WIDTH = 2048
"""px of the picture that the samples are taken for crops of."""


def damaged_per_second(
    picture: NDArray[np.uint8], samples: int, *, frames: int, side: int, overlays: Overlays | None = None
) -> float:
    """Samples a second of CPU time on one thread, at the full ranges: with damage of every kind where there are
    ``overlays``, without them with every kind but those.

    ``picture``: RGB (H, W, 3), larger than ``side`` by some 250 px each way. ``overlays`` are given decoded: reading
    files is no part of it, as a job keeps those that it has read.
    """
    ranges = Ranges()
    clip = pan(to_clip(picture[None]), frames=frames + ranges.lost, size=(side, side), start=(40, 200), step=(1.5, 3.0))
    recipes = [draw(ranges, np.random.default_rng([1905, n]), frames=frames) for n in range(samples)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.process_time()
        for number, recipe in enumerate(recipes):
            damage(clip[: frames + recipe.lost], recipe, number, width=_WIDTH, overlays=overlays)
        return samples / (time.process_time() - began)
    finally:
        torch.set_num_threads(before)


def made_overlays(count: int) -> list[NDArray[np.uint8]]:
    """Pictures as large as real overlays' inked parts are (90 to 400 px a side), which is all that their cost hangs on:
    uint8 (h, w) each, for a machine that has no real ones."""
    rng = np.random.default_rng(1906)
    return [rng.integers(0, 256, rng.integers(90, 400, 2), np.uint8) for _ in range(count)]
