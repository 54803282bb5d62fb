"""``reelmend bench spots``: what ``dirt`` takes and leaves, spot by spot, on many clips; and learning it from them."""

from __future__ import annotations

import functools
import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.bench_chain import run
from jobs.bench_clips import DAMAGED, WRECKED, Case, Pictures, Size, Which, made, pictures
from jobs.bench_movers import flies, swings
from jobs.bench_quality import of_the_film
from jobs.bench_report import table
from jobs.bench_traps import CALM, TRAPS, Make, trap
from jobs.common import load_spec, say
from pipeline import motion
from pipeline.errors import CallError
from pipeline.motion import Regions
from pipeline.restore.passes import Bench, Job, Restored
from pipeline.restore.passes.dirt import filled, looker
from pipeline.restore.passes.evidence import NAMES, evidence, passing
from pipeline.restore.passes.judge import learned, write
from pipeline.restore.passes.looking import RADIUS
from pipeline.spec import Spec
from pipeline.train.clips import Clip
from pipeline.train.damage import Recipe, damage
from pipeline.train.footage import Motion
from pipeline.train.spots import Spots, held_out, learn
from pipeline.types import PassPlan

_CORES = 2
_SIZES = (Size(), Size(width=560, height=420, film=1120))
_FIRST, _STEP = 1000, 7
"""Number of the first clip, and from one to the next: none of those that presets are measured on."""
_RUNNING = Motion(
    still=0.5, pan=2, zoom=0, turn=0, objects=(2, 4), object_speed=18, object_size=(10, 60), limbs=1, uneven=0, lines=0
)
"""Things and legs as fast as film has them."""
_LEAPING = _RUNNING.model_copy(update={"uneven": 1.0})
_CROSSING = Motion(
    still=0.3, pan=4, zoom=0, turn=0, objects=(2, 4), object_speed=14, object_size=(30, 140), limbs=0, uneven=0, lines=1
)
"""Large things before poles and rails."""
_TURNING = Motion(still=0, pan=8, zoom=0.012, turn=0.8, objects=(0, 0), limbs=0, uneven=0.5, lines=1)
"""A camera that does all at once: fine detail that flow follows inexactly."""
_LOOKS: Mapping[str, str] = {
    "clean": "{pass: dirt, threshold: 0.08}",
    "clean, second look": "{pass: degrain}, {pass: dirt, threshold: 0.06}",
    "archive": "{pass: dirt}",
}
"""As the presets look."""
_FASTER = ("flies", "flies", "leaping", "crossing", "turning", "flies, shown twice", "swings, shown three times")
_SHOWN: Mapping[str, int] = {"flies, shown twice": 2, "swings, shown three times": 3}
"""Times that each frame of a clip is shown."""
_COPIES, _DOZEN = 8, 12
"""Rounds of copied clips for a dozen of others."""
_COPIED = (*DAMAGED, *WRECKED, "swings", "running", "flies", "passing", "fast limbs")
_CONTRAST, _BLUR, _CRF = (0.35, 0.8), (0.4, 1.0), (18, 27)
"""Of a copy: against the film's, no unit; px; of H.264."""
_EDGE = 2
"""Px around a spot that its edge may reach."""
_OUT = 2
"""Frames at either end that are not looked at, as elsewhere in the benchmark."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One clip of many."""

    kind: str
    number: int
    look: str
    size: Size
    copied: bool = False
    """It is an old transfer: flat, soft and compressed, with its dirt."""

    @property
    def name(self) -> str:
        return f"{self.kind}, copied" if self.copied else self.kind


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a clip's spots."""

    asked: Asked
    spots: Spots


def run_bench_spots(data: Sequence[str], overlays: str | None, *, which: Which, rounds: int, into: Path | None) -> int:
    """Measure; print the table. ``into``: learn from the clips first, and write the nets there.

    Raises CallError.
    """
    if into is not None and not into.absolute().parent.is_dir():
        raise CallError("there is no such folder", where=str(into.parent), todo="Make it, or give another --learn")
    pictures(data, overlays, which)  # told before the work begins, where there is something to tell
    told = collected(data, overlays, which, list(asking(rounds)))
    spots = Spots.joined([t.spots for t in told])
    if into is None:
        odds = learned()(spots.evidence)
    else:
        say(f"learning from {len(spots.gain)} spots; each part of them is measured by what was learned without it")
        odds = held_out(spots)
        write(learn(spots), into)
    print(shown(told, odds), flush=True)
    return 0


