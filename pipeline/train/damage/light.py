"""What befalls the whole picture: flicker, fade and tone, blur, place. (Grain: grain.py.)"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pipeline.train.clips import Clip
from pipeline.train.damage.recipe import Recipe
from pipeline.train.damage.walks import ar1, drift

_LUMA = np.array((0.2126, 0.7152, 0.0722), np.float32)
"""ITU-R BT.709."""
_GRID = 5
_DARK = np.float32(1e-3)
"""Transmission of the densest film that fade is reckoned with: density 3."""


def tone(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """The print's own look, which no repair of dirt changes: black and white, gamma, faded dyes."""
    if recipe.monochrome:
        luma = np.einsum("nchw,c->nhw", clip, _LUMA)[:, None]
        clip = np.broadcast_to(luma, clip.shape)
    faded = any(recipe.fade) or recipe.fade_floor or recipe.fade_crosstalk
    if not faded and recipe.gamma == 1.0:
        return np.ascontiguousarray(clip)
    if not faded and recipe.monochrome:
        one = np.power(np.maximum(clip[:, :1], 0), np.float32(recipe.gamma))
        return np.ascontiguousarray(np.broadcast_to(one, clip.shape))
    # Natural densities: −ln of the transmission.
    density = np.log(np.maximum(clip, _DARK)) * np.float32(-recipe.gamma)
    if faded:
        mix = np.full((3, 3), recipe.fade_crosstalk) + np.eye(3) * (1 - 3 * recipe.fade_crosstalk)
        left = (1 - np.asarray(recipe.fade))[None] ** drift(rng, len(clip), recipe)[:, None]
        both = (mix[None] * left[:, None, :]).astype(np.float32)
        density = np.einsum("nij,njhw->nihw", both, density)
        density += np.float32(recipe.fade_floor * np.log(10))
    return np.exp(-density)


def blur(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """A gaussian, another one each way; its width drifts from frame to frame."""
    if recipe.blur <= 0:
        return clip
    n, c, h, w = clip.shape
    change = drift(rng, n, recipe)
    picture = torch.from_numpy(np.ascontiguousarray(clip)).reshape(1, n * c, h, w)
    for axis, sigma in ((3, recipe.blur), (2, recipe.blur * recipe.blur_ratio)):
        reach = max(1, int(np.ceil(2.5 * sigma)))
        far = np.arange(-reach, reach + 1, dtype=np.float32)
        taps = np.exp(-0.5 * (far[None] / (sigma * change[:, None])) ** 2)
        taps /= taps.sum(axis=1, keepdims=True)
        kernel = torch.from_numpy(np.repeat(taps, c, axis=0).astype(np.float32))
        shape, pad = ((-1, 1, 1, 2 * reach + 1), (reach, reach, 0, 0))
        if axis == 2:
            shape, pad = ((-1, 1, 2 * reach + 1, 1), (0, 0, reach, reach))
        picture = F.conv2d(F.pad(picture, pad, mode="replicate"), kernel.reshape(shape), groups=n * c)
    return np.asarray(picture.reshape(n, c, h, w).numpy(), np.float32)


def flicker(frames: int, recipe: Recipe, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(frames,) gains and (frames,) offsets."""
    walk = np.clip(ar1(rng, frames, recipe.flicker_memory, 2), -3, 3)
    gain = (1 + recipe.flicker * walk[:, 0]).astype(np.float32)
    return gain, (recipe.flicker_offset * walk[:, 1]).astype(np.float32)


def local_gain(shape: tuple[int, int, int], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """(frames, 1, H, W): a coarse grid of gains, new in every frame, linear in between; None where there is none."""
    if recipe.flicker_local <= 0:
        return None
    n, h, w = shape
    coarse = 1 + recipe.flicker_local * rng.uniform(-1, 1, (n, _GRID, _GRID))
    down, across = _between(h), _between(w)
    return np.asarray((down @ coarse @ across.T)[:, None], np.float32)


def _between(size: int) -> NDArray[np.float64]:
    """(size, 5): the shares of the grid's points in each pixel."""
    at = np.linspace(0, _GRID - 1, size)
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(_GRID)[None])), np.float64)


def moved(clip: Clip, track: NDArray[np.float32]) -> Clip:
    """Every frame at its place: ``track`` as ``walks.track`` gives it. What comes in at the edge repeats the edge."""
    if not track.any():
        return clip
    n, _, h, w = clip.shape
    dy, dx, turn = (torch.from_numpy(np.ascontiguousarray(track[:, i])) for i in range(3))
    cos, sin = turn.cos(), turn.sin()
    # The place in the source of each place in the result, in the units of affine_grid (−1 to 1 across).
    theta = torch.stack(
        (
            torch.stack((cos, sin * (h / w), -2 * dx / w), 1),
            torch.stack((-sin * (w / h), cos, -2 * dy / h), 1),
        ),
        1,
    )
    grid = F.affine_grid(theta, [n, 3, h, w], align_corners=False)
    source = torch.from_numpy(np.ascontiguousarray(clip))
    out = F.grid_sample(source, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return np.asarray(out.clamp_(0, 1).numpy(), np.float32)
