"""What a lossy copy does to a clip: JPEG as arithmetic, H.264 by an encoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.reel.roundtrip import through_h264
from pipeline.train.clips import Clip

_SIDE = 8

# ITU-T T.81, tables K.1 and K.2.
_LUMA = np.array(
    (
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ),
    np.float32,
)
_CHROMA = np.full((_SIDE, _SIDE), 99, np.float32)
_CHROMA[:4, :4] = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))

_YCC = np.array(((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)), np.float32)
"""RGB to Y, Cb, Cr: ITU-T T.871 (JFIF)."""
_RGB = np.linalg.inv(_YCC.astype(np.float64)).astype(np.float32)
_K, _N = np.arange(_SIDE)[:, None], np.arange(_SIDE)[None]
_DCT = (np.where(_K == 0, np.sqrt(1 / 8), 0.5) * np.cos((2 * _N + 1) * _K * np.pi / 16)).astype(np.float32)


def through(clip: Clip, codec: str, quality: int) -> Clip:
    """A clip (N, 3, H, W) in 0 to 1 as it comes back from ``jpeg`` (IJG quality) or ``h264`` (crf), 4:2:0, 8 bit."""
    if codec == "h264":
        return _h264(clip, quality)
    return _jpeg(clip, quality)


def _jpeg(clip: Clip, quality: int) -> Clip:
    """Everything in JPEG that loses something; the entropy coder loses nothing and is left out."""
    n, _, h, w = clip.shape
    even = np.pad(clip, ((0, 0), (0, 0), (0, -h % 16), (0, -w % 16)), "edge")
    ycc = np.einsum("ij,njhw->nihw", _YCC, np.rint(np.clip(even, 0, 1) * 255))
    ycc[:, 0] = _blocks(ycc[:, 0] - 128, _table(_LUMA, quality)) + 128
    both = ycc[:, 1:]
    small = both.reshape(n * 2, both.shape[2] // 2, 2, both.shape[3] // 2, 2).mean(axis=(2, 4))
    small = _blocks(small, _table(_CHROMA, quality)).reshape(n, 2, both.shape[2] // 2, both.shape[3] // 2)
    ycc[:, 1:] = small.repeat(2, axis=2).repeat(2, axis=3)
    rgb = np.einsum("ij,njhw->nihw", _RGB, ycc)[:, :, :h, :w]
    return np.ascontiguousarray(np.clip(np.rint(rgb), 0, 255) / 255, np.float32)


def _table(base: NDArray[np.float32], quality: int) -> NDArray[np.float32]:
    """As IJG's library scales it: 50 is the table itself."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip(np.floor((base * scale + 50) / 100), 1, 255).astype(np.float32)


def _blocks(plane: NDArray[np.float32], table: NDArray[np.float32]) -> NDArray[np.float32]:
    n, h, w = plane.shape
    block = plane.reshape(n, h // _SIDE, _SIDE, w // _SIDE, _SIDE).transpose(0, 1, 3, 2, 4)
    found = np.rint(_DCT @ block @ _DCT.T / table) * table
    back = _DCT.T @ found @ _DCT
    return np.asarray(back.transpose(0, 1, 3, 2, 4).reshape(n, h, w), np.float32)


def _h264(clip: Clip, crf: int) -> Clip:
    h, w = clip.shape[2:]
    # Whole macroblocks: nothing beyond the picture has a say.
    even = np.pad(clip, ((0, 0), (0, 0), (0, -h % 16), (0, -w % 16)), "edge")
    codes = np.rint(np.clip(even, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    back = through_h264(np.ascontiguousarray(codes), crf)
    return np.ascontiguousarray(back.transpose(0, 3, 1, 2)[:, :, :h, :w]).astype(np.float32) / np.float32(255)
