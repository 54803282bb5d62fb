"""Several GPUs that train one net: what each has to say to the others. Alone, nothing.

Whoever starts the processes (Ray, torchrun) has made torch.distributed's group; this only uses it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _many() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _many() else 1


def mean_(tensors: Iterable[Tensor]) -> None:
    """Every tensor becomes its mean over all processes; one message for all of them."""
    if not _many():
        return
    each = list(tensors)
    flat = torch.cat([t.reshape(-1) for t in each])
    dist.all_reduce(flat)
    flat /= size()
    at = 0
    for tensor in each:
        tensor.copy_(flat[at : at + tensor.numel()].view_as(tensor))
        at += tensor.numel()


def any_of(said: bool, device: torch.device) -> bool:
    """Whether any process said so: all must stop at the same step."""
    if not _many():
        return said
    flag = torch.tensor(float(said), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def _many() -> bool:
    return dist.is_available() and dist.is_initialized()
