"""Lines that stay with the frame while the scene moves behind them, found in what a window's frames do not share.

What makes a line a scratch is not its looks: panelling, poles and rails look the same. It is that it goes its own way
(Newson et al. 2014). So lines are looked for where the scene has cancelled (``behind``): there a faint scratch stands
alone, and a real line is not to be seen. What is still there must be found in most of the window's frames, must not go
along with the scene, and must lie where the scene's movement explains what is beside it, on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.restore.passes.behind import BANDS, Behind, at_columns, smooth
from pipeline.restore.passes.pairs import Line, Pairs, profiles, track

Picture = NDArray[np.float32]

_MOST = 12
"""Lines of a frame that are looked at."""
_LEAN = 0.09
"""Tangent of the angle up to which a line may lean (5°)."""
_LEANS = 1 / 8
"""Px of one step of it, from band to band."""
_CERTAIN = 7.0
"""A line stands out this many times from what else there is, as lines go."""
_SEEN = 0.6
"""Share of the window's frames that must show the line."""
_HERE = 0.33
"""A frame shows it from this share of what the usual frame does."""
_ALONG = 0.6
"""Share of the scene's way that a line may go along with it, for it walks as it likes; less, if it is less whole."""
_LIKE = 0.4
"""A band shows the line where it shows this share of what is usual, up to its inverse."""
_HALF = 0.5
"""A frame shows the line where this share of its bands does."""
_WHOLE = 0.65
"""Share of what is to be seen along a line that must be the same from top to bottom."""
_LEANING = 0.15
"""And this much more of it if the line leans by a px a band: there are many ways to lean, and one finds something."""
_INNER = 4
"""Px to each side that a line is judged by."""
_TOLD = 0.85
"""What the frames differ by must come down to this share, once the scene's movement is undone."""
_AGAINST = 0.3
"""And beside a line it may not go up by more than this share of what is usual: there the scene stands still."""
_GOES = 0.4
"""Share of the picture that must move: where most stands still, what stands still is the scene's."""
_INSIDE = 0.25
"""Share of that which must lie inside the picture."""
_BESIDE = 8
"""Share of the width, one in so many, that is beside a line."""


def find(behind: Behind, frames: Sequence[Tensor], middle: int, said: Mapping[str, Any], reach: int) -> list[Line]:
    """The scratches of frame ``middle`` of a shot's successive frames, the strongest first.

    said: the pass's settings. reach: px to each side that a line's profile is given for.
    """
    if len(frames) < 3:
        return []
    window = Pairs.of(behind, frames)
    if (window.weight.max((0, 1)) > 0.5).mean() < _GOES:
        return []
    sight = behind.sight(frames[middle])
    wide = max(2, round(float(said["width"]) * sight.bands.shape[1]))
    threshold, length = float(said["threshold"]), float(said["length"])
    found: list[Line] = []
    refused: list[float] = []
    telling: _Telling | None = None
    while len(found) + len(refused) < _MOST:
        alone = window.alone((8 * wide) | 15)
        # In all of the window, in the frame itself and beside it: a line finer than a px looks another in each.
        looks = np.concatenate([alone.mean(0, keepdims=True), alone[max(0, middle - 1) : middle + 2]])
        candidates = _candidates(looks, threshold, length, wide, sight.rows)
        candidates = [c for c in candidates if all(abs(c[0] - x) > 2 * wide + 1 for x in refused)]
        if not candidates:
            break
        if telling is None:
            telling = _Telling.of(behind, frames, middle, candidates, 2 * wide + 2)
        taken = False
        for column, lean in candidates:
            line = _centred(window, alone, column, lean, reach)
            near = any(abs(line.column - x) <= 2 * wide + 1 for x in (*refused, *(o.column for o in found)))
            if not near and telling.beside(line, 2 * wide + 2) and _stays(line, window, alone, middle, said, sight.by):
                found.append(line)
                window.take(line)
                taken = len(candidates) > 1
                break
            refused += [column, line.column]
        if not taken:
            break
    return found


