"""Small nets, passes and films for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import spec
from pipeline.reel.formats import pixel_format
from pipeline.restore.engine import NetEngine
from pipeline.restore.passes import Bench, Job, NetPass, Restored
from pipeline.types import Colour, Frames, NetInfo, PassPlan, Tile

GRAY = Colour("unknown", "unknown", "unknown", "unknown", "unknown", "gray", True)
SD = Colour("unknown", "unknown", "unknown", "unknown", "left", "bt601", False)


def net_info(radius: int = 0) -> NetInfo:
    return NetInfo(
        name="toy",
        uri="toy.safetensors",
        sha256="0" * 64,
        family="nafnet",
        config={},
        radius=radius,
        licence="none",
        restricted=False,
        train_size=None,
        parameter_bytes=0,
        activation_bytes_px=0.0,
    )


class Residual(nn.Module):
    """The nets' promise in small: features in the weights' dtype, the picture in the input's, a grid of 4 px."""

    def __init__(self, radius: int = 0, seed: int = 0, whole: bool = False):
        """whole: weights and so results are whole numbers, which no order of summing can round otherwise."""
        super().__init__()
        torch.manual_seed(seed)
        self.radius = radius
        self.down = nn.Conv2d(3 * (2 * radius + 1), 8, 4, 4)
        self.body = nn.Conv2d(8, 48, 3, padding=1)
        self.up = nn.PixelShuffle(4)
        self.shapes: list[tuple[int, ...]] = []
        for p in self.parameters():
            p.requires_grad_(False)
            if whole:
                p.copy_(torch.randint(-2, 3, p.shape))

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        h, w = x.shape[-2:]
        y = nn.functional.pad(x.to(self.down.weight.dtype), (0, -w % 4, 0, -h % 4))
        y = self.up(torch.relu(self.body(torch.relu(self.down(y)))))
        change: Tensor = y[..., :h, :w].to(x.dtype) * 0.25
        return change + x[:, 3 * self.radius : 3 * self.radius + 3]


class Mix:
    """A temporal pass: a weighted sum of its window, plus the frame-wise parameter ``lift``. Keeps book of its jobs."""

    def __init__(self, radius: int, group: int = 1):
        self.radius, self.group = radius, group
        self.weights = [1.0 / (i + 1.5) for i in range(2 * radius + 1)]
        self.numbers: list[int] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        assert len({j.number // self.group for j in jobs}) == 1
        self.numbers += [j.number for j in jobs]
        return [Restored(self.one(j.window) + j.parameters.get("lift", 0.0)) for j in jobs]

    def one(self, window: Sequence[Any]) -> Any:
        total = window[0] * self.weights[0]
        for w, picture in zip(self.weights[1:], window[1:], strict=True):
            total = total + picture * w
        return total / sum(self.weights)


class Poison(Mix):
    """Turns the frames whose ``poison`` is 1 to NaN."""

    def __init__(self) -> None:
        super().__init__(0)

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        found = []
        for j in jobs:
            ill = j.parameters["poison"] != 0.0
            rgb = j.window[0] * float("nan") if ill else j.window[0]
            found.append(Restored(rgb, frozenset({"poisoned"}) if ill else frozenset()))
        return found


def plan(name: str, radius: int, kind: str = "toy", **parameters: float) -> PassPlan:
    return PassPlan(name, kind, radius, {}, {"strength": 1.0} | parameters, None)


def net_pass(module: nn.Module, radius: int) -> Callable[[PassPlan, Bench], NetPass]:
    """A factory of the real net pass around a module that no file holds."""

    def build(_: PassPlan, bench: Bench) -> NetPass:
        return NetPass(NetEngine(module, net_info(radius), bench.engine, bench.device), bench.engine.batch)

    return build


def of(passes: Mapping[str, Any]) -> Callable[[PassPlan, Bench], Any]:
    """A factory that hands out ready passes by name."""
    return lambda p, _: passes[p.name]


def film(n: int, name: str = "gray16le", w: int = 6, h: int = 4, seed: int = 0) -> Frames:
    fmt = pixel_format(name)
    rng = np.random.default_rng(seed)
    high = (1 << fmt.depth) * 3 // 4
    planes = []
    for i in range(len(fmt.planes)):
        plane = rng.integers(high // 3, high, (n, *fmt.plane_shape(i, w, h)), fmt.dtype)
        plane.flags.writeable = False
        planes.append(plane)
    return Frames(tuple(planes), fmt, 0, np.arange(n, dtype=np.int64) * 40)


def tiles(total: int, length: int, halo: int) -> list[Tile]:
    found = []
    for number, first in enumerate(range(0, total, length)):
        last = min(first + length, total)
        overlap = 1 if first else 0
        found.append(Tile(number, first, last, overlap, min(halo, first - overlap), min(halo, total - last)))
    return found


def engine(**said: Any) -> spec.Engine:
    return spec.Engine(**said)


def cut_at(n: int, cuts: Sequence[int]) -> NDArray[np.bool_]:
    found = np.zeros(n, np.bool_)
    found[list(cuts)] = True
    return found
