"""The published architectures, state-dict compatible with the authors' released checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.restore.nets.config import MPRNetConfig, NAFNetConfig, NetConfig, infer, parse
from pipeline.restore.nets.mprnet import MPRNet
from pipeline.restore.nets.nafnet import NAFNet

__all__ = ["MPRNet", "MPRNetConfig", "NAFNet", "NAFNetConfig", "NetConfig", "build", "infer", "parse"]


def build(config: Mapping[str, Any] | NetConfig) -> NAFNet | MPRNet:
    """A net from its config: ``{"arch": "nafnet", "width": 32, …}``; with ``tlc_train_size: [h, w]`` in its TLC form.

    Freshly initialised, float32, on the current default device. Raises ConfigError where the config cannot be built.
    """
    if isinstance(config, Mapping):
        config = parse(config)
    return NAFNet(config) if isinstance(config, NAFNetConfig) else MPRNet(config)
