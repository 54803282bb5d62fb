"""How many bytes a tile and a worker hold, from the plan alone (promise 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.spec import Engine, Spec, Stills
from pipeline.treatments import TREATMENTS
from pipeline.types import NetInfo, PassPlan, Reel, Tile

_LIBRARIES = 900 << 20
"""Bytes that Python with torch, av and pyarrow takes in a worker before any picture."""
_FIGURES = 96
"""Bytes of a pixel while a frame's figures are taken; 42 (4:2:0) to 93 (RGB) measured."""
_MOVEMENT = 200
"""Bytes of a pixel of the reduced picture that frames are followed on: three of them, their flows, and what is made of
them to find dirt; 160 counted."""
_FOLLOWED = 480
"""Px of width that the reduced picture has at most."""
_RGB = 3 * 4
"""Bytes of a pixel as RGB float32."""
_WORK_PX = {str(t.model_fields["kind"].default): t.bytes_px for t in TREATMENTS}
"""Pass kind → bytes that it works with, for a pixel."""
_SIDES = (512, 384)
"""Sides in px of the spatial tiles of a net whose maps of a whole picture do not fit; smaller ones show."""
_TAPS = 16 / 9
"""Bytes of a 3x3 convolution's weights as compiled kernels keep them, over those that they are made from."""
_HALF = 0.55
"""Bytes of a net's features in ``fast`` over those in ``exact``; pictures take as much in both."""


def activation_bytes(width: int, height: int, net: NetInfo, engine: Engine, tile: int | None) -> int:
    """Upper bound of what a net's maps take in one call on a picture, in spatial tiles or whole."""
    picture = width * height
    # A spatial tile reads its halo on every side, and begins on a grid of 64 px.
    at_once = min(picture, (tile + 2 * engine.halo + 63) ** 2) if tile else picture
    a_pixel = net.activation_bytes_px
    if engine.precision == "fast" and net.family != "external":
        a_pixel = min(a_pixel, _HALF * a_pixel + (1 - _HALF) * _RGB * (2 * net.radius + 2))
    return int(a_pixel * at_once * engine.batch)


def spatial_tile(width: int, height: int, net: NetInfo, engine: Engine) -> int | None:
    """Side in px of a net's spatial tiles on pictures of a size; None: the whole picture at once.

    What the spec says; where it leaves it open, whole pictures if their maps fit into ``engine.memory_gib``, else 512,
    or 384 px. A function of plan and picture: the memory that a machine happens to have free has no say.
    """
    if engine.tile is not None:
        return engine.tile
    limit = engine.memory_gib * 2**30
    if activation_bytes(width, height, net, engine, None) <= limit:
        return None
    fit = (side for side in _SIDES if activation_bytes(width, height, net, engine, side) <= limit)
    return next(fit, _SIDES[-1])


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
    run = [nets[p.name] for p in chain if p.name in nets]
    # Of interlaced film a net sees single fields.
    size = (reel.width, -(-reel.height // 2) if reel.interlaced else reel.height)
    activations = [activation_bytes(*size, net, engine, spatial_tile(*size, net, engine)) for net in run]
    windows = sum(2 * p.radius + 1 + engine.batch for p in chain) + 4
    # One pass works at a time, but a pass may keep what it found of a frame for the next one.
    work = sum(_WORK_PX.get(p.kind, 0) for p in chain)
    return int(
        _LIBRARIES
        + sum(_weight_bytes(net, engine, copies=2 if reel.interlaced else 1) for net in run)
        + max(activations, default=0)
        + (windows * _RGB + _FIGURES + work) * picture
        + _MOVEMENT * picture * min(1.0, (_FOLLOWED / reel.width) ** 2)
        + tile_bytes(reel, tiles, spec.stills)
    )


def _weight_bytes(net: NetInfo, engine: Engine, copies: int) -> int:
    """Upper bound of what a net's weights take: each copy, and once more what one of them is being loaded from."""
    taps = net.family == "mprnet" and engine.kernels == "compiled" and engine.precision == "exact"
    return int(net.parameter_bytes * (copies * (1 + (_TAPS if taps else 0)) + 1))
