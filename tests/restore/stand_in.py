"""A library of two small nets with spandrel's interface, for where spandrel itself cannot be installed.

It follows the documented parts of spandrel 0.4 that are used: ``ModelLoader.load_from_state_dict``, the descriptor's
attributes and call (which clamps), ``SizeRequirements.get_padding``, ``UnsupportedModelError``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


class UnsupportedModelError(Exception):
    pass


class ModelTiling(enum.Enum):
    SUPPORTED = 1
    DISCOURAGED = 2


@dataclass
class SizeRequirements:
    minimum: int = 0
    multiple_of: int = 1
    square: bool = False

    def get_padding(self, width: int, height: int) -> tuple[int, int]:
        w, h = (-(-max(self.minimum, n) // self.multiple_of) * self.multiple_of for n in (width, height))
        if self.square:
            w = h = max(w, h)
        return w - width, h - height


class Toy(nn.Module):
    """A skip around two convolutions and a batch norm; as strict about sizes as its requirements say."""

    def __init__(self, channels: int, size: SizeRequirements):
        super().__init__()
        self.head = nn.Conv2d(channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.tail = nn.Conv2d(6, channels, 3, padding=1)
        self.size = size
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.size.get_padding(x.shape[-1], x.shape[-2]) != (0, 0):
            raise RuntimeError(f"{tuple(x.shape)} is no size for this net")
        if x.shape[0] != 1 or not x.is_contiguous():
            raise RuntimeError("one picture at a time, in the usual layout")
        self.seen.append(tuple(x.shape))
        return x + self.change(x)

    def change(self, x: Tensor) -> Tensor:
        found: Tensor = self.tail(torch.relu(self.norm(self.head(x))))
        return found


class ImageModelDescriptor:
    def __init__(self, model: Toy, tensors: dict[str, Tensor], arch: str, **said: Any):
        self.model = model
        self.architecture = SimpleNamespace(name=arch)
        self.scale = 1
        self.input_channels = self.output_channels = int(model.head.weight.shape[1])
        self.size_requirements = model.size
        self.supports_bfloat16 = True
        self.tiling = ModelTiling.SUPPORTED
        self.__dict__.update(said)
        model.load_state_dict(tensors)

    @property
    def dtype(self) -> torch.dtype:
        return self.model.head.weight.dtype

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        answer: Tensor = self.model(image)
        return answer.clamp_(0, 1)


class MaskedImageModelDescriptor:
    architecture = SimpleNamespace(name="Filler")


class Library(ModuleType):
    """What ``import spandrel`` gives. ``loads`` counts how often it was asked."""

    UnsupportedModelError = UnsupportedModelError
    ImageModelDescriptor = ImageModelDescriptor
    MaskedImageModelDescriptor = MaskedImageModelDescriptor

    def __init__(self) -> None:
        super().__init__("spandrel")
        self.__version__ = "0.4.2"
        self.loads = 0
        self.size = SizeRequirements(minimum=16, multiple_of=8)
        self.said: dict[str, Any] = {}
        """Attributes that descriptors get in place of the usual ones."""

    def ModelLoader(self, device: str) -> Library:
        assert device == "cpu"
        return self

    def load_from_state_dict(self, tensors: Mapping[str, Tensor]) -> Any:
        assert type(tensors) is dict
        self.loads += 1
        if "mask.weight" in tensors:
            return MaskedImageModelDescriptor()
        if "huge.weight" in tensors:  # a net whose size one shape decides
            side = int(tensors["huge.weight"].shape[0])
            nn.Linear(side, side)
        if "head.weight" not in tensors and "intro.weight" not in tensors:
            raise UnsupportedModelError
        # KBNet, too, has NAFNet's first and last keys.
        tensors = {k.replace("intro.", "head.").replace("ending.", "tail."): t for k, t in tensors.items()}
        model = Toy(int(tensors["head.weight"].shape[1]), self.size)
        torch.rand(3)
        return ImageModelDescriptor(model, dict(tensors), "Toy", **self.said)


def weights(channels: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of the toy, random, with a batch norm's whole number among it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Toy(channels, SizeRequirements())
        for p in model.parameters():
            nn.init.normal_(p, std=0.1)
        nn.init.uniform_(model.norm.running_mean)
        model.norm.num_batches_tracked.fill_(7)
        return dict(model.state_dict())
