"""Films that went well and films that did not, restored for real, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from jobs import bench_film
from pipeline import tables
from pipeline.cluster.restorer import TileRestorer
from pipeline.publish import layout
from pipeline.reel.sample import write_sample
from pipeline.restore import chain
from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.train.damage import Recipe
from pipeline.types import PassPlan
from tests.cluster import alone
from tests.restore import test_passes as made

SIZE = (256, 144)
FRAMES, TILE = 12, 6


RECIPE = Recipe(dirt=4.0, scratches=0, flicker=0.0005, grain=1.5 / 255)


def source(folder: Path, frames: int = FRAMES) -> Path:
    """A print in good order, with some dirt and fine grain, of a photograph that is panned over."""
    with mock.patch.object(bench_film, "_RECIPE", RECIPE):
        return bench_film.write_film(folder / "film.mkv", frames=frames, width=SIZE[0], height=SIZE[1])


def scratched(folder: Path) -> Path:
    """A pan behind a scratch, with spots in every frame; no two alike, or they would pass for a thing that moves."""
    rng = np.random.default_rng(4)
    _, clip = made.lined(2.0)
    for frame in clip:
        for y, x in zip(rng.integers(10, made.H - 20, 4), rng.integers(10, 90, 4), strict=True):
            h, w = rng.integers(3, 10, 2)
            frame[y : y + h, x : x + w] = rng.choice((0.02, 0.98)) + rng.uniform(-0.1, 0.1)
    return written(folder / "scratched.mkv", clip)


def written(path: Path, clip: NDArray[np.float32]) -> Path:
    """A film of a clip (N, H, W)."""
    write_sample(path, made.frames_of(clip), rate=Fraction(24), sound=np.zeros(1, np.int16), sound_rate=48_000)
    return path


FLICKER, TIME_STEP, SPACE_STEP = 0.006, 0.004, 0.005
BORDER = 96
"""Where two spatial tiles of 128 px with a halo of 32 px meet in such a picture."""


class Faulty:
    """In the net's place: brightness goes up and down, steps at the border of two spatial tiles and with every tile.

    Each by little, so that nothing else is wrong.
    """

    group = 1

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self.tiles = 0

    def reset(self) -> None:
        self.tiles += 1

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [Restored(self.one(j.window[self.radius], j.number)) for j in jobs]

    def one(self, rgb: torch.Tensor, number: int) -> torch.Tensor:
        out = rgb + (FLICKER if number % 2 else -FLICKER) + TIME_STEP * (self.tiles % 2)
        out[..., BORDER:] += SPACE_STEP
        return out


def faulty(plan: PassPlan, _bench: Bench) -> Faulty:
    return Faulty(plan.radius)


def restore(film: Path, out: Path, *overrides: str, factories: Any = None) -> Path:
    """The published folder of the film, restored by the archive preset with these values over it."""
    restorer = None
    words = [alone.NET, f"tiles.frames={TILE}", *overrides]
    if factories is not None:
        job = alone.make_job([str(film)], str(out), config="archive", overrides=words)
        plan = alone.steps.prepare(job, 0).plan
        restorer = TileRestorer(plan.chain, job.spec, job.nets, "cpu")
        restorer._restorer = chain.Restorer(plan.chain, job.spec.engine, job.nets, "cpu", factories=factories)
    alone.restore(film, out, *words, restorer=restorer)
    return out / film.stem


def flags(reel: Path) -> dict[str, int]:
    """Flag → frames that carry it."""
    found: dict[str, int] = {}
    for each in tables.read_columns(reel / layout.FRAMES, ["flags"])["flags"]:
        for flag in each:
            found[flag] = found.get(flag, 0) + 1
    return found
