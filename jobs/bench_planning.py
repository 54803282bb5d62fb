"""How long planning takes: a reel of 200,000 frames that exists on paper only."""

from __future__ import annotations

import itertools
import statistics
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from jobs.bench_report import Part, at_most
from jobs.common import find_nets, load_spec
from pipeline.plan import make_plan
from pipeline.spec import ShotOverride, Spec
from pipeline.types import Colour, Component, FrameIndex, PixelFormat, PlaneLayout, Reel

GOAL_S = 2.0
_RATE = Fraction(24000, 1001)
_GRAY = PixelFormat("gray", "gray", 8, (PlaneLayout(0, 0, 1),), (Component(0, 0, 0, 8),))


def planning(_folder: Path, *, frames: int = 200_000, shots: int = 1000, times: int = 5) -> Part:
    """Plan a made-up reel, without overrides and with one for each of so many shots."""
    plain = load_spec("archive")
    overridden = plain.model_copy(update={"shots": _overrides(frames, shots)})
    kinds = (
        ("every frame a key frame", plain, 1),
        (f"{shots} shots with overrides", overridden, 1),
        ("a key frame in 12", plain, 12),
    )
    figures = []
    for what, spec, gop in kinds:
        seconds, tiles = _plan(spec, frames, gop, times)
        figures.append(at_most(f"{what}: {tiles} tiles", seconds, GOAL_S, lambda s: f"{s:.2f} s"))
    hours = frames / float(_RATE) / 3600
    return Part(
        name="planning",
        title="Planning",
        how=f"The plan of {frames:,} frames ({hours:.1f} h) with the preset `archive`, from an index that is made up: "
        f"wall time of `make_plan`, median of {times}.",
        figures=figures,
    )


def _overrides(frames: int, shots: int) -> tuple[ShotOverride, ...]:
    edges = np.linspace(0, frames, shots + 1).astype(int)
    return tuple(
        ShotOverride(frames=f"{a}:{b}", set={"net": {"strength": 0.25 + 0.5 * (n % 2)}})
        for n, (a, b) in enumerate(itertools.pairwise(edges))
    )


def _plan(spec: Spec, frames: int, gop: int, times: int) -> tuple[float, int]:
    nets, seconds, tiles = find_nets(spec), [], 0
    for _ in range(times):
        reel, index = made_up(frames, gop)
        began = time.perf_counter()
        tiles = len(make_plan(reel, index, spec, nets).tiles)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), tiles


def made_up(frames: int, gop: int) -> tuple[Reel, FrameIndex]:
    """A reel and its index with a key frame in every ``gop`` frames."""
    numbers = np.arange(frames, dtype=np.int64)
    index = FrameIndex(
        pts=np.round(numbers * float(1000 / _RATE)).astype(np.int64),
        key=numbers % gop == 0,
        position=numbers * 1000,
        size=np.full(frames, 1000, np.int64),
        time_base=Fraction(1, 1000),
        rate=_RATE,
        constant=True,
        found_by="demux",
    )
    reel = Reel(
        name="paper",
        uri="/films/paper.mkv",
        source_id="0" * 64,
        bytes=frames * 1000,
        container="matroska",
        stream=0,
        codec="ffv1",
        width=2048,
        height=1556,
        format=_GRAY,
        rate=_RATE,
        time_base=index.time_base,
        sample_aspect=Fraction(1),
        colour=Colour("unknown", "unknown", "unknown", "unknown", "unknown", "gray", True),
        field_order="progressive",
        timecode=None,
        others=(),
        tags=(),
    )
    return reel, index
