"""Fine detail that a net took for grain, told from it by time: what was taken away in frame after frame alike, as the
picture moved, was the picture's own.

The energy that frames some way apart have in common is the detail's, and the rest the grain's; their mean comes back as
far as it is detail (Wiener's gain, block by block).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline import motion

Picture = NDArray[np.float32]

_BLOCK = 15
"""Px, side of the neighbourhood over which energies are taken."""
_APART = 4
"""Frames from which two of them are compared: a net mostly stands behind a ``degrain``, whose means over seven frames
have the less grain in common the further they are apart."""
_COMMON, _COMMON_AT_ENDS = 0.35, 0.73
"""Share of its energy that grain has in common at those distances, behind a ``degrain``; and frames 3 apart, of which
one is the first or the last of its shot."""
_LEFT = 0.67
"""Share of its energy that is left of such grain in the mean of seven frames."""
_LEAST = 1e-3
"""Trust below which there is none."""
_NONE = 1e-9
"""Energy that is none."""


def detail(lost: Mapping[int, Picture], weights: Mapping[int, Picture]) -> Picture | None:
    """(H, W, 3) what is to be given back to a frame; None where its neighbours are too few to tell.

    lost: frames from it, it itself being 0 → (H, W, 3) what a net took away there, as the picture moved to here, times
    how far that is to be trusted. weights: (H, W) that trust, 0 to 1.
    """
    pairs = [(a, b) for a in lost for b in lost if b - a >= _APART]
    shared = _COMMON
    if not pairs:
        pairs = [(a, b) for a in lost for b in lost if b - a == _APART - 1]
        shared = _COMMON_AT_ENDS
    if not pairs:
        return None
    luma = {k: _luma(p) for k, p in lost.items()}
    # Of what is weighted once, as in the products of two.
    energy = {k: np.square(p) / np.maximum(weights[k], np.float32(_LEAST)) for k, p in luma.items()}
    common, whole = (np.zeros_like(luma[0]) for _ in range(2))
    for a, b in pairs:
        common += luma[a] * luma[b]
        whole += weights[b] * energy[a] + weights[a] * energy[b]
    alike = motion.mean(common, _BLOCK) / (motion.mean(0.5 * whole, _BLOCK) + np.float32(_NONE))
    own = np.clip((alike - shared) / (1 - shared), 0, 1)
    gain = own / (own + _LEFT * (1 - own))
    total, trust = sum(lost.values()), sum(weights.values())
    return np.asarray(total * (gain / trust)[..., None], np.float32)


def _luma(rgb: Picture) -> Picture:
    red, green, blue = (rgb[..., k] * np.float32(w) for k, w in enumerate((0.2126, 0.7152, 0.0722)))
    return np.asarray(red + green + blue, np.float32)
