"""Synthetic film damage over a clean clip, with the truth and a mask of every local defect.

The ranges are those that restorers see: dirt and dust live for one frame, a scratch stays for many and drifts,
brightness flickers from frame to frame, grain is strongest in the mid-tones. One call is one shot: what belongs to the
shot is drawn once, what belongs to a frame walks on from the frame before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.train.clips import Clip

_REFERENCE_WIDTH = 2048
"""Lengths of a recipe are px of a picture this wide, and scale with the width of the clip."""

Mask = NDArray[np.bool_]
"""(N, H, W): true where a defect covers the picture."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What befalls a shot. All lengths in px at a width of 2048; levels as shares of full scale (0 to 1)."""

    dirt: float = 8.0
    """Blotches a frame, the mean of a Poisson distribution (0 to 30)."""
    dirt_radius: tuple[float, float] = (1.0, 25.0)
    """Log-normal between these: its central 95 %, and cut off there."""
    dirt_opacity: tuple[float, float] = (0.6, 1.0)
    scratches: int = 1
    """Vertical scratches in the shot (0 to 4)."""
    scratch_width: tuple[float, float] = (1.0, 5.0)
    scratch_depth: tuple[float, float] = (0.05, 0.4)
    """Height of the damped cosine across the scratch; bright or dark."""
    scratch_walk: tuple[float, float] = (0.2, 1.5)
    """Standard deviation of the sideways step from frame to frame."""
    flicker: float = 0.05
    """Standard deviation of a frame's gain; cut off at three of them (gain 0.85 to 1.15 is 0.05)."""
    flicker_memory: float = 0.3
    """ρ of the AR(1) walk of the gain (0 to 0.5)."""
    grain: float = 5 / 255
    """Standard deviation in the mid-tones (2/255 to 12/255); none in black and white."""
    grain_colour: float = 0.3
    """0: the same grain in all channels, as on monochrome film; 1: each channel its own."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A damaged shot and its truth."""

    damaged: Clip
    clean: Clip
    masks: Mapping[str, Mask]
    """``dirt`` and ``scratches``: where each changes the picture."""
    gain: NDArray[np.float32]
    """(N,) the gain that flicker gave every frame; it is in ``damaged``, not in ``clean``."""

    @property
    def mask(self) -> Mask:
        """All local defects."""
        return np.asarray(np.stack([*self.masks.values()]).any(axis=0), np.bool_)


def damage(clean: Clip, recipe: Recipe, seed: int) -> Damaged:
    """Damage one shot. Equal arguments give an equal result.

    ``clean`` is float32 ``(N, 3, H, W)`` in 0 to 1 and stays as it is. Raises ValueError for another shape or type.
    """
    if clean.dtype != np.float32 or clean.ndim != 4 or clean.shape[1] != 3:
        raise ValueError(f"a clip is float32 (N, 3, H, W), this is {clean.dtype} {clean.shape}")
    # A generator for each effect: one effect more or less leaves the draws of the others alone.
    streams = [np.random.default_rng([seed, effect]) for effect in range(4)]
    # As on film: grain is in the emulsion, wear and dirt lie upon it, and the light flickers through all of them.
    picture = _grain(clean, recipe, streams[0])
    picture, scratches = _scratch(picture, recipe, streams[1])
    picture, dirt = _dirt(picture, recipe, streams[2])
    gain = _gains(len(clean), recipe, streams[3])
    picture = np.clip(picture * gain[:, None, None, None], 0, 1)
    return Damaged(picture, clean, {"dirt": dirt, "scratches": scratches}, gain)


