"""Chroma at fewer positions than luma: where its samples lie, linear interpolation up, and the matching filter down."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Site = Literal["first", "middle", "last", "upper", "lower"]
"""Where a chroma sample lies among the luma samples of its group along one axis: on the first, in the middle, on the
last. In a field by itself, what lies in the middle of a frame's lines lies at a quarter of the way in the upper field
and at three quarters in the lower one (ITU-T H.262, 6.1.1.8)."""

_SITINGS: dict[str, tuple[Site, Site]] = {
    "left": ("first", "middle"),
    "center": ("middle", "middle"),
    "topleft": ("first", "first"),
    "top": ("middle", "first"),
    "bottomleft": ("first", "last"),
    "bottom": ("middle", "last"),
}


def siting(location: str) -> tuple[Site, Site]:
    """(across, down) of FFmpeg's chroma location. Unknown ones are ``left``, as MPEG-2, H.264 and HEVC have it."""
    return _SITINGS.get(location, _SITINGS["left"])


class Filter:
    """Both ways along one axis.

    Beyond its ends a picture repeats its last sample. A constant goes through both ways unchanged.
    """

    def __init__(self, factor: int, site: Site):
        """factor: luma samples of one chroma sample (1, 2, 4)."""
        self.factor = factor
        # Position of chroma sample 0 in luma samples.
        share = {"first": 0.0, "upper": 0.25, "middle": 0.5, "lower": 0.75, "last": 1.0}[site]
        at = share * (factor - 1)
        # Up: luma sample f·i + p lies between chroma samples i + k and i + k + 1, at the share s of the way.
        self._phases = []
        for p in range(factor):
            k, s = divmod((p - at) / factor, 1.0)
            self._phases.append((int(k), s))
        # Down: the triangle that linear interpolation spreads a chroma sample with, made to sum to 1. All weights are
        # powers of two times whole numbers, so they are exact.
        taps = range(1 - 2 * factor, 2 * factor)
        weights = {t: (1 - abs(t - at) / factor) / factor for t in taps}
        self._taps = [(t, w) for t, w in weights.items() if w > 0]

    def up(self, x: Tensor, axis: int, size: int) -> Tensor:
        """Linear interpolation of chroma to ``size`` luma samples; x has ceil(size / factor) along the axis."""
        if self.factor == 1:
            return x
        n = x.shape[axis]
        x = _extend(x, axis, 1, 1)
        parts = []
        for k, s in self._phases:
            near = x.narrow(axis, 1 + k, n)
            parts.append(near if s == 0 else torch.lerp(near, x.narrow(axis, 2 + k, n), s))
        return torch.stack(parts, axis + 1).flatten(axis, axis + 1).narrow(axis, 0, size)

    def down(self, x: Tensor, axis: int) -> Tensor:
        """Full-size values → ceil(size / factor) chroma values: a triangle around each one's position."""
        if self.factor == 1:
            return x
        size = x.shape[axis]
        n = -(-size // self.factor)
        first, last = self._taps[0][0], self._taps[-1][0]
        x = _extend(x, axis, max(0, -first), max(0, (n - 1) * self.factor + last - size + 1))
        total: Tensor | None = None
        for t, w in self._taps:
            at = slice(t - first, t - first + (n - 1) * self.factor + 1, self.factor)
            part = x[(slice(None),) * axis + (at,)]
            total = part * w if total is None else total.add_(part, alpha=w)
        assert total is not None
        return total


def _extend(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """x with its first and last entries along an axis repeated."""
    parts = [x.narrow(axis, 0, 1)] * before + [x] + [x.narrow(axis, x.shape[axis] - 1, 1)] * after
    return torch.cat(parts, axis) if len(parts) > 1 else x