def asking(rounds: int) -> Iterator[Asked]:
    """The clips: damaged ones of every kind, twice as many of things that move, and some of both copied."""
    often = [*DAMAGED, *WRECKED, "swings", "swings", "running", "running", "running", "passing"]
    seldom = [kind for kind in TRAPS if kind != "passing"]
    kinds = [(n, kind) for n in range(rounds) for kind in (often + seldom if n % 3 == 0 else often)]
    kinds += [(n, kind) for n in range(rounds) for kind in _FASTER]
    kinds += [(n, "fast limbs") for n in range(rounds)]
    plain = len(kinds)
    kinds += [(n, kind) for n in range(math.ceil(rounds * _COPIES / _DOZEN)) for kind in _COPIED]
    for place, (n, kind) in enumerate(kinds):
        look, size = list(_LOOKS)[n % len(_LOOKS)], _SIZES[n % len(_SIZES)]
        yield Asked(kind, _FIRST + _STEP * place, look, size, place >= plain)


def collected(data: Sequence[str], overlays: str | None, which: Which, clips: Sequence[Asked]) -> list[Told]:
    """Every clip's spots, found in processes of their own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_CORES, mp_context=context) as pool:
        told = []
        for t in pool.map(functools.partial(_one, tuple(data), overlays, which), clips):
            say(f"{t.asked.name} {t.asked.number} ({t.asked.look}): {len(t.spots.gain)} spots")
            told.append(t)
    return told


@functools.cache
def _pictures(data: tuple[str, ...], overlays: str | None, which: Which) -> Pictures:
    return pictures(data, overlays, which)


def _one(data: tuple[str, ...], overlays: str | None, which: Which, asked: Asked) -> Told:
    motion.settle(1)
    return Told(asked, spots_of(_case(_pictures(data, overlays, which), asked), asked))


def _case(found: Pictures, asked: Asked) -> Case:
    case = _filmed(found, asked)
    return _copied(case, asked.number) if asked.copied else case


def _filmed(found: Pictures, asked: Asked) -> Case:
    kind, number, size = asked.kind, asked.number, asked.size
    damaged = {**DAMAGED, **WRECKED}
    if kind in damaged:
        return made(kind, damaged[kind][0], found, size, number, *damaged[kind][1:])
    own: Mapping[str, tuple[Make, Motion]] = {
        "swings": (swings, CALM),
        "flies": (flies, CALM),
        "running": (_as_it_is, _RUNNING),
        "leaping": (_as_it_is, _LEAPING),
        "crossing": (_as_it_is, _CROSSING),
        "turning": (_as_it_is, _TURNING),
    }
    name, times = kind.split(",")[0], _SHOWN.get(kind, 1)
    make, moves = own.get(name) or (TRAPS[name][1], CALM)
    case = trap(found, size, number, kind, "", make, moves)
    again = np.arange(len(case.truth)) // times
    return replace(case, damaged=case.damaged[again], truth=case.truth[again])


def _copied(case: Case, number: int) -> Case:
    """As an old transfer shows it. The truth is as flat and as soft, for that is not what ``dirt`` mends; its
    other fields stay."""
    rng = np.random.default_rng(number)
    contrast, blur, crf = rng.uniform(*_CONTRAST), rng.uniform(*_BLUR), int(rng.integers(*_CRF, endpoint=True))
    floor = rng.uniform(0, 1 - contrast)
    soft = Recipe(dirt=0, scratches=0, flicker=0, grain=0, blur=blur)
    lossy = replace(soft, codec="h264", codec_quality=crf)

    def through(clip: Clip, recipe: Recipe) -> Clip:
        flat = np.asarray(floor + contrast * clip, np.float32)
        return damage(flat, recipe, number, width=clip.shape[3]).damaged

    return replace(case, damaged=through(case.damaged, lossy), truth=through(case.truth, soft))


def _as_it_is(clip: Clip, rng: np.random.Generator) -> Clip:  # noqa: ARG001
    return clip


def spots_of(case: Case, asked: Asked) -> Spots:
    """Every spot of a clip that ``dirt`` asks about, and what mending it does to the picture."""
    chain = f"chain=[{{pass: duplicates}}, {{pass: deflicker, memory: 12.0, local: 0.06}}, {_LOOKS[asked.look]}]"
    spec: Spec = of_the_film(load_spec("clean", [chain]), asked.size)
    watch = _Watching(case, asked.number)
    run(case.damaged, spec, {"dirt": watch.build})
    # A spot is as large as the film is fine: what it is worth is told at the first size.
    scale = np.float32((_SIZES[0].width / asked.size.width) ** 2)
    nothing = np.zeros(0, np.float32)
    none = Spots(np.zeros((0, len(NAMES)), np.float32), nothing, nothing, np.zeros(0, np.int64))
    spots = Spots.joined([none, *watch.found])
    return replace(spots, gain=spots.gain * scale, sound=spots.sound * scale)


class _Watching:
    """In place of ``dirt``: looks as that does, and changes nothing."""

    radius, group = RADIUS, 1

    def __init__(self, case: Case, number: int):
        self._case, self._number = case, number
        self.found: list[Spots] = []

    def build(self, plan: PassPlan, bench: Bench) -> _Watching:  # noqa: ARG002
        """As a factory."""
        self._settings = plan.settings
        self.reset()
        return self

    def reset(self) -> None:
        self._looker = looker(self._settings)

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        inner = range(_OUT, len(self._case.truth) - _OUT)
        for job in jobs:
            if job.number in inner:
                self.found += self._spots(job)
        return [Restored(job.window[RADIUS]) for job in jobs]

    def _spots(self, job: Job) -> list[Spots]:
        here = job.window[RADIUS]
        between = self._looker.first(job.window)
        if between is None or between.too_many or not between.asked.any():
            return []
        spots, look = between.suspects.spots, self._looker.second(here, between)
        mask = motion.grow(spots.chosen(between.asked), _EDGE)
        mended = filled(here, between.nearest, look.scene.flows, mask)
        truth = self._case.truth[job.number]
        before, after = (np.square(p.numpy() - truth).mean(0) for p in (here, mended))
        told = evidence(look.scene)
        gain = _sums(before - after, spots, told.weighed)
        sound = spots.sum(~motion.grow(self._case.mask[job.number], _EDGE))[told.weighed].astype(np.float32)
        # The others are left in any case.
        keep = ((look.scene.again >= 1.0) & ~passing(look.scene, told.weighed))[told.weighed]
        return [Spots(told.rows, gain, sound, np.full(len(gain), self._number, np.int64))[keep]]


def _sums(values: NDArray[np.float32], spots: Regions, which: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(K,) over each chosen spot and the px around it; what lies around two counts for both."""
    found = []
    for n in np.flatnonzero(which):
        left, top, right, bottom = spots.boxes[n]
        part = np.s_[max(0, top - _EDGE) : bottom + _EDGE, max(0, left - _EDGE) : right + _EDGE]
        found.append(values[part][motion.grow(spots.labels[part] == n, _EDGE)].sum())
    return np.array(found, np.float32)


def shown(told: Sequence[Told], odds: NDArray[np.float32]) -> str:
    """Markdown: what could be had of each kind of clip, and what the odds have of it."""
    rows: dict[str, NDArray[np.float64]] = {}
    taken = odds < 0
    for t in told:
        mine, taken = taken[: len(t.spots.gain)], taken[len(t.spots.gain) :]
        worth = t.spots.worth.astype(np.float64)
        good, bad = np.maximum(worth, 0), np.maximum(-worth, 0)
        one = np.array((len(worth), good.sum(), good[~mine].sum(), bad.sum(), bad[mine].sum()))
        rows[t.asked.name] = rows.get(t.asked.name, np.zeros(5)) + one
    head = ("clips", "spots", "mending is worth", "of it left", "mending costs", "of it done")
    return "\n".join(table(head, [(kind, *(f"{v:.0f}" for v in row)) for kind, row in rows.items()]))
