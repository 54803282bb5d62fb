"""The passes, over one tile of film.

A stream: frames go in one after the other, each pass holds the window that it needs and no more, and what leaves the
last pass is put on the source's planes at once. So memory is bounded by the windows, not by the tile's length.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion, spec
from pipeline.restore.colour import DTYPES, Converter
from pipeline.restore.engine import settle
from pipeline.restore.fields import FieldConverter, FieldPass
from pipeline.restore.passes import FACTORIES, Bench, Factory, Job, Pass, Spared, Through
from pipeline.restore.staging import Begun, Lanes, Planes, begin, lanes, uploaded
from pipeline.restore.windows import needed
from pipeline.types import Colour, FrameParameters, Frames, NetInfo, PassPlan, PixelFormat, Tile

Observer = Callable[[int, Planes, Planes, Tensor, Tensor], None]
"""(number, planes before, planes after, RGB before, RGB after): planes (h, w[, samples]), RGB (3, H, W) float32, all on
the device and not to be written into. Where no pass touched the frame, before and after are the same objects."""

_LOOK_BACK = frozenset(("grain", "degrain"))
"""Kinds that ask what a net before them was given."""


@dataclass(frozen=True, slots=True)
class _Picture:
    number: int
    rgb: Tensor
    flags: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    found: Mapping[str, float] = field(default_factory=dict)
    """What passes found in this very frame: column of ``frames.parquet`` → value."""
    net: Through | None = None
    """Its way through the last net; kept only where a later pass asks for it."""
    spared: Spared | None = None


class Restorer:
    """The chain of a job on one device: nets are loaded once, then any number of tiles are restored."""

    flags: dict[int, list[str]]
    """Of the last run: frame number → its flags, sorted; every frame that the run gave is there."""
    found: dict[int, Mapping[str, float]]
    """Of the last run: frame number → what its passes found in it, by column of ``frames.parquet``."""

    def __init__(
        self,
        chain: Sequence[PassPlan],
        engine: spec.Engine,
        nets: Mapping[str, NetInfo],
        device: str,
        *,
        factories: Mapping[str, Factory] = FACTORIES,
    ):
        """nets: pass name → its weights. device: ``cpu`` or ``cuda:0``.

        Fixes this process's torch settings (``engine.settle``). Raises WeightsError where weights cannot be had.
        """
        self.device = torch.device(device)
        settle(engine, self.device)
        motion.settle(engine.cpu_threads)
        self._lanes = lanes(self.device)
        bench = Bench(engine, nets, self.device)

        def build(plan: PassPlan) -> Pass:
            built = factories[plan.kind](plan, bench)
            if plan.radius != built.radius:
                raise ValueError(f"pass {plan.name!r} is planned with radius {plan.radius}, but needs {built.radius}")
            return built

        self._build = build
        self._passes = [(plan, build(plan)) for plan in chain]
        self._field_passes: list[tuple[PassPlan, Pass]] | None = None
        self._converters: dict[tuple[PixelFormat, Colour, bool], Converter | FieldConverter] = {}
        self._lock = threading.Lock()
        self.flags, self.found = {}, {}

    def _of(self, fields: bool) -> list[tuple[PassPlan, Pass]]:
        """The passes for whole frames, or for the fields of interlaced ones, which are built when first wanted."""
        if not fields:
            return self._passes
        if self._field_passes is None:
            self._field_passes = [(plan, FieldPass(built, self._build(plan))) for plan, built in self._passes]
        return self._field_passes

    @torch.inference_mode()
    def begin(self, frames: Frames, tile: Tile, colour: Colour, *, fields: bool = False) -> Begun:
        """Send the first frames that the passes read of a tile up, to be given to ``run``; from another thread than the
        one that restores.

        On a CPU there is nothing to send.
        """
        converter = self._converter(frames.format, colour, fields)
        # A tile holds more than that: what says where its cuts are.
        first = max(frames.first, tile.restore_first - self._reach)
        return begin(range(first, frames.last), lambda n: converter.upload(frames.frame(n)), self._lanes)

    @property
    def _reach(self) -> int:
        """Frames before one that the chain reads for it, at most."""
        return sum(plan.radius for plan, _ in self._passes)

    def _converter(self, pixels: PixelFormat, colour: Colour, fields: bool) -> Converter | FieldConverter:
        key, kind = (pixels, colour, fields), FieldConverter if fields else Converter
        with self._lock:
            if key not in self._converters:
                self._converters[key] = kind(pixels, colour, self.device)
            return self._converters[key]

    @torch.inference_mode()
    def run(
        self,
        frames: Frames,
        tile: Tile,
        cuts: NDArray[np.bool_],
        parameters: Callable[[int], FrameParameters],
        colour: Colour,
        observe: Observer,
        *,
        fields: bool = False,
        begun: Begun = MappingProxyType({}),
    ) -> Frames:
        """Restore one tile.

        frames: ``[tile.read_first, tile.read_last)``. cuts: (len(frames),), the picture changes before that frame; the
        first entry is not asked. parameters: of a frame by its number. Returns ``[tile.restore_first, tile.last)`` in
        new arrays; ``observe`` is called once for each of those, in order, when ``flags`` and ``found`` know the frame.
        A frame is the same whatever tile it lies in. ``fields``: the frames are interlaced, and each field is restored
        by itself. ``begun``: what ``begin`` gave for these frames.
        """
        self._check(frames, tile, cuts)
        passes = self._of(fields)
        for _, built in passes:
            built.reset()
        converter = self._converter(frames.format, colour, fields)
        wanted = range(tile.restore_first, tile.last)
        values = {n: parameters(n) for n in range(tile.read_first, tile.read_last)}

        # Backwards through the chain: what the last pass must give, what it reads for that, what is read for those.
        asked: Collection[int] = wanted
        reads: list[dict[int, tuple[int, ...]]] = []
        for plan, _ in reversed(passes):

            def active(n: int, name: str = plan.name) -> bool:
                return values[n][name].get("strength", 1.0) != 0.0

            reads.insert(0, needed(asked, plan.radius, active, frames.first, cuts))
            asked = {m for window in reads[0].values() for m in window}

        sources: dict[int, tuple[Planes, Tensor]] = {}
        stream = _pictures(frames, sorted(asked), converter, wanted, sources, self._lanes, begun)
        kinds = [plan.kind for plan, _ in passes]
        for i, ((plan, built), windows) in enumerate(zip(passes, reads, strict=True)):
            kept = plan.kind == "net" and not _LOOK_BACK.isdisjoint(kinds[i + 1 :])
            stream = _pass(stream, built, windows, {n: values[n][plan.name] for n in windows}, kept)

        out = _blank(frames, len(wanted), self.device)
        self.flags, self.found = {}, {}
        for picture in stream:
            n = picture.number
            before, rgb_before = sources.pop(n)
            after = before
            if picture.rgb is not rgb_before:
                changed = converter.delta(rgb_before[None], picture.rgb[None], [p[None] for p in before])
                after = tuple(p[0] for p in changed)
            for whole, plane in zip(out, after, strict=True):
                self._lanes.fetch(whole[n - tile.restore_first], plane)
            self.flags[n], self.found[n] = sorted(picture.flags | picture.marks), picture.found
            observe(n, before, after, rgb_before, picture.rgb)
        self._lanes.finish()
        span = frames.span(tile.restore_first, tile.last)
        return Frames(tuple(p.numpy() for p in out), frames.format, span.first, span.pts)

    @torch.inference_mode()
    def rgb(self, frames: Frames, number: int, colour: Colour, *, fields: bool = False) -> Tensor:
        """One frame as RGB ``(3, H, W)`` float32 on the device; ``fields`` as in ``run``."""
        converter = self._converter(frames.format, colour, fields)
        return converter.to_rgb([p[None] for p in converter.upload(frames.frame(number))])[0]

    @torch.inference_mode()
    def planes(self, frames: Frames, number: int, colour: Colour, *, fields: bool = False) -> Planes:
        """One frame's native planes on the device, as ``run`` shows them to its observer; ``fields`` as there."""
        return self._converter(frames.format, colour, fields).upload(frames.frame(number))

    def _check(self, frames: Frames, tile: Tile, cuts: NDArray[np.bool_]) -> None:
        """A tile that holds too little would give other pictures than its neighbours, silently."""
        if (frames.first, frames.last) != (tile.read_first, tile.read_last):
            raise ValueError(
                f"the frames {frames.first}:{frames.last} are not what tile {tile.number} reads: "
                f"{tile.read_first}:{tile.read_last}"
            )
        if len(cuts) != len(frames):
            raise ValueError(f"{len(cuts)} cuts for {len(frames)} frames")
        if tile.head < self._reach and tile.read_first > 0:
            raise ValueError(
                f"tile {tile.number} reads {tile.head} frames before those to restore; the chain needs {self._reach}"
            )


