"""NAFNet's block in two passes over memory, compiled by torch: for GPUs, where a block computed operation by operation
waits for memory nine tenths of the time.

The block cannot be one pass, for channel attention needs the mean of the whole map before its second half. So: one pass
up to that mean (norm, 1×1, depthwise 3×3, gate, mean), and one over the rest (attention, 1×1, skip, norm, 1×1, gate,
1×1, skip). What a compiler fuses of each is its own affair; nothing else is computed than ``NAFBlock`` does.

No choice is made by timing, here or in a worker: what torch's compiler is told stands below, by device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.restore.nets import tlc
from pipeline.restore.nets.nafnet import NAFBlock

OPTIONS: Mapping[str, bool | int | str] = {"max_autotune": False, "coordinate_descent_tuning": False}
"""What torch's compiler is told: to time nothing."""
TUNED: Mapping[str, Mapping[str, bool | int | str]] = {}
"""Name of a device (``device_name``) → options that were found best there, by hand, and hold for all its workers.
Empty: no GPU has been measured yet."""
_SHAPES = 64
"""Shapes that are compiled before the compiler gives up: levels times sizes of pictures and spatial tiles."""


class TwoPasses:
    """Computes a NAFBlock, ``NAFBlock.schedule``: (B, C, H, W) → the same shape."""

    def __init__(self, device: str, *, backend: str = "inductor"):
        """device: its name. backend: torch.compile's."""
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _SHAPES)
        options = {"options": {**OPTIONS, **TUNED.get(device, {})}} if backend == "inductor" else {}
        compiled: Callable[..., Any] = torch.compile
        self._first = compiled(first, backend=backend, dynamic=False, fullgraph=True, **options)
        self._second = compiled(second, backend=backend, dynamic=False, fullgraph=True, **options)

    def __call__(self, block: NAFBlock, x: Tensor) -> Tensor:
        one, two = block.norm1, block.norm2
        y, mean = self._first(x, one.weight, one.bias, *_of(block.conv1), *_of(block.conv2))
        if not block.sca.pool.whole(y):
            mean = block.sca.pool(y)
        scale = tlc.spread(block.sca[1](mean.to(y.dtype)), y)
        return self._second(  # type: ignore[no-any-return]
            x, y, scale, *_of(block.conv3), block.beta, two.weight, two.bias, *_of(block.conv4), *_of(block.conv5),
            block.gamma,
        )  # fmt: skip


def first(
    x: Tensor, norm: Tensor, norm_bias: Tensor, wide: Tensor, wide_bias: Tensor, depth: Tensor, depth_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """The block up to its attention: the gated map, and its mean by channel, (B, C, 1, 1) in float32 at least."""
    y = F.conv2d(_normed(x, norm, norm_bias), wide, wide_bias)
    a, b = F.conv2d(y, depth, depth_bias, padding=1, groups=depth.shape[0]).chunk(2, 1)
    y = a * b
    return y, y.mean((2, 3), keepdim=True, dtype=torch.promote_types(y.dtype, torch.float32))


def second(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    out: Tensor,
    out_bias: Tensor,
    beta: Tensor,
    norm: Tensor,
    norm_bias: Tensor,
    wide: Tensor,
    wide_bias: Tensor,
    last: Tensor,
    last_bias: Tensor,
    gamma: Tensor,
) -> Tensor:
    """The rest of it. x: the block's input, y: the gated map, scale: the attention, broadcast or map by map."""
    x = torch.addcmul(x, F.conv2d(y * scale, out, out_bias), beta)
    a, b = F.conv2d(_normed(x, norm, norm_bias), wide, wide_bias).chunk(2, 1)
    return torch.addcmul(x, F.conv2d(a * b, last, last_bias), gamma)


def _normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, 1e-6).permute(0, 3, 1, 2)


def _of(layer: torch.nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    return layer.weight, layer.bias
