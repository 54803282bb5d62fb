"""Moving footage with a known truth, made from stills: a camera that pans, zooms and turns, and things that move.

What moves against its background is in there so that a net learns not to take it for dirt; real vertical lines (poles,
panelling, rails, window frames) so that it does not take them for scratches. Lengths are px of a picture 480 px wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pipeline.train.clips import Clip
from pipeline.treatments import Model

_REFERENCE_WIDTH = 480
Floats = NDArray[np.float64]


class Motion(Model):
    """How footage made from stills moves. px are those of a picture 480 px wide."""

    still: float = Field(default=0.4, ge=0, le=1)
    """Share of the shots whose camera stands still, as it did on a tripod before 1910."""
    pan: float = Field(default=4.0, ge=0, le=64)
    """px a frame, greatest."""
    zoom: float = Field(default=0.006, ge=0, le=0.1)
    """Relative change of size a frame, greatest."""
    turn: float = Field(default=0.3, ge=0, le=10)
    """Degrees a frame, greatest."""
    objects: tuple[int, int] = (0, 3)
    """Things that move on their own, a clip."""
    object_speed: float = Field(default=12.0, ge=0, le=64)
    """px a frame, greatest: limbs, wheels, riders."""
    object_size: tuple[float, float] = (6.0, 60.0)
    """px, length."""
    limbs: float = Field(default=0.4, ge=0, le=1)
    """Share of the clips with a pair of swinging legs or arms. Where two cross, a place is covered in a single frame,
    as by a blotch; only the shape tells them apart."""
    uneven: float = Field(default=0.3, ge=0, le=1)
    """Share of the clips whose frames stand still and leap, as transfers of hand-cranked film do."""
    lines: float = Field(default=0.35, ge=0, le=1)
    """Share of the clips with real vertical lines that belong to the scene."""


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a layer is in every frame: place of its middle (px from the clip's), turn (radians) and size."""

    y: Floats
    x: Floats
    turn: Floats
    size: Floats


def footage(
    stills: Sequence[Clip],
    motion: Motion,
    rng: np.random.Generator,
    *,
    frames: int,
    size: tuple[int, int],
    width: int,
    track: NDArray[np.float32] | None = None,
) -> Clip:
    """A clip float32 (frames, 3, height, width) of ``size``, a crop of a picture ``width`` px wide.

    ``stills``: the background, then what the things are cut from, each (1, 3, H, W); a still smaller than the way
    through it is mirrored at its edges. ``track`` moves every frame besides, as ``damage.walks.track`` gives it: one
    interpolation instead of two. Raises ValueError without a still.
    """
    if not stills:
        raise ValueError("footage needs a still")
    scale = width / _REFERENCE_WIDTH
    weave = np.zeros((frames, 3)) if track is None else track.astype(np.float64)
    h, w = stills[0].shape[2:]
    at = _times(motion, rng, frames)
    start = rng.uniform(0, 1, 2) * np.maximum((h - size[0], w - size[1]), 0) - (np.array((h, w)) - size) / 2
    camera = _camera(motion, rng, at, scale)
    picture = _sample(stills[0], _Way(start[0] + camera.y, start[1] + camera.x, camera.turn, camera.size), weave, size)
    if rng.random() < motion.lines:
        picture = _lines(picture, camera, weave, rng, scale)
    for number in range(int(rng.integers(motion.objects[0], motion.objects[1] + 1))):
        texture = stills[min(1 + number % max(len(stills) - 1, 1), len(stills) - 1)]
        picture = _thing(picture, texture, motion, at, weave, rng, scale)
    if rng.random() < motion.limbs:
        picture = _limbs(picture, stills[-1], motion, at, weave, rng, scale)
    return np.ascontiguousarray(picture.clamp_(0, 1).numpy())


