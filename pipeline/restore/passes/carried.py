"""Whether a spot is seen in a neighbour where something around it went: then it is a thing of the scene.

Beside an edge that moves, the flow takes what lies there along with the edge, and both neighbours agree on what is not
there. But the right movement is that of something nearby, so each of those movements is tried.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline import motion
from pipeline.motion import Flow, Regions
from pipeline.restore.passes.suspects import Planes

_FAR = 24
"""Px around a spot within which movements are tried."""
_EVERY = 4
"""Px between the places whose movement is tried: a flow is smooth."""
_ALIKE = 0.5
"""A pixel is seen again where it differs by less than this share of what the spot is about."""
_INSIDE, _WHOLE = 0.75, 0.75
"""Share of the spot's pixels, and of those with what lies around it, that are to be seen again."""
_RING = 2
"""Px around it."""
_MOST = 128
"""Pixels of a spot that are looked at, and of its ring: more tell no more."""


def carried(here: Planes, other: Planes, flow: Flow, spots: Regions, n: int, middle: Planes) -> bool:
    """Whether ``other``, (H, W, C) as it is, shows spot ``n`` of ``here`` as one of the movements around carries it.

    flow: from here to there; middle: (H, W, C) what the neighbours, as they moved, show in the spot's place.
    """
    h, w = here.shape[:2]
    left, top, right, bottom = (int(v) for v in spots.boxes[n])
    box = np.s_[max(0, top - _RING) : min(h, bottom + _RING), max(0, left - _RING) : min(w, right + _RING)]
    inside = spots.labels[box] == n
    y, x = np.mgrid[box]
    own, around = (_some(np.flatnonzero(m)) for m in (inside, motion.grow(inside, _RING) & ~inside))
    which = np.concatenate((own, around))
    y, x, inside = y.ravel()[which], x.ravel()[which], inside.ravel()[which]
    near = flow[max(0, top - _FAR) : bottom + _FAR : _EVERY, max(0, left - _FAR) : right + _FAR : _EVERY].reshape(-1, 2)
    ways = np.unique(np.rint(near).astype(np.int64), axis=0)
    shown = here[y, x]
    level = np.sqrt(np.mean(np.square((shown - middle[y, x])[inside]).sum(-1)))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            there = other[np.clip(y + ways[:, 1:] + dy, 0, h - 1), np.clip(x + ways[:, :1] + dx, 0, w - 1)]
            seen = np.square(there - shown).sum(-1) < np.square(_ALIKE * level)
            if ((seen[:, inside].mean(1) > _INSIDE) & (seen.mean(1) > _WHOLE)).any():
                return True
    return False


def _some(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Evenly spread ones, where there are many."""
    if pixels.size <= _MOST:
        return pixels
    return pixels[np.linspace(0, pixels.size - 1, _MOST).astype(np.int64)]
