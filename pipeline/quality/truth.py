"""How near a restored clip is to its truth, where that is known: whole, inside and outside of damage, and over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.quality import measures

Clip = NDArray[np.float32]
"""(N, 3, H, W), RGB, 0 to 1."""
Mask = NDArray[np.bool_]
"""(N, H, W)."""
BEST = 100.0
"""dB of what is equal."""
_LUMA = np.array((0.2126, 0.7152, 0.0722), np.float32)


@dataclass(frozen=True, slots=True)
class Score:
    """Of a clip of RGB against its truth."""

    psnr_db: float
    """Of the mean squared error of all pixels and channels."""
    ssim: float
    """Of BT.709 luma, mean over the frames."""
    inside_db: float
    """PSNR of the pixels that were damaged; 100 where there are none."""
    outside_db: float
    """PSNR of the others."""
    temporal: float
    """8-bit codes: mean difference of the change from frame to frame to the truth's."""
    flicker: float
    """8-bit codes: rms of the change from frame to frame of mean luma, the truth's taken off."""


def score(found: Clip, truth: Clip, damaged: Mask) -> Score:
    """Figures of ``found``. Raises ValueError where the shapes differ, or for fewer than two frames."""
    if found.shape != truth.shape or damaged.shape != (len(truth), *truth.shape[2:]) or len(truth) < 2:
        raise ValueError(
            f"a clip is scored by one of its size, these are {found.shape}, {truth.shape}, {damaged.shape}"
        )
    squares = np.square(found - truth).mean(axis=1, dtype=np.float64)
    steps = np.abs(np.diff(found, axis=0) - np.diff(truth, axis=0)).mean(dtype=np.float64)
    mean = np.einsum("nchw,c->n", found - truth, _LUMA, dtype=np.float64) / squares[0].size
    return Score(
        psnr_db=decibel(squares),
        ssim=float(np.mean([_ssim(a, b) for a, b in zip(found, truth, strict=True)])),
        inside_db=decibel(squares[damaged]),
        outside_db=decibel(squares[~damaged]),
        temporal=float(steps) * 255,
        flicker=float(np.sqrt(np.mean(np.square(np.diff(mean))))) * 255,
    )


def mean_of(scores: list[Score]) -> Score:
    """The mean of each figure."""
    return Score(*(float(np.mean([getattr(s, f) for s in scores])) for f in Score.__slots__))


@dataclass(frozen=True, slots=True)
class Found:
    """Pixels of a mask against those that were to be found."""

    recall: float
    """Share of what was to be found that was found; 1 where there is none."""
    precision: float
    """Share of what was found that is right; 1 where nothing was found."""


def detection(found: Mask, wanted: Mask, right: Mask) -> Found:
    """``wanted``: what must be found. ``right``: what may be, at least that and what is too faint to be asked for."""
    hit, asked = int((found & wanted).sum()), int(wanted.sum())
    sound, taken = int((found & right).sum()), int(found.sum())
    return Found(hit / asked if asked else 1.0, sound / taken if taken else 1.0)


def decibel(squares: NDArray[Any]) -> float:
    """PSNR of squared errors of signals from 0 to 1; 100 where all are 0, or there are none."""
    error = float(squares.mean()) if squares.size else 0.0
    return min(BEST, -10 * math.log10(error)) if error > 0 else BEST


def _ssim(a: Clip, b: Clip) -> float:
    x, y = (
        measures.luma_of([torch.from_numpy(np.ascontiguousarray(c)) for c in p], "rgb")  # (3, H, W)
        for p in (a, b)
    )
    return float(measures.ssim(x, y, 1.0))
