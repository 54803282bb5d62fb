"""Channel attention's average pool, and its test-time form, TLC: the Test-time Local Converter (Chu et al., "Improving
Image Restoration by Revisiting Global Information Aggregation", ECCV 2022).

A net that was trained on small crops meets other statistics when its pools average a whole frame. TLC swaps each global
mean for the mean over a window of 1.5 times the training crop, at every pixel. No key changes, nothing is retrained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK_BYTES = 32 << 20
"""Float64 planes that ``_by_planes`` sums at once; it holds three times as much for a moment."""


def kernel(feature: tuple[int, int], train: tuple[int, int], share: tuple[int, int] | None = None) -> tuple[int, int]:
    """Window [height, width] of a pool, in px of its own map.

    feature: [height, width] of the map that the pool sees when the net runs on a picture of the training size
    ``train``. The base window is floor(1.5 · train), scaled by feature / ``share``, which is ``train`` where nothing is
    said. It is never computed from the frame at hand.
    """
    share = share or train
    return max(1, feature[0] * (train[0] * 3 // 2) // share[0]), max(1, feature[1] * (train[1] * 3 // 2) // share[1])


class Pool(nn.Module):
    """Average pool over a map (B, C, H, W): global → (B, C, 1, 1), or over windows → (B, C, H−k1+1, W−k2+1).

    Sums are accumulated, and the mean is given, in float32 at least, whatever the map's dtype: in bfloat16 the error is
    percents, in float16 the sum overflows. Where the window covers the map on both axes, the mean is the global one; on
    one axis, it is cut to the map there.
    """

    kernel: tuple[int, int] | None = None
    """Window [height, width]; None: global."""

    def whole(self, x: Tensor) -> bool:
        """Whether the mean of this map is the global one."""
        return self.kernel is None or (self.kernel[0] >= x.shape[-2] and self.kernel[1] >= x.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        if self.whole(x):
            return x.mean((-2, -1), keepdim=True, dtype=_wide(x.dtype))
        assert self.kernel is not None
        return window_mean(x, self.kernel)

    def extra_repr(self) -> str:
        return "global" if self.kernel is None else f"window {list(self.kernel)}"


def spread(values: Tensor, like: Tensor) -> Tensor:
    """A pool's values brought to the size of the map ``like``: border values repeat outwards, a global one broadcasts.

    The value at (y, x) is then that of the window whose top left is clamp(y − (k1−1)//2, 0, H−k1), likewise across.
    """
    h, w = like.shape[-2] - values.shape[-2], like.shape[-1] - values.shape[-1]
    if values.shape[-2:] == (1, 1) or not (h or w):
        return values
    return F.pad(values, (w // 2, w - w // 2, h // 2, h - h // 2), mode="replicate")


def window_mean(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Exact mean of every window of (B, C, H, W) that lies inside the map: (B, C, H−k1+1, W−k2+1), float32 or float64.

    O(1) a pixel by sums that run in float64: differences of float32 sums over a large map would lose the digits that
    the mean needs.
    """
    return _by_rows(x, window) if x.device.type == "cpu" else _by_planes(x, window)


def _by_rows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """A window slides down row by row: thrice as fast as whole planes where launching an operation costs nothing."""
    means, (k1, k2) = _prepare(x, window)
    rows, out = x.permute(2, 0, 3, 1), means.permute(2, 0, 3, 1)
    columns = rows[:k1].sum(0, dtype=torch.float64)
    for y in range(len(out)):
        if y:
            columns += rows[y + k1 - 1]
            columns -= rows[y - 1]
        out[y] = _window_sum(columns, k2, 1).div_(k1 * k2)
    return means


def _by_planes(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Integral images, some channels at a time: a handful of operations, for devices that want few."""
    means, (k1, k2) = _prepare(x, window)
    step = max(1, _CHUNK_BYTES // (8 * x.shape[0] * x.shape[2] * x.shape[3]))
    for at in range(0, x.shape[1], step):
        sums = x[:, at : at + step].to(torch.float64, memory_format=torch.contiguous_format)
        means[:, at : at + step] = _window_sum(_window_sum(sums, k2, 3), k1, 2).div_(k1 * k2)
    return means


def _prepare(x: Tensor, window: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Room for the means, and the window cut to the map."""
    b, c, h, w = x.shape
    k1, k2 = min(window[0], h), min(window[1], w)
    shape = (b, c, h - k1 + 1, w - k2 + 1)
    means = torch.empty(shape, dtype=_wide(x.dtype), device=x.device, memory_format=torch.channels_last)
    return means, (k1, k2)


def _window_sum(x: Tensor, k: int, axis: int) -> Tensor:
    """Sums of every k neighbours along an axis of a float64 tensor."""
    n = x.shape[axis]
    total = x.cumsum(axis)
    sums = total.narrow(axis, k - 1, n - k + 1).clone()
    sums.narrow(axis, 1, n - k).sub_(total.narrow(axis, 0, n - k))
    return sums


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
