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
_HERE = 0.25
"""A frame shows it from this share of what the usual frame does."""
_ALONG = 0.6
"""Share of the scene's way that a line may go along with it, for it walks as it likes; less, if it is less whole."""
_LIKE = 0.4
"""A band shows the line where it shows this share of what is usual, up to its inverse."""
_WHOLE = 0.65
"""Share of what is to be seen along a line that must be the same from top to bottom."""
_INNER = 4
"""Px to each side that a line is judged by."""
_TOLD = 0.85
"""What the frames differ by must come down to this share, once the scene's movement is undone."""
_AGAINST = 0.3
"""And beside a line it may not go up by more than this share of what is usual: there the scene stands still."""
_GOES = 0.4
"""Share of the picture that must move: where most stands still, what stands still is the scene's."""
_HELD = 1.01
"""How much what a frame shows of its own line counts, against what the others show of theirs: what is as broad as the
scene moves cannot be told from the scene, and is held back."""
_ALIKE = 2.0
"""And how much it counts that a line is the same in all frames."""
_BROAD = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Weights of a px and its neighbours: only so smoothed is a line the same, for one finer than a px comes out otherwise
at every part of a px."""
_INSIDE = 0.25
"""Share of that which must lie inside the picture."""
_BESIDE = 8
"""Share of the width, one in so many, that is beside a line."""


@dataclass(frozen=True, slots=True)
class Line:
    """A scratch in one window. px are those that lines are looked for at."""

    column: float
    """Px from the left at half height."""
    lean: float
    """Px to the right from one band to the next."""
    profiles: Picture
    """(frames, 2·reach + 1) what it adds to the luma of each frame of the window, across."""

    @property
    def columns(self) -> NDArray[np.int64]:
        """(BANDS,)."""
        return _track(self.column, self.lean)

    @property
    def reach(self) -> int:
        """Px to each side."""
        return int(self.profiles.shape[1]) // 2


@dataclass(frozen=True, slots=True)
class _Window:
    """All pairs of a window's frames, J the frame itself and K the one that it is held against: (J, K, BANDS, W)."""

    left: Picture
    weight: Picture
    x: Picture
    """As in ``Apart``; of a frame against itself 0."""

    @classmethod
    def of(cls, behind: Behind, frames: Sequence[Tensor]) -> _Window:
        n = len(frames)
        left, weight, x = (np.zeros((n, n, *behind.sight(frames[0]).bands.shape), np.float32) for _ in range(3))
        for j in range(n):
            for k in range(n):
                if j != k:
                    apart = behind.apart(frames, j, k)
                    left[j, k], weight[j, k], x[j, k] = apart.left, apart.weight, apart.x
        return cls(left, weight, x)

    def alone(self, broad: int) -> Picture:
        """(J, BANDS, W) what each frame shows and the others, where the scene lies, do not; less its mean over
        ``broad`` px: light that changes from frame to frame."""
        weight = self.weight.sum(1)
        total = np.einsum("jkbx,jkbx->jbx", self.left, self.weight) / np.maximum(weight, np.float32(1e-3))
        flat = np.reshape(total, (-1, total.shape[2]))
        return np.asarray(np.where(weight > 0, total - smooth(flat, broad).reshape(total.shape), 0), np.float32)

    def at(self, columns: NDArray[np.int64], reach: int) -> tuple[Picture, Picture, Picture]:
        """The three, (J, K, BANDS, 2·reach + 1), around a line."""
        where = np.clip(columns[:, None] + np.arange(-reach, reach + 1), 0, self.left.shape[3] - 1)
        bands = np.arange(BANDS)[:, None]
        return self.left[:, :, bands, where], self.weight[:, :, bands, where], self.x[:, :, bands, where]

    def take(self, line: Line) -> None:
        """Take a line and its ghosts out, in place."""
        way = self.x[:, :, np.arange(BANDS), np.clip(line.columns, 0, self.x.shape[3] - 1)]
        far = min(self.x.shape[3], int(np.abs(way).max()) + 2 * line.reach)
        columns = line.columns[:, None] + np.arange(-far, far + 1)
        inside = (columns >= 0) & (columns < self.x.shape[3])
        at = np.nonzero(inside)[0], columns[inside]
        offsets = np.broadcast_to(np.arange(-far, far + 1), columns.shape)[inside]
        n = len(self.left)
        for k in range(n):
            ghost = _drawn(line.profiles[k], offsets + self.x[:, k, at[0], at[1]])
            self.left[:, k, at[0], at[1]] += np.where(self.weight[:, k, at[0], at[1]] > 0, ghost, 0)
            own = _drawn(line.profiles[k], offsets.astype(np.float32))
            self.left[k, :, at[0], at[1]] -= np.where(self.weight[k, :, at[0], at[1]] > 0, own[:, None], 0)


def _drawn(profile: Picture, far: Picture) -> Picture:
    """A profile at places in px from its middle; 0 beyond its ends."""
    reach = len(profile) // 2
    padded = np.pad(profile, (1, 1))
    place = np.clip(far + np.float32(reach + 1), 0, 2 * reach + 1.999)
    low = place.astype(np.int64)
    return np.asarray(padded[low] + (padded[low + 1] - padded[low]) * (place - low), np.float32)


def find(behind: Behind, frames: Sequence[Tensor], middle: int, said: Mapping[str, Any], reach: int) -> list[Line]:
    """The scratches of frame ``middle`` of a shot's successive frames, the strongest first.

    said: the pass's settings. reach: px to each side that a line's profile is given for.
    """
    if len(frames) < 3:
        return []
    window = _Window.of(behind, frames)
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
        # In all of the window; and in the frame itself: a line finer than a px looks another in each.
        candidates = _candidates(np.stack([alone.mean(0), alone[middle]]), threshold, length, wide, sight.rows)
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


