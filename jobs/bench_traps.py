"""Clips with nothing to be mended: clean film, and traps, which look damaged and are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from jobs.bench_clips import MOVING, SEED, Case, Pictures, Size
from pipeline.train.clips import Clip
from pipeline.train.footage import Motion, footage


def clean(found: Pictures, size: Size) -> Case:
    """Footage that nothing befell."""
    return _nothing(
        "clean film", "a pan, things that move, real lines; no damage, no grain", _shot(found, size, 3, MOVING)
    )


def traps(found: Pictures, size: Size) -> list[Case]:
    """Clips that look damaged and are not; with a little grain."""
    return [trap(found, size, number, name, *of) for number, (name, of) in enumerate(TRAPS.items())]


def trap(
    found: Pictures, size: Size, number: int, name: str, about: str, make: Make, motion: Motion | None = None
) -> Case:
    """What ``make`` makes of a shot of the pictures from ``number`` on, which is its seed as well."""
    shot = _shot(found, size, number, motion or CALM)
    return _nothing(name, about, _grained(make(shot, np.random.default_rng(number)), number))


Make = Callable[[Clip, np.random.Generator], Clip]
CALM = Motion(still=0, pan=0.5, zoom=0, turn=0, objects=(0, 0), limbs=0, uneven=0, lines=0)


def _shot(found: Pictures, size: Size, number: int, motion: Motion) -> Clip:
    rng = np.random.default_rng(SEED + 100 + number)
    return footage(
        found.stills(number), motion, rng, frames=size.frames, size=(size.height, size.width), width=size.film
    )


def _nothing(name: str, about: str, clip: Clip) -> Case:
    none = np.zeros((len(clip), *clip.shape[2:]), np.bool_)
    return Case(name, about, clip, clip, none, none, none, clip)


def _grained(clip: Clip, seed: int) -> Clip:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 3 / 255, (len(clip), 1, *clip.shape[2:])).astype(np.float32)
    return np.asarray(np.clip(clip + noise, 0, 1), np.float32)


def _rain(clip: Clip, rng: np.random.Generator) -> Clip:
    h, w = clip.shape[2:]
    for frame in clip:
        for y, x in zip(rng.integers(0, h, w // 3), rng.integers(0, w, w // 3), strict=True):
            frame[:, y : y + h // 20, x] += 0.3
    return clip


def _snow(clip: Clip, rng: np.random.Generator) -> Clip:
    h, w = clip.shape[2:]
    y, x = rng.uniform(0, h, w // 4), rng.uniform(0, w, w // 4)
    for frame in clip:
        y, x = (y + rng.normal(5, 2, len(y))) % h, (x + rng.normal(0, 2, len(x))) % w
        for at in zip(y.astype(int), x.astype(int), strict=True):
            frame[:, at[0] : at[0] + 3, at[1] : at[1] + 3] = 0.95
    return clip


def _sparkle(clip: Clip, rng: np.random.Generator) -> Clip:
    h, w = clip.shape[2:]
    for frame in clip:
        for y, x in zip(rng.integers(h // 2, h, w // 2), rng.integers(0, w, w // 2), strict=True):
            frame[:, y : y + 2, x : x + 3] = 1.0
    return clip


def _limbs(clip: Clip, rng: np.random.Generator) -> Clip:
    """A bar that swings further than any flow follows, and a thing that passes by."""
    h, w = clip.shape[2:]
    rows, columns = np.mgrid[:h, :w]
    speed = rng.uniform(0.9, 1.3)
    for k, frame in enumerate(clip):
        turn = np.deg2rad(70 * np.sin(speed * k))
        across = (rows - h // 4) * np.sin(turn) - (columns - w // 2) * np.cos(turn)
        along = (rows - h // 4) * np.cos(turn) + (columns - w // 2) * np.sin(turn)
        frame[:, (np.abs(across) < w // 48) & (along > 0) & (along < h // 3)] = 0.1
        x = (20 + k * (w // 10)) % (w - w // 16)
        frame[:, h // 3 : h // 3 + h // 16, x : x + w // 20] = 0.95
    return clip


def _passing(clip: Clip, rng: np.random.Generator) -> Clip:
    """Things of two tones, one after the other, across the picture in a few frames each, as birds and balls go."""
    h, w = clip.shape[2:]
    rows, columns = np.mgrid[:h, :w]
    x, y, speed = float(w), 0.0, (0.0, 0.0)
    for frame in clip:
        x, y = x + speed[0], y + speed[1]
        if not (0 < x < w and 0 < y < h):
            x, y = 0.0, float(rng.uniform(0.2, 0.8)) * h
            speed = (float(rng.uniform(0.08, 0.25)) * w, float(rng.normal(0, 0.03)) * w)
            long, high, level = rng.uniform(0.02, 0.05) * w, rng.uniform(0.01, 0.02) * w, rng.random()
        thing = np.square((columns - x) / long) + np.square((rows - y) / high) < 1
        frame[:, thing & (rows < y)] = level
        frame[:, thing & (rows >= y)] = (level + 0.5) % 1
    return clip


def _flashes(clip: Clip, rng: np.random.Generator) -> Clip:
    for k in rng.choice(np.arange(2, len(clip) - 2), 2, replace=False):
        clip[k] = np.clip(clip[k] * np.float32(0.7) + np.float32(0.45), 0, 1)
    return clip


def _title(clip: Clip, rng: np.random.Generator) -> Clip:
    """Letters on black, as long as the clip: strokes, dots and a frame around them."""
    h, w = clip.shape[2:]
    card = np.full((3, h, w), 0.03, np.float32)
    card[:, 8:10, 8:-8] = card[:, -10:-8, 8:-8] = 0.7
    for y in range(h // 5, h - h // 5, h // 8):
        for x in range(w // 8, w - w // 8, w // 40):
            kind = rng.integers(4)
            card[:, y : y + h // 14, x : x + 2] = 0.9 if kind < 3 else 0.03
            if kind == 1:
                card[:, y : y + 2, x : x + w // 60] = 0.9
            if kind == 2:
                card[:, y - 4 : y - 2, x : x + 2] = 0.9
    clip[:] = card
    return clip


def _panels(clip: Clip, rng: np.random.Generator) -> Clip:
    """Upright lines that belong to the scene, before a camera that pans by whole px."""
    w, step = clip.shape[3], 2
    wall = np.concatenate([clip[0], clip[0][..., ::-1]], axis=2)
    for n, x in enumerate(np.cumsum(rng.integers(w // 24, w // 8, 2 * w // (w // 12)))):
        wall[:, :, x : x + 2] += 0.12 if n % 2 else -0.12
    for k, frame in enumerate(clip):
        frame[:] = wall[:, :, (step * k) % w :][:, :, :w]
    return clip


TRAPS: Mapping[str, tuple[str, Make]] = {
    "rain": ("streaks, new in every frame", _rain),
    "snow": ("flakes that fall", _snow),
    "sparkle": ("points of light on the lower half, new in every frame", _sparkle),
    "fast limbs": ("a bar that swings, a thing that passes, faster than flow follows", _limbs),
    "flashes": ("two frames lit for a moment", _flashes),
    "intertitle": ("letters on black", _title),
    "panelling": ("real upright lines before a pan", _panels),
    "passing": ("things that cross the picture in a few frames, one after the other", _passing),
}
