"""A net on a device: number format, spatial tiles, batches of one shape, and what happens when memory runs out."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline import spec
from pipeline.errors import ReelmendError
from pipeline.plan.memory import spatial_tile
from pipeline.restore.device import device_name
from pipeline.restore.kernels.build import library
from pipeline.restore.kernels.fused import Fused
from pipeline.restore.kernels.schedule import TwoPasses
from pipeline.restore.nets import MPRNet, NAFNet
from pipeline.types import NetInfo

MEMORY_BATCH, MEMORY_TILE, MEMORY_CPU = "memory-batch", "memory-tile", "memory-cpu"
"""Flags of a frame that did not fit the device as the plan says, one for each step that was taken: fewer frames in a
call, smaller spatial tiles, the CPU instead of the GPU. Such a frame may round otherwise (promise 2)."""

_LADDER = (1024, 512, 256, 128)
"""Sides in px of the spatial tiles that are tried, in this order, when a call does not fit."""
_GRID = 64
"""Spatial tiles begin at multiples of this many px, so that a net that halves its maps up to six times sees the same
grid."""

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def settle(engine: spec.Engine, device: torch.device | str) -> None:
    """Make this process compute the same way every time: what a worker does once, before its first frame.

    No kernel is chosen by timing, no float32 product goes through a shorter format, and on a CPU sums are split over
    the spec's number of threads.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    if torch.device(device).type == "cpu":
        torch.set_num_threads(engine.cpu_threads)
        _keep_memory()


