"""The shift between two pictures as wholes, to a few hundredths of a pixel, and how far their parts agree with it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.motion.flow import Picture

ROWS, COLUMNS = 4, 4
"""Blocks that a picture is parted into, to ask each by itself."""

_SPREAD = 1.5
"""Standard deviation, in px, of the correlation's peak: noise above that frequency is left out."""
_PEAKS = 3
"""Peaks of the correlation that are tried, besides no shift at all."""
_STEPS = 5
_DARK = 0.06
"""Below this level a ratio of two pictures says nothing of their brightness."""
_FLAT = 4e-5
"""Mean squared gradient (full scale² / px²) below which a block shows no texture to judge movement by."""
_AGREES = 0.3
"""Px, in the pictures given, within which a block moves with the whole."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """One picture against another."""

    x: float
    """Px to the right by which the content moved from ``a`` to ``b``."""
    y: float
    """Px downwards."""
    confidence: float
    """0 to 1: correlation of the two where they lie on each other, outliers left out."""
    still: float
    """0 to 1: share of the blocks with texture that move with the whole. 0 where no block has any."""
    gains: NDArray[np.float32]
    """(ROWS · COLUMNS,) natural logarithm of the brightness of ``b`` over ``a``, block by block: medians, so that what
    moves in less than half of a block does not count. 0 for a block that is dark."""


def align(a: Picture, b: Picture) -> Aligned:
    """How ``b`` lies to ``a``: ``b(x + shift) ≈ gain · a(x) + offset``.

    Phase correlation (Kuglin and Hines 1975) under a Hann window finds the shift to about 0.1 px whatever the
    brightness; Gauss-Newton steps on the pictures themselves, with gain and offset free and outliers weighed down, take
    it to a few hundredths. Raises ValueError for pictures of two sizes.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"two pictures (H, W) of one size are aligned, these are {a.shape} and {b.shape}")
    if min(a.shape) < 16:
        return Aligned(0.0, 0.0, 0.0, 0.0, np.zeros(ROWS * COLUMNS, np.float32))
    x, y = _correlated(a, b)
    return _refined(_blurred(a), _blurred(b), x, y)


def moved(a: Picture, b: Picture) -> tuple[float, float]:
    """Px to the right and downwards by which the whole went from ``a`` to ``b``, to about 0.1 px.

    The first, quick half of ``align``. Raises ValueError for pictures of two sizes."""
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"two pictures (H, W) of one size are compared, these are {a.shape} and {b.shape}")
    return (0.0, 0.0) if min(a.shape) < 16 else _correlated(a, b)


@functools.lru_cache(maxsize=8)
def _window(shape: tuple[int, int]) -> Picture:
    down, across = (np.hanning(n + 2)[1:-1] for n in shape)
    return (down[:, None] * across[None, :]).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _low_pass(shape: tuple[int, int]) -> Picture:
    v = np.fft.fftfreq(shape[0])[:, None]
    u = np.fft.rfftfreq(shape[1])[None, :]
    return np.exp(-2 * (np.pi * _SPREAD) ** 2 * (u * u + v * v)).astype(np.float32)


def _correlated(a: Picture, b: Picture) -> tuple[float, float]:
    """Shift to about 0.1 px: where the phase correlation peaks."""
    window = _window((a.shape[0], a.shape[1]))
    fa, fb = (np.fft.rfft2((p - p.mean()) * window) for p in (a, b))
    cross = fb * np.conj(fa)
    size = np.abs(cross)
    # Frequencies that carry next to nothing have no phase worth asking.
    cross = cross / (size + 1e-3 * float(size.mean()) + 1e-12) * _low_pass((a.shape[0], a.shape[1]))
    peaks = np.fft.irfft2(cross, s=a.shape)
    candidates = [(0.0, 0.0)]
    left = peaks.copy()
    for _ in range(_PEAKS):
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(left)), left.shape))
        candidates.append((_summit(peaks[row, :], column), _summit(peaks[:, column], row)))
        around = np.arange(-4, 5)
        left[np.ix_((row + around) % left.shape[0], (column + around) % left.shape[1])] = -np.inf
    # What moves by itself in the picture's middle may peak highest; the whole's shift fits the most pixels.
    return min(candidates, key=lambda s: _misfit(a, b, round(s[0]), round(s[1])))


