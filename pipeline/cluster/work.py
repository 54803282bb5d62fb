"""What travels along a tile's chain of refs. numpy at most: arrays cross processes without a copy."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline import tables
from pipeline.spec import Spec
from pipeline.types import Curves, Edges, FrameFigures, FrameIndex, Frames, Md5, NetInfo, Plan, Reel, Tile


@dataclass(frozen=True, slots=True)
class Job:
    """A whole call of ``restore``."""

    sources: tuple[tuple[str, str], ...]
    """(uri, reel name), in order."""
    out: str
    spec: Spec
    nets: Mapping[str, NetInfo]
    """Pass name → its weights."""
    frames: tuple[int, int] | None = None
    overwrite: bool = False
    bag: bool = False
    """Also make a bag of every reel that is published."""
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells this run from the others that share a node's scratch."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A reel, ready to be worked on."""

    plan: Plan
    index: FrameIndex
    done: frozenset[int]
    published: bool
    curves: Curves | None = None
    """Of the whole reel, where a pass of the chain wants a survey."""
    doubts: tuple[str, ...] = ()
    """A sentence on each deliverable that may be too large."""


@dataclass(frozen=True, slots=True)
class SurveyWork:
    """What every span of a reel is looked at with, before there is a plan."""

    reel: Reel
    out: str
    spec: Spec
    stage: bool
    """As ``ReelWork.stage``."""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Unsurveyed:
    """A reel that cannot be planned yet: its chain wants a survey, and spans of it have not been looked at."""

    reel: Reel
    index: FrameIndex
    spans: tuple[tuple[int, int], ...]
    done: frozenset[int]


@dataclass(frozen=True, slots=True)
class ReelWork:
    """What every tile of a reel is worked with. Its plan holds no tiles: it stays small however long the reel."""

    plan: Plan
    out: str
    spec: Spec
    stage: bool
    """Copy the source to the node's scratch once, then read it there."""
    run: str = ""
    """As ``Job.run``."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decode's result: the tile's frames with halo, as they are in the source."""

    tile: Tile
    tile_id: str
    frames: Frames
    cuts: NDArray[np.bool_]
    """(N,) the picture changes before the frame."""
    source_md5: tuple[Md5, ...]
    """Of the core's frames."""
    time_s: tuple[float, ...]
    """Presentation times of the core's frames, in seconds."""
    damaged: frozenset[int]
    """Numbers of the frames whose source is damaged, where the spec goes on with such."""
    seconds: Mapping[str, float]
    curves: Curves | None = None
    """What the plan found for these frames from the survey."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture of a frame, not yet compressed."""

    frame: int
    kind: tables.Kind
    box: tuple[int, int, int, int]
    """What it shows: x, y, width, height in px of the frame."""
    rgb: NDArray[np.uint8]
    """(H, W, 3)"""


@dataclass(frozen=True, slots=True)
class Restored:
    """Restore's result: the core, restored, and what was measured on the way."""

    tile: Tile
    tile_id: str
    frames: Frames
    figures: tuple[FrameFigures, ...]
    edges: Edges
    cuts: tuple[bool, ...]
    flags: tuple[tuple[str, ...], ...]
    found: tuple[Mapping[str, float], ...]
    """Of every frame of the core, what the passes found in it: column of ``frames.parquet`` → value."""
    source_md5: tuple[Md5, ...]
    time_s: tuple[float, ...]
    device: str
    seconds: Mapping[str, float]
    peak_bytes: int
    device_peak_bytes: int
    pictures: tuple[Picture, ...] = ()
    """Of the frames that the reel's page may show."""