def _keep_memory() -> None:
    """Let glibc keep the memory of freed feature maps for the next ones.

    By default every block above 32 MiB is mapped afresh, and the kernel clears its pages at each call: nearly half of
    the time of a small net at 640x480. A net's blocks have the same sizes in every call, so kept memory does not grow.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)):
            libc.mallopt(option, value)


@dataclass(frozen=True, slots=True)
class Span:
    """One spatial tile along one axis, in px."""

    first: int
    last: int
    """What a call reads, ``[first, last)``."""
    keep_first: int
    keep_last: int
    """What it gives."""


def spans(size: int, tile: int | None, halo: int) -> list[Span]:
    """An axis of ``size`` px in spatial tiles that are all equally long and begin at multiples of 64 px.

    tile: px that a tile away from the ends gives; None: the whole axis. halo: px that it reads at least beyond what it
    gives, save at the picture's ends. A tile at an end gives the halo there too; one may be up to 63 px longer than
    ``tile + 2 · halo``, so that the last one ends where the picture does.
    """
    if tile is None or size <= tile + 2 * halo:
        return [Span(0, size, 0, size)]
    side = tile + 2 * halo
    side += (size - side) % _GRID
    starts = [*range(0, size - side, tile), size - side]
    edges = [0, *(s + halo for s in starts[1:]), size]
    return [Span(s, s + side, edges[i], edges[i + 1]) for i, s in enumerate(starts)]


class NetEngine:
    """Runs one net. Takes the module over: it is moved, cast and set to evaluation.

    The module takes a float32 stack (B, 3·(2r+1), H, W), RGB of the frames t−r … t+r, and gives the frame t restored,
    (B, 3, H, W). In ``fast`` its weights are bfloat16; it must then carry its features in the weights' dtype and its
    picture in the input's, float32.
    """

    def __init__(
        self,
        module: nn.Module,
        info: NetInfo,
        engine: spec.Engine,
        device: torch.device | str,
        *,
        last_resort: torch.device | str | None = None,
    ):
        """last_resort: where it is computed if all else does not fit; None: on the CPU, if that is not the device.

        Raises ReelmendError where the engine's compiled kernels cannot be built.
        """
        self.info = info
        self.device = torch.device(device)
        dtype = torch.bfloat16 if engine.precision == "fast" else torch.float32
        module = module.to(device=self.device, dtype=dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module = module.eval().requires_grad_(False)
        if engine.kernels == "compiled":
            _compile(module, self.device)
        self._engine = engine
        spare = torch.device(last_resort or "cpu")
        self._spare = spare if last_resort is not None or spare.type != self.device.type else None
        self._steps: set[str] = set()
        self._batch, self._tile, self._where = engine.batch, engine.tile, self.device

    @property
    def flags(self) -> frozenset[str]:
        """Flags of the frames of the last call."""
        return frozenset(self._steps)

    def reset(self) -> None:
        """Begin again as the plan says: another tile of film may find more memory free."""
        if not self._steps:
            return
        if MEMORY_CPU in self._steps:
            try:
                self._module.to(self.device)
                if self._engine.kernels == "compiled":
                    _compile(self._module, self.device)
            except RuntimeError as error:
                if not _no_memory(error):
                    raise
                return  # as it was, with its flags
        self._steps.clear()
        self._batch, self._tile, self._where = self._engine.batch, self._engine.tile, self.device

    @torch.inference_mode()
    def __call__(self, stack: Tensor) -> Tensor:
        """(B, C, H, W) float32 on the device → (B, 3, H, W) float32 there; any B ≥ 1.

        The net is always called with the spec's batch, whatever B is: a call of another shape may round otherwise. When
        memory runs out, a step is taken that holds until ``reset``: half the batch, down to one frame; then smaller
        spatial tiles; then the CPU. Raises ReelmendError where nothing fits.
        """
        _, c, h, w = stack.shape
        wanted = 3 * (2 * self.info.radius + 1)
        if stack.dtype != torch.float32 or c != wanted:
            raise ValueError(f"the stack is {c} channels of {stack.dtype}; {self.info.name} takes {wanted} of float32")
        if not self._steps:
            self._tile = spatial_tile(w, h, self.info, self._engine)
        while True:
            try:
                return self._batches(stack.to(self._where)).to(stack.device)
            except (RuntimeError, MemoryError) as error:
                if not _no_memory(error):
                    raise
            # Outside of the handler: the error holds the frames whose tensors are in the way.
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            step = self._step_down(h, w)
            if step is None:
                raise ReelmendError(
                    f"the net {self.info.name} finds no memory on {self._where} for {self._batch} picture(s) of "
                    f"{w}x{h}{f' in spatial tiles of {self._tile} px' if self._tile else ''}",
                    todo="Let fewer restorers share the machine (cluster.restorers), or take a smaller net",
                )
            self._steps.add(step)

    def _step_down(self, h: int, w: int) -> str | None:
        """Take the next step of the ladder; gives its flag, None where there is none left."""
        if self._batch > 1:
            self._batch //= 2
            return MEMORY_BATCH
        now = self._call_area(h, w, self._tile)
        smaller = next((t for t in _LADDER if self._call_area(h, w, t) < now), None)
        if smaller is not None:
            self._tile = smaller
            return MEMORY_TILE
        if self._spare is None or MEMORY_CPU in self._steps:
            return None
        self._module.to(self._spare)
        if isinstance(self._module, NAFNet):
            self._module.set_schedule(None)  # it is the GPU's
        self._where = self._spare
        return MEMORY_CPU

    def _call_area(self, h: int, w: int, tile: int | None) -> int:
        y, x = spans(h, tile, self._engine.halo)[0], spans(w, tile, self._engine.halo)[0]
        return (y.last - y.first) * (x.last - x.first)

    def _batches(self, stack: Tensor) -> Tensor:
        size = self._batch
        if len(stack) == size:
            return self._tiles(stack)
        parts = []
        for at in range(0, len(stack), size):
            part = stack[at : at + size]
            n = len(part)
            if n < size:
                part = torch.cat((part, part[-1:].expand(size - n, -1, -1, -1)))
            parts.append(self._tiles(part)[:n])
        return torch.cat(parts)

    def _tiles(self, stack: Tensor) -> Tensor:
        b, _, h, w = stack.shape
        rows, columns = (spans(n, self._tile, self._engine.halo) for n in (h, w))
        if len(rows) == len(columns) == 1:
            return self._call(stack)
        out = torch.empty((b, 3, h, w), dtype=torch.float32, device=stack.device)
        for y in rows:
            for x in columns:
                part = self._call(stack[..., y.first : y.last, x.first : x.last].contiguous())
                out[..., y.keep_first : y.keep_last, x.keep_first : x.keep_last] = part[
                    ...,
                    y.keep_first - y.first : y.keep_last - y.first,
                    x.keep_first - x.first : x.keep_last - x.first,
                ]
        return out

    def _call(self, stack: Tensor) -> Tensor:
        out: Tensor = self._module(stack)
        wanted = (len(stack), 3, *stack.shape[2:])
        if out.shape != wanted or out.dtype != torch.float32:
            raise ValueError(f"{self.info.name} gave {tuple(out.shape)} {out.dtype}; wanted is {wanted} float32")
        return out


def _compile(module: nn.Module, device: torch.device) -> None:
    """Our own kernels on a CPU; on a GPU NAFNet's blocks in two passes. Other nets have nothing to compile."""
    if device.type == "cpu" and isinstance(module, NAFNet | MPRNet):
        module.set_fused(Fused(library()))
    elif device.type != "cpu" and isinstance(module, NAFNet):
        if not _has_triton():
            raise ReelmendError(
                "engine.kernels: compiled wants Triton on a GPU, and it is not installed",
                todo="Install the build of torch that brings it (Linux, CUDA), or say engine.kernels: torch",
            )
        module.set_schedule(TwoPasses(device_name(str(device))))


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _no_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch has an error of its own for GPUs, but not for its CPU allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
