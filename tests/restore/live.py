"""Counts the bytes of live tensors during a forward pass."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.restore import nets


class Live(TorchDispatchMode):
    """Every storage that an operation gives, from its birth to its death."""

    def __init__(self, known: list[Tensor]):
        super().__init__()
        self.peak = 0
        self._now = 0
        self._sizes: dict[int, int] = {t.untyped_storage()._cdata: 0 for t in known}

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, at: int) -> None:
        self._now -= self._sizes.pop(at)

    def __torch_dispatch__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return out


def peak_bytes_px(config: dict[str, Any], height: int, width: int, device: str = "meta") -> float:
    """Peak bytes of live tensors a pixel in a pass over one picture, input included; ``meta`` computes nothing."""
    with torch.device(device):
        net = nets.build(config)
        stack = torch.zeros(1, 3 * int(config.get("in_frames", 1)), height, width)
    with torch.no_grad(), Live(list(net.parameters())) as live:
        live.count(stack)
        net(stack)
    return live.peak / (height * width)
