"""NAFNet as its paper writes it, operation by operation: a second opinion on ours, sharing none of its code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def nafnet(config: Mapping[str, Any], weights: Weights, stack: Tensor) -> Tensor:
    """(B, 3·frames, H, W) → (B, 3, H, W), in the dtype of stack and weights; H, W multiples of 2^levels."""
    radius = int(config.get("in_frames", 1)) // 2
    x = F.conv2d(stack, weights["intro.weight"], weights["intro.bias"], padding=1)
    skips = []
    for level, blocks in enumerate(config["enc_blk_nums"]):
        x = _blocks(x, weights, f"encoders.{level}", blocks)
        skips.append(x)
        x = F.conv2d(x, weights[f"downs.{level}.weight"], weights[f"downs.{level}.bias"], stride=2)
    x = _blocks(x, weights, "middle_blks", config["middle_blk_num"])
    for level, blocks in enumerate(config["dec_blk_nums"]):
        x = F.pixel_shuffle(F.conv2d(x, weights[f"ups.{level}.0.weight"]), 2) + skips.pop()
        x = _blocks(x, weights, f"decoders.{level}", blocks)
    x = F.conv2d(x, weights["ending.weight"], weights["ending.bias"], padding=1)
    return x + stack[:, 3 * radius : 3 * radius + 3]


def _blocks(x: Tensor, weights: Weights, where: str, number: int) -> Tensor:
    for i in range(number):
        x = _block(x, {k.removeprefix(f"{where}.{i}."): t for k, t in weights.items() if k.startswith(f"{where}.{i}.")})
    return x


def _block(x: Tensor, w: Weights) -> Tensor:
    y = F.conv2d(_norm(x, w, "norm1"), w["conv1.weight"], w["conv1.bias"])
    y = F.conv2d(y, w["conv2.weight"], w["conv2.bias"], padding=1, groups=y.shape[1])
    y = _gate(y)
    y = y * F.conv2d(F.adaptive_avg_pool2d(y, 1), w["sca.1.weight"], w["sca.1.bias"])
    x = x + F.conv2d(y, w["conv3.weight"], w["conv3.bias"]) * w["beta"]
    y = _gate(F.conv2d(_norm(x, w, "norm2"), w["conv4.weight"], w["conv4.bias"]))
    return x + F.conv2d(y, w["conv5.weight"], w["conv5.bias"]) * w["gamma"]


def _norm(x: Tensor, w: Weights, name: str) -> Tensor:
    apart = x - x.mean(1, keepdim=True)
    x = apart / torch.sqrt(apart.square().mean(1, keepdim=True) + 1e-6)
    return x * w[f"{name}.weight"].view(1, -1, 1, 1) + w[f"{name}.bias"].view(1, -1, 1, 1)


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a * b
