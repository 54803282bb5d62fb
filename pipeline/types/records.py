"""What is kept of tiles and reels that are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.types.ids import Md5, Sha256


@dataclass(frozen=True, slots=True)
class Segment:
    """One encoded file of one tile for one deliverable."""

    deliverable: str
    name: str
    """File name below the reel's work folder; carries its own sha256."""
    sha256: Sha256
    bytes: int
    md5s: tuple[Md5, ...] = ()
    """Of every frame as it decodes, of a further deliverable than the first."""


@dataclass(frozen=True, slots=True)
class StillsFile:
    """Pictures of some of a tile's frames, kept for the reel's page."""

    name: str
    """File name below the reel's work folder; carries its own sha256."""
    sha256: Sha256
    bytes: int
    frames: tuple[int, ...]
    """Numbers of the frames that it shows, rising."""


@dataclass(frozen=True, slots=True)
class TileRecord:
    """What the ledger keeps of a tile that is done."""

    tile_id: Sha256
    number: int
    first: int
    last: int
    segments: tuple[Segment, ...]
    """One a deliverable, in the spec's order."""
    rows: str
    """Name of the Parquet file with this tile's rows; carries its own sha256."""
    rows_sha256: Sha256
    host: str
    device: str
    seconds: Mapping[str, float]
    """Wall seconds of each step: decode, restore, encode, upload…"""
    tries: int
    finished: str
    """ISO 8601, UTC."""
    flags: tuple[str, ...] = ()
    peak_bytes: int = 0
    """Most memory that the restoring process has held so far; 0 where it is not known."""
    device_peak_bytes: int = 0
    """Most memory that the tile took on its GPU; 0 on a CPU."""
    stills: StillsFile | None = None


OutcomeStatus = Literal["done", "already", "refused", "quarantined", "stopped"]


@dataclass(frozen=True, slots=True)
class ReelOutcome:
    """How one reel of a run ended."""

    name: str
    uri: str
    status: OutcomeStatus
    frames: int = 0
    tiles: int = 0
    restored: int = 0
    """Tiles that this run restored; the rest were in the ledger."""
    seconds: float = 0.0
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
