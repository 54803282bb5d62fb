"""Thin upright lines that stay with the frame while the scene moves: scratches, counted where no pass repaired them.

A frame is looked at in bands of rows, each averaged (Kokaram 1998 averages columns so); a line must run through most of
them, upright or leaning a little. Its looks are no evidence: panelling, poles and rails look the same. It counts where
it is there in the frames around too and the scene on both its sides moves otherwise than it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.types import FIGURES_RADIUS

Picture = NDArray[np.float32]

_BANDS = 16
_LEAST = (4 * _BANDS, 32)
"""Rows and columns of the smallest picture that is looked at."""
_CONTRAST = 5.0
"""8-bit codes by which a line stands out from both its sides."""
_LENGTH = 0.7
"""Share of the height that a line runs through."""
_WIDTH = 0.005
"""Widest line, as a share of the picture's width; two px at least."""
_LEAN = 0.0875
"""Tangent of the greatest angle to the upright, 5 degrees."""
_COLUMNS = 960
"""Lines are looked for on no more columns than this, about: of more, the strongest of each few."""
_MOST = 8
"""Lines of a frame that are followed."""
_EDGE = 1 / 4
"""Share of a line's own peak from which a column is part of it."""
_WALK = 0.003
"""Share of the width that a scratch may wander from one frame to the next, besides one px."""
_MOVES = (1.5, 0.75)
"""Px, and px of the reduced picture, by which the scene moves otherwise than a scratch: the more of both."""
_TEXTURE = 2.5
"""8-bit codes a px of the reduced picture: texture that tells how the scene moves sideways."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line in one frame."""

    place: float
    """Px from the left, at the middle of the height."""
    bright: bool
    columns: int
    """That it covers, in the median band."""


Moves = tuple[float | None, ...]
"""Px to the right by which the scene beside each line of a frame moves to another frame; None where nothing tells."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of one frame's lines."""

    lines: tuple[Line, ...]
    back: Moves
    """To the frame before it; empty where there is none."""
    ahead: Moves
    """To the frame after it."""


def bands(luma: Tensor) -> Tensor:
    """``(16, W)`` means of the rows of each band of ``(H, W)``; ``(0, W)`` of a picture that is too small."""
    height, width = luma.shape
    if height < _LEAST[0] or width < _LEAST[1]:
        return luma.new_empty((0, width))
    rows = height // _BANDS
    return luma[: rows * _BANDS].view(_BANDS, rows, width).sum(1).div_(rows)


