"""Neighbours put where the frame lies, and lit as it is, for a net that looks at several frames.

Nets follow movement as far as they were shown in training: a camera's pan, things that pass. When the gate jumps by
many px they take what the neighbours show in a place for what the frame should show there, and smear. So a neighbour
that lies far off as a whole is moved by whole px to where the frame lies; all others go in as they are.

In the same way a net follows some flicker, and no lightning: of a frame that is lit for a moment it took what was dark
in the frames beside it for what should be dark there. A neighbour that is lit otherwise as a whole is given the frame's
levels.
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
"""Share of the difference that may be left once it is moved, or lit: else that was not what happened to the whole."""
_LIT = 0.12
"""Share of full range by which black or white must differ for a neighbour to be lit otherwise."""
_MOST = 4.0
"""Largest gain that is given to it: of a picture with next to nothing in it nobody can tell."""


class Placed:
    """Places the windows of successive frames: a picture is looked at once, though it stands in several windows."""

    def __init__(self) -> None:
        self._kept = Kept()

    def window(self, window: Sequence[Tensor], middle: int) -> list[Tensor]:
        """The window, (3, H, W) each, with those neighbours moved that lie far off. A pure function of the window;
        where nothing lies far off, or is lit otherwise, the very tensors are given back."""
        self._kept.hold(window)
        here = window[middle]
        return [p if p is here else self._kept.of("placed", self._put, here, p) for p in window]

    def _put(self, frame: Tensor, picture: Tensor) -> Tensor:
        here, there = (self._kept.of("small", _small, p) for p in (frame, picture))
        moved = _moved(here, picture, there)
        return _lit(here, moved, there if moved is picture else _small(moved))


def _moved(here: NDArray[np.float32], picture: Tensor, there: NDArray[np.float32]) -> Tensor:
    """The picture where the frame lies, if it lies far off as a whole. here, there: both, small."""
    x, y = (round(v) for v in motion.moved(here, there))
    if max(abs(x), abs(y)) <= _FAR * here.shape[1]:
        return picture
    before, after = (float(np.abs(p - p.mean() - (here - here.mean())).mean()) for p in (there, _shifted(there, x, y)))
    if after > _BETTER * before:
        return picture
    step, (h, w) = _step(picture), picture.shape[1:]
    rows = (torch.arange(h, device=picture.device) + y * step).clamp_(0, h - 1)
    columns = (torch.arange(w, device=picture.device) + x * step).clamp_(0, w - 1)
    return picture[:, rows][:, :, columns]


def _lit(here: NDArray[np.float32], picture: Tensor, there: NDArray[np.float32]) -> Tensor:
    """The picture with the frame's mean and contrast, where those are quite others. here, there: both, small."""
    gain = float(here.std() / max(there.std(), 1e-6))
    offset = float(here.mean() - gain * there.mean())
    if max(abs(offset), abs(gain + offset - 1)) <= _LIT or not 1 / _MOST < gain < _MOST:
        return picture
    before, after = (float(np.abs(p - here).mean()) for p in (there, gain * there + offset))
    return picture if after > _BETTER * before else picture * gain + offset


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
