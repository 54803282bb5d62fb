"""Weighs what speaks for a spot's being dirt and what for its being a thing that moves.

By a few small nets whose opinions are averaged, learned from many thousand spots of made film, of which it is known
what mending each does to the picture: ``reelmend bench spots --learn``. Their card is ``weights/dirt-spots.md``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from pipeline.restore.passes.evidence import NAMES
from pipeline.restore.weights.registry import FOLDER

FILE = "dirt_spots.safetensors"
BOUND = 4.0
"""Deviations from the mean of what was learned from, beyond which evidence counts as that much: nothing was learned
there."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judge:
    """M nets of two hidden layers of U units each, over E numbers of evidence."""

    mean: Floats
    """(E,) of what was learned from."""
    deviation: Floats
    """(E,)."""
    first: Floats
    """(M, E + 1, U): weights, and the biases last; so all three."""
    second: Floats
    """(M, U + 1, U)."""
    third: Floats
    """(M, U + 1, 1)."""

    def __call__(self, evidence: Floats) -> Floats:
        """(K,) of (K, E): log odds that each is a thing that moves."""
        x = self.scaled(evidence)[None]
        for layer in (self.first, self.second):
            x = np.tanh(_through(x, layer))
        opinions = _through(x, self.third)[..., 0]
        # One after the other: NumPy's own sum goes another way where there is a single spot.
        return np.asarray(sum(opinions[1:], opinions[0]) / len(opinions), np.float32)

    def scaled(self, evidence: Floats) -> Floats:
        """(K, E) in deviations from the mean."""
        return np.asarray(np.clip((evidence - self.mean) / self.deviation, -BOUND, BOUND), np.float32)


def _through(x: Floats, layer: Floats) -> Floats:
    return np.asarray(
        np.einsum("mki,mio->mko", np.broadcast_to(x, (len(layer), *x.shape[1:])), layer[:, :-1]) + layer[:, -1:]
    )


def likelihood(evidence: Floats) -> Floats:
    """(K,) how likely each spot is a thing that moves, 0 to 1. evidence: (K, ``evidence.NAMES``)."""
    odds = learned()(evidence)
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * odds), np.float32)


@functools.cache
def learned() -> Judge:
    """The one that ships with the project."""
    return read(FOLDER / FILE)


def read(path: Path) -> Judge:
    """From a file that ``write`` made. Raises ValueError where it was made for other evidence."""
    held = safetensors.numpy.load_file(path)
    judge = Judge(**{name: held[name] for name in Judge.__slots__})
    if judge.mean.shape != (len(NAMES),):
        raise ValueError(f"{path.name} weighs {judge.mean.shape[0]} numbers of evidence, there are {len(NAMES)}")
    return judge


def write(judge: Judge, path: Path) -> None:
    """For ``read``."""
    safetensors.numpy.save_file({name: np.ascontiguousarray(getattr(judge, name)) for name in Judge.__slots__}, path)
