"""How many bytes a tile and a worker hold, from the plan alone (promise 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.spec import Spec, Stills
from pipeline.types import NetInfo, PassPlan, Reel, Tile

_LIBRARIES = 900 << 20
"""Bytes that Python with torch, av and pyarrow takes in a worker before any picture."""
_FIGURES = 96
"""Bytes of a pixel while a frame's figures are taken; 42 (4:2:0) to 93 (RGB) measured."""
_RGB = 3 * 4
"""Bytes of a pixel as RGB float32."""


STILLS_A_TILE = 4
"""Frames of a tile that are kept as stills, at most."""
CROP = (320, 240)
"""Width and height in px of the piece that is kept at full size."""


def tile_bytes(reel: Reel, tiles: Sequence[Tile], stills: Stills) -> int:
    """Upper bound of the object store bytes of one tile: its source planes, its restored planes, and its stills."""
    frame = reel.format.frame_bytes(reel.width, reel.height)
    kept = (min(n, stills.side**2) + min(n, CROP[0] * CROP[1])) * 6 if (n := reel.width * reel.height) else 0
    most = STILLS_A_TILE * kept if stills.most else 0
    return max((t.read_last - t.read_first + t.last - t.restore_first) * frame for t in tiles) + most


def worker_bytes(
    reel: Reel, tiles: Sequence[Tile], chain: Sequence[PassPlan], nets: Mapping[str, NetInfo], spec: Spec
) -> int:
    """Upper bound of a restorer's memory: libraries, weights, activations, windows of RGB, and one tile's planes."""
    picture, engine = reel.width * reel.height, spec.engine
    # A spatial tile reads its halo on every side, and begins on a grid of 64 px.
    at_once = min(picture, (engine.tile + 2 * engine.halo + 63) ** 2) if engine.tile else picture
    weights = sum(nets[p.name].parameter_bytes for p in chain if p.name in nets)
    activations = max((nets[p.name].activation_bytes_px for p in chain if p.name in nets), default=0.0)
    windows = sum(2 * p.radius + 1 + engine.batch for p in chain) + 4
    return int(
        _LIBRARIES
        + 2 * weights
        + activations * at_once * engine.batch
        + (windows * _RGB + _FIGURES) * picture
        + tile_bytes(reel, tiles, spec.stills)
    )