def _times(motion: Motion, rng: np.random.Generator, frames: int) -> Floats:
    """When each frame was taken, in frames from the middle one."""
    steps = np.ones(frames)
    leaps = rng.choice((0.0, 1.0, 1.0, 2.0), frames)
    if rng.random() < motion.uneven:
        steps = leaps
    times = steps.cumsum()
    return np.asarray(times - times[frames // 2], np.float64)


def _camera(motion: Motion, rng: np.random.Generator, at: Floats, scale: float) -> _Way:
    frames = len(at)
    still, mirrored = rng.random() < motion.still, rng.choice((-1.0, 1.0))
    speed, angle = rng.uniform(0, motion.pan) * scale, rng.uniform(0, 2 * np.pi)
    zoom, turn = rng.uniform(-motion.zoom, motion.zoom), np.deg2rad(rng.uniform(-motion.turn, motion.turn))
    shake = rng.normal(0, 0.15 * scale, (frames, 2)).cumsum(axis=0)
    if still:
        return _Way(np.zeros(frames), np.zeros(frames), np.zeros(frames), np.full(frames, mirrored))
    return _Way(
        at * speed * np.sin(angle) + shake[:, 0],
        at * speed * np.cos(angle) + shake[:, 1],
        at * turn,
        mirrored * np.exp(at * zoom),
    )


def _sample(still: Clip, way: _Way, weave: Floats, size: tuple[int, int]) -> Tensor:
    """The still as it is seen on every frame. A negative size mirrors it."""
    n, (h, w) = len(way.y), size
    source = torch.from_numpy(np.ascontiguousarray(still))
    sh, sw = source.shape[2:]
    zoom, flip = np.abs(way.size), np.sign(way.size)
    cos, sin = np.cos(way.turn + weave[:, 2]), np.sin(way.turn + weave[:, 2])
    # The weave is the picture's own, so it takes part in the mirroring.
    y, x = way.y - zoom * weave[:, 0], way.x - flip * zoom * weave[:, 1]
    theta = np.stack(
        (
            np.stack((flip * zoom * cos * w / sw, zoom * sin * h / sw, 2 * x / sw), 1),
            np.stack((-flip * zoom * sin * w / sh, zoom * cos * h / sh, 2 * y / sh), 1),
        ),
        1,
    )
    grid = F.affine_grid(torch.from_numpy(theta).float(), [n, 3, h, w], align_corners=False)
    return F.grid_sample(
        source.expand(n, -1, -1, -1), grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )


def _plane(size: tuple[int, int], weave: Floats) -> tuple[Tensor, Tensor]:
    """Rows and columns (frames, H, W) of every pixel from the clip's middle, the weave taken off."""
    h, w = size
    y = torch.arange(h, dtype=torch.float32)[None, :, None] - (h - 1) / 2
    x = torch.arange(w, dtype=torch.float32)[None, None, :] - (w - 1) / 2
    shift = torch.from_numpy(weave.astype(np.float32))
    return y - shift[:, 0, None, None], x - shift[:, 1, None, None]


def _lines(picture: Tensor, camera: _Way, weave: Floats, rng: np.random.Generator, scale: float) -> Tensor:
    """A pole, or a row of parallel lines as panelling and rails have, that moves as the scene does."""
    h, w = picture.shape[2:]
    many = int(rng.choice((1, 1, 2, 3, 6)))
    thick, gap = rng.uniform(0.7, 6) * scale, rng.uniform(6, 40) * scale
    place, lean = rng.uniform(-w / 2, w / 2), np.tan(np.deg2rad(rng.normal(0, 3)))
    ends = np.sort(rng.uniform(-0.8, 0.8, 2)) * h if rng.random() < 0.5 else np.array((-h, h))
    strength = float(rng.uniform(0.06, 1.0))
    tint = rng.uniform(0, 1, 3) if rng.random() < 0.5 else np.full(3, rng.choice((0.05, 0.15, 0.85, 0.97)))
    y, x = _plane((h, w), weave)
    y = y + torch.from_numpy(camera.y.astype(np.float32))[:, None, None]
    x = x + torch.from_numpy(camera.x.astype(np.float32) * np.sign(camera.size).astype(np.float32))[:, None, None]
    cover = torch.zeros_like(y + x)
    for number in range(many):
        far = (x - (place + (number - many / 2) * gap) - float(lean) * y).abs()
        cover = torch.maximum(cover, (thick / 2 + 0.5 - far).clamp(0, 1))
    cover = cover * min(thick, 1.0) * ((y - float(ends[0])).clamp(0, 1) * (float(ends[1]) - y).clamp(0, 1)) * strength
    colour = torch.from_numpy(tint.astype(np.float32))[None, :, None, None]
    return torch.lerp(picture, colour.expand_as(picture), cover[:, None])


def _thing(
    picture: Tensor, still: Clip, motion: Motion, at: Floats, weave: Floats, rng: np.random.Generator, scale: float
) -> Tensor:
    """A rod, a disc or a block, on a way of its own."""
    n, _, h, w = picture.shape
    length = float(np.exp(rng.uniform(*np.log(motion.object_size)))) * scale
    thick = length * rng.uniform(0.15, 1.0)
    # Not an even draw: most things are slow, a few are as fast as film has them.
    speed, angle = motion.object_speed * rng.random() ** 1.5 * scale, rng.uniform(0, 2 * np.pi)
    swing, lean, round_ = np.deg2rad(rng.normal(0, 6)), rng.uniform(0, np.pi), rng.random() < 0.7
    jerk = rng.normal(0, 0.15 * speed, (n, 2)).cumsum(axis=0)
    cy = rng.uniform(-h / 2, h / 2) + at * speed * np.sin(angle) + jerk[:, 0]
    cx = rng.uniform(-w / 2, w / 2) + at * speed * np.cos(angle) + jerk[:, 1]
    y, x = _plane((h, w), weave)
    cover = _rod(y, x, cy, cx, lean + at * swing, length, thick, _softness(rng), round_=round_)
    return _painted(picture, cover, still, (cy, cx), weave, rng)


def _limbs(
    picture: Tensor, still: Clip, motion: Motion, at: Floats, weave: Floats, rng: np.random.Generator, scale: float
) -> Tensor:
    """Two rods that swing against each other from one joint, and the body above it, all of one cloth."""
    h, w = picture.shape[2:]
    length = float(np.exp(rng.uniform(*np.log((15.0, 90.0))))) * scale
    thick, soft = length * rng.uniform(0.15, 0.45), _softness(rng)
    reach, phase, down = np.deg2rad(rng.uniform(8, 40)), rng.uniform(0, 2 * np.pi), rng.normal(0, 0.35)
    # As fast as the foot may be: its way in a frame is the length times the turn.
    beat = motion.object_speed * scale * rng.uniform(0.2, 1.0) / (length * reach)
    beat = min(beat, 1.2)
    walk = rng.uniform(-1, 1) * 0.35 * motion.object_speed * scale
    jy, jx = rng.uniform(-h / 2, h / 2) + 0 * at, rng.uniform(-w / 2, w / 2) + walk * at
    y, x = _plane((h, w), weave)
    cover = torch.zeros_like(y + x)
    for side in (1.0, -1.0):
        turn = np.pi / 2 + down + side * reach * np.sin(beat * at + phase)
        middle = (jy + np.sin(turn) * length / 2, jx + np.cos(turn) * length / 2)
        cover = torch.maximum(cover, _rod(y, x, *middle, turn, length + thick, thick, soft, round_=True))
    body = np.full_like(at, np.pi / 2 + down)
    middle = (jy - np.sin(body) * length / 2, jx - np.cos(body) * length / 2)
    cover = torch.maximum(cover, _rod(y, x, *middle, body, length + thick, 1.5 * thick, soft, round_=True))
    return _painted(picture, cover, still, (jy, jx), weave, rng)


def _softness(rng: np.random.Generator) -> float:
    """px over which an edge falls off: sharp, or blurred by its motion."""
    return float(rng.choice((1.0, 1.0, 2.0, 3.5)))


def _rod(
    y: Tensor,
    x: Tensor,
    cy: Floats,
    cx: Floats,
    turn: Floats,
    length: float,
    thick: float,
    soft: float,
    *,
    round_: bool,
) -> Tensor:
    """How far a rod covers each pixel (frames, H, W); with round ends, or a block."""
    y = y - torch.from_numpy(cy.astype(np.float32))[:, None, None]
    x = x - torch.from_numpy(cx.astype(np.float32))[:, None, None]
    cos, sin = (torch.from_numpy(f(turn).astype(np.float32))[:, None, None] for f in (np.cos, np.sin))
    along, across = x * cos + y * sin, y * cos - x * sin
    if round_:
        over = (along.abs() - (length - thick) / 2).clamp_(min=0)
        far = torch.hypot(over, across) - thick / 2
    else:
        far = torch.maximum(along.abs() - length / 2, across.abs() - thick / 2)
    return (0.5 - far / soft).clamp_(0, 1)


def _painted(
    picture: Tensor, cover: Tensor, still: Clip, middle: tuple[Floats, Floats], weave: Floats, rng: np.random.Generator
) -> Tensor:
    """The picture with a layer on it: of one colour, often a dark one, or cut from a still."""
    n, _, h, w = picture.shape
    kind, tint, shade, dark = rng.random(), rng.uniform(0, 1, 3), rng.uniform(0, 0.25), rng.uniform(0.2, 1.1)
    place = rng.uniform(-0.3, 0.3, 2)
    if not bool(cover.any()):
        return picture
    if kind < 0.5:
        paint = tint if kind < 0.15 else np.full(3, shade if kind < 0.4 else 1 - shade)
        colour = torch.from_numpy(paint.astype(np.float32))[None, :, None, None].expand_as(picture)
    else:
        sh, sw = still.shape[2:]
        way = _Way(place[0] * sh - middle[0], place[1] * sw - middle[1], np.zeros(n), np.ones(n))
        colour = _sample(still, way, weave, (h, w)) * float(dark)
    return torch.lerp(picture, colour, cover[:, None])
