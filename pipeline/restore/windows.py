"""Which frames a pass looks at, and which frames it must compute. Numbers only: no pictures here."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray


def window(number: int, radius: int, first: int, cuts: NDArray[np.bool_]) -> tuple[int, ...]:
    """The 2·radius + 1 frames, in time order, that stand for ``number - radius … number + radius``.

    The frames ``[first, first + len(cuts))`` are at hand; cuts[i] says that a shot begins at frame ``first + i``. No
    frame beyond a cut is given. A missing frame is replaced by the nearest one of the shot (… 0 0 | 0 1 2 …). Not by
    its mirror image: a shot's first frame would then see the same neighbours on both sides, which agree with each
    other against it wherever something moves, and a net takes moving limbs for dirt.
    """
    # Only the part of the shot inside the window counts, so the answer does not depend on how much more is at hand.
    low = high = number
    while low > max(first, number - radius) and not cuts[low - first]:
        low -= 1
    while high < min(first + len(cuts) - 1, number + radius) and not cuts[high + 1 - first]:
        high += 1
    return tuple(min(max(n, low), high) for n in range(number - radius, number + radius + 1))


def needed(
    wanted: Collection[int], radius: int, active: Callable[[int], bool], first: int, cuts: NDArray[np.bool_]
) -> dict[int, tuple[int, ...]]:
    """What a pass must read to give the frames ``wanted``.

    Returns frame → the frames that it reads, in rising order of frames. A frame for which ``active`` is False is handed
    through: it reads itself alone, and so nothing is computed upstream for the sake of its window.
    """
    return {n: window(n, radius, first, cuts) if active(n) else (n,) for n in sorted(wanted)}
