"""NAFNet and MPRNet as their authors ship them, operation by operation: what ours is measured against, in speed and in
numbers. It shares no code with ours, and knows no TLC.

Contiguous NCHW tensors in the dtype of picture and weights, every convolution in the place where the papers draw it,
every intermediate result a tensor of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.restore.nets.config import MPRNetConfig, NAFNetConfig, NetConfig

Weights = Mapping[str, Tensor]
"""A state dict, in the authors' keys."""


def forward(config: NetConfig, weights: Weights, stack: Tensor) -> Tensor:
    """(B, 3·frames, H, W) → (B, 3, H, W); H and W multiples of ``config.multiple``. Raises ValueError for others."""
    if any(side % config.multiple for side in stack.shape[-2:]):
        raise ValueError(f"the picture is {tuple(stack.shape[-2:])}; its sides must be multiples of {config.multiple}")
    stack = stack.contiguous()
    return nafnet(config, weights, stack) if isinstance(config, NAFNetConfig) else mprnet(config, weights, stack)[0]


def nafnet(config: NAFNetConfig, weights: Weights, stack: Tensor) -> Tensor:
    """As ``forward``."""
    x = F.conv2d(stack, weights["intro.weight"], weights["intro.bias"], padding=1)
    skips = []
    for level, blocks in enumerate(config.enc_blk_nums):
        x = _nafblocks(x, weights, f"encoders.{level}", blocks)
        skips.append(x)
        x = F.conv2d(x, weights[f"downs.{level}.weight"], weights[f"downs.{level}.bias"], stride=2)
    x = _nafblocks(x, weights, "middle_blks", config.middle_blk_num)
    for level, blocks in enumerate(config.dec_blk_nums):
        x = F.pixel_shuffle(F.conv2d(x, weights[f"ups.{level}.0.weight"]), 2) + skips.pop()
        x = _nafblocks(x, weights, f"decoders.{level}", blocks)
    x = F.conv2d(x, weights["ending.weight"], weights["ending.bias"], padding=1)
    return x + stack[:, 3 * config.radius : 3 * config.radius + 3]


def _nafblocks(x: Tensor, w: Weights, where: str, number: int) -> Tensor:
    for i in range(number):
        at = f"{where}.{i}."
        y = F.conv2d(_norm(x, w, f"{at}norm1"), w[f"{at}conv1.weight"], w[f"{at}conv1.bias"])
        y = F.conv2d(y, w[f"{at}conv2.weight"], w[f"{at}conv2.bias"], padding=1, groups=y.shape[1])
        y = _gate(y)
        y = y * F.conv2d(F.adaptive_avg_pool2d(y, 1), w[f"{at}sca.1.weight"], w[f"{at}sca.1.bias"])
        x = x + F.conv2d(y, w[f"{at}conv3.weight"], w[f"{at}conv3.bias"]) * w[f"{at}beta"]
        y = _gate(F.conv2d(_norm(x, w, f"{at}norm2"), w[f"{at}conv4.weight"], w[f"{at}conv4.bias"]))
        x = x + F.conv2d(y, w[f"{at}conv5.weight"], w[f"{at}conv5.bias"]) * w[f"{at}gamma"]
    return x


def _norm(x: Tensor, w: Weights, name: str) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    x = (x - mean) / (variance + 1e-6).sqrt()
    return w[f"{name}.weight"].view(1, -1, 1, 1) * x + w[f"{name}.bias"].view(1, -1, 1, 1)


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a * b


