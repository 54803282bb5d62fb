"""What a run tells while it goes: small events to one listener in the driver. The terminal side lives in jobs/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.types import ReelOutcome

_LOAD_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The cluster answers and its workers are checked."""

    reels: int
    restorers: int
    device: str
    """Model of the restorers' device, e.g. ``cpu`` or ``NVIDIA H100``."""


@dataclass(frozen=True, slots=True)
class ReelSurveying:
    """A reel is looked at, for passes that must know whole shots; ``done_spans`` of them were in storage already."""

    reel: str
    frames: int
    spans: int
    done_spans: int


@dataclass(frozen=True, slots=True)
class ReelPlanned:
    """A reel is probed, indexed and cut into tiles; ``done_tiles`` of them were in the ledger already."""

    reel: str
    frames: int
    tiles: int
    done_frames: int
    done_tiles: int
    doubts: tuple[str, ...] = ()
    """Sentences on what may yet go wrong with it."""


@dataclass(frozen=True, slots=True)
class TileDone:
    """A tile is in the ledger."""

    reel: str
    tile: int
    frames: int
    tile_id: str = ""
    """As in the ledger."""
    host: str = ""
    """That recorded it."""


@dataclass(frozen=True, slots=True)
class TileRetried:
    """A tile failed and is tried again."""

    reel: str
    tile: int
    reason: str


@dataclass(frozen=True, slots=True)
class StorageSilent:
    """A storage does not answer: what needs it waits. Told when it is noticed, and after every try that fails."""

    storage: str
    """As ``storage_of`` has it, e.g. ``s3://out``."""
    seconds: float
    """Since it was noticed."""
    next_try_s: float
    """Seconds until one step tries again."""
    reason: str


@dataclass(frozen=True, slots=True)
class StorageAnswers:
    """A storage that was silent answers again."""

    storage: str
    seconds: float
    """That it was silent."""


@dataclass(frozen=True, slots=True)
class ReelPublishing:
    """All tiles are done; the deliverables are being assembled."""

    reel: str


@dataclass(frozen=True, slots=True)
class ReelEnded:
    """Done, already done, quarantined or stopped."""

    outcome: ReelOutcome


@dataclass(frozen=True, slots=True)
class NightUnwritten:
    """The page of all reels is that of an earlier run still; the reels are not concerned."""

    reason: str


@dataclass(frozen=True, slots=True)
class Load:
    """Every second or so: how busy the restorers were since the last one."""

    busy: float
    """Share of the restorers' time spent computing, 0 to 1."""
    in_flight_bytes: int
    in_flight_tiles: int


Event = (
    RunStarted
    | ReelSurveying
    | ReelPlanned
    | TileDone
    | TileRetried
    | StorageSilent
    | StorageAnswers
    | ReelPublishing
    | ReelEnded
    | NightUnwritten
    | Load
)
Listener = Callable[[Event], None]


class Teller:
    """A listener, and how busy the restorers are. One that fails (its terminal is gone, say) is heard no more."""

    def __init__(self, listener: Listener, now: float):
        self._listener: Listener | None = listener
        self._busy_s = 0.0
        self._told = now

    def __call__(self, event: Event) -> None:
        if self._listener is None:
            return
        try:
            self._listener(event)
        except (Exception, SystemExit):  # noqa: BLE001 - rich ends the process where its pipe is closed
            self._listener = None

    def computed(self, seconds: float) -> None:
        """A restorer has computed for so long."""
        self._busy_s += seconds

    def load(self, now: float, *, restorers: int, in_flight: int, tiles: int) -> None:
        """Tell how busy all is, unless it was told less than a second ago. in_flight: bytes."""
        past = now - self._told
        if past < _LOAD_EVERY_S:
            return
        self(Load(min(1.0, self._busy_s / (past * max(1, restorers))), in_flight, tiles))
        self._busy_s, self._told = 0.0, now
