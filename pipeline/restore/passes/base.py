"""What a pass of the chain is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pipeline import spec
from pipeline.types import NetInfo, PassPlan


@dataclass(frozen=True, slots=True)
class Through:
    """A picture's way through a net: (3, H, W) each."""

    given: Tensor
    made: Tensor


@dataclass(frozen=True, slots=True)
class Spared:
    """Where no net is to take away more than grain, by what a pass that looked for dirt found. Masks (H, W) bool."""

    plain: Tensor
    """Nothing there looks like dirt."""
    things: Tensor
    """Something does, and may be a thing that moves."""

    @property
    def mask(self) -> Tensor:
        return self.plain | self.things

    def then(self, later: Spared | None) -> Spared:
        """After another look, which sees more, the first one's spots being gone."""
        return self if later is None else Spared(later.plain, self.things | later.things)


@dataclass(frozen=True, slots=True)
class Job:
    """One frame that a pass is to restore."""

    number: int
    window: tuple[Tensor, ...]
    """The 2·radius + 1 pictures around the frame, it in the middle; each (3, H, W) float32 RGB on the device. Shared
    with other jobs and with the frame's own source: never to be written into."""
    parameters: Mapping[str, float]
    """This frame's values of what may change from frame to frame. ``strength`` is the chain's business, not the
    pass's."""
    nets: tuple[Through | None, ...] = ()
    """What the last net before this pass was given of each picture of the window, and made of it; None where no net
    changed one. Empty is as none."""
    spared: Spared | None = None
    """The frame's; None where no pass has looked for dirt."""
    field: int = 0
    """1 for the lower field of an interlaced frame."""

    @property
    def before(self) -> Tensor | None:
        """The frame itself as the last net was given it."""
        through = self.nets[len(self.window) // 2] if self.nets else None
        return through.given if through else None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a pass made of a frame."""

    rgb: Tensor
    """(3, H, W) float32; the window's own middle where nothing is to be changed."""
    flags: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    """Flags of this very frame. ``flags``, beside them, go on to every frame that is made from this one."""
    found: Mapping[str, float] = field(default_factory=dict)
    """What it found in the frame: column of ``frames.parquet`` → value."""
    spared: Spared | None = None
    """What no net behind it is to take away; None of a pass that does not look for dirt."""


class Pass(Protocol):
    """A treatment: a pure function of each job's pictures and parameters, whatever else is asked for in the same
    call."""

    radius: int
    """Frames that it needs on each side."""
    group: int
    """Frames it works on at once: the chain hands it those whose number divided by ``group`` is the same."""

    def reset(self) -> None:
        """Called before every tile of film."""

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        """One result a job, in the same order. All jobs are of one group, in rising order."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a pass may be built from, beside its own plan."""

    engine: spec.Engine
    nets: Mapping[str, NetInfo]
    """Pass name → its weights."""
    device: torch.device


Factory = Callable[[PassPlan, Bench], Pass]
