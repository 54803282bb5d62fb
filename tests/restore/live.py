"""Counts the bytes of live tensors during a forward pass."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.restore import nets
from pipeline.restore.nets.live import Live


def peak_bytes_px(
    config: dict[str, Any], height: int, width: int, device: str = "meta", dtype: torch.dtype = torch.float32
) -> float:
    """Peak bytes of live tensors a pixel in a pass over one picture, input included; ``meta`` computes nothing."""
    with torch.device(device):
        net = nets.build(config).to(dtype)
        stack = torch.zeros(1, 3 * int(config.get("in_frames", 1)), height, width)
    with torch.no_grad(), Live(net.parameters()) as live:
        live.count(stack)
        net(stack)
    return live.peak / (height * width)