def _candidates(alone: Picture, threshold: float, length: float, wide: int, tall: int) -> list[tuple[float, float]]:
    """Column and lean of what stands out from both its sides, alike, through as much of the height as must be: the
    surest first. alone: (looks, BANDS, W)."""
    w = alone.shape[2]
    most = int(np.ceil(_LEAN * tall / _LEANS))
    leans = np.arange(-most, most + 1) * _LEANS
    shift = np.stack([track(0.0, lean) for lean in leans])
    side = wide + 1
    room = int(shift.max()) + side
    clipped = np.pad(np.clip(alone, -4 * threshold, 4 * threshold), ((0, 0), (0, 0), (room, room)))
    means = np.zeros((len(alone), len(leans), w + 2 * side), np.float32)
    for at, by in enumerate(shift):
        for b, s in enumerate(by):
            means[:, at] += clipped[:, b, room + int(s) - side : room + int(s) + w + side]
    means /= BANDS
    here, left, right = means[..., side:-side], means[..., :w], means[..., 2 * side :]
    sign = np.sign(here)
    over = np.minimum(sign * (here - left), sign * (here - right))
    over[np.abs(left - right) > np.maximum(2 * over, 0.25 * threshold)] = 0
    # Beyond the picture's edge there is no side.
    over[..., :side] = over[..., -side:] = 0
    # How far lines come out by chance.
    usual = 1.4826 * np.median(np.abs(here[:, ::4, ::2]).reshape(len(here), -1), axis=1)[:, None, None]
    over[over < np.maximum(0.5 * threshold, _CERTAIN * usual)] = 0
    found: list[tuple[float, float]] = []
    for _ in range(_MOST):
        look, at, x = (int(i) for i in np.unravel_index(int(np.argmax(over)), over.shape))
        if over[look, at, x] <= 0:
            break
        along = sign[look, at, x] * alone[look, np.arange(BANDS), np.clip(x + shift[at], 0, w - 1)]
        if (along > 0.5 * np.clip(along, 0, 4 * threshold).mean()).mean() >= length:
            found.append((float(x), float(leans[at])))
            over[..., max(0, x - side) : x + side + 1] = 0
        else:
            over[look, :, max(0, x - side) : x + side + 1] = 0
    return found


def _centred(window: Pairs, alone: Picture, column: float, lean: float, reach: int) -> Line:
    """The line as it really leans, its middle where it is strongest as a whole: a candidate may be one of its edges,
    followed askew."""
    offsets = np.arange(-reach, reach + 1)
    bands = np.arange(BANDS)[:, None]

    def power(lean: float) -> float:
        where = np.clip(track(column, lean)[:, None] + offsets, 0, alone.shape[2] - 1)
        return float(np.square(alone[:, bands, where].mean(1)).sum())

    lean = max((lean + d * _LEANS / 2 for d in (0, 1, -1, 2, -2, 3, -3, 4, -4)), key=power)
    for _ in range(3):
        shown = profiles(window, track(column, lean), reach)
        weight = np.square(shown).sum(0)
        off = round(float(weight @ offsets / max(float(weight.sum()), 1e-12)))
        if off == 0:
            break
        column += off
    return Line(column, lean, shown)


def _stays(line: Line, window: Pairs, alone: Picture, middle: int, said: Mapping[str, Any], by: int) -> bool:
    """Whether the line is there in most frames, this one too, runs through each, and does not go with the scene.

    alone: as ``Pairs.alone`` gives it. by: px of the film that a px here stands for.
    """
    inner = min(line.reach, _INNER)
    core = np.square(line.profiles[:, line.reach - inner : line.reach + inner + 1])
    strong = np.sqrt(core.sum(1))
    runs, whole = _runs(line, alone)
    there = (strong >= _HERE * np.median(strong)) & (runs >= _HALF)
    if not there[middle] or there.sum() < max(3, _SEEN * len(there)):
        return False
    scene = window.at(line.columns, 0)[2][middle].mean((1, 2))
    if np.ptp(scene[there]) * by < float(said["moves"]):
        return False
    # Where the scene has gone elsewhere it must still be here: what else stood still stayed because the scene did.
    gone = np.abs(scene - scene[middle]) * by >= float(said["moves"])
    if gone.any() and there[gone].mean() < _SEEN:
        return False
    shares = [float(runs[middle]), float(np.median(runs[there]))]
    wholes = [float(whole[middle]), float(np.median(whole[there]))]
    if min(shares) < float(said["length"]) or min(wholes) < _WHOLE + _LEANING * min(1.0, abs(line.lean)):
        return False
    places = core @ np.arange(-inner, inner + 1, dtype=np.float32) / np.maximum(core.sum(1), 1e-12)
    way = scene[there] - scene[there].mean()
    along = float((way * places[there]).sum() / max(float(np.square(way).sum()), 1e-6))
    return abs(along) < _ALONG * min(1.0, wholes[1])


