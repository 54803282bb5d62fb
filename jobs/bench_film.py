"""The film that is measured: a worn print of the shipped photograph, panned over, as long as is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import spec
from pipeline.reel.encode import encode_segment
from pipeline.reel.formats import pixel_format
from pipeline.reel.probe import probe
from pipeline.reel.sample import write_sample
from pipeline.reel.still import read_picture
from pipeline.train.clips import Clip, pan, to_clip
from pipeline.train.damage import Recipe, damage
from pipeline.types import Frames

_RATE = Fraction(24)
_PIXELS = "gbrp10le"
"""RGB of 10 bit, as a film scan is."""
_WHITE = 1023
_LEG = 48
"""Frames that the camera takes from one side of the photograph to the other, before it turns back."""
_SEED = 1905
_RECIPE = Recipe(scratches=0, flicker=0.015, grain=4 / 255)
"""Grain above all: without it FFV1 would have too easy a time."""


def write_film(path: Path, *, frames: int, width: int, height: int) -> Path:
    """Write a film of so many frames of FFV1 in Matroska, without sound; memory does not grow with its length.

    Raises ValueError where the photograph is no larger than the picture.
    """
    with resources.as_file(resources.files("jobs") / "assets" / "seeding.jpg") as photo:
        still = to_clip(read_picture(photo)[None])
    # The encoder of segments writes for a reel: one of one frame says what it needs to know.
    seed = path.with_name(f"{path.stem}.seed.mkv")
    first = next(_frames(still, 1, width, height))
    write_sample(seed, first, rate=_RATE, sound=np.zeros(1, np.int16), sound_rate=48_000)
    reel = probe(str(seed), seed.stem, spec.Source())
    encode_segment(_frames(still, frames, width, height), reel, spec.Output(), path, threads=1)
    seed.unlink()
    return path


def write_film_with_sound(path: Path, *, frames: int, width: int, height: int) -> Path:
    """As ``write_film``, with a track of PCM sound; all frames are in memory at once."""
    with resources.as_file(resources.files("jobs") / "assets" / "seeding.jpg") as photo:
        still = to_clip(read_picture(photo)[None])
    legs = list(_frames(still, frames, width, height))
    planes = tuple(np.concatenate(parts) for parts in zip(*(leg.planes for leg in legs), strict=True))
    whole = Frames(planes, pixel_format(_PIXELS), 0, np.arange(frames, dtype=np.int64))
    noise = np.random.default_rng(_SEED).integers(-3000, 3000, round(48_000 * frames / _RATE)).astype(np.int16)
    write_sample(path, whole, rate=_RATE, sound=noise, sound_rate=48_000)
    return path


def _frames(still: Clip, count: int, width: int, height: int) -> Iterator[Frames]:
    """There and back again, the same frames each time."""
    legs = [_leg(still, way, min(_LEG, count), width, height) for way in (0, 1) if way * _LEG < count]
    number = 0
    for planes in itertools.cycle(legs):
        length = min(_LEG, count - number)
        if length <= 0:
            return
        pts = np.arange(number, number + length, dtype=np.int64)
        yield Frames(tuple(p[:length] for p in planes), pixel_format(_PIXELS), number, pts)
        number += length


def _leg(still: Clip, way: int, length: int, width: int, height: int) -> tuple[NDArray[np.uint16], ...]:
    room = (still.shape[2] - height - 1, still.shape[3] - width - 1)
    y, x = room[0] / _LEG, room[1] / _LEG
    start, step = ((0.0, 0.0), (y, x)) if way == 0 else ((float(room[0]), float(room[1])), (-y, -x))
    clean = pan(still, frames=length, size=(height, width), start=start, step=step)
    codes = np.rint(np.clip(damage(clean, _RECIPE, _SEED + way).damaged, 0, 1) * _WHITE).astype(np.uint16)
    # FFmpeg keeps planar RGB as green, blue, red.
    return tuple(np.ascontiguousarray(codes[:, c]) for c in (1, 2, 0))
