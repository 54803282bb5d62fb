"""What the run loop remembers: of each reel, and of each piece of work under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.cluster.executor import PlanSummary, Step, SurveySummary, Ticket
from pipeline.cluster.policy import Board, Record
from pipeline.types import ReelOutcome


@dataclass(frozen=True, slots=True)
class Lost:
    """Why a reel could not be restored."""

    error: BaseException
    tile: int | None
    tries: int


@dataclass(slots=True)
class ReelRun:
    """One reel on its way through a run."""

    number: int
    name: str
    uri: str
    needs: frozenset[str]
    """The storages that its steps read and write."""
    began: float = 0.0
    plan: PlanSummary | None = None
    survey: SurveySummary | None = None
    looking: Board | None = None
    """Spans to look at before the reel can be planned; None where there are none, or no more."""
    surveys: int = 0
    """How often the reel was found to want a look."""
    board: Board | None = None
    restored: int = 0
    """Tiles whose record is this run's."""
    prepare_record: Record = field(default_factory=Record)
    publish_record: Record = field(default_factory=Record)
    quarantine_record: Record = field(default_factory=Record)
    again_at: float = 0.0
    """Not before this time is the failed prepare, publish or quarantine step tried again."""
    publishing: bool = False
    lost: Lost | None = None
    """It is given up, and only its quarantine record is still to be written."""
    outcome: ReelOutcome | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A step under way."""

    step: Step
    reel: int
    needs: frozenset[str]
    """The storages that it reads and writes: where it goes well, they all answer."""
    tile: int = -1
    """Number of the tile; of a survey, of the span."""
    restorer: int = -1
    """The restorer that it waits at or runs on; -1 where it needs none."""
    size: int = 0
    """Bytes of pictures that it may hold."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A tile whose way into storage failed. Its restored pictures are held, and count as bytes in flight."""

    work: Work
    ticket: Ticket
    again_at: float
