"""One shot's damage, in the order in which film meets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.train.clips import Clip
from pipeline.train.damage import codec, light, marks
from pipeline.train.damage.grain import grain
from pipeline.train.damage.marks import Mask, Overlays
from pipeline.train.damage.recipe import Recipe
from pipeline.train.damage.walks import track

_REFERENCE_WIDTH = 2048
"""Lengths of a recipe are px of a picture this wide."""
_GRAIN, _SCRATCHES, _DIRT, _FLICKER, _LOCAL, _PLACE, _TONE, _BLUR, _OVERLAYS, _HAIRS = range(10)
"""A random stream for each effect: one effect more or less leaves the draws of the others alone. (Place: walks.py.)"""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A damaged shot and its truth. All clips are float32 (N, 3, H, W)."""

    damaged: Clip
    clean: Clip
    """The clip as it was given, without the frames that are lost."""
    target: Clip
    """What a repair of the local defects, grain and blur alone gives: the clean clip with the shot's tone, and every
    frame's own place and brightness; with ``keep_lines`` also with scratches and gate hairs."""
    masks: Mapping[str, Mask]
    """``dirt``, ``scratches`` and ``hairs``: where each changes the picture."""
    gain: NDArray[np.float32]
    """(N,) the gain that flicker gave every frame; it is in ``damaged`` and ``target``, not in ``clean``."""
    offset: NDArray[np.float32]
    """(N,) and the offset."""
    track: NDArray[np.float32]
    """(N, 3) how far each frame's picture was moved down and right (px), and turned (radians)."""
    kept: NDArray[np.int64]
    """(N,) numbers of the given clip's frames: a gap is where frames are lost."""

    @property
    def mask(self) -> Mask:
        """All local defects."""
        return np.asarray(np.stack([*self.masks.values()]).any(axis=0), np.bool_)


def damage(
    clean: Clip, recipe: Recipe, seed: int, *, width: int | None = None, overlays: Overlays | None = None
) -> Damaged:
    """Damage one shot. Equal arguments give an equal result.

    ``clean`` is float32 ``(N, 3, H, W)`` in 0 to 1 and stays as it is. ``width``: px of the whole picture, of which the
    clip may be a crop; None: it is the whole. Raises ValueError for another shape or type, and where more frames would
    be lost than leave one.
    """
    if clean.dtype != np.float32 or clean.ndim != 4 or clean.shape[1] != 3:
        raise ValueError(f"a clip is float32 (N, 3, H, W), this is {clean.dtype} {clean.shape}")
    kept = np.arange(len(clean))
    if recipe.splice is not None and recipe.lost:
        kept = np.delete(kept, np.arange(recipe.splice, min(recipe.splice + recipe.lost, len(kept))))
        if not len(kept):
            raise ValueError(f"{len(clean)} frames, of which {recipe.lost} are lost, leave none")
        clean = clean[kept]
    n, _, h, w = clean.shape
    whole = width or w
    scale = whole / _REFERENCE_WIDTH
    streams = {effect: np.random.default_rng([seed, effect]) for effect in range(_HAIRS + 1) if effect != _PLACE}
    place = track(n, recipe, seed, width=whole)
    look = light.tone(clean, recipe, streams[_TONE])
    if recipe.monochrome:
        look = look[:, :1]  # one channel stands for all three until the end
    look = light.moved(look, place)
    # As on film: grain is in the emulsion, wear and dirt lie upon it, and the light flickers through all of them.
    picture = grain(light.blur(look, recipe, streams[_BLUR]), recipe, streams[_GRAIN])
    picture, lines = marks.scratches(picture, recipe, streams[_SCRATCHES], scale)
    picture, hairs = marks.gate_hairs(picture, recipe, streams[_HAIRS], scale)
    if recipe.keep_lines:
        # The same draws again, on the picture without grain.
        look, _ = marks.scratches(look, recipe, np.random.default_rng([seed, _SCRATCHES]), scale)
        look, _ = marks.gate_hairs(look, recipe, np.random.default_rng([seed, _HAIRS]), scale)
    picture, spots = marks.dirt(picture, recipe, streams[_DIRT], scale)
    if overlays is not None and recipe.overlays > 0 and len(overlays):
        picture, more = marks.overlays(picture, recipe, streams[_OVERLAYS], scale, overlays)
        spots |= more
    gain, offset = light.flicker(n, recipe, streams[_FLICKER])
    local = light.local_gain((n, h, w), recipe, streams[_LOCAL])
    picture, look = (_lit(p, gain, offset, local) for p in (picture, look))
    if recipe.monochrome:
        picture, look = (p.repeat(3, axis=1) for p in (picture, look))
    if recipe.codec is not None:
        picture = codec.through(picture, recipe.codec, recipe.codec_quality)
    masks = {"dirt": spots, "scratches": lines, "hairs": hairs}
    return Damaged(picture, clean, look, masks, gain, offset, place, kept)


def _lit(clip: Clip, gain: NDArray[np.float32], offset: NDArray[np.float32], local: NDArray[np.float32] | None) -> Clip:
    lit = clip * (gain[:, None, None, None] if local is None else gain[:, None, None, None] * local)
    if offset.any():
        lit += offset[:, None, None, None]
    return np.clip(lit, 0, 1, out=lit)