def find(of: Picture, height: int) -> tuple[Line, ...]:
    """The lines of a frame from its bands in 8-bit codes; height of the frame in px."""
    if not len(of):
        return ()
    wide = _widest(of.shape[1])
    group = -(-of.shape[1] // _COLUMNS)
    over = np.stack([_over(sign * of, wide) for sign in (1.0, -1.0)])
    coarse = _strongest(over, group)
    steps = int(np.ceil(2 * _LEAN * height / _BANDS / group))
    slopes = np.arange(-steps, steps + 1, dtype=np.float32) / 2
    middle = np.arange(_BANDS, dtype=np.float32) - (_BANDS - 1) / 2
    shift = np.rint(slopes[:, None] * middle).astype(np.int64)
    reach = int(np.abs(shift).max())
    # A line wanders: within a px of its way it is still on it.
    near = np.pad(coarse, ((0, 0), (0, 0), (reach + 1, reach + 1)))
    near = np.maximum(np.maximum(near[..., :-2], near[..., 2:]), near[..., 1:-1])
    width = coarse.shape[2]
    hits = (near >= _CONTRAST).astype(np.int8)
    far = np.zeros((2, len(slopes), width), np.int8)
    for s, leaning in enumerate(shift):
        for b, by in enumerate(leaning):
            far[:, s] += hits[:, b, reach + by : reach + by + width]
    signs, leans, places = np.nonzero(far >= _LENGTH * _BANDS)
    ways = places[:, None] + shift[leans]
    totals = near[signs[:, None], np.arange(_BANDS), ways + reach].sum(1)
    found: list[Line] = []
    apart = -(-2 * wide // group) + 1
    while len(totals) and len(found) < _MOST:
        best = int(np.argmax(totals))
        found.append(_measured(of, ways[best] * group + group // 2, wide, group, bright=bool(signs[best] == 0)))
        left = np.abs(places - places[best]) > apart
        totals, signs, ways, places = totals[left], signs[left], ways[left], places[left]
    return tuple(found)


def _widest(width: int) -> int:
    return max(2, round(_WIDTH * width))


def _over(of: Picture, wide: int) -> Picture:
    """By how much each column stands out above both its sides, and those alike: an edge is no line."""
    width = of.shape[1]
    sides = np.pad(of, ((0, 0), (wide + 1, wide + 1)), mode="edge")
    left, right = sides[:, :width], sides[:, 2 * (wide + 1) :]
    over = of - np.maximum(left, right)
    over[np.abs(left - right) >= np.maximum(2 * over, _CONTRAST)] = 0
    return np.clip(over, 0, 4 * _CONTRAST)


def _strongest(over: Picture, group: int) -> Picture:
    if group == 1:
        return over
    width = -(-over.shape[2] // group)
    whole = np.pad(over, ((0, 0), (0, 0), (0, width * group - over.shape[2])))
    return np.asarray(whole.reshape(2, _BANDS, width, group).max(3))


def _measured(of: Picture, way: NDArray[np.int64], wide: int, group: int, *, bright: bool) -> Line:
    """A line's place and width from its profile, which is the median of all bands."""
    reach = 2 * wide + group + 1
    offsets = np.arange(-reach, reach + 1)
    columns = np.clip(way[:, None] + offsets, 0, of.shape[1] - 1)
    strips = np.take_along_axis(of, columns, axis=1)
    straight = np.linspace(0, 1, len(offsets), dtype=np.float32)
    profile = np.median(strips - strips[:, :1] - (strips[:, -1:] - strips[:, :1]) * straight, axis=0)
    profile = np.maximum(profile if bright else -profile, 0)
    peak = int(np.argmax(profile))
    # What hangs together with the peak.
    below = np.flatnonzero(profile <= _EDGE * profile[peak])
    left = int(below[below < peak].max(initial=-1)) + 1
    right = int(below[below > peak].min(initial=len(profile)))
    weight = profile[left:right]
    centre = float((weight * offsets[left:right]).sum() / max(float(weight.sum()), 1e-6))
    return Line(float(way.mean()) + centre, bright, right - left)


def beside(lines: Sequence[Line], here: Picture, flow: motion.Flow, factor: int) -> Moves:
    """How the scene beside each line moves along a flow from ``here``, the reduced picture in 8-bit codes."""
    if not lines:
        return ()
    width = here.shape[1]
    steep = np.zeros(here.shape, np.bool_)
    np.greater(np.abs(np.diff(motion.mean(here, 3), axis=1)), _TEXTURE, out=steep[:, :-1])
    wide = _widest(width * factor)
    gap, reach = -(-(2 * wide + 2) // factor), max(6, width // 24)
    found: list[float | None] = []
    for line in lines:
        x = round(line.place / factor)
        moved = []
        for left, right in ((x - gap - reach, x - gap), (x + gap + 1, x + gap + 1 + reach)):
            left, right = max(0, left), min(width, right)
            if right - left < 4:
                continue
            tells = steep[:, left:right]
            if tells.sum() >= max(8, 0.01 * tells.size):
                moved.append(factor * float(np.median(flow[:, left:right, 0][tells])))
        # Both sides must tell of a movement one way: the smaller one counts.
        found.append(min(moved, key=abs) if len(moved) == 2 and moved[0] * moved[1] >= 0 else None)
    return tuple(found)


def columns(number: int, traces: Mapping[int, Trace], first: int, last: int, width: int, factor: int) -> int:
    """Columns of a frame that scratches cover.

    The frames ``[first, last)`` are at hand and of its shot; of them two on each side are asked, and where those are
    not three in all, it has none.
    """
    reach = 1 + _WALK * width
    there = range(max(first, number - FIGURES_RADIUS), min(last, number + FIGURES_RADIUS + 1))
    if len(there) < 3:
        return 0
    found = 0
    for i, line in enumerate(traces[number].lines):
        seen, own = 1, 0.0
        for direction in (-1, 1):
            n, at, scene, mine = number, line, 0.0, i
            while n + direction in there:
                moves = traces[n].back if direction < 0 else traces[n].ahead
                moved = moves[mine] if mine < len(moves) else None
                n += direction
                match = _match(traces[n].lines, at, reach)
                if moved is None or match is None:
                    break
                seen, mine, scene = seen + 1, match, scene + moved
                at = traces[n].lines[match]
                own = max(own, abs(scene - (at.place - line.place)))
        if seen >= 3 and own >= max(_MOVES[0], _MOVES[1] * factor):
            found += line.columns
    return found


def _match(lines: Sequence[Line], line: Line, reach: float) -> int | None:
    near = [i for i, o in enumerate(lines) if o.bright == line.bright and abs(o.place - line.place) <= reach]
    return min(near, key=lambda i: abs(lines[i].place - line.place)) if near else None
