"""The golden numbers of ``tests/data/golden`` and the weights that belong to them (README.md there)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.restore import nets

FOLDER = Path(__file__).parents[1] / "data" / "golden"
_PHI = 0.6180339887498949


@dataclass(frozen=True)
class Golden:
    config: dict[str, Any]
    input: Tensor
    """(1, C, H, W) float32."""
    outputs: tuple[NDArray[np.float32], ...]
    """MPRNet: stage 3 and, where the file has them, 2 and 1."""


def golden(name: str) -> Golden:
    with np.load(FOLDER / f"{name}.npz") as data:
        keys = ("output", "output_stage3", "output_stage2", "output_stage1")
        return Golden(
            config=json.loads(str(data["config"])),
            input=torch.from_numpy(data["input"])[None],
            outputs=tuple(data[k] for k in keys if k in data),
        )


def values(key: str, shape: tuple[int, ...]) -> Tensor:
    """A parameter's float32 values, which follow from its key and shape alone."""
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    z = 2 * np.modf((i + 1) * _PHI + zlib.crc32(key.encode()) / 2**32)[0] - 1
    leaf = key.rsplit(".", 1)[-1]
    if leaf in ("beta", "gamma"):
        z = 0.5 * z
    elif len(shape) == 1 and leaf == "weight" and ".norm" in key:
        z = 1 + 0.1 * z
    elif shape == (1,):
        z = np.full(1, 0.25)
    elif len(shape) == 4 and leaf == "weight":
        z = z * np.sqrt(3 / np.prod(shape[1:]))
    else:
        z = 0.1 * z
    return torch.from_numpy(z.astype(np.float32).reshape(shape))


def filled(config: dict[str, Any]) -> nets.NAFNet | nets.MPRNet:
    """A net with those values, float32, in evaluation mode."""
    net = nets.build(config)
    net.load_state_dict({k: values(k, tuple(t.shape)) for k, t in net.state_dict().items()}, strict=True)
    return net.eval()


def relative(found: Tensor | NDArray[Any], wanted: Tensor | NDArray[Any]) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    a, b = (np.asarray(v, dtype=np.float64) for v in (found, wanted))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