def _runs(line: Line, alone: Picture) -> tuple[Picture, Picture]:
    """(frames,) share of the bands that show the line much as all of them do; and share of what is to be seen there,
    chance left aside, that is the same in all bands. What is left of a real line changes from band to band."""
    inner = min(line.reach, _INNER - 1)
    where = np.clip(line.columns[:, None] + np.arange(-inner, inner + 1), 0, alone.shape[2] - 1)
    core = alone[:, np.arange(BANDS)[:, None], where]
    mean = core.mean(1)
    power = np.square(mean).sum(1)
    like = (core * mean[:, None]).sum(2) / np.maximum(power, 1e-12)[:, None]
    chance = 1.4826 * np.median(np.abs(np.diff(alone, axis=1)[..., ::3]).reshape(len(alone), -1), axis=1) / np.sqrt(2)
    seen = np.square(core).mean(1).sum(1) - core.shape[2] * np.square(chance)
    runs = ((like > _LIKE) & (like < 1 / _LIKE)).mean(1)
    return np.asarray(runs, np.float32), np.asarray(power / np.maximum(seen, 1e-9 + 0.5 * power), np.float32)


@dataclass(frozen=True, slots=True)
class _Telling:
    """What the middle frame differs by from the others, squared: where it lies, and where the scene lies."""

    still: Picture
    """(BANDS, W), 0 where lines are or their ghosts."""
    moved: Picture

    @classmethod
    def of(
        cls,
        behind: Behind,
        frames: Sequence[Tensor],
        middle: int,
        candidates: Sequence[tuple[float, float]],
        gap: int,
    ) -> _Telling:
        here = behind.sight(frames[middle]).bands
        clear = np.ones_like(here)
        for column, lean in candidates:
            for band, x in zip(clear, track(column, lean), strict=True):
                band[max(0, x - gap) : max(0, x + gap + 1)] = 0
        still, moved = np.zeros_like(here), np.zeros_like(here)
        for k, frame in enumerate(frames):
            if k == middle:
                continue
            pair = behind.apart(frames, middle, k)
            weight = pair.weight * clear * (at_columns(clear, pair.x) > 0.99)
            for total, apart in ((still, here - behind.sight(frame).bands), (moved, pair.left)):
                fine = np.clip(apart - smooth(apart, 15), -0.1, 0.1)
                total += weight * np.square(fine)
        return cls(still, moved)

    def beside(self, line: Line, gap: int) -> bool:
        """Whether the scene moves: over the whole picture, and nothing on either side of the line stands still."""
        still, moved = float(self.still.sum()), float(self.moved.sum())
        if moved > _TOLD * still:
            return False
        w = self.still.shape[1]
        reach = max(24, w // _BESIDE)
        usual = moved / max(1, int((self.still > 0).sum()))
        bands = np.arange(BANDS)[:, None]
        for side in (-1, 1):
            columns = line.columns[:, None] + side * (gap + np.arange(reach))
            inside = (columns >= 0) & (columns < w)
            if inside.mean() < _INSIDE:
                return False
            at = bands, np.clip(columns, 0, w - 1)
            more = float(((self.moved[at] - self.still[at]) * inside).sum())
            if more > _AGAINST * usual * int(((self.still[at] > 0) & inside).sum()):
                return False
        return True