def _track(column: float, lean: float) -> NDArray[np.int64]:
    return np.asarray(np.rint(column + lean * (np.arange(BANDS) - (BANDS - 1) / 2)), np.int64)


def _candidates(alone: Picture, threshold: float, length: float, wide: int, tall: int) -> list[tuple[float, float]]:
    """Column and lean of what stands out from both its sides, alike, through as much of the height as must be: the
    surest first. alone: (looks, BANDS, W)."""
    w = alone.shape[2]
    most = int(np.ceil(_LEAN * tall / _LEANS))
    leans = np.arange(-most, most + 1) * _LEANS
    shift = np.stack([_track(0.0, lean) for lean in leans])
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


def _centred(window: _Window, alone: Picture, column: float, lean: float, reach: int) -> Line:
    """The line as it really leans, its middle where it is strongest as a whole: a candidate may be one of its edges,
    followed askew."""
    offsets = np.arange(-reach, reach + 1)
    bands = np.arange(BANDS)[:, None]

    def power(lean: float) -> float:
        where = np.clip(_track(column, lean)[:, None] + offsets, 0, alone.shape[2] - 1)
        return float(np.square(alone[:, bands, where].mean(1)).sum())

    lean = max((lean + d * _LEANS / 2 for d in (0, 1, -1, 2, -2, 3, -3, 4, -4)), key=power)
    for _ in range(3):
        profiles = _profiles(window, _track(column, lean), reach)
        weight = np.square(profiles).sum(0)
        off = round(float(weight @ offsets / max(float(weight.sum()), 1e-12)))
        if off == 0:
            break
        column += off
    return Line(column, lean, profiles)


def _profiles(window: _Window, columns: NDArray[np.int64], reach: int) -> Picture:
    """(frames, 2·reach + 1) what the line adds to each frame: what is left there, and the ghosts taken out of it.

    Where the scene has gone to, another frame's own line lies upon it: left = own − other's, there. That is linear in
    all frames' profiles, so they are found together, by least squares.
    """
    left, weight, x = window.at(columns, reach)
    n, wide = len(left), 2 * reach + 1
    far = np.arange(wide, dtype=np.float32) + x
    low = np.floor(far).astype(np.int64)
    own = np.arange(n)[:, None, None, None] * wide + np.arange(wide)
    other = np.arange(n)[None, :, None, None] * wide
    size = n * wide
    ghosts = np.zeros(size * size)
    for at, share in ((low, 1 - far + low), (low + 1, far - low)):
        # Beyond its ends a profile is 0.
        meant = (at >= 0) & (at < wide) & (weight > 0)
        ghosts += np.bincount((own * size + other + at)[meant], (share * weight)[meant], size * size)
    total = weight.sum((1, 2)).ravel().astype(np.float64)
    system = np.diag(_HELD * total + 1e-3) - ghosts.reshape(size, size)
    # What moves with the scene through all of them is nobody's line; a line is much the same in each.
    alike = _ALIKE * float(total.mean()) * (np.eye(n) - 1 / n)
    broad = np.sum([c * np.eye(wide, k=k) for k, c in zip(range(-2, 3), _BROAD, strict=True)], axis=0)
    system += np.kron(alike, broad @ broad)
    told = (np.clip(left, -0.5, 0.5) * weight).sum((1, 2)).ravel()
    profiles = np.linalg.solve(system, told.astype(np.float64)).reshape(n, wide).astype(np.float32)
    return np.asarray(profiles - slope(profiles), np.float32)


def slope(profiles: Picture) -> Picture:
    """What goes straight from one end of each profile to the other: the scene's and its light's, not a line's."""
    first, last = (profiles[..., part].mean(-1, keepdims=True) for part in (slice(0, 2), slice(-2, None)))
    way = np.linspace(0, 1, profiles.shape[-1], dtype=np.float32)
    return np.asarray(first * (1 - way) + last * way, np.float32)


def _stays(line: Line, window: _Window, alone: Picture, middle: int, said: Mapping[str, Any], by: int) -> bool:
    """Whether the line is there in most frames, this one too, runs through each, and does not go with the scene.

    alone: as ``_Window.alone`` gives it. by: px of the film that a px here stands for.
    """
    inner = min(line.reach, _INNER)
    core = np.square(line.profiles[:, line.reach - inner : line.reach + inner + 1])
    strong = np.sqrt(core.sum(1))
    there = strong >= _HERE * np.median(strong)
    if not there[middle] or there.sum() < max(3, _SEEN * len(there)):
        return False
    scene = window.at(line.columns, 0)[2][middle].mean((1, 2))
    if np.ptp(scene[there]) * by < float(said["moves"]):
        return False
    runs, whole = _runs(line, alone)
    shares = [float(runs[middle]), float(np.median(runs[there]))]
    wholes = [float(whole[middle]), float(np.median(whole[there]))]
    if min(shares) < float(said["length"]) or min(wholes) < _WHOLE:
        return False
    places = core @ np.arange(-inner, inner + 1, dtype=np.float32) / np.maximum(core.sum(1), 1e-12)
    return bool(abs(np.polyfit(scene[there], places[there], 1)[0]) < _ALONG * min(1.0, wholes[1]))


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
            for band, x in zip(clear, _track(column, lean), strict=True):
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
