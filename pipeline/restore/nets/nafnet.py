"""NAFNet: "Simple Baselines for Image Restoration" (Chen et al., ECCV 2022), with the authors' state-dict keys.

Also the form for film: 2r+1 frames stacked on the channels, the residual is added to the middle one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.restore.kernels.fused import Fused
from pipeline.restore.nets import tlc
from pipeline.restore.nets.config import NAFNetConfig

_EPS = 1e-6
_LANES = 16
"""Channels that the fused kernels want a multiple of."""


class LayerNorm2d(nn.Module):
    """Layer norm of every pixel of (B, C, H, W) over its channels: biased variance, eps 1e-6."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        # The native kernel sums in float32 in every dtype. In channels_last both permutations are views.
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, _EPS)
        return x.permute(0, 3, 1, 2)


class Pointwise(nn.Conv2d):
    """A 1×1 convolution of (B, C, H, W)."""

    def __init__(self, c_in: int, c_out: int, bias: bool = True):
        super().__init__(c_in, c_out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(x)

    def scaled(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Of x · scale, (1, C, 1, 1): by its weights, which are fewer than the map's values."""
        weight = self.weight if scale is None else self.weight * scale
        b, c, h, w = x.shape
        # While gradients are wanted too: the way back through the rows is the slow one.
        if x.device.type != "cpu" or x.dtype != torch.float32 or h == 1 or torch.is_grad_enabled():
            return F.conv2d(x, weight, self.bias)
        # Every row as a picture of its own, which costs no copy in channels_last: on one thread PyTorch gives small
        # batches of 1×1 convolutions to its slow kernel. A whole NAFNet runs 1.7× as fast.
        rows = x.permute(0, 2, 3, 1).reshape(b * h, 1, w, c).permute(0, 3, 1, 2)
        return F.conv2d(rows, weight, self.bias).permute(0, 2, 3, 1).reshape(b, h, w, -1).permute(0, 3, 1, 2)


class ChannelAttention(nn.Sequential):
    """Simplified channel attention: the map times a 1×1 convolution of its mean. The convolution has the key ``1``."""

    def __init__(self, channels: int):
        super().__init__(tlc.Pool(), nn.Conv2d(channels, channels, 1))

    @property
    def pool(self) -> tlc.Pool:
        return cast(tlc.Pool, self[0])

    def forward(self, x: Tensor) -> Tensor:
        # A 1×1 convolution commutes with the repetition of border values, so it works on the smaller map.
        return x * tlc.spread(self[1](self[0](x).to(x.dtype)), x)


class NAFBlock(nn.Module):
    """(B, C, H, W) → the same shape."""

    fused: Fused | None = None
    """Kernels that compute what stands between the 1×1 convolutions."""
    schedule: Callable[[NAFBlock, Tensor], Tensor] | None = None
    """What computes the block instead (``pipeline.restore.kernels.schedule``)."""

    def __init__(self, c: int):
        super().__init__()
        self.norm1 = LayerNorm2d(c)
        self.conv1 = Pointwise(c, 2 * c)
        self.conv2 = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.sca = ChannelAttention(c)
        self.conv3 = Pointwise(c, c)
        self.norm2 = LayerNorm2d(c)
        self.conv4 = Pointwise(c, 2 * c)
        self.conv5 = Pointwise(c, c)
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.schedule is not None:
            return self.schedule(self, x)
        if self.fused is not None and self.fused.takes(x, _LANES):
            return self._fused(x, self.fused)
        x = torch.addcmul(x, self.conv3(self.sca(gate(self.conv2(self.conv1(self.norm1(x)))))), self.beta)
        return torch.addcmul(x, self.conv5(gate(self.conv4(self.norm2(x)))), self.gamma)

    def _fused(self, x: Tensor, fused: Fused) -> Tensor:
        y = self.conv1(fused.layer_norm(x, self.norm1.weight, self.norm1.bias, _EPS))
        assert self.conv2.bias is not None
        y, mean = fused.depthwise_gate(y, self.conv2.weight, self.conv2.bias)
        if not self.sca.pool.whole(y):
            y = self.conv3(self.sca(y))
        elif len(y) == 1:
            y = self.conv3.scaled(y, self.sca[1](mean.to(y.dtype)))
        else:
            y = self.conv3(fused.scaled(y, self.sca[1](mean.to(y.dtype))))
        x = fused.scaled(y, self.beta, x)
        y = gate(self.conv4(fused.layer_norm(x, self.norm2.weight, self.norm2.bias, _EPS)))
        return fused.scaled(self.conv5(y), self.gamma, x)


class NAFNet(nn.Module):
    """(B, 3·frames, H, W) RGB, nominally in [0, 1], unclamped → (B, 3, H, W), the middle frame restored; any H, W ≥ 1.

    The picture keeps the input's dtype; features have the weights'. So weights in bfloat16 with a float32 input leave
    the picture in float32: only the residual goes through bfloat16.
    """

    def __init__(self, config: NAFNetConfig):
        super().__init__()
        self.config = config
        w, deep = config.width, config.width << len(config.enc_blk_nums)
        self.intro = nn.Conv2d(3 * config.in_frames, w, 3, padding=1)
        self.encoders = nn.ModuleList(_blocks(w << i, n) for i, n in enumerate(config.enc_blk_nums))
        self.downs = nn.ModuleList(nn.Conv2d(w << i, w << i + 1, 2, 2) for i in range(len(config.enc_blk_nums)))
        self.middle_blks = _blocks(deep, config.middle_blk_num)
        self.ups = nn.ModuleList(
            nn.Sequential(Pointwise(deep >> i, 2 * (deep >> i), bias=False), nn.PixelShuffle(2))
            for i in range(len(config.dec_blk_nums))
        )
        self.decoders = nn.ModuleList(_blocks(deep >> i + 1, n) for i, n in enumerate(config.dec_blk_nums))
        self.ending = nn.Conv2d(w, 3, 3, padding=1)
        self.set_tlc(config.tlc_train_size)

    def set_tlc(self, train_size: tuple[int, int] | None) -> None:
        """Turn TLC on for weights that were trained at [height, width] px, or off (None)."""
        depth = len(self.downs)
        levels = [*enumerate(self.encoders), (depth, self.middle_blks)]
        levels += [(depth - 1 - i, blocks) for i, blocks in enumerate(self.decoders)]
        for level, blocks in levels:
            window = None
            if train_size is not None:
                h, w = (-(-side // self.config.multiple) * self.config.multiple >> level for side in train_size)
                window = tlc.kernel((h, w), train_size)
            for module in blocks.modules():
                if isinstance(module, tlc.Pool):
                    module.kernel = window

    def set_schedule(self, schedule: Callable[[NAFBlock, Tensor], Tensor] | None) -> None:
        """Let something else compute the blocks, or not (None)."""
        for module in self.modules():
            if isinstance(module, NAFBlock):
                module.schedule = schedule

    def set_fused(self, fused: Fused | None) -> None:
        """Compute with fused kernels where they take the map, or with torch alone (None)."""
        for module in self.modules():
            if isinstance(module, NAFBlock):
                module.fused = fused

    def forward(self, stack: Tensor) -> Tensor:
        h, w = stack.shape[-2:]
        middle = stack[:, 3 * self.config.radius : 3 * self.config.radius + 3]
        x = F.pad(stack.to(self.intro.weight.dtype), (0, -w % self.config.multiple, 0, -h % self.config.multiple))
        x = self.intro(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            x = blocks(up(x) + skips.pop())
        residual: Tensor = self.ending(x)[..., :h, :w].to(stack.dtype)
        return middle + residual


def _blocks(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(NAFBlock(channels) for _ in range(number)))


def gate(x: Tensor) -> Tensor:
    """(B, 2c, H, W) → (B, c, H, W): the first half times the second."""
    a, b = x.chunk(2, 1)
    return a * b
