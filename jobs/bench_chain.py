"""A clip through a preset as a job would take it: written as a film, surveyed, planned and restored; without Ray."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.common import find_nets
from pipeline.plan import cuts, make_plan
from pipeline.plan.curves import plan_curves, wants_survey
from pipeline.plan.make import parameters_at
from pipeline.reel.decode import decode
from pipeline.reel.formats import pixel_format
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.reel.sample import write_sample
from pipeline.restore.chain import Observer, Restorer
from pipeline.restore.passes import FACTORIES, Bench, Factory, Job, Pass, Restored
from pipeline.spec import Spec
from pipeline.survey.signals import Look
from pipeline.train.clips import Clip
from pipeline.types import Curves, Frames, PassPlan, Plan, Reel, Survey, Tile

_PIXELS, _WHITE = "gbrp10le", 1023
"""RGB of 10 bit, as a film scan is."""
_RATE = Fraction(24)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a clip."""

    clip: Clip
    flags: Mapping[int, Sequence[str]]
    changed: Mapping[str, NDArray[np.bool_]]
    """Pass kind → (N, H, W) where it changed the picture it was given."""
    seconds: float
    """Of surveying and restoring; not of reading or writing."""


def run(clip: Clip, spec: Spec, own: Mapping[str, Factory] | None = None) -> Run:
    """Restore a clip by a spec; ``own``: what makes passes of these kinds in place of the chain's own.

    Raises CallError where its nets cannot be had.
    """
    nets = find_nets(spec)
    with tempfile.TemporaryDirectory(prefix="reelmend-bench-") as folder:
        path = Path(folder, "clip.mkv")
        write_sample(path, as_frames(clip), rate=_RATE, sound=np.zeros(1, np.int16), sound_rate=48_000)
        reel = probe(str(path), "clip", spec.source)
        index = build(reel)
        frames = decode(reel, index, 0, len(index), threads=1)
    began = time.perf_counter()
    plan = make_plan(reel, index, spec, nets)
    curves = None
    if wants_survey(plan.chain):
        curves = plan_curves(survey(frames, 0, len(index), reel), plan.chain, reel)
    watch = Watch()
    parts: list[NDArray[Any]] = []
    flags: dict[int, Sequence[str]] = {}
    worker = Restorer(plan.chain, spec.engine, nets, "cpu", factories={**watch.factories(), **(own or {})})
    for tile, found in through(worker, frames, plan, curves):
        parts.append(as_clip(found)[tile.overlap :])
        flags |= worker.flags
    seconds = time.perf_counter() - began
    return Run(np.concatenate(parts), flags, watch.masks(range(len(index))), seconds)


def survey(frames: Frames, first: int, last: int, reel: Reel) -> Survey:
    """Of the frames ``[first, last)``; ``frames`` hold them, and the one before them where there is one."""
    look = Look(first, last, reel.colour, reel.width)
    look.see(frames)
    return look.result()


def through(
    worker: Restorer, frames: Frames, plan: Plan, curves: Curves | None, observe: Observer = lambda *_: None
) -> Iterator[tuple[Tile, Frames]]:
    """The plan's tiles one after the other, each with its overlap before it. worker: made for the plan's chain. frames:
    all that the tiles read. observe: sees each frame as a job's figures do, those of an overlap a second time."""
    for tile in plan.tiles:
        read = frames.span(tile.read_first, tile.read_last)
        yield (
            tile,
            worker.run(
                read,
                tile,
                cuts.find(cuts.signature(read)),
                lambda n: parameters_at(n, plan.chain, plan.overrides, curves),
                plan.reel.colour,
                observe,
                fields=plan.reel.interlaced,
            ),
        )


def as_frames(clip: Clip) -> Frames:
    """A clip as a film scan's frames."""
    codes = np.rint(np.clip(clip, 0, 1) * _WHITE).astype(np.uint16)
    # FFmpeg keeps planar RGB as green, blue, red.
    planes = tuple(np.ascontiguousarray(codes[:, c]) for c in (1, 2, 0))
    return Frames(planes, pixel_format(_PIXELS), 0, np.arange(len(clip), dtype=np.int64))


def as_clip(frames: Frames) -> Clip:
    """And back."""
    g, b, r = frames.planes
    return np.stack((r, g, b), axis=1).astype(np.float32) / np.float32(_WHITE)


@dataclass(slots=True)
class Watch:
    """Looks at what the passes that repair spots and lines make of their frames."""

    seen: dict[str, dict[int, NDArray[np.bool_]]] = field(default_factory=dict)

    def factories(self) -> Mapping[str, Factory]:
        return {**FACTORIES, **{kind: self._watched(kind) for kind in ("dirt", "scratches")}}

    def masks(self, frames: range) -> Mapping[str, NDArray[np.bool_]]:
        """Pass kind → (N, H, W) where it changed these frames."""
        return {kind: np.stack([by[n] for n in frames]) for kind, by in self.seen.items()}

    def _watched(self, kind: str) -> Factory:
        def build(plan: PassPlan, bench: Bench) -> Pass:
            return _Watched(FACTORIES[kind](plan, bench), self.seen.setdefault(kind, {}))

        return build


class _Watched:
    """A pass, and where it changed its frames."""

    def __init__(self, inner: Pass, seen: dict[int, NDArray[np.bool_]]):
        self.radius, self.group, self._inner, self._seen = inner.radius, inner.group, inner, seen

    def reset(self) -> None:
        self._inner.reset()

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        found = self._inner.restore(jobs)
        for job, result in zip(jobs, found, strict=True):
            apart = (result.rgb != job.window[self.radius]).any(0)
            here = np.asarray(apart.cpu().numpy(), np.bool_)
            # There may be two passes of a kind.
            self._seen[job.number] = self._seen.get(job.number, np.zeros_like(here)) | here
        return found