def _misfit(a: Picture, b: Picture, x: int, y: int) -> float:
    """Median absolute difference where ``b`` is read at the shift, the mean taken off, over the differences' spread."""
    h, w = a.shape
    if abs(x) > w // 4 or abs(y) > h // 4:
        return np.inf
    pa = a[max(0, -y) : h - max(0, y) : 2, max(0, -x) : w - max(0, x) : 2]
    pb = b[max(0, y) : h - max(0, -y) : 2, max(0, x) : w - max(0, -x) : 2]
    ratio = float(pb.mean()) / max(float(pa.mean()), 1e-3)
    return float(np.median(np.abs(pb - np.float32(ratio) * pa)))


def _summit(line: NDArray[np.floating], at: int) -> float:
    """A peak's place to a fraction, signed: the peak is a Gaussian, so its logarithm is a parabola."""
    n = len(line)
    low, top, high = (float(np.log(max(line[(at + d) % n], 1e-12))) for d in (-1, 0, 1))
    bend = low - 2 * top + high
    part = 0.5 * (low - high) / bend if bend < 0 else 0.0
    found = at + min(max(part, -0.5), 0.5)
    return found - n if at > n // 2 else found


def _blurred(picture: Picture) -> Picture:
    """A little blur, [1 4 6 4 1]/16 both ways: interpolation between pixels is then exact enough."""
    for axis in (0, 1):
        padded = np.pad(picture, [(2, 2) if i == axis else (0, 0) for i in range(2)], mode="edge")
        n = picture.shape[axis]
        part = [_cut(padded, axis, k, n) for k in range(5)]
        picture = (part[0] + part[4] + 4 * (part[1] + part[3]) + 6 * part[2]) * np.float32(1 / 16)
    return picture


def _cut(picture: Picture, axis: int, first: int, count: int) -> Picture:
    return picture[first : first + count] if axis == 0 else picture[:, first : first + count]


def _cubic(t: float) -> tuple[np.float32, ...]:
    """Weights of the four neighbours around a place t beyond the second (Keys 1981, a = -1/2)."""
    weights = (
        -0.5 * t + t * t - 0.5 * t**3,
        1 - 2.5 * t * t + 1.5 * t**3,
        0.5 * t + 2 * t * t - 1.5 * t**3,
        -0.5 * t * t + 0.5 * t**3,
    )
    return tuple(np.float32(w) for w in weights)


def _read(picture: Picture, top: int, left: int, shape: tuple[int, int], x: float, y: float) -> Picture:
    """The window of ``shape`` at (top + y, left + x), fractions by cubic convolution."""
    iy, ix = int(np.floor(y)), int(np.floor(x))
    h, w = shape
    rows = picture[top + iy - 1 : top + iy + h + 2, left + ix - 1 : left + ix + w + 2]
    wy, wx = _cubic(y - iy), _cubic(x - ix)
    lines = rows[:h] * wy[0]
    for k in range(1, 4):
        lines += rows[k : k + h] * wy[k]
    found: Picture = lines[:, :w] * wx[0]
    for k in range(1, 4):
        found += lines[:, k : k + w] * wx[k]
    return found


