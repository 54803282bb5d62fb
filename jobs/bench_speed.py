"""How fast the presets are: frames a second of 640×360 px, on two cores with a restorer each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from jobs.bench_chain import run
from jobs.bench_clips import Pictures, Size, damaged
from pipeline.spec import Spec
from pipeline.train.clips import Clip

CORES = 2
GOALS: Mapping[str, float] = {"archive": 2.0, "clean": 1.0}
"""Frames a second."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Of a preset."""

    preset: str
    size: Size
    rate: float
    """Frames a second of all cores together: survey and restoring, not reading or writing."""
    goal: float


def speeds(from_: Pictures, specs: Mapping[str, Spec], *, small: bool) -> list[Speed]:
    """Measured in processes of their own, which begin together."""
    size = Size(96, 80, 8) if small else Size(640, 360, 24)
    clip = damaged(from_, size, only=("pan",))[0].damaged
    found = []
    context = multiprocessing.get_context("spawn")
    for name, spec in specs.items():
        with ProcessPoolExecutor(CORES, mp_context=context) as pool:
            # The first call loads the net; the second one is told.
            list(pool.map(_seconds, [(clip[:6], spec)] * CORES))
            spent = max(pool.map(_seconds, [(clip, spec)] * CORES))
        found.append(Speed(name, size, CORES * len(clip) / spent, GOALS[name]))
    return found


def _seconds(said: tuple[Clip, Spec]) -> float:
    return run(*said).seconds
