"""How good a net is on held-out clips whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.quality import measures
from pipeline.train.clips import Clip
from pipeline.train.samples import Shot

Restore = Callable[[Tensor], Tensor]
"""(1, 3·frames, H, W) float32 → (1, 3, H, W)."""
_BEST = 100.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over the clips, of RGB in 0 to 1 against the truth."""

    psnr_db: float
    """Of the mean squared error of each clip."""
    ssim: float
    """Of BT.709 luma."""
    inside_db: float
    """PSNR over the pixels of dirt, scratches and hairs of all clips together; 100 where there are none."""
    outside_db: float
    """PSNR over the others."""
    temporal: float
    """8-bit codes: mean difference of the change from frame to frame to the truth's."""

    def named(self, prefix: str) -> dict[str, float]:
        return {f"{prefix}_{key}": value for key, value in asdict(self).items()}


def measure(shots: Sequence[Shot], radius: int, restore: Restore | None, device: torch.device) -> Figures:
    """Figures of a net over clips, of each of which the frames with a whole window are restored; with ``restore`` None
    of the damaged clips as they are."""
    psnr, ssim, temporal = [], [], []
    inside, outside = np.zeros(2), np.zeros(2)
    for shot in shots:
        last = len(shot.damaged) - radius
        found = shot.damaged[radius:last] if restore is None else _restored(shot.damaged, radius, restore, device)
        wanted, mask = shot.target[radius:last], shot.mask[radius:last]
        squares = ((found - wanted) ** 2).mean(axis=1, dtype=np.float64)
        psnr.append(_db(float(squares.mean())))
        for sums, where in ((inside, mask), (outside, ~mask)):
            sums += (squares[where].sum(), where.sum())
        ssim += [_ssim(a, b) for a, b in zip(found, wanted, strict=True)]
        if len(found) > 1:
            temporal.append(float(np.abs(np.diff(found, axis=0) - np.diff(wanted, axis=0)).mean()) * 255)
    inside_db, outside_db = (_db(float(s[0] / s[1])) if s[1] else _BEST for s in (inside, outside))
    mean_temporal = float(np.mean(temporal)) if temporal else 0.0
    return Figures(float(np.mean(psnr)), float(np.mean(ssim)), inside_db, outside_db, mean_temporal)


def _restored(clip: Clip, radius: int, restore: Restore, device: torch.device) -> Clip:
    h, w = clip.shape[2:]
    found = []
    for t in range(radius, len(clip) - radius):
        stack = torch.from_numpy(clip[t - radius : t + radius + 1]).reshape(1, -1, h, w)
        found.append(restore(stack.to(device)).clamp(0, 1).cpu().numpy()[0])
    return np.stack(found)


def _ssim(a: Clip, b: Clip) -> float:
    x, y = (measures.luma_of([torch.from_numpy(np.ascontiguousarray(c)) for c in p], "rgb") for p in (a, b))
    return float(measures.ssim(x, y, 1.0))


def _db(error: float) -> float:
    return min(_BEST, -10 * math.log10(error)) if error > 0 else _BEST