def _refined(a: Picture, b: Picture, x: float, y: float) -> Aligned:
    h, w = a.shape
    limit_y, limit_x = h // 4, w // 4
    if abs(x) > limit_x - 3 or abs(y) > limit_y - 3:
        return Aligned(x, y, 0.0, 0.0, np.zeros(ROWS * COLUMNS, np.float32))
    # What both pictures show, with room for the steps to come.
    my, mx = int(abs(y)) + 4, int(abs(x)) + 4
    shape = (h - 2 * my, w - 2 * mx)
    inner = a[my : my + shape[0], mx : mx + shape[1]]
    gx = (a[my : my + shape[0], mx + 1 : mx + 1 + shape[1]] - a[my : my + shape[0], mx - 1 : mx - 1 + shape[1]]) * 0.5
    gy = (a[my + 1 : my + 1 + shape[0], mx : mx + shape[1]] - a[my - 1 : my - 1 + shape[0], mx : mx + shape[1]]) * 0.5
    basis = np.stack([gx.ravel(), gy.ravel(), inner.ravel(), np.ones(inner.size, np.float32)])
    start = (x, y)
    weights = np.ones(inner.size, np.float32)
    moved = _read(b, my, mx, shape, x, y)
    for _ in range(_STEPS):
        # b(x + s + d) = gain·a(x) + offset, to first order in d: the unknowns are d·gain, gain and offset.
        weighted = basis * weights
        normal = (weighted @ basis.T).astype(np.float64)
        normal[np.diag_indices(4)] += 1e-9 * np.trace(normal) + 1e-12
        dx, dy, gain, offset = np.linalg.solve(normal, (weighted @ moved.ravel()).astype(np.float64))
        gain = gain if gain > 0.1 else 1.0
        x, y = x - dx / gain, y - dy / gain
        # It may not walk off from where the correlation found it.
        x = min(max(x, start[0] - 1.0), start[0] + 1.0)
        y = min(max(y, start[1] - 1.0), start[1] + 1.0)
        moved = _read(b, my, mx, shape, x, y)
        apart = (moved - np.float32(gain) * inner - np.float32(offset)).ravel()
        scale = 6.0 * max(float(np.median(np.abs(apart[::5]))), 0.5 / 255)
        weights = np.square(np.clip(1 - np.square(apart / np.float32(scale)), 0, None))  # Tukey's biweight
        if abs(dx) + abs(dy) < 4e-3:
            break
    return Aligned(
        float(x),
        float(y),
        _correlation(inner.ravel(), moved.ravel(), weights),
        _still(apart.reshape(shape), gx, gy, float(gain)),
        _gains(inner, moved),
    )


def _correlation(a: Picture, b: Picture, weights: Picture) -> float:
    """How well one picture tells the other where they are not outliers: 0 to 1."""
    total = float(weights.sum()) + 1e-6
    pa, pb = (p - float((p * weights).sum()) / total for p in (a, b))
    spread = float((pa * pa * weights).sum()) * float((pb * pb * weights).sum())
    together = float((pa * pb * weights).sum())
    return max(0.0, together / float(np.sqrt(max(spread, 1e-12))))


def _blocks(picture: Picture) -> NDArray[np.float32]:
    """(ROWS · COLUMNS, pixels) of a picture, without what is left over at the right and the bottom."""
    h, w = picture.shape[0] // ROWS, picture.shape[1] // COLUMNS
    whole = picture[: h * ROWS, : w * COLUMNS].reshape(ROWS, h, COLUMNS, w)
    return np.ascontiguousarray(whole.transpose(0, 2, 1, 3)).reshape(ROWS * COLUMNS, -1)


def _still(apart: Picture, gx: Picture, gy: Picture, gain: float) -> float:
    """Share of the textured blocks whose own shift beyond the whole's is nothing."""
    bx, by, r = _blocks(gx), _blocks(gy), _blocks(apart) / np.float32(gain)
    r = r - r.mean(1, keepdims=True)
    xx, yy, xy = (bx * bx).mean(1) + 1e-9, (by * by).mean(1) + 1e-9, (bx * by).mean(1)
    xr, yr = (bx * r).mean(1), (by * r).mean(1)
    determinant = np.maximum(xx * yy - xy * xy, 1e-3 * xx * yy)
    dx, dy = (yy * xr - xy * yr) / determinant, (xx * yr - xy * xr) / determinant
    textured = xx + yy > _FLAT
    agree = textured & (np.hypot(dx, dy) < _AGREES)
    return float(agree.sum() / textured.sum()) if textured.any() else 0.0


def _gains(a: Picture, b: Picture) -> NDArray[np.float32]:
    pa, pb = _blocks(a), _blocks(b)
    ratio = np.log(np.maximum(pb, np.float32(1e-3)) / np.maximum(pa, np.float32(1e-3)))
    ratio[(pa < _DARK) | (pb < _DARK / 2)] = np.nan
    light = np.isfinite(ratio).mean(1) > 0.25
    found = np.zeros(len(ratio), np.float32)
    if light.any():
        found[light] = np.nanmedian(ratio[light], axis=1)
    return found