def _grain(clean: Clip, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """Noise with a correlation between neighbours, strongest where the picture is mid-grey."""
    n, c, h, w = clean.shape
    shared = rng.standard_normal((n, 1, h, w), dtype=np.float32)
    own = rng.standard_normal((n, c, h, w), dtype=np.float32)
    mix = np.float32(recipe.grain_colour)
    noise = np.sqrt(1 - mix) * shared + np.sqrt(mix) * own
    # Clumps: each grain reaches into the next pixel. Divided by what this does to the standard deviation.
    noise = noise + np.float32(0.5) * (np.roll(noise, 1, axis=2) + np.roll(noise, 1, axis=3))
    noise /= np.float32(np.sqrt(1.5))
    level = np.float32(recipe.grain) * np.sqrt(np.clip(4 * clean * (1 - clean), 0, 1))
    return np.asarray(clean + noise * level, np.float32)


def _scratch(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> tuple[Clip, Mask]:
    n, _, h, w = clip.shape
    scale = w / _REFERENCE_WIDTH
    columns = np.arange(w, dtype=np.float32)
    added = np.zeros((n, w), np.float32)
    for _ in range(recipe.scratches):
        # Thinner than a pixel is fainter than drawn: the width stays, the depth carries it.
        true_width = rng.uniform(*recipe.scratch_width) * scale
        width = max(true_width, 1.0)
        depth = rng.uniform(*recipe.scratch_depth) * rng.choice((-1.0, 1.0)) * min(true_width, 1.0)
        walk = rng.normal(0.0, rng.uniform(*recipe.scratch_walk) * scale, n).cumsum()
        far = np.abs(columns[None, :] - (rng.uniform(0, w) + walk[:, None]))
        # A damped cosine: the groove, and the ridges that it throws up on both sides.
        profile = 0.5 ** (far / width) * np.cos(1.5 * np.pi * far / width)
        added += np.where(far < 3 * width, depth * profile, 0).astype(np.float32)
    mask = np.broadcast_to(np.abs(added[:, None, :]) > 2 / 255, (n, h, w)).copy()
    return clip + added[:, None, None, :], mask


def _dirt(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> tuple[Clip, Mask]:
    """Blotches that lie in one frame each, of uneven outline, bright or dark."""
    n, _, h, w = clip.shape
    scale = w / _REFERENCE_WIDTH
    low, high = (np.log(r) for r in recipe.dirt_radius)
    out, mask = clip.copy(), np.zeros((n, h, w), np.bool_)
    for frame in range(n):
        for _ in range(rng.poisson(recipe.dirt)):
            radius = float(np.exp(np.clip(rng.normal((low + high) / 2, (high - low) / 3.92), low, high))) * scale
            cover, rows, columns = _blotch(rng, radius, h, w)
            cover *= np.float32(rng.uniform(*recipe.dirt_opacity))
            level = np.float32(rng.uniform(0.85, 1.0) if rng.random() < 0.5 else rng.uniform(0.0, 0.15))
            there = out[frame, :, rows, columns]
            there += (level - there) * cover
            mask[frame, rows, columns] |= cover > 0.05
    return out, mask


def _blotch(rng: np.random.Generator, radius: float, h: int, w: int) -> tuple[Clip, slice, slice]:
    """How far one blotch covers each pixel (0 to 1), and the rows and columns that this is about."""
    cy, cx = rng.uniform(0, h), rng.uniform(0, w)
    reach = int(radius * 1.7) + 2
    rows = slice(max(int(cy) - reach, 0), min(int(cy) + reach + 1, h))
    columns = slice(max(int(cx) - reach, 0), min(int(cx) + reach + 1, w))
    y, x = np.arange(rows.start, rows.stop)[:, None] - cy, np.arange(columns.start, columns.stop)[None, :] - cx
    angle = np.arctan2(y, x)
    uneven = np.ones_like(angle)
    for wave in (2, 3, 4):
        uneven += rng.uniform(-0.2, 0.2) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    # One pixel of slope at the edge, as a scanner's lens gives it; specks below a pixel come out fainter.
    cover = np.clip(radius * uneven - np.hypot(y, x) + 0.5, 0, 1)
    return cover.astype(np.float32), rows, columns


def _gains(frames: int, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float32]:
    rho, sigma = recipe.flicker_memory, recipe.flicker
    steps = rng.standard_normal(frames)
    walk = np.empty(frames)
    walk[0] = steps[0]
    for i in range(1, frames):
        walk[i] = rho * walk[i - 1] + np.sqrt(1 - rho**2) * steps[i]
    return (1 + sigma * np.clip(walk, -3, 3)).astype(np.float32)
