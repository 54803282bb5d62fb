"""What movement does not explain: a film's frames against those before them, with the movement taken off."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.quality import measures

WIDTH = 320
"""Px, about: of the reduced picture. Flicker, ghosts and smears are larger than a pixel of it and grain is smaller, and
its flow costs a hundredth of what a net does."""

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
    shift: Shift


class Warps:
    """Warp errors of consecutive frames, of source and output.

    Both go along one flow, the source's: a restored frame has moved as its source did, and what a bad one shows instead
    must not be taken for movement. Where restoring shifted the frames, the flow goes with them. Passes that follow
    motion at full size keep theirs to themselves: a figure of the source must not depend on the chain.
    """

    def __init__(self, scale: float):
        """scale: 8-bit codes in a code value. The flow's rounding hangs on OpenCV's threads: see ``motion.settle``."""
        self._scale = scale
        self._errors: dict[int, Future[Errors]] = {}
        self._before: _Small | None = None
        self._beside: ThreadPoolExecutor | None = None

    def see(self, number: int, source: Tensor, output: Tensor, shift: Shift = (0.0, 0.0)) -> None:
        """Frame ``number``, which follows the last: ``(H, W)`` luma in code values, float32; the same object where they
        are equal. On a GPU this only queues work: the flow is found on a thread beside it."""
        factor = max(1, min(round(source.shape[1] / WIDTH), source.shape[0]))
        pictures = [source] if output is source else [source, output]
        small = torch.stack([measures.reduced(p, factor) for p in pictures]).mul_(self._scale)
        if not small.is_cuda:
            self._errors[number] = done = Future[Errors]()
            done.set_result(self._follow(small, shift, factor))
            return
        # The copy down and its end are asked of the device; a thread of its own waits for them, frame by frame.
        here = torch.empty(small.shape, dtype=small.dtype, pin_memory=True)
        here.copy_(small, non_blocking=True)
        there = torch.cuda.current_stream(small.device).record_event()

        def follow() -> Errors:
            there.synchronize()
            return self._follow(here, shift, factor)

        self._beside = self._beside or ThreadPoolExecutor(1)
        self._errors[number] = self._beside.submit(follow)

    def errors(self, number: int) -> Errors:
        """Of a frame that was seen, against the one seen before it; 0 of the first. Waits for it."""
        return self._errors[number].result()

    def _follow(self, small: Tensor, shift: Shift, factor: int) -> Errors:
        pictures = small.numpy()
        now = _Small(pictures[0], pictures[-1], shift)
        before, self._before = self._before, now
        return _errors(now, before, factor) if before is not None else (0.0, 0.0)


def _errors(now: _Small, before: _Small, factor: int) -> Errors:
    white = np.float32(1 / 255)
    flow = motion.flow(now.source * white, before.source * white, quick=True)
    source = _apart(now.source, before.source, flow)
    if now.output is now.source and before.output is before.source:
        return source, source
    if now.shift != (0.0, 0.0) or before.shift != (0.0, 0.0):
        flow = _with(flow, now.shift, before.shift, factor)
    return source, _apart(now.output, before.output, flow)


def _with(flow: motion.Flow, now: Shift, before: Shift, factor: int) -> motion.Flow:
    """The flow between two frames that were shifted: what is at x now came from x - now."""
    here, there = (np.array(s, np.float32) / np.float32(factor) for s in (now, before))
    return motion.warp(flow, np.broadcast_to(-here, flow.shape)) + (there - here)


def _apart(now: Picture, before: Picture, flow: motion.Flow) -> float:
    """Mean absolute difference over the points that were inside the picture; 0 where none was."""
    height, width = now.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    apart = np.abs(now - motion.warp(before, flow, sharp=True))
    return float(apart.mean(where=inside, dtype=np.float64)) if inside.any() else 0.0
