"""Film grain: noise with a correlation between neighbours, strongest where the picture is mid-grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.train.clips import Clip
from pipeline.train.damage.recipe import Recipe
from pipeline.train.damage.walks import drift

Noise = NDArray[np.float32]
_REACHES = 0.4
"""Share of itself that a grain gives to the next pixel, each way; of that as much to the one after. So the correlation
to the neighbour above and beside is 0.34 to 0.40, by lag."""


def grain(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """The clip (N, C, H, W), C 1 or 3, with the recipe's grain in it."""
    if recipe.grain <= 0:
        return clip
    return _even(clip, recipe, rng) if recipe.grain_even else _lopsided(clip, recipe, rng)


def _even(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """A frame at a time: its planes stay in the cache, which makes it twice as fast as the whole clip at once."""
    n, c, h, w = clip.shape
    lag, mix = recipe.grain_lag, recipe.grain_colour if c > 1 else 0.0
    taps = [np.float32(_REACHES**k) for k in range(lag + 1)]
    strength = recipe.grain * drift(rng, n, recipe) / sum(float(t) ** 2 for t in taps)
    out = np.empty_like(clip)
    for picture, mixed, share in zip(clip, out, strength, strict=True):
        # Drawn larger by the lag, so that the first rows and columns have something to be reached from.
        noise = _planes(rng, c if mix > 0 else 1, (h + lag, w + lag), float(mix))
        # Down, then across. Each reaches one way only, and still the product is even: how far pixels go together
        # depends on their distance down and on that across, and on the sign of neither.
        noise = _reached(_reached(noise, taps, 1), taps, 2)
        noise *= np.float32(share)
        level = picture - picture * picture
        level *= 4
        np.clip(level, 0, 1, out=level)
        np.sqrt(level, out=level)
        np.multiply(level, noise, out=mixed)
        mixed += picture
    return out


def _planes(rng: np.random.Generator, planes: int, size: tuple[int, int], mix: float) -> Noise:
    """(planes, h, w) of standard deviation 1, with a correlation of 1 − ``mix`` between any two planes."""
    noise = _normal(rng, (planes, *size))
    if planes > 1 and mix < 1:
        own = np.sqrt(mix)
        # What each plane takes of the sum of all, so that its variance stays 1.
        shared = (np.sqrt(own**2 + planes * (1 - mix)) - own) / planes
        both = noise.sum(axis=0)
        both *= np.float32(shared)
        noise *= np.float32(own)
        noise += both
    return noise


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Noise:
    """Nearly normal, of standard deviation 1: how many of 64 coins lie heads up. A third of the time that exact draws
    take, which were most of grain's; what differs (kurtosis 2.97 for 3) is far below what the filter evens out."""
    coins = rng.integers(0, 1 << 64, int(np.prod(shape)), dtype=np.uint64)
    heads = np.bitwise_count(coins).astype(np.float32)
    heads -= 32
    heads *= np.float32(0.25)
    return heads.reshape(shape)


def _reached(noise: Noise, taps: list[np.float32], axis: int) -> Noise:
    """Each pixel with what those before it along the axis give to it; shorter by as many as there are of those."""
    lag = len(taps) - 1
    if not lag:
        return noise
    along = noise if axis == 2 else noise.swapaxes(1, 2)
    out = noise[:, lag:].copy() if axis == 1 else noise[..., lag:].copy()
    into = out if axis == 2 else out.swapaxes(1, 2)
    for back, tap in enumerate(taps[1:], 1):
        into += tap * along[..., lag - back : -back]
    return out


def _lopsided(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """As it was made first: a grain reaches down and to the right, so pixels go together towards one diagonal and not
    towards the other, and the last rows reach round into the first. The benchmark's clips are made so; with another
    grain they would be other clips, and their published figures could not be compared."""
    n, c, h, w = clip.shape
    mix = np.float32(recipe.grain_colour if c > 1 else 0)
    noise = rng.standard_normal((n, 1, h, w), dtype=np.float32)
    if mix > 0:
        noise = np.sqrt(1 - mix) * noise + np.sqrt(mix) * rng.standard_normal((n, c, h, w), dtype=np.float32)
    own, weights = noise, [np.float32(0.5**lag) for lag in range(1, recipe.grain_lag + 1)]
    noise = own.copy()
    for lag, weight in enumerate(weights, 1):
        noise[:, :, lag:] += weight * own[:, :, :-lag]
        noise[:, :, :lag] += weight * own[:, :, -lag:]
        noise[..., lag:] += weight * own[..., :-lag]
        noise[..., :lag] += weight * own[..., -lag:]
    strength = recipe.grain * drift(rng, n, recipe) / np.sqrt(1 + 2 * sum(float(k) ** 2 for k in weights))
    noise *= strength[:, None, None, None].astype(np.float32)
    level = clip * (1 - clip)
    level *= 4
    np.clip(level, 0, 1, out=level)
    np.sqrt(level, out=level)
    level *= noise
    level += clip
    return level
