"""Local defects: dirt and hairs that live for one frame, scratches and gate hairs that stay. Each with its mask."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pipeline.train.clips import Clip
from pipeline.train.damage.recipe import Recipe
from pipeline.train.damage.walks import drift

Mask = NDArray[np.bool_]
"""(N, H, W): true where a defect covers the picture."""

_SEEN = 2 / 255
"""A defect that changes the picture by less is in no mask."""
_COVERS = 0.05
_WAVES = (2, 3, 4)
"""Lobes of a blotch's outline."""


class Overlays(Protocol):
    """Pictures of real dirt: how far each covers what lies below, uint8 (h, w), 255 wholly. A list will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> NDArray[np.uint8]: ...


def dirt(clip: Clip, recipe: Recipe, rng: np.random.Generator, scale: float) -> tuple[Clip, Mask]:
    """Blotches that lie in one frame each, of uneven outline, bright or dark."""
    n, _, h, w = clip.shape
    counts = rng.poisson(_density(recipe, n) * recipe.dirt)
    total = int(counts.sum())
    out, mask = clip.copy(), np.zeros((n, h, w), np.bool_)
    low, high = (np.log(r) for r in recipe.dirt_radius)
    radius = np.exp(np.clip(rng.normal((low + high) / 2, (high - low) / 3.92, total), low, high)) * scale
    cy, cx = rng.uniform(0, h, total), rng.uniform(0, w, total)
    lobes = rng.uniform(-0.2, 0.2, (total, len(_WAVES)))
    phases = rng.uniform(0, 2 * np.pi, (total, len(_WAVES)))
    opacity = rng.uniform(*recipe.dirt_opacity, total)
    bright = rng.random(total) < 0.5
    level = np.where(bright, rng.uniform(0.85, 1.0, total), rng.uniform(0.0, 0.15, total)).astype(np.float32)
    frame = np.repeat(np.arange(n), counts)
    reach = (radius * 1.7).astype(int) + 2
    # Blotches of about one size are drawn in one go.
    for size in np.unique(np.ceil(np.log2(reach)).astype(int)):
        many = np.flatnonzero(np.ceil(np.log2(reach)).astype(int) == size)
        side = 1 << int(size)
        y0, x0 = cy[many].astype(int) - side, cx[many].astype(int) - side
        far = np.arange(2 * side + 1)
        y = (far[None, :, None] + y0[:, None, None] - cy[many][:, None, None]).astype(np.float32)
        x = (far[None, None, :] + x0[:, None, None] - cx[many][:, None, None]).astype(np.float32)
        angle, edge = np.arctan2(y, x), np.ones((len(many), len(far), len(far)), np.float32)
        for k, wave in enumerate(_WAVES):
            edge += lobes[many, k].astype(np.float32)[:, None, None] * np.cos(
                np.float32(wave) * angle + phases[many, k].astype(np.float32)[:, None, None]
            )
        # One pixel of slope at the edge, as a scanner's lens gives it; specks below a pixel come out fainter.
        cover = np.clip(radius[many].astype(np.float32)[:, None, None] * edge - np.hypot(y, x) + 0.5, 0, 1)
        cover *= opacity[many].astype(np.float32)[:, None, None]
        for i, number in enumerate(many):
            _lay(out[frame[number]], mask[frame[number]], cover[i], int(y0[i]), int(x0[i]), level[number])
    return out, mask


def overlays(
    clip: Clip, recipe: Recipe, rng: np.random.Generator, scale: float, pictures: Overlays
) -> tuple[Clip, Mask]:
    """Real dirt and hair, one frame each: turned, mirrored, at any size, bright or dark."""
    n, _, h, w = clip.shape
    out, mask = clip.copy(), np.zeros((n, h, w), np.bool_)
    for frame, count in enumerate(rng.poisson(_density(recipe, n) * recipe.overlays)):
        for _ in range(count):
            number, turns = int(rng.integers(len(pictures))), int(rng.integers(8))
            side = float(np.exp(rng.uniform(*np.log(recipe.overlay_size)))) * scale
            opacity = np.float32(rng.uniform(*recipe.dirt_opacity) / 255)
            level = np.float32(rng.uniform(0.8, 1.0) if rng.random() < 0.5 else rng.uniform(0.0, 0.2))
            cy, cx = rng.uniform(0, h), rng.uniform(0, w)
            ink = np.rot90(pictures[number], turns % 4)
            ink = ink[:, ::-1] if turns >= 4 else ink
            factor = side / max(ink.shape)
            size = [max(1, round(edge * factor)) for edge in ink.shape]
            cover = torch.from_numpy(np.ascontiguousarray(ink))[None, None].float()
            cover = F.interpolate(cover, size, mode="bilinear", antialias=True, align_corners=False)[0, 0]
            y0, x0 = int(cy) - size[0] // 2, int(cx) - size[1] // 2
            _lay(out[frame], mask[frame], np.asarray(cover.numpy() * opacity, np.float32), y0, x0, level)
    return out, mask


def scratches(clip: Clip, recipe: Recipe, rng: np.random.Generator, scale: float) -> tuple[Clip, Mask]:
    """Lines from top to bottom that walk sideways, with the profile of a groove."""
    n, _, h, w = clip.shape
    if not recipe.scratches:
        return clip, np.zeros((n, h, w), np.bool_)
    rows = h if recipe.scratch_tilt else 1
    columns, down = np.arange(w, dtype=np.float32), np.arange(rows, dtype=np.float32) - np.float32(h / 2)
    added = np.zeros((n, rows, w), np.float32)
    for _ in range(recipe.scratches):
        # Thinner than a pixel is fainter than drawn: the width stays, the depth carries it.
        true_width = rng.uniform(*recipe.scratch_width) * scale
        width = max(true_width, 1.0)
        depth = rng.uniform(*recipe.scratch_depth) * rng.choice((-1.0, 1.0)) * min(true_width, 1.0)
        walk = np.cumsum(rng.normal(0.0, rng.uniform(*recipe.scratch_walk) * scale, n))
        start, lean = rng.uniform(0, w), np.tan(np.deg2rad(rng.uniform(-1, 1) * recipe.scratch_tilt))
        walk *= rng.random() >= recipe.scratch_static
        life, born, deepens = rng.uniform(*recipe.scratch_life), rng.random(), drift(rng, n, recipe)
        strength = depth * deepens
        if life > 0:
            first = born * (n + life) - life
            strength *= (np.arange(n) >= first) & (np.arange(n) < first + life)
        middle = (start + walk).astype(np.float32)[:, None] + np.float32(lean) * down[None]
        far = columns - middle[..., None]
        near = np.abs(far) < 3 * width
        profile = _groove(far[near], width)
        added[near] += profile * np.broadcast_to(strength.astype(np.float32)[:, None, None], near.shape)[near]
    mask = np.broadcast_to(np.abs(added) > _SEEN, (n, h, w)).copy()
    return clip + added[:, None], mask


def _groove(far: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """A damped cosine: the groove, and the ridges that it throws up on both sides. The mean over each pixel, or thin
    ones that lean would come out as a row of beads."""
    found = np.zeros_like(far)
    for beside in (-1 / 3, 0.0, 1 / 3):
        x = np.abs(far + np.float32(beside)) / np.float32(width)
        found += np.float32(0.5) ** x * np.cos(np.float32(1.5 * np.pi) * x)
    return found / np.float32(3)


def gate_hairs(clip: Clip, recipe: Recipe, rng: np.random.Generator, scale: float) -> tuple[Clip, Mask]:
    """Dark hairs that reach into the picture from one of its edges and stay where they are."""
    n, _, h, w = clip.shape
    out, mask = clip, np.zeros((n, h, w), np.bool_)
    for _ in range(recipe.hairs):
        length, thick = rng.uniform(40, 220) * scale, max(rng.uniform(1.5, 5) * scale, 0.7)
        root, angle, bend = rng.random(), rng.uniform(-1.2, 1.2), rng.uniform(-2.5, 2.5)
        edge, life, born = int(4 * rng.random()), rng.uniform(*recipe.hair_life), rng.random()
        first = born * (n + life) - life
        frames = (np.arange(n) >= first) & (np.arange(n) < first + life)
        t = np.linspace(0, 1, max(8, int(2 * length)), dtype=np.float32)
        step = length / len(t)
        # Into the picture, and along the edge: the upper, lower, left or right one.
        deep, along = (np.cumsum(f(angle + bend * t)) * step for f in (np.cos, np.sin))
        if edge < 2:
            y, x = np.where(edge == 1, h - 1 - deep, deep), root * w + along
        else:
            y, x = root * h + along, np.where(edge == 3, w - 1 - deep, deep)
        near = np.full((h, w), np.inf, np.float32)
        reach = int(np.ceil(thick)) + 1
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                py, px = np.rint(y).astype(int) + dy, np.rint(x).astype(int) + dx
                there = (py >= 0) & (py < h) & (px >= 0) & (px < w)
                np.minimum.at(near, (py[there], px[there]), np.hypot(py - y, px - x)[there].astype(np.float32))
        cover = np.clip(thick / 2 + 0.5 - near, 0, 1) * np.float32(0.9)
        out = out.copy() if out is clip else out
        out[frames] *= 1 - cover
        mask[frames] |= cover > _COVERS
    return out, mask


def _density(recipe: Recipe, frames: int) -> NDArray[np.float64]:
    """How much denser than elsewhere the dirt of each frame is."""
    dense = np.ones(frames)
    if recipe.splice is not None:
        dense[max(recipe.splice - 1, 0) : recipe.splice + 1] = 5.0
    return dense


def _lay(
    picture: Clip, mask: NDArray[np.bool_], cover: NDArray[np.float32], y0: int, x0: int, level: np.float32
) -> None:
    """Lay ink on one frame (3, H, W), in place; what lies outside of the picture is cut off."""
    _, h, w = picture.shape
    top, left = max(y0, 0), max(x0, 0)
    bottom, right = min(y0 + cover.shape[0], h), min(x0 + cover.shape[1], w)
    if bottom <= top or right <= left:
        return
    cover = cover[top - y0 : bottom - y0, left - x0 : right - x0]
    there = picture[:, top:bottom, left:right]
    there += (level - there) * cover
    mask[top:bottom, left:right] |= cover > _COVERS
