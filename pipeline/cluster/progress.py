"""What a run tells while it goes: small events to one listener in the driver. The terminal side lives in jobs/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.types import ReelOutcome


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The cluster answers and its workers are checked."""

    reels: int
    restorers: int
    device: str
    """Model of the restorers' device, e.g. ``cpu`` or ``NVIDIA H100``."""


@dataclass(frozen=True, slots=True)
class ReelPlanned:
    """A reel is probed, indexed and cut into tiles; ``done_tiles`` of them were in the ledger already."""

    reel: str
    frames: int
    tiles: int
    done_frames: int
    done_tiles: int


@dataclass(frozen=True, slots=True)
class TileDone:
    """A tile is in the ledger."""

    reel: str
    tile: int
    frames: int


@dataclass(frozen=True, slots=True)
class TileRetried:
    """A tile failed and is tried again."""

    reel: str
    tile: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReelPublishing:
    """All tiles are done; the deliverables are being assembled."""

    reel: str


@dataclass(frozen=True, slots=True)
class ReelEnded:
    """Done, already done, quarantined or stopped."""

    outcome: ReelOutcome


@dataclass(frozen=True, slots=True)
class Load:
    """Every second or so: how busy the restorers were since the last one."""

    busy: float
    """Share of the restorers' time spent computing, 0 to 1."""
    in_flight_bytes: int
    in_flight_tiles: int


Event = RunStarted | ReelPlanned | TileDone | TileRetried | ReelPublishing | ReelEnded | Load
Listener = Callable[[Event], None]
