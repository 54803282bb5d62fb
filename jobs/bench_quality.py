"""``reelmend bench film``: how well the presets mend film whose truth is known, and what others make of the same."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs import bench_films
from jobs.bench_chain import Run, as_clip, as_frames, run
from jobs.bench_clips import Case, Pictures, Size, damaged, pictures, worn, woven
from jobs.bench_films import Mended
from jobs.bench_peers import missing, peers
from jobs.bench_quality_page import write_page
from jobs.bench_seen import about
from jobs.bench_speed import CORES, Speed, speeds
from jobs.bench_traps import clean, traps
from jobs.common import find_sources, load_spec, say
from pipeline import motion
from pipeline.errors import CallError
from pipeline.quality.truth import Found, Mask, Score, decibel, detection, mean_of, score
from pipeline.spec import NetPass, Pass, Spec
from pipeline.train.clips import Clip
from pipeline.treatments import DirtPass, StabilisePass

PRESETS = ("archive", "clean")
EDGE = 2
"""Frames at either end of a clip that are not scored, of anybody: all of these chains look at neighbours on both sides,
and a shot of film is ten times as long as these clips."""
NEAR = 2
"""Px around dirt within which a repair is no false one: dirt is taken out with its faint edge."""
_WRONG = 16 / 255
"""A trap's pixel is wrongly repaired where it is so much further from the truth than it was."""
_CHANGED = 4 / 255
_QUICK = Size(96, 80, 10)


@dataclass(frozen=True, slots=True)
class Scored:
    """A damaged clip, and what everybody made of it."""

    case: Case
    before: Score
    averaged: Score
    """Of the truth with the grain that a mean of all frames would leave."""
    by: Mapping[str, Score]
    """Preset or peer → its figures."""
    clips: Mapping[str, Clip]
    """Preset or peer → its clip."""
    dirt: Mapping[str, Found]
    """Preset → its dirt mask against the truth's."""
    lines: Mapping[str, Found]


@dataclass(frozen=True, slots=True)
class Steadied:
    """A clip that weaves."""

    case: Case
    before: float
    """px rms that its frames lie off."""
    after: float


@dataclass(frozen=True, slots=True)
class Trapped:
    """A clip with nothing to mend."""

    case: Case
    by: Mapping[str, Touched]
    """Preset → what it did."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What a preset did where there is nothing to mend, in the worst frame."""

    worst: float
    """Share of the pixels that were wrongly repaired."""
    spots: float
    """Share that dirt and scratches changed."""


@dataclass(slots=True)
class Results:
    """All that was measured."""

    size: Size
    photographs: str
    """Sentences of Markdown: which they are, and what the nets have seen of them."""
    scored: list[Scored] = field(default_factory=list)
    worn: list[Scored] = field(default_factory=list)
    """Clips of heavily worn film, as the others but by themselves."""
    steadied: list[Steadied] = field(default_factory=list)
    trapped: list[Trapped] = field(default_factory=list)
    clean_psnr_db: float = 0.0
    clean_changed: float = 0.0
    speeds: list[Speed] = field(default_factory=list)
    films: list[Mended] = field(default_factory=list)
    """Real ones."""
    film_frames: int = 0
    """Frames that were taken of each at most."""
    skipped: list[str] = field(default_factory=list)
    """Plain words about what could not be asked."""
    seconds: float = 0.0


def means(scored: Sequence[Scored]) -> Mapping[str, Score]:
    """``damaged``, each preset and each peer → the mean over the clips. Who failed on one is left out."""
    found = {"damaged": mean_of([s.before for s in scored])}
    for name in scored[0].by:
        if all(name in s.by for s in scored):
            found[name] = mean_of([s.by[name] for s in scored])
    return found


def run_bench_film(
    out: Path | None,
    *,
    data: Sequence[str],
    every: bool,
    overlays: str | None,
    films: Sequence[str],
    vapoursynth: str | None,
    weights: str | None,
    overrides: Sequence[str],
    quick: bool,
    command: str,
) -> int:
    """Measure; print the tables, and write the page to ``out`` with its pictures beside it.

    ``every``: all photographs of ``data``, not only those that training holds out. ``films``: sources of real films;
    one that cannot be read is told on the page.

    A goal that is missed is said, and is no failure of the command. Raises CallError, ReelmendError.
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise CallError("there is no such folder", where=str(out.parent), todo="Make it, or give another --out")
    real = find_sources(films) if films else ()
    if every and not data:
        raise CallError("there is nothing to take all of", where="--all", todo="Give photographs with --data")
    specs = {name: _with(load_spec(name, overrides), weights) for name in bench_films.PRESETS}
    size = _QUICK if quick else Size()
    cut = {name: of_the_film(specs[name], size) for name in PRESETS}
    found = measured(pictures(data, overlays, "all" if every else "held out"), size, cut, vapoursynth)
    began = time.perf_counter()
    found.film_frames = bench_films.FEW if quick else bench_films.MOST
    workers = 1 if quick else CORES
    found.films, lacking = bench_films.mended(real, specs, found.film_frames, workers=workers)
    found.skipped += lacking
    found.seconds += time.perf_counter() - began
    print(write_page(found, out, command=command), flush=True)
    return 0


def _with(spec: Spec, weights: str | None) -> Spec:
    """The spec with these weights in its nets."""
    if weights is None:
        return spec
    chain = tuple(p.model_copy(update={"weights": weights}) if isinstance(p, NetPass) else p for p in spec.chain)
    return spec.model_copy(update={"chain": chain})


def of_the_film(spec: Spec, size: Size) -> Spec:
    """The spec with the largest blotch as a share of the clip that comes to its share of the film's whole picture: the
    clips are cut from a wider film, and their dirt is that film's."""
    part = (size.film / size.width) ** 2

    def scaled(p: Pass) -> Pass:
        if not isinstance(p, DirtPass):
            return p
        return p.model_copy(update={"largest": min(0.5, p.largest * part)})

    return spec.model_copy(update={"chain": tuple(scaled(p) for p in spec.chain)})