def _pictures(
    frames: Frames,
    numbers: Sequence[int],
    converter: Converter | FieldConverter,
    wanted: range,
    sources: dict[int, tuple[Planes, Tensor]],
    through: Lanes,
    begun: Begun,
) -> Iterator[_Picture]:
    """The source's frames as RGB; those that will be given are kept in ``sources`` until they are."""
    for n, planes in uploaded(numbers, lambda n: converter.upload(frames.frame(n)), through, begun):
        rgb = converter.to_rgb([p[None] for p in planes])[0]
        if n in wanted:
            sources[n] = (planes, rgb)
        yield _Picture(n, rgb)


def _pass(
    stream: Iterator[_Picture],
    treatment: Pass,
    reads: Mapping[int, tuple[int, ...]],
    parameters: Mapping[int, Mapping[str, float]],
    keep: bool,
) -> Iterator[_Picture]:
    """The frames ``reads`` asks for, restored. ``stream`` gives every frame that they read, in order. keep: each takes
    along what it was before."""
    # Frame → the oldest frame that it or a later one reads. A frame that is handed through reads less than the next.
    oldest: dict[int, int] = {}
    least = 1 << 62
    for n in sorted(reads, reverse=True):
        oldest[n] = least = min(least, *reads[n])
    held: dict[int, _Picture] = {}
    for _, group in groupby(sorted(reads), key=lambda n: n // treatment.group):
        numbers = list(group)
        for n in [n for n in held if n < oldest[numbers[0]]]:
            del held[n]
        newest = max(max(reads[n]) for n in numbers)
        while newest not in held:
            picture = next(stream)
            held[picture.number] = picture
        yield from _restored(numbers, treatment, held, reads, parameters, keep)


def _restored(
    numbers: Sequence[int],
    treatment: Pass,
    held: Mapping[int, _Picture],
    reads: Mapping[int, tuple[int, ...]],
    parameters: Mapping[int, Mapping[str, float]],
    keep: bool,
) -> Iterator[_Picture]:
    """One group of frames."""
    strengths = {n: parameters[n].get("strength", 1.0) for n in numbers}
    jobs = [
        Job(
            n,
            tuple(held[m].rgb for m in reads[n]),
            parameters[n],
            tuple(held[m].net for m in reads[n]),
            held[n].spared,
        )
        for n in numbers
        if strengths[n] != 0.0
    ]
    found = {job.number: r for job, r in zip(jobs, treatment.restore(jobs), strict=True)} if jobs else {}
    for n in numbers:
        if n not in found:
            yield held[n]
            continue
        source, rgb = held[n].rgb, found[n].rgb
        if strengths[n] != 1.0 and rgb is not source:
            rgb = source + strengths[n] * (rgb - source)
        # A frame carries the flags of all that it was made from.
        flags = found[n].flags.union(*(held[m].flags for m in reads[n]))
        marks = held[n].marks | found[n].marks
        # What two passes of a kind found adds up: shares, columns, ways.
        both = {k: v + held[n].found.get(k, 0.0) for k, v in found[n].found.items()}
        net = Through(source, rgb) if keep else held[n].net
        first, later = held[n].spared, found[n].spared
        spared = first.then(later) if first else later
        yield _Picture(n, rgb, flags, marks, {**held[n].found, **both}, net, spared)


def _blank(frames: Frames, count: int, device: torch.device) -> list[Tensor]:
    """Host memory for the restored planes, pinned where they come from a GPU."""
    pinned = device.type == "cuda"
    return [torch.empty((count, *p.shape[1:]), dtype=DTYPES[p.dtype], pin_memory=pinned) for p in frames.planes]
