"""What the run loop asks of whatever carries its work out: Ray in a run, a fake in tests of the policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pipeline.cluster.policy import Kind

Step = Literal["prepare", "survey", "tile", "publish", "quarantine"]
Ticket = int
"""Names one piece of work under way."""


@dataclass(frozen=True, slots=True)
class Success:
    """A step ended well. ``value``: PlanSummary or SurveySummary, TileSummary, the published summary, or None."""

    ticket: Ticket
    value: Any


@dataclass(frozen=True, slots=True)
class Failure:
    """A step failed."""

    ticket: Ticket
    kind: Kind
    error: BaseException
    held: bool = False
    """Of a tile: it is restored, and only its way into storage failed. Its pictures are kept, for ``encode`` under
    this ticket, until that or ``forget`` is called."""


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What the loop needs to know of a plan: numbers, no pixels."""

    plan_id: str
    frames: int
    tile_frames: Sequence[int]
    """Core frames of each tile."""
    done: frozenset[int]
    """Numbers of the tiles that the ledger holds."""
    tile_bytes: int
    published: bool
    """A whole, published restoration by this very plan is there already."""
    doubts: tuple[str, ...] = ()
    """Sentences on deliverables that may be too large."""


@dataclass(frozen=True, slots=True)
class SurveySummary:
    """What the loop needs to know of a reel that must be looked at before it can be planned."""

    span_frames: Sequence[int]
    """Frames of each span."""
    done: frozenset[int]
    """Numbers of the spans that have been looked at."""
    span_bytes: int
    """Bytes of pictures that one look holds."""


@dataclass(frozen=True, slots=True)
class TileSummary:
    """What comes back of a tile: its record is in the ledger."""

    restore_seconds: float
    """Wall time that the restorer computed, in seconds."""
    ours: bool
    """Our record stands; False where another run's was first."""
    tile_id: str = ""
    host: str = ""
    """That recorded it."""


class Executor(Protocol):
    """Carries steps out. Nothing here blocks but ``wait``."""

    def prepare(self, reel: int) -> Ticket:
        """Probe, index and plan a reel of the job (by number); gives a PlanSummary, or a SurveySummary where its spans
        must be looked at first."""

    def survey(self, reel: int, span: int) -> Ticket:
        """Look at a span of the reel and keep what was found; gives None."""

    def tile(self, reel: int, tile: int, restorer: int, tries: int) -> Ticket:
        """Decode, restore on the named restorer, encode, record; gives a TileSummary."""

    def encode(self, ticket: Ticket, tries: int) -> Ticket:
        """Encode and record a tile once more, whose pictures are held since this ticket failed."""

    def publish(self, reel: int) -> Ticket:
        """Assemble and publish a reel whose tiles are all recorded; gives its summary as a dict."""

    def quarantine(self, reel: int, error: BaseException, tile: int | None, tries: int) -> Ticket:
        """Write the record that says why a reel could not be restored; gives None."""

    def restorers(self) -> Sequence[int]:
        """The restorers that answer now. One that died is replaced under a new number."""

    def wait(self, timeout_s: float) -> list[Success | Failure]:
        """What has ended since the last call; waits up to ``timeout_s`` seconds for the first."""

    def forget(self, ticket: Ticket) -> None:
        """The result of this work is no longer wanted; stop it where that is possible, and hold nothing for it."""

    def drop(self, reel: int) -> None:
        """A reel has ended: let go of what is held for it."""
