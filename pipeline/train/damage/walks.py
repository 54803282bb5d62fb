"""What belongs to a frame and walks on from the frame before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.train.damage.recipe import Recipe


def ar1(rng: np.random.Generator, frames: int, memory: float, ways: int = 1) -> NDArray[np.float64]:
    """(frames, ways) of standard deviation 1, each frame's with a correlation of ``memory`` to the one before."""
    steps = rng.standard_normal((frames, ways))
    walk = np.empty_like(steps)
    walk[0] = steps[0]
    for i in range(1, frames):
        walk[i] = memory * walk[i - 1] + np.sqrt(1 - memory**2) * steps[i]
    return walk


def drift(rng: np.random.Generator, frames: int, recipe: Recipe) -> NDArray[np.float32]:
    """(frames,) of factors around 1: a random walk, held between a half and two."""
    walk = rng.standard_normal(frames).cumsum() * recipe.drift
    return np.asarray(np.exp(np.clip(walk - walk[0], -0.69, 0.69)), np.float32)


def track(frames: int, recipe: Recipe, seed: int, *, width: int) -> NDArray[np.float32]:
    """(frames, 3): how far weave and splice move each frame's picture down and right (px), and turn it (radians).

    ``width``: px of the whole picture. Equal arguments give an equal track.
    """
    rng, scale = np.random.default_rng([seed, 5]), width / 2048
    walk = ar1(rng, frames, recipe.weave_memory, 3)
    place = np.clip(walk, -3, 3) * (recipe.weave * scale)
    place[:, 2] = np.clip(walk[:, 2], -3, 3) / 3 * np.deg2rad(recipe.weave_turn)
    if recipe.splice is not None:
        for after, share in ((0, 1.0), (1, 0.5)):
            if recipe.splice + after < frames:
                place[recipe.splice + after, 0] += recipe.splice_jump * scale * share
    return place.astype(np.float32)
