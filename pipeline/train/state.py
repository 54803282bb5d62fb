"""A training job's one checkpoint: everything that the next step hangs on, in one file that is put whole.

safetensors for the numbers and JSON in its header for the rest: nothing is pickled, and nothing is run when it is read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline.errors import MissingError, StorageError
from pipeline.storage import store

_FORMAT = "reelmend-training/1"
_MAX_BYTES = 8 << 30
_MAX_HEADER = 64 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after ``step`` steps. All tensors are float32 on the CPU."""

    step: int
    net: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    first: Mapping[str, Tensor]
    """AdamW's running mean of the gradients."""
    second: Mapping[str, Tensor]
    """And of their squares."""
    about: Mapping[str, Any]
    """JSON: ``spec`` (its identity), ``seconds`` trained, and what the log needs."""


_PARTS = ("net", "ema", "first", "second")


def save(uri: str, state: Checkpoint) -> None:
    """Put the checkpoint in the place of the one before: at any moment there is one, and it is whole."""
    tensors = {
        f"{part}.{key}": value.detach().to("cpu", torch.float32).contiguous().clone()
        for part in _PARTS
        for key, value in getattr(state, part).items()
    }
    about = {"format": _FORMAT, "step": str(state.step), "about": json.dumps(dict(state.about))}
    store.put_bytes(uri, safetensors.torch.save(tensors, about))


def load(uri: str) -> Checkpoint | None:
    """The checkpoint there; None where there is none. Raises StorageError where it is anything else."""
    try:
        data = store.read_bytes(uri, limit=_MAX_BYTES)
    except MissingError:
        return None
    try:
        meta = _metadata(data)
        if meta.get("format") != _FORMAT:
            raise ValueError(f"its format is {meta.get('format')!r}, known is {_FORMAT}")
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        for name, value in safetensors.torch.load(data).items():
            part, _, key = name.partition(".")
            if value.dtype != torch.float32:
                raise ValueError(f"{name[:80]} is {value.dtype}")
            parts[part][key] = value
        step, about = int(meta["step"]), json.loads(meta["about"])
        if step < 0 or not isinstance(about, dict):
            raise ValueError("its header is not as it is written")
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise StorageError(
            f"this is no whole training checkpoint ({error})"[:300],
            where=uri,
            todo="Delete it to begin anew, or give another --out",
        ) from None
    return Checkpoint(step, parts["net"], parts["ema"], parts["first"], parts["second"], about)


def _metadata(data: bytes) -> dict[str, str]:
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(len(data) - 8, _MAX_HEADER):
        raise ValueError("the header is longer than the file")
    found = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return found if isinstance(found, dict) else {}
