"""What was changed although the frame before bears the source out: where a net may have drawn what was never filmed.

Pictures are ``(H, W)`` float32 in 8-bit codes, reduced to about 320 px of width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline import motion
from pipeline.quality.spots import Neighbour

Picture = NDArray[np.float32]

STILL = 6.0
"""8-bit codes: a place shows what the frame before does where they differ by no more."""
INVENTED = 24.0
"""8-bit codes by which such a place must have been changed."""
_TRUST = 1.0
"""Px by which the flows there and back may disagree, besides a tenth of their length."""
_STANDS = 0.5
"""Px of flow that is none."""
_STEEP = (0.4, 2.5)
"""Contrast of a frame over that of its source: what lies outside is no matter of brightness."""
_STEP = 3
"""The curve between two frames' levels is found from every third pixel each way."""
_LEAST = 64
"""Pixels below which there is no telling a curve."""


def share(
    source: Picture, output: Picture, change: Picture, before: Neighbour, shift: tuple[float, float] = (0.0, 0.0)
) -> float:
    """Share of the places that were changed though the source is what its neighbour shows there, as it moved.

    change: mean absolute change of the pixels that each place stands for; it finds what cancels out in ``output``. What
    brightness and contrast of the whole frame explain is no invention (flicker taken off, faded dyes brought back), nor
    is a shift, in px of these pictures to the right and downwards. Dirt, and whatever the flow does not follow, is not
    what the neighbour shows.
    """
    still = shift == (0.0, 0.0)
    if not still:
        output = motion.warp(output, np.broadcast_to(np.asarray(shift, np.float32), (*source.shape, 2)), "lanczos")
    elif not (change > INVENTED).any():
        return 0.0
    expected = _as_bright(source, output)
    strong = np.abs(output - expected) > INVENTED
    if still:
        strong |= change - np.abs(expected - source) > INVENTED
        strong &= change > INVENTED
    if not strong.any():
        return 0.0
    length = np.hypot(before.there[..., 0], before.there[..., 1])
    trusted = motion.disagreement(before.there, before.back) <= _TRUST + 0.1 * length
    agree = trusted & (np.abs(source - motion.warp(before.picture, before.there)) <= STILL)
    # What stands still by the flow there needs none back. By its own looks alone it may be a scratch.
    agree |= (np.abs(source - before.picture) <= STILL) & (length < _STANDS)
    return float(np.count_nonzero(strong & agree) / strong.size)


def _as_bright(source: Picture, output: Picture) -> Picture:
    """The source with the brightness and contrast of the output: along the curve of the second degree that most of the
    picture lies by."""
    x, y = (p[::_STEP, ::_STEP].ravel() / np.float32(255) for p in (source, output))
    if len(x) < _LEAST:
        return source
    powers = np.stack([np.ones_like(x), x, x * x])
    near = np.ones(len(x), np.bool_)
    curve = np.array([0.0, 1.0, 0.0])
    for _ in range(2):
        chosen = powers[:, near].astype(np.float64)
        # Held to the straight line where levels are too few to tell.
        normal = chosen @ chosen.T + 1e-3 * len(x) * np.diag([1e-3, 1e-3, 1.0])
        curve = curve + np.linalg.solve(normal, chosen @ (y[near] - curve.astype(np.float32) @ powers[:, near]))
        near = np.abs(y - curve.astype(np.float32) @ powers) < INVENTED / 255
        if near.sum() < _LEAST:
            return source
    ends = (curve[1], curve[1] + 2 * curve[2])
    if not _STEEP[0] <= min(ends) <= max(ends) <= _STEEP[1]:
        return source
    a, b, c = (np.float32(v) for v in (255 * curve[0], curve[1], curve[2] / 255))
    return np.asarray(a + source * (b + c * source), np.float32)