def measured(from_: Pictures, size: Size, specs: Mapping[str, Spec], vapoursynth: str | None) -> Results:
    """Everything. specs: ``archive`` and ``clean``."""
    began = time.perf_counter()
    found = Results(size, about(from_, specs))
    found.skipped += [f"FFmpeg: {name}: this build lacks a filter" for name in missing()]
    if vapoursynth is None:
        found.skipped.append("VapourSynth: none was given (`--vapoursynth PYTHON`)")
    for clips, scored in ((damaged(from_, size), found.scored), (worn(from_, size), found.worn)):
        for case in clips:
            say(f"{case.name}: {case.about}")
            scored.append(_scored(case, specs, vapoursynth, found.skipped))
    for case in woven(from_, size):
        say(f"{case.name}: {case.about}")
        after = run(case.damaged, specs["clean"]).clip
        found.steadied.append(Steadied(case, astray(case.damaged, case.truth), astray(after, case.truth)))
    settled = {name: _settled(spec) for name, spec in specs.items()}
    for case in traps(from_, size):
        say(f"{case.name}: {case.about}")
        found.trapped.append(Trapped(case, {n: _touched(case, run(case.damaged, s)) for n, s in settled.items()}))
    case = clean(from_, size)
    source = as_clip(as_frames(case.damaged))
    apart = run(case.damaged, specs["archive"]).clip - source
    found.clean_psnr_db = decibel(np.square(apart))
    found.clean_changed = float((np.abs(apart) > _CHANGED).any(axis=1).mean())
    found.speeds = speeds(from_, specs, small=size == _QUICK)
    found.seconds = time.perf_counter() - began
    return found


def _scored(case: Case, specs: Mapping[str, Spec], vapoursynth: str | None, skipped: list[str]) -> Scored:
    inner = slice(EDGE, -EDGE)
    truth, mask = case.truth[inner], case.mask[inner]
    source = as_clip(as_frames(case.damaged))
    clips: dict[str, Clip] = {}
    dirt: dict[str, Found] = {}
    lines: dict[str, Found] = {}
    for name, spec in specs.items():
        got = run(case.damaged, spec)
        clips[name] = got.clip
        # Of either: a scratch's piece that went as dirt is no false repair, nor is dirt that went with a scratch.
        near = _near(case.mask)[inner]
        dirt[name] = detection(got.changed["dirt"][inner], case.seen[inner], near)
        lines[name] = detection(got.changed["scratches"][inner], case.lines[inner], near)
    for peer in peers(vapoursynth):
        try:
            clips[peer.name] = peer.restore(source)
        except CallError as error:
            skipped.append(f"{peer.name}: {error.what}")
    by = {name: score(clip[inner], truth, mask) for name, clip in clips.items()}
    before, averaged = (score(clip[inner], truth, mask) for clip in (source, case.averaged))
    return Scored(case, before, averaged, by, clips, dirt, lines)


def _near(mask: Mask) -> Mask:
    return np.stack([motion.grow(m, NEAR) for m in mask])


def astray(found: Clip, truth: Clip) -> float:
    """px rms by which the frames lie off their truth, each way, what is common to all taken off."""
    places = np.array([_place(a, b) for a, b in zip(truth, found, strict=True)])[EDGE:-EDGE]
    return float(np.sqrt(np.mean(np.square(places - places.mean(axis=0)))))


def _place(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    lies = motion.align(*(np.ascontiguousarray(p.mean(axis=0)) for p in (a, b)))
    return lies.x, lies.y


def _settled(spec: Spec) -> Spec:
    """Without ``stabilise``: the camera of the traps trembles, and nobody can tell that from the gate."""
    return spec.model_copy(update={"chain": tuple(p for p in spec.chain if not isinstance(p, StabilisePass))})


def _touched(case: Case, got: Run) -> Touched:
    source = as_clip(as_frames(case.damaged))
    changed = got.changed["dirt"] | got.changed["scratches"]
    return Touched(max(wrongly(source, got.clip, case.truth)), float(changed.mean(axis=(1, 2)).max()))


def wrongly(before: Clip, after: Clip, truth: Clip) -> list[float]:
    """Of each frame the share of pixels that came out further from the truth than they were, by 16/255 or more in a
    channel."""
    worse = np.abs(after - truth) - np.abs(before - truth) > _WRONG
    return [float(w.any(axis=0).mean()) for w in worse]
