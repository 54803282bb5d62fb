"""Real films through the presets: nobody knows their truth, so the project's own figures before and after are told."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.bench_chain import Watch, survey, through
from jobs.common import Sources, find_nets, say
from pipeline.errors import ReelmendError
from pipeline.plan import make_plan
from pipeline.plan.curves import plan_curves, shots, stabilise
from pipeline.quality.figures import Meter
from pipeline.reel.decode import decode
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.restore.chain import Restorer
from pipeline.spec import Spec
from pipeline.survey.signals import Look
from pipeline.types import Frames, Plan, Reel, Survey

PRESETS = ("archive", "clean", "silent")
MOST = 48
"""Frames that are taken of a film, from its middle: films often begin with a leader."""
FEW = 10
"""For a first look."""
_WEAVE = {"memory": 6.0, "floor": 0.0, "limit": 0.03, "when": "always"}
"""What `stabilise` is asked: every shift that it finds, however small."""
_MOVES = {**_WEAVE, "when": "still"}
"""And whether it would leave a shot alone, because that may be the camera's own movement."""

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a film, source or restored; None where it means nothing."""

    warp_error: float | None
    """Mean difference to the frame before along the movement, 8-bit codes."""
    flicker: float | None
    """Mean of how far mean luma jumps from the frame before, 8-bit codes."""
    weave: float | None
    """px rms of what `stabilise` would move the frames by, in shots whose background stands."""
    dirt: float | None
    """Share of the pixels that lie in spots of one frame alone."""


@dataclass(frozen=True, slots=True)
class Mended:
    """What a preset made of a film."""

    film: str
    preset: str
    size: tuple[int, int]
    """Width and height, px."""
    span: tuple[int, int]
    """The frames ``[first, last)`` that were taken."""
    total: int
    """Frames of the film."""
    before: Figures
    after: Figures
    at: int
    """The frame with the most dirt, by the figure; where there is none, the one in the middle."""
    shift: tuple[float, float]
    """px to the right and downwards by which it was moved."""
    pictures: tuple[Picture, Picture]
    """It, before and after."""
    repaired: NDArray[np.bool_]
    """(H, W) where passes that look for dirt changed it."""
    seconds: float
    """CPU time that it took."""


def mended(films: Sources, specs: Mapping[str, Spec], most: int, *, workers: int) -> tuple[list[Mended], list[str]]:
    """Every film through every preset, so many frames of it; and plain words about what could not be had.

    ``workers`` above 1: in processes of their own.
    """
    asked = [(uri, film, preset, spec, most) for uri, film in films for preset, spec in specs.items()]
    if not asked:
        return [], []
    say(f"real films: {', '.join(name for _, name in films)}")
    if workers == 1:
        found = [_one(a) for a in asked]
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(_one, asked))
    return [f for f in found if isinstance(f, Mended)], [f for f in found if isinstance(f, str)]


def _one(asked: tuple[str, str, str, Spec, int]) -> Mended | str:
    """Words where a film cannot be had: an error would have to travel between processes."""
    uri, film, preset, spec, most = asked
    try:
        return _mended(uri, film, preset, spec, most)
    except ReelmendError as error:
        return f"{film}, `{preset}`: {error.what}"


def _mended(uri: str, film: str, preset: str, spec: Spec, most: int) -> Mended:
    """As a job would: the film's own frames are read, surveyed and planned; those around the span are read too."""
    began = time.process_time()
    nets = find_nets(spec)
    reel = probe(uri, film, spec.source)
    index = build(reel)
    total = len(index)
    first = max(0, (total - most) // 2)
    last = min(total, first + most)
    # One tile: where tiles begin changes no picture, and each computes its neighbours' frames anew.
    spec = spec.model_copy(update={"tiles": spec.tiles.model_copy(update={"frames": most})})
    plan = make_plan(reel, index, spec, nets, (first, last))
    begin, end = plan.tiles[0].read_first, plan.tiles[-1].read_last
    frames = decode(reel, index, max(0, begin - 1), end, threads=1)
    seen = survey(frames, begin, end, reel)
    watch, meters = Watch(), _Meters(reel, first)
    parts: list[Frames] = []
    shifts: dict[int, tuple[float, float]] = {}

    def observe(n: int, *pictures: Any) -> None:
        found = worker.found[n]
        shifts[n] = (found.get("shift_x_px", 0.0), found.get("shift_y_px", 0.0))
        meters.see(n, *pictures, shift=shifts[n])

    worker = Restorer(plan.chain, spec.engine, nets, "cpu", factories=watch.factories())
    for tile, found in through(worker, frames, plan, plan_curves(seen, plan.chain, reel), observe):
        parts.append(found.span(tile.first, tile.last))
    before, after, dirt = _figures(seen, parts, meters, plan)
    at = max(range(len(dirt)), key=dirt.__getitem__) + first if any(dirt) else (first + last) // 2
    pictures = (worker.rgb(p, at, reel.colour, fields=reel.interlaced) for p in (frames, _holding(parts, at)))
    one, other = (np.asarray(np.clip(p.numpy().transpose(1, 2, 0) * 255 + 0.5, 0, 255), np.uint8) for p in pictures)
    nothing = np.zeros((reel.height, reel.width), np.bool_)
    return Mended(
        film=film,
        preset=preset,
        size=(reel.width, reel.height),
        span=(first, last),
        total=total,
        before=before,
        after=after,
        at=at,
        shift=shifts[at],
        pictures=(one, other),
        repaired=watch.seen.get("dirt", {}).get(at, nothing),
        seconds=time.process_time() - began,
    )


def _holding(parts: Sequence[Frames], number: int) -> Frames:
    return next(p for p in parts if p.first <= number < p.last)


class _Meters:
    """The report's figures of a film, and of what was made of it as if that were a film that somebody gives: a report
    tells of dirt in the source alone."""

    def __init__(self, reel: Reel, first: int):
        self._both, self._output = (Meter(reel.format, reel.colour) for _ in range(2))
        self._next = first

    def see(self, number: int, *pictures: Any, shift: tuple[float, float]) -> None:
        """A frame, in order, as ``Meter.see`` takes it; one that was seen, in the core before a tile's overlap, is
        passed over."""
        if number < self._next:
            return
        self._next = number + 1
        _, after, _, rgb_after = pictures
        self._both.see(number, *pictures, shift=shift)
        self._output.see(number, after, after, rgb_after, rgb_after)

    def figures(self, first: int, last: int, cuts: Collection[int]) -> tuple[Figures, Figures, list[float]]:
        """Without the weave; and the source's dirt of every frame. cuts: numbers of the frames that begin a shot."""
        both, output = (m.figures(first, last, cuts) for m in (self._both, self._output))
        # One side alone is no evidence of dirt: a shot's first and last frame are not asked.
        inner = [n for n in range(1, last - first - 1) if not {n + first, n + first + 1} & set(cuts)]
        told = (
            Figures(
                _mean([f.warp_error_source for f in both]),
                _mean([f.flicker_source for f in both]),
                None,
                _mean([both[n].dirt_fraction for n in inner]),
            ),
            Figures(
                _mean([f.warp_error_output for f in both]),
                _mean([f.flicker_output for f in both]),
                None,
                _mean([output[n].dirt_fraction for n in inner]),
            ),
        )
        return *told, [f.dirt_fraction for f in both]


def _figures(
    seen: Survey, parts: Sequence[Frames], meters: _Meters, plan: Plan
) -> tuple[Figures, Figures, list[float]]:
    first, last, reel = plan.first, plan.last, plan.reel
    source = seen.rows(first - seen.first, last - seen.first)
    look = Look(first, last, reel.colour, reel.width)
    for part in parts:
        look.see(part)
    # The film's own cuts: mending makes none.
    output = replace(look.result(), cut=source.cut)
    before, after, dirt = meters.figures(first, last, {first + int(n) for n in np.flatnonzero(source.cut)})
    ways = weave(source, output, reel)
    return replace(before, weave=ways[0]), replace(after, weave=ways[1]), dirt


def weave(source: Survey, output: Survey, reel: Reel) -> tuple[float | None, float | None]:
    """px rms by which the frames of source and output lie off their shots' slow way, of the shots whose background
    stands in the source; None where there is none, or the shifts between frames are not borne out."""
    lies: list[tuple[int, float, float]] = []
    for a, b in shots(source):
        one, other = (s.rows(a, b) for s in (source, output))
        if stabilise(one, _MOVES, reel)[:, 2].any():
            continue
        before, after = _lies(one, reel), _lies(other, reel)
        if before is not None and after is not None:
            lies.append((b - a, before, after))
    if not lies:
        return None, None
    frames, *squares = np.array(lies).T
    before, after = (float(np.sqrt((frames * s).sum() / frames.sum())) for s in squares)
    return before, after


def _lies(shot: Survey, reel: Reel) -> float | None:
    """Mean square, px²; None where the planner will not say."""
    shift = stabilise(shot, _WEAVE, reel)[:, :2]
    if not shift.any() and shot.shift[1:].any():
        return None
    return float(np.square(shift).sum(axis=1).mean())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
