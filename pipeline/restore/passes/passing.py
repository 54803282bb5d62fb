"""Whether a spot is a thing that passes by, faster than any flow follows: it goes on from frame to frame.

How a thing stands out changes with what it passes, so its look is compared, in the places where a neighbour has
something that the frame has not. On a dirty film another spot may look alike by chance; but a thing goes on the same
way, as far before as behind, as long as it is in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import motion
from pipeline.motion import Regions
from pipeline.restore.passes.suspects import Apart, Planes

_FAR = 0.4
"""How far a thing goes from frame to frame, at most, as a share of the picture's width: it is seen three times."""
_LIKE = 0.5
"""It is seen again where a frame differs from it by less than this share of its own contrast."""
_PART, _LARGER = 0.15, 2.0
"""What is looked at in a neighbour has this share of a spot's area, for a thing of several tones has several parts, and
no more than so many times that."""
_SLACK, _UNEVEN = 3.0, 0.2
"""Px, and share of the way, by which the way before and the way behind may differ: cranks turn unevenly."""
_MOST = 32
"""So many places of a neighbour are looked at, those most like a spot in area: a dirty film is full of them."""
_FULL = 0.2
"""Share of its box that a spot fills: hairs, which fill less, look alike, and take long to look for."""
_CORE = 0.4
"""A spot's inner pixels are enough where they are this share of it."""
_GONE = 0.4
"""A thing has left the picture where no more than this share of it lies in it."""

Way = NDArray[np.float64]
"""(2,) px, x and y, from a spot's place."""


@dataclass(frozen=True, slots=True)
class Side:
    """What lies before a frame, or behind it."""

    frames: Sequence[Planes]
    """(H, W, C), the nearest first; one or two."""
    apart: Apart
    """What the nearest has that the frame has not."""


def passes(here: Planes, sides: tuple[Side, Side], spots: Regions, n: int, middle: Planes) -> bool:
    """Whether frames before and behind show spot ``n`` of ``here`` going on the same way.

    middle: (H, W, C) what the neighbours show in the spot's place, as they moved.
    """
    left, top, right, bottom = (int(v) for v in spots.boxes[n])
    box = np.s_[top:bottom, left:right]
    whole = spots.labels[box] == n
    if whole.mean() < _FULL:
        return False
    for inside in (whole, _inner(whole)):
        # What it passes shines through at its edge; but a thin one has little else.
        if inside.sum() < _CORE * whole.sum():
            continue
        contrast = float(np.sqrt(np.mean(np.square((here[box] - middle[box])[inside]))))
        if _goes_on(_Look(here, inside, (left, top), contrast), sides, spots, n):
            return True
    return False


def _goes_on(look: _Look, sides: tuple[Side, Side], spots: Regions, n: int) -> bool:
    """Whether a look of spot ``n`` is seen again and again, one way, for as long as it is in the picture."""
    ways = [_beside(look, side, spots, n) for side in sides]
    for side, other, there, behind in zip(sides, sides[::-1], ways, ways[::-1], strict=True):
        for way in there:
            room = _SLACK + _UNEVEN * float(np.hypot(*way))
            further = None
            if side.frames[1:] and look.left_of(2 * way) > _GONE:
                further = look.seen(side.frames[1], 2 * way, round(room))
                if further is None:
                    continue  # it does not go on
            if any(np.hypot(*(way + back)) < room for back in behind):
                return True
            back = look.left_of(-way)
            # At the picture's edge, what a neighbour shows of it has another middle.
            if _GONE < back < 1 and look.seen(other.frames[0], -way, round(room)) is not None:
                return True
            # On one side alone by the very same way: two by chance are likelier than on both.
            if back <= _GONE and further is not None and np.abs(further - 2 * way).max() <= _SLACK:
                return True
    return False


def _inner(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without its edge."""
    return np.asarray(inside & ~motion.grow(np.pad(~inside, 1, constant_values=True), 1)[1:-1, 1:-1], np.bool_)


def _beside(look: _Look, side: Side, spots: Regions, n: int) -> list[Way]:
    """The ways to where the neighbour on one side shows it."""
    ways = side.apart.middles - spots.middles[n]
    size = spots.boxes[n, 2:] - spots.boxes[n, :2]
    away = (np.abs(ways) > 0.5 * size).any(1) & (np.hypot(*ways.T) < _FAR * look.here.shape[1])
    fits = (side.apart.areas >= _PART * spots.areas[n]) & (side.apart.areas <= _LARGER * spots.areas[n])
    likely = np.flatnonzero(away & fits)
    by_size = np.argsort(np.abs(np.log(side.apart.areas[likely] / spots.areas[n])), kind="stable")
    # Its tones and colours are regions of their own in much the same place: each place is looked at once.
    places = list(dict.fromkeys((round(x), round(y)) for x, y in ways[likely[by_size]].tolist()))[:_MOST]
    # A part of it may lie anywhere in it.
    found = (look.seen(side.frames[0], np.array(way, np.float64), int(size.max()) // 2 + 2) for way in places)
    return list({tuple(way): way for way in found if way is not None}.values())


@dataclass(frozen=True, slots=True)
class _Look:
    """A spot as it looks, to be seen again."""

    here: Planes
    """(H, W, C) the picture that it is in."""
    inside: NDArray[np.bool_]
    """(h, w) its mask."""
    corner: tuple[int, int]
    """Left, top in px."""
    contrast: float
    """Rms of what it is about, as a share of full range."""

    def left_of(self, way: Way) -> float:
        """Share of it that lies in the picture at the end of a way."""
        (h, w), (bottom, right) = self.inside.shape, self.here.shape[:2]
        x, y = self.corner[0] + float(way[0]), self.corner[1] + float(way[1])
        across, down = min(x + w, right) - max(x, 0.0), min(y + h, bottom) - max(y, 0.0)
        return float(max(0.0, across) * max(0.0, down) / (h * w))

    def seen(self, frame: Planes, way: Way, room: int) -> Way | None:
        """The way to the likest place within ``room`` px of the end of a way, where that looks like it, or like what is
        left of it in the picture."""
        (h, w), (left, top), (bottom, right) = self.inside.shape, self.corner, frame.shape[:2]
        x, y = left + round(float(way[0])), top + round(float(way[1]))
        rows, columns = slice(max(0, -y), min(h, bottom - y)), slice(max(0, -x), min(w, right - x))
        inside = self.inside[rows, columns]
        if not inside.any():
            return None
        y0, x0 = max(0, y + rows.start - room), max(0, x + columns.start - room)
        part = np.s_[y0 : y + rows.stop + room, x0 : x + columns.stop + room]
        shown = self.here[top : top + h, left : left + w][rows, columns]
        like = _LIKE * self.contrast
        errors = motion.match_anew(shown, inside, self.here[part], frame[part], like)
        best = int(errors.argmin())
        if not errors.flat[best] < like:
            return None
        dy, dx = divmod(best, errors.shape[1])
        return np.array((x0 + dx - left - columns.start, y0 + dy - top - rows.start), np.float64)
