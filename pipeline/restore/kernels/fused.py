"""The kernels, on tensors: dense channels_last maps (B, C, H, W) in float32 or bfloat16 on a CPU."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_LANES = 16
"""Values of the kernels' vectors."""
_MOST = 1 << 14
"""Values after which a row's vectors must begin at the first channel again."""
_TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_WINOGRAD = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype=torch.float64)
"""Taps of three places, transformed to four: G of F(2×2, 3×3)."""


@dataclass(frozen=True, slots=True)
class Taps:
    """A 3×3 convolution's weights as ``convolve`` takes them."""

    values: Tensor
    """(16, C, C' rounded up to 16) float32."""
    bias: Tensor
    """(C' rounded up to 16,) float32."""
    channels: int
    """C'."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the maps that they are for."""
        return torch.float32


class Fused:
    """What nets call. Where a map is not one that a kernel takes, the caller computes with torch: by ``takes``, a
    question of device, number format and channels alone, so that the answer is the same on every machine."""

    def __init__(self, library: ctypes.CDLL):
        self._library = library

    @staticmethod
    def takes(x: Tensor, channels: int = 1, dtype: torch.dtype | None = None) -> bool:
        """channels: that those of the map must be a multiple of. dtype: that it must have; None: either."""
        c = x.shape[1]
        return (
            x.device.type == "cpu"
            and x.dtype in _TYPES
            and dtype in (None, x.dtype)
            and c % channels == 0
            and math.lcm(c, _LANES) <= _MOST
            and not torch.is_grad_enabled()
        )

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """Of every pixel over its channels, a multiple of 16; sums in float32."""
        x = _dense(x)
        b, c, h, w = x.shape
        out = torch.empty_like(x)
        self._call("layer_norm", x.dtype, x, weight.float(), bias.float(), out, ctypes.c_int64(b * h * w), c,
                   ctypes.c_float(eps))  # fmt: skip
        return out

    def depthwise_gate(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A depthwise 3×3 convolution with zeros around, the product of its two halves (B, C/2, H, W), and that one's
        mean by channel, (B, C/2, 1, 1) float32. C/2 a multiple of 16; sums in float32."""
        x = _dense(x)
        b, c, h, w = x.shape
        out = torch.empty((b, c // 2, h, w), dtype=x.dtype, memory_format=torch.channels_last)
        means = torch.empty((b, c // 2, 1, 1))
        taps = weight.float().reshape(c, 9).t().contiguous()
        self._call("depthwise_gate", x.dtype, x, taps, bias.float(), out, means, b, h, w, c // 2)
        return out, means

    def mean(self, x: Tensor) -> Tensor:
        """By channel, (B, C, 1, 1) float32; sums in float32."""
        x = _dense(x)
        b, c, h, w = x.shape
        means = torch.empty((b, c, 1, 1))
        self._call("mean", x.dtype, x, means, b, h, w, c, math.lcm(c, _LANES))
        return means

    def scaled(self, x: Tensor, scale: Tensor, add: Tensor | None = None) -> Tensor:
        """x · scale, or add + x · scale; scale (1 or B, C, 1, 1)."""
        x, add = _dense(x), None if add is None else _dense(add)
        b, c, h, w = x.shape
        out = torch.empty_like(x)
        period = math.lcm(c, _LANES)
        by = scale.float().reshape(-1, c).expand(b, c).repeat(1, period // c).contiguous()
        self._call("scaled", x.dtype, x, add, by, out, b, h, w, period, ctypes.c_int64(w * c))
        return out

    def prelu_(self, x: Tensor, slope: float) -> Tensor:
        """In place."""
        x = _dense(x)
        self._call("prelu", x.dtype, x, ctypes.c_float(slope), ctypes.c_int64(x.numel()))
        return x

    @staticmethod
    def taps(weight: Tensor, bias: Tensor | None) -> Taps | None:
        """For ``convolve``; None where it would not pay or is not done: other windows, bfloat16 (which processors
        multiply faster as it is), few channels. weight (C', C, 3, 3)."""
        out, deep, *window = weight.shape
        if weight.dtype != torch.float32 or window != [3, 3] or min(out, deep) < _LANES:
            return None
        wide = -(-out // _LANES) * _LANES
        with torch.no_grad():
            g = _WINOGRAD
            at = torch.einsum("ax,oixy,by->abio", g, weight.detach().cpu().double(), g)
            values, add = torch.zeros(16, deep, wide), torch.zeros(wide)
            values[..., :out] = at.reshape(16, deep, out).float()
            if bias is not None:
                add[:out] = bias.detach().cpu()
        return Taps(values, add, out)

    def convolve(self, x: Tensor, taps: Taps, slope: float = 1.0) -> Tensor:
        """A 3×3 convolution with zeros around, and PReLU of a slope, in float32: (B, C, H, W) → (B, C', H, W)."""
        x = _dense(x)
        b, c, h, w = x.shape
        out = torch.empty((b, taps.channels, h, w), memory_format=torch.channels_last)
        self._call("winograd", x.dtype, x, taps.values, taps.bias, ctypes.c_float(slope), out, b, h, w, c,
                   taps.channels)  # fmt: skip
        return out

    def _call(self, name: str, dtype: torch.dtype, *arguments: Any) -> None:
        """Raises MemoryError where a kernel finds no room for what it needs beside the maps."""
        plain = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else a for a in arguments]
        if getattr(self._library, f"{name}_{_TYPES[dtype]}")(*plain, torch.get_num_threads()) != 0:
            raise MemoryError(f"the kernel {name} finds no memory")


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
