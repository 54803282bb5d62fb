"""Neighbours put where the frame lies, for a net that looks at several frames.

Nets follow movement as far as they were shown in training: a camera's pan, things that pass. When the gate jumps by
many px they take what the neighbours show in a place for what the frame should show there, and smear. So a neighbour
that lies far off as a whole is moved by whole px to where the frame lies; all others go in as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline import motion
from pipeline.restore.passes.kept import Kept

_FAR = 0.025
"""Share of the width by which a neighbour must lie off: nets are trained on less (8 px of 480 over two frames)."""
_SIDE = 160
"""Px of width at which that is looked for: the places are to whole px of the picture, and a net follows the rest."""
_BETTER = 0.7
"""Share of the difference that may be left once it is moved: else it was no movement of the whole."""


class Placed:
    """Places the windows of successive frames: a picture is looked at once, though it stands in several windows."""

    def __init__(self) -> None:
        self._kept = Kept()

    def window(self, window: Sequence[Tensor], middle: int) -> list[Tensor]:
        """The window, (3, H, W) each, with those neighbours moved that lie far off. A pure function of the window;
        where nothing lies far off the very tensors are given back."""
        self._kept.hold(window)
        here = window[middle]
        return [p if p is here else self._kept.of("placed", self._put, here, p) for p in window]

    def _put(self, frame: Tensor, picture: Tensor) -> Tensor:
        here, there = (self._kept.of("small", _small, p) for p in (frame, picture))
        x, y = (round(v) for v in motion.moved(here, there))
        if max(abs(x), abs(y)) <= _FAR * here.shape[1]:
            return picture
        before, after = (
            float(np.abs(p - p.mean() - (here - here.mean())).mean()) for p in (there, _shifted(there, x, y))
        )
        if after > _BETTER * before:
            return picture
        step, (h, w) = _step(picture), picture.shape[1:]
        rows = (torch.arange(h, device=picture.device) + y * step).clamp_(0, h - 1)
        columns = (torch.arange(w, device=picture.device) + x * step).clamp_(0, w - 1)
        return picture[:, rows][:, :, columns]


def _step(picture: Tensor) -> int:
    return max(1, round(picture.shape[2] / _SIDE))


def _small(picture: Tensor) -> NDArray[np.float32]:
    """Mean of the channels, averaged over squares of px."""
    return np.asarray(F.avg_pool2d(picture.mean(0, keepdim=True), _step(picture))[0].cpu().numpy(), np.float32)


def _shifted(picture: NDArray[np.float32], x: int, y: int) -> NDArray[np.float32]:
    """Read at (x, y) further; beyond the edge the edge goes on."""
    h, w = picture.shape
    rows, columns = np.clip(np.arange(h) + y, 0, h - 1), np.clip(np.arange(w) + x, 0, w - 1)
    return picture[rows][:, columns]
