"""A reel cut into tiles, and what its passes do to every frame."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.types.ids import Sha256
from pipeline.types.reel import Reel


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames between two cuts."""

    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Tile:
    """A run of frames that is restored as one unit."""

    number: int
    first: int
    last: int
    """The core ``[first, last)``, which is written."""
    overlap: int
    """Frames before the core that are restored but not written (0 at the start of the reel, else 1)."""
    head: int
    """Frames before the overlap that are only read."""
    tail: int
    """Frames after the core that are only read."""

    @property
    def read_first(self) -> int:
        return self.first - self.overlap - self.head

    @property
    def read_last(self) -> int:
        return self.last + self.tail

    @property
    def restore_first(self) -> int:
        return self.first - self.overlap


@dataclass(frozen=True, slots=True)
class PassPlan:
    """One pass of the chain with everything fixed."""

    name: str
    """Unique in the chain; how ``shots:`` addresses it."""
    kind: str
    """Which treatment: ``net``…"""
    radius: int
    settings: Mapping[str, Any]
    """What holds for the whole reel (JSON values): weights, tlc, …"""
    parameters: Mapping[str, float]
    """What may change from frame to frame, with the value that holds where no override says otherwise."""
    weights_sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """A ``shots:`` entry: other parameters for the frames ``[first, last)``."""

    first: int
    last: int
    skip: bool
    parameters: Mapping[str, Mapping[str, float]]
    """pass name → parameter → value."""


@dataclass(frozen=True, slots=True)
class NetInfo:
    """A net's weights as the registry knows them: enough to plan with, without torch."""

    name: str
    """Registry name, or the file's base name."""
    uri: str
    """Where the bytes are: a path of the package, of the cache, or a URI."""
    sha256: Sha256
    family: Literal["nafnet", "mprnet", "external"]
    config: Mapping[str, Any]
    """What ``nets.build`` takes; of an external net, one of another architecture: ``arch``, and ``library``, whose code
    it is, with its version."""
    radius: int
    """Frames that the net reads on each side of the one it restores."""
    licence: str
    restricted: bool
    """The licence must be accepted in the spec before use."""
    train_size: tuple[int, int] | None
    """[height, width] in px that the weights were trained at, where it is known."""
    parameter_bytes: int
    activation_bytes_px: float
    """Peak bytes of float32 activations for a pixel of the picture, frames in a call = 1."""


FrameParameters = Mapping[str, Mapping[str, float]]
"""What one frame's passes get: pass name → parameter → value."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Parameters of the frames ``[first, first + N)`` that the plan found from the survey: pass by pass, row by row."""

    first: int
    names: Mapping[str, tuple[str, ...]]
    """Pass name → what its columns are called."""
    values: Mapping[str, NDArray[np.float32]]
    """Pass name → (N, K)."""

    def span(self, first: int, last: int) -> Curves:
        """The rows of the frames ``[first, last)``: copies, so that a tile carries no more than its own."""
        a, b = first - self.first, last - self.first
        return Curves(first, self.names, {p: v[a:b].copy() for p, v in self.values.items()})

    def at(self, number: int) -> dict[str, dict[str, float]]:
        """One frame's parameters: pass name → parameter → value."""
        i = number - self.first
        return {p: dict(zip(self.names[p], v[i].tolist(), strict=True)) for p, v in self.values.items()}

    def digest(self, first: int, last: int) -> Sha256:
        """sha256 over what the frames ``[first, last)`` get."""
        h = hashlib.sha256()
        for name in sorted(self.values):
            h.update(f"{name} {' '.join(self.names[name])}".encode())
            h.update(np.ascontiguousarray(self.values[name][first - self.first : last - self.first]).tobytes())
        return h.hexdigest()


@dataclass(frozen=True, slots=True)
class Plan:
    """A reel cut into tiles, with every parameter fixed. Pure data: plan.json holds it."""

    id: Sha256
    reel: Reel
    index_digest: Sha256
    first: int
    last: int
    """The frames that are delivered, ``[first, last)``."""
    total: int
    """Frames of the source."""
    chain: tuple[PassPlan, ...]
    overrides: tuple[Override, ...]
    tiles: tuple[Tile, ...]
    tile_ids: tuple[Sha256, ...]
    cut_radius: int
    spec: Mapping[str, Any]
    """The whole spec as canonical JSON values."""
    tile_bytes: int
    """Upper bound of the bytes that one tile holds in the object store (source and restored planes)."""
    worker_bytes: int
    """Upper bound of a restorer's own working memory, its libraries included."""
    decode_frames: int
    """Frames that decoders will go through in all, with key-frame run-up and halos."""
    curves: Sha256 | None = None
    """Digest of what the survey's signals came to for every frame; None where no pass asks for them."""
