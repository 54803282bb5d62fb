"""Interlaced film: a frame is two pictures, taken one after the other, line by line in turn.

The upper fields are restored as one film of half the height and the lower fields as another, and woven again. So no net
sees the comb that two moments make in one frame, and both films are as even in time as their frames are. Which field is
the earlier one does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.restore.colour import Converter
from pipeline.restore.passes.base import Job, Pass, Restored, Spared, Through
from pipeline.restore.passes.net import GUARD
from pipeline.types import Colour, PixelFormat

UPPER, LOWER = slice(0, None, 2), slice(1, None, 2)


def weave(upper: Tensor, lower: Tensor, axis: int) -> Tensor:
    """The lines of two fields in turn, the upper field's first; it may have one line more."""
    shape = list(upper.shape)
    shape[axis] += lower.shape[axis]
    whole = upper.new_empty(shape)
    before = (slice(None),) * axis
    whole[(*before, UPPER)] = upper
    whole[(*before, LOWER)] = lower
    return whole


class FieldConverter:
    """As ``colour.Converter``, for frames of two fields each: chroma never mixes the lines of both.

    Pictures whose chroma does not part evenly (``PixelFormat.parts_into_fields``) are refused by probe.
    """

    def __init__(self, format: PixelFormat, colour: Colour, device: torch.device | str):  # noqa: A002
        self._upper = Converter(format, colour, device, field="upper")
        self._lower = Converter(format, colour, device, field="lower")

    def upload(self, planes: Sequence[NDArray[np.generic]]) -> tuple[Tensor, ...]:
        """As ``Converter.upload``."""
        return self._upper.upload(planes)

    def to_rgb(self, planes: Sequence[Tensor]) -> Tensor:
        """As ``Converter.to_rgb``."""
        return weave(self._upper.to_rgb(_lines(planes, UPPER)), self._lower.to_rgb(_lines(planes, LOWER)), 2)

    def delta(self, rgb_in: Tensor, rgb_out: Tensor, planes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """As ``Converter.delta``."""
        both = [
            c.delta(rgb_in[:, :, lines], rgb_out[:, :, lines], _lines(planes, lines))
            for c, lines in ((self._upper, UPPER), (self._lower, LOWER))
        ]
        return tuple(weave(u, v, 1) for u, v in zip(*both, strict=True))


def _lines(planes: Sequence[Tensor], lines: slice) -> list[Tensor]:
    return [p[:, lines] for p in planes]


class FieldPass:
    """A pass over each field by itself. Two instances, so that neither remembers the other's pictures."""

    def __init__(self, upper: Pass, lower: Pass):
        self.radius, self.group = upper.radius, upper.group
        self._both = ((upper, UPPER), (lower, LOWER))

    def reset(self) -> None:
        for treatment, _ in self._both:
            treatment.reset()

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        upper, lower = (treatment.restore([_field(j, lines) for j in jobs]) for treatment, lines in self._both)
        return [self._woven(j, u, v) for j, u, v in zip(jobs, upper, lower, strict=True)]

    def _woven(self, job: Job, upper: Restored, lower: Restored) -> Restored:
        marks = upper.marks | lower.marks
        # One restored field and one that was left alone would make a comb.
        rgb = job.window[self.radius] if GUARD in marks else weave(upper.rgb, lower.rgb, 1)
        spared = None
        if upper.spared and lower.spared:
            masks = (weave(getattr(upper.spared, m), getattr(lower.spared, m), 0) for m in ("plain", "things"))
            spared = Spared(*masks)
        return Restored(rgb, upper.flags | lower.flags, marks, _both(upper.found, lower.found), spared)


def _field(job: Job, lines: slice) -> Job:
    """One field of a job. A frame that stands in several places of the window still is one."""
    pictures = (*job.window, *(p for net in job.nets if net for p in (net.given, net.made)))
    seen = {id(p): p[:, lines].contiguous() for p in pictures}
    nets = tuple(net and Through(seen[id(net.given)], seen[id(net.made)]) for net in job.nets)
    spared = job.spared and Spared(job.spared.plain[lines], job.spared.things[lines])
    window = tuple(seen[id(p)] for p in job.window)
    return replace(job, window=window, nets=nets, spared=spared, field=lines.start)


def _both(upper: Mapping[str, float], lower: Mapping[str, float]) -> dict[str, float]:
    """What was found in both fields: shares and shifts of their mean, but of a frame's lines; columns of the more."""
    found = {k: (upper[k] + lower[k]) / 2 for k in upper.keys() & lower.keys()}
    if "shift_y_px" in found:
        found["shift_y_px"] *= 2  # lines of a field are two of the frame's
    if "scratch_columns" in found:
        found["scratch_columns"] = max(upper["scratch_columns"], lower["scratch_columns"])
    return found
