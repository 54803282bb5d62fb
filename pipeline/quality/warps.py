"""What is told of frames by those around them, with the movement taken off: on reduced pictures, along one flow.

Warp errors of source and output; and of the source, the dirt and the scratches that it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.quality import invention, lines, measures, spots
from pipeline.types import FIGURES_RADIUS

WIDTH = 320
"""Px, about: of the reduced picture. Flicker, ghosts and smears are larger than a pixel of it and grain is smaller, and
its flow costs a hundredth of what a net does."""

_BESIDE = 2
"""Threads beside a GPU."""
_REPEAT = 0.25
"""A frame repeats the one before where they differ by less than this share of what its neighbour differs by."""

Shift = tuple[float, float]
"""Px of the frame to the right and downwards by which restoring moved it."""
Errors = tuple[float, float]
"""Of source and output, in 8-bit codes."""
Picture = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Small:
    """One frame's reduced luma in 8-bit codes; the output is the source's own array where it is equal."""

    source: Picture
    output: Picture
    change: Picture | None
    """Mean absolute change of the pixels that each stands for; None where it is equal."""
    shift: Shift


@dataclass(frozen=True, slots=True)
class _Seen:
    """A frame, and how it lies to the frame before it."""

    now: _Small
    found: tuple[lines.Line, ...]
    before: spots.Neighbour | None
    """The source of the frame before, with the flows; None where that was not seen."""
    apart: float
    """Mean absolute difference of the two, in 8-bit codes."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a frame and the one before it tell."""

    found: tuple[lines.Line, ...]
    errors: Errors = (0.0, 0.0)
    unsupported: float = 0.0
    moves: lines.Moves = ()
    """Of the scene beside the frame's lines, to the frame before."""
    moves_before: lines.Moves = ()
    """Of the scene beside the lines of the frame before, to the frame."""
    dirt: float = 0.0
    """Share of the frame before, by the one before that and this one; 0 where there is none before that."""
    dirt_far: bool = False
    """Whether, for the first of these, the one before it was taken: the two are the same picture."""
    dirt_past: float | None = None
    """Share of the frame two before, by those around it but for the one after it, where that repeats it."""