def mprnet(config: MPRNetConfig, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 3, H, W) → the pictures of stage 3 (the result), 2 and 1."""
    net = _MPRNet(config, weights)
    top, bottom = x.chunk(2, 2)
    # Stage 1: every quarter is encoded by itself, every half decoded.
    quarters = [net.encode("stage1_encoder", net.shallow(1, q)) for half in (top, bottom) for q in half.chunk(2, 3)]
    encoded = [[torch.cat(pair, 3) for pair in zip(quarters[i], quarters[i + 1], strict=True)] for i in (0, 2)]
    decoded = [net.decode("stage1_decoder", e) for e in encoded]
    attended = [net.sam("sam12", d[0], half) for d, half in zip(decoded, (top, bottom), strict=True)]
    picture1 = torch.cat([picture for _, picture in attended], 2)
    # Stage 2: every half is encoded, the whole decoded.
    halves = []
    for (features, _), half, e, d in zip(attended, (top, bottom), encoded, decoded, strict=True):
        halves.append(
            net.encode("stage2_encoder", net.conv("concat12", torch.cat((net.shallow(2, half), features), 1)), e, d)
        )
    whole = [torch.cat(pair, 2) for pair in zip(*halves, strict=True)]
    found = net.decode("stage2_decoder", whole)
    features, picture2 = net.sam("sam23", found[0], x)
    # Stage 3: the whole, at full resolution.
    features = net.conv("concat23", torch.cat((net.shallow(3, x), features), 1))
    return net.conv("tail", net.original_resolution(features, whole, found)) + x, picture2, picture1


class _MPRNet:
    """The parts of MPRNet, addressed by the authors' names."""

    def __init__(self, config: MPRNetConfig, weights: Weights):
        self._config, self._weights = config, weights

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight = self._weights[f"{name}.weight"]
        return F.conv2d(x, weight, self._weights.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def cab(self, name: str, x: Tensor) -> Tensor:
        y = F.prelu(self.conv(f"{name}.body.0", x), self._weights[f"{name}.body.1.weight"])
        y = self.conv(f"{name}.body.2", y)
        share = F.relu(self.conv(f"{name}.CA.conv_du.0", F.adaptive_avg_pool2d(y, 1)))
        y = y * torch.sigmoid(self.conv(f"{name}.CA.conv_du.2", share))
        return y + x

    def pair(self, name: str, x: Tensor) -> Tensor:
        return self.cab(f"{name}.1", self.cab(f"{name}.0", x))

    def shallow(self, stage: int, x: Tensor) -> Tensor:
        return self.cab(f"shallow_feat{stage}.1", self.conv(f"shallow_feat{stage}.0", x))

    def down(self, name: str, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
        return self.conv(f"{name}.down.1", x)

    def up(self, name: str, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.conv(f"{name}.up.1", x)

    def encode(
        self, name: str, x: Tensor, encoded: list[Tensor] | None = None, decoded: list[Tensor] | None = None
    ) -> list[Tensor]:
        found: list[Tensor] = []
        for level in (1, 2, 3):
            if level > 1:
                x = self.down(f"{name}.down{level - 1}{level}", x)
            x = self.pair(f"{name}.encoder_level{level}", x)
            if encoded is not None and decoded is not None:
                x = x + self.conv(f"{name}.csff_enc{level}", encoded[level - 1])
                x = x + self.conv(f"{name}.csff_dec{level}", decoded[level - 1])
            found.append(x)
        return found

    def decode(self, name: str, encoded: list[Tensor]) -> list[Tensor]:
        third = self.pair(f"{name}.decoder_level3", encoded[2])
        x = self.up(f"{name}.up32", third) + self.cab(f"{name}.skip_attn2", encoded[1])
        second = self.pair(f"{name}.decoder_level2", x)
        x = self.up(f"{name}.up21", second) + self.cab(f"{name}.skip_attn1", encoded[0])
        return [self.pair(f"{name}.decoder_level1", x), second, third]

    def sam(self, name: str, x: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        restored = self.conv(f"{name}.conv2", x) + picture
        attended = self.conv(f"{name}.conv1", x) * torch.sigmoid(self.conv(f"{name}.conv3", restored))
        return attended + x, restored

    def original_resolution(self, x: Tensor, encoded: list[Tensor], decoded: list[Tensor]) -> Tensor:
        for level in (1, 2, 3):
            at = f"stage3_orsnet.orb{level}.body"
            y = x
            for i in range(self._config.num_cab):
                y = self.cab(f"{at}.{i}", y)
            x = x + self.conv(f"{at}.{self._config.num_cab}", y)
            for kind, maps in (("enc", encoded), ("dec", decoded)):
                part, up = maps[level - 1], f"stage3_orsnet.up_{kind}{level - 1}"
                if level == 2:
                    part = self.up(up, part)
                elif level == 3:
                    part = self.up(f"{up}.1", self.up(f"{up}.0", part))
                x = x + self.conv(f"stage3_orsnet.conv_{kind}{level}", part)
        return x
