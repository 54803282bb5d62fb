"""Pictures on their way to a device and back, while it computes.

On a GPU copies have streams of their own: the next frames go up, and restored ones come down, while this one is
computed. On a CPU there is nothing to copy beside, and nothing is read ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

Planes = tuple[Tensor, ...]


class Lanes(Protocol):
    """How copies go beside the computing."""

    ahead: int
    """Frames that are sent up before they are wanted."""

    def send(self, upload: Callable[[], Planes]) -> Callable[[], Planes]:
        """Begin an upload; what comes back gives its planes, ready for whatever the device is asked next."""

    def fetch(self, target: Tensor, source: Tensor) -> None:
        """Copy to host memory what the device was asked for before; ``target`` is valid after ``finish``."""

    def finish(self) -> None:
        """Wait for every copy."""


class Beside:
    """A GPU's: one stream up, one down."""

    ahead = 2

    def __init__(self, device: torch.device):
        self._device = device
        self._up = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._down = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def send(self, upload: Callable[[], Planes]) -> Callable[[], Planes]:
        with torch.cuda.stream(self._up):
            planes = upload()
            there = self._up.record_event()

        def arrived() -> Planes:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(there)
            for plane in planes:
                # The allocator must not give the memory away before the computing is through with it.
                plane.record_stream(computing)
            return planes

        return arrived

    def fetch(self, target: Tensor, source: Tensor) -> None:
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            target.copy_(source, non_blocking=True)
        source.record_stream(self._down)

    def finish(self) -> None:
        torch.cuda.current_stream(self._device).synchronize()
        self._down.synchronize()


class Inline:
    """A CPU's: a frame is made ready when it is wanted."""

    ahead = 0

    def send(self, upload: Callable[[], Planes]) -> Callable[[], Planes]:
        return upload

    def fetch(self, target: Tensor, source: Tensor) -> None:
        target.copy_(source)

    def finish(self) -> None:
        return


def lanes(device: torch.device) -> Lanes:
    """Those of a device."""
    return Beside(device) if device.type == "cuda" else Inline()


Begun = Mapping[int, Callable[[], Planes]]
"""Frame → what ``Lanes.send`` gave: it is on its way."""


def begin(numbers: Sequence[int], upload: Callable[[int], Planes], through: Lanes) -> Begun:
    """Send up the first ``through.ahead`` of some frames."""
    return {n: through.send(lambda n=n: upload(n)) for n in numbers[: through.ahead]}  # type: ignore[misc]


def uploaded(
    numbers: Sequence[int], upload: Callable[[int], Planes], through: Lanes, begun: Begun = MappingProxyType({})
) -> Iterator[tuple[int, Planes]]:
    """Every frame's number and planes, in order; ``through.ahead`` frames more are on their way when one is given.
    Those that were ``begun`` are not sent again."""
    waiting: deque[tuple[int, Callable[[], Planes]]] = deque()
    for n in numbers:
        waiting.append((n, begun[n] if n in begun else through.send(lambda n=n: upload(n))))  # type: ignore[misc]
        if len(waiting) > through.ahead:
            number, arrived = waiting.popleft()
            yield number, arrived()
    for number, arrived in waiting:
        yield number, arrived()