class Warps:
    """Looks at consecutive frames with their movement taken off.

    Source and output go along one flow, the source's: a restored frame has moved as its source did, and what a bad one
    shows instead must not be taken for movement. Where restoring shifted the frames, the flow goes with them. Passes
    that follow motion at full size keep theirs to themselves: a figure of the source must not depend on the chain.
    """

    def __init__(self, scale: float):
        """scale: 8-bit codes in a code value. The flow's rounding hangs on OpenCV's threads: see ``motion.settle``."""
        self._scale = scale
        self._told: dict[int, Future[_Told]] = {}
        self._last: tuple[Future[_Seen], ...] = ()
        self._beside: ThreadPoolExecutor | None = None
        self._width, self._factor = 0, 1

    def see(self, number: int, source: Tensor, output: Tensor, shift: Shift = (0.0, 0.0)) -> None:
        """Frame ``number``, which follows the last: ``(H, W)`` luma in code values, float32; the same object where they
        are equal, or where the frame is only looked at for its neighbours' sake. On a GPU this only queues work: the
        rest is done on threads beside it."""
        height, self._width = source.shape
        self._factor = factor = max(1, min(round(self._width / WIDTH), height))
        pictures = [source] if output is source else [source, output, (output - source).abs_()]
        small = torch.stack([measures.reduced(p, factor) for p in pictures]).mul_(self._scale)
        bands = lines.bands(source).mul_(self._scale)
        if not small.is_cuda:
            self._seen(number, small.numpy(), bands.numpy(), height, shift, _at_once)
            return
        # The copies down and their end are asked of the device; threads of their own wait for them, frame by frame.
        here, lined = (torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in (small, bands))
        here.copy_(small, non_blocking=True)
        lined.copy_(bands, non_blocking=True)
        there = torch.cuda.current_stream(small.device).record_event()
        self._beside = self._beside or ThreadPoolExecutor(_BESIDE)
        self._seen(number, here.numpy(), lined.numpy(), height, shift, self._beside.submit, there.synchronize)

    def _seen(
        self,
        number: int,
        small: Picture,
        bands: Picture,
        height: int,
        shift: Shift,
        submit: Callable[..., Future[Any]],
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Have a frame looked at when its pictures are ready. What is submitted waits for nothing that comes after."""
        before, factor = self._last, self._factor

        def look() -> _Seen:
            ready()
            same = len(small) == 1
            now = _Small(small[0], small[0] if same else small[1], None if same else small[2], shift)
            return _look(now, lines.find(bands, height), before[-1].result().now if before else None)

        seen = submit(look)
        self._told[number] = submit(lambda: _tell([s.result() for s in (*before, seen)], factor))
        self._last = (*before[-1:], seen)

    def errors(self, number: int) -> Errors:
        """Of a frame that was seen, against the one seen before it; 0 of the first. Waits for it."""
        return self._told[number].result().errors

    def unsupported(self, number: int) -> float:
        """Share of a frame that was changed though the frame seen before it bears it out: see ``invention``; 0 of the
        first. Waits for it."""
        return self._told[number].result().unsupported

    def dirt(self, number: int, cuts_before: Collection[int]) -> float:
        """Share of a frame's pixels that lie in spots of that frame alone; 0 where its shot or what was seen begins or
        ends with it: one side alone is no evidence. Waits for the frame after."""
        after = number + 1
        if number in cuts_before or after in cuts_before or after not in self._told:
            return 0.0
        if after + 1 in self._told and after + 1 not in cuts_before:
            past = self._told[after + 1].result().dirt_past
            if past is not None:
                return past
        told = self._told[after].result()
        return 0.0 if told.dirt_far and number - 1 in cuts_before else told.dirt

    def scratches(self, number: int, cuts_before: Collection[int]) -> int:
        """Columns of a frame that scratches cover: see ``lines``. Waits for the frames around."""
        if not self._told[number].result().found:
            return 0
        first = last = number
        while first > number - FIGURES_RADIUS and first not in cuts_before and first - 1 in self._told:
            first -= 1
        while last < number + FIGURES_RADIUS and last + 1 not in cuts_before and last + 1 in self._told:
            last += 1
        traces = {n: self._trace(n) for n in range(first, last + 1)}
        return lines.columns(number, traces, first, last + 1, self._width, self._factor)

    def _trace(self, number: int) -> lines.Trace:
        told = self._told[number].result()
        ahead = self._told[number + 1].result().moves_before if number + 1 in self._told else ()
        return lines.Trace(told.found, told.moves, ahead)


def _at_once(what: Callable[[], Any]) -> Future[Any]:
    done = Future[Any]()
    done.set_result(what())
    return done


def _look(now: _Small, found: tuple[lines.Line, ...], before: _Small | None) -> _Seen:
    if before is None:
        return _Seen(now, found, None, 0.0)
    here, then = (p.source * np.float32(1 / 255) for p in (now, before))
    flows = (motion.flow(a, b, kind="quick") for a, b in ((here, then), (then, here)))
    apart = float(np.abs(now.source - before.source).mean(dtype=np.float64))
    return _Seen(now, found, spots.Neighbour(before.source, *flows), apart)


def _tell(seen: Sequence[_Seen], factor: int) -> _Told:
    """seen: a frame and up to two before it, it last."""
    here = seen[-1]
    if here.before is None:
        return _Told(here.found)
    before = seen[-2]
    after = spots.Neighbour(here.now.source, here.before.back, here.before.there)
    dirt, far, past = 0.0, False, None
    if before.before is not None:
        third = seen[-3]
        # Past a repeat lies what is no news of a frame's own: the flow to it is that of the repeat.
        far = third.before is not None and before.apart < _REPEAT * here.apart
        side = third.before if far and third.before is not None else before.before
        dirt = spots.share(before.now.source, (side, after))
        if third.before is not None and before.apart < _REPEAT * third.apart:
            past = spots.share(third.now.source, (third.before, after))
    return _Told(
        here.found,
        _errors(here.now, before.now, here.before.there, factor),
        _unsupported(here, before, factor),
        lines.beside(here.found, here.now.source, here.before.there, factor),
        lines.beside(before.found, before.now.source, here.before.back, factor),
        dirt,
        far,
        past,
    )


def _unsupported(here: _Seen, before: _Seen, factor: int) -> float:
    now, other = here.now, here.before
    if now.change is None or other is None:
        return 0.0
    if before.before is not None and here.apart < _REPEAT * before.apart:
        other = before.before  # a repeat bears out its own dirt
    x, y = now.shift
    return invention.share(now.source, now.output, now.change, other, (x / factor, y / factor))


def _errors(now: _Small, before: _Small, flow: motion.Flow, factor: int) -> Errors:
    inside = _inside(flow)
    source = _apart(now.source, before.source, flow, inside)
    if now.output is now.source and before.output is before.source:
        return source, source
    if now.shift != (0.0, 0.0) or before.shift != (0.0, 0.0):
        flow = _with(flow, now.shift, before.shift, factor)
        inside = _inside(flow)
    return source, _apart(now.output, before.output, flow, inside)


def _with(flow: motion.Flow, now: Shift, before: Shift, factor: int) -> motion.Flow:
    """The flow between two frames that were shifted: what is at x now came from x - now."""
    here, there = (np.array(s, np.float32) / np.float32(factor) for s in (now, before))
    return motion.warp(flow, np.broadcast_to(-here, flow.shape)) + (there - here)


def _inside(flow: motion.Flow) -> NDArray[np.bool_]:
    """(H, W) the points that were inside the picture."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return np.asarray((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))


def _apart(now: Picture, before: Picture, flow: motion.Flow, inside: NDArray[np.bool_]) -> float:
    """Mean absolute difference over the points that were inside the picture; 0 where none was."""
    apart = np.abs(now - motion.warp(before, flow, "lanczos"))
    return float((apart * inside).sum(dtype=np.float64) / max(1, np.count_nonzero(inside)))
