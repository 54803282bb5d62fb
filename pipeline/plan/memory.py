"""How many bytes a tile and a worker hold, from the plan alone (promise 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.spec import Engine
from pipeline.treatments import TREATMENTS
from pipeline.types import NetInfo, PassPlan, Reel, Tile

_LIBRARIES = 900 << 20
"""Bytes that Python with torch, av and pyarrow takes in a worker before any picture."""
_FIGURES = 48
"""Bytes of a pixel while a frame's figures are taken; 40–47 measured."""
_RGB = 3 * 4
"""Bytes of a pixel as RGB float32."""
_WORK_PX = {str(t.model_fields["kind"].default): t.bytes_px for t in TREATMENTS}
"""Pass kind → bytes that it works with, for a pixel."""


def tile_bytes(reel: Reel, tiles: Sequence[Tile]) -> int:
    """Upper bound of the object store bytes of one tile: its source planes and its restored planes."""
    frame = reel.format.frame_bytes(reel.width, reel.height)
    return max((t.read_last - t.read_first + t.last - t.restore_first) * frame for t in tiles)


def worker_bytes(
    reel: Reel, tiles: Sequence[Tile], chain: Sequence[PassPlan], nets: Mapping[str, NetInfo], engine: Engine
) -> int:
    """Upper bound of a restorer's memory: libraries, weights, activations, windows of RGB, and one tile's planes."""
    picture = reel.width * reel.height
    # A spatial tile reads its halo on every side, and begins on a grid of 64 px.
    at_once = min(picture, (engine.tile + 2 * engine.halo + 63) ** 2) if engine.tile else picture
    weights = sum(nets[p.name].parameter_bytes for p in chain if p.name in nets)
    activations = max((nets[p.name].activation_bytes_px for p in chain if p.name in nets), default=0.0)
    windows = sum(2 * p.radius + 1 + engine.batch for p in chain) + 4
    # One pass works at a time, but a pass may keep what it found of a frame for the next one.
    work = sum(_WORK_PX.get(p.kind, 0) for p in chain)
    return int(
        _LIBRARIES
        + 2 * weights
        + activations * at_once * engine.batch
        + (windows * _RGB + _FIGURES + work) * picture
        + tile_bytes(reel, tiles)
    )
