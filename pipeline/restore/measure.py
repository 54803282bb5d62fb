"""What a net costs on a device: for ``reelmend bench net``. One form of one net, in the process that calls.

Nets that are not shipped are given made weights: speed and memory do not depend on what the weights are.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from pipeline import spec
from pipeline.errors import WeightsError
from pipeline.restore import nets, weights
from pipeline.restore.device import device_name
from pipeline.restore.engine import NetEngine, settle
from pipeline.restore.kernels.build import library
from pipeline.restore.kernels.fused import Fused
from pipeline.restore.nets import plain
from pipeline.restore.nets.live import Live
from pipeline.restore.weights import registry
from pipeline.types import NetInfo

FormName = Literal["plain", "plain-kept", "exact", "fast"]
"""``plain``: float32, as the authors ship it, with torch's and the system's own settings. ``plain-kept``: the same, but
with the memory of freed maps kept for the next, as ``engine.settle`` has it. The others: the engine's precisions."""

_ERROR_SIDE = 256
"""px of the largest picture that is computed in float64 too."""
_GEMM = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices whose product is the ceiling."""


class Form:
    """One form of a net on a device, with a picture of noise to work on."""

    def __init__(
        self,
        net: str,
        form: FormName,
        *,
        width: int,
        height: int,
        kernels: Literal["torch", "compiled"] = "torch",
        threads: int = 1,
        device: str = "cpu",
    ):
        """net: a name of the registry, or a path. Raises WeightsError, and ReelmendError without a compiler."""
        self._device, self._form = torch.device(device), form
        self._engine = spec.Engine(
            precision="fast" if form == "fast" else "exact", kernels=kernels, cpu_threads=threads, memory_gib=1024.0
        )
        info, module = _load(net)
        self.config = nets.parse(info.config)
        # The plain form knows no sizes but multiples.
        self._size = tuple(max(1, side // self.config.multiple) * self.config.multiple for side in (height, width))
        self._values = {k: v.clone().to(self._device) for k, v in module.state_dict().items()}
        self._module = None if form.startswith("plain") else module
        if form == "plain":
            torch.set_num_threads(threads)
        else:
            settle(self._engine, self._device)
        if self._module is not None:
            self._run = NetEngine(module, info, self._engine, self._device)
        self._stack = self._noise(*self._size).to(self._device)

    def about(self) -> dict[str, Any]:
        """What is measured: device, and width and height in px as they are computed."""
        return {"device": device_name(str(self._device)), "width": self._size[1], "height": self._size[0]}

    @torch.inference_mode()
    def seconds(self, calls: int = 1) -> float:
        """Seconds of a number of calls, to the end of the last."""
        self._wait()
        began = time.perf_counter()
        for _ in range(calls):
            self._call(self._stack)
        self._wait()
        return time.perf_counter() - began

    @torch.inference_mode()
    def product_flop_s(self) -> float:
        """Floating-point operations a second of a large product of two matrices in this form's number format: the
        ceiling of what its convolutions can reach."""
        side = _GEMM[self._device.type]
        a, b = (torch.randn(side, side, dtype=self._dtype, device=self._device) for _ in range(2))
        self._wait()
        began = time.perf_counter()
        torch.mm(a, b)
        self._wait()
        return 2 * side**3 / (time.perf_counter() - began)

    def flop(self) -> int:
        """Floating-point operations of the plain form's convolutions on one picture."""
        with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
            values = {k: torch.empty_like(v, device="meta") for k, v in self._values.items()}
            plain.forward(self.config, values, torch.empty_like(self._stack, device="meta"))
        return int(counter.get_total_flops())

    @torch.inference_mode()
    def peak_bytes_px(self) -> float:
        """Most bytes of tensors that live at once in a call, for a pixel: without weights; on a CPU without what
        kernels take for themselves."""
        pixels = self._size[0] * self._size[1]
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            before = torch.cuda.memory_allocated(self._device)
            self._call(self._stack)
            self._wait()
            peak: int = torch.cuda.max_memory_allocated(self._device)
            return (peak - before + self._stack.nbytes) / pixels
        weights_of = [*self._values.values(), *(self._module.parameters() if self._module is not None else ())]
        with Live(weights_of) as live:
            live.count(self._stack)
            self._call(self._stack)
        return float(live.peak / pixels)

    @torch.inference_mode()
    def error(self) -> tuple[float, float]:
        """Against the plain form in float64, on a picture of at most 256×256 px: ‖difference‖ / ‖change of the
        picture‖, and the largest difference over the largest change (no units)."""
        size = [min(side, _ERROR_SIDE) for side in self._size]
        stack = self._noise(*size)
        exact = plain.forward(self.config, {k: v.cpu().double() for k, v in self._values.items()}, stack.double())
        found = self._call(stack.to(self._device)).cpu().double()
        radius = self.config.radius
        change = exact - stack[:, 3 * radius : 3 * radius + 3]
        apart = found - exact
        return float(apart.norm() / change.norm()), float(apart.abs().max() / change.abs().max())

    def profile(self) -> list[tuple[str, float]]:
        """Steps of a call with their share of its time, the longest first."""
        if isinstance(self._module, nets.NAFNet | nets.MPRNet) and self._engine.kernels == "compiled":
            self._module.set_fused(_Named(library()))
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._device.type == "cuda" else [])]
        with torch.inference_mode(), profile(activities=activities) as seen:
            self._call(self._stack)
            self._wait()
        on_gpu = self._device.type == "cuda"
        spent = {
            e.key: float(e.self_device_time_total if on_gpu else e.self_cpu_time_total) for e in seen.key_averages()
        }
        whole = sum(spent.values()) or 1.0
        return sorted(((key, s / whole) for key, s in spent.items()), key=lambda item: -item[1])

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self._form == "fast" else torch.float32

    def _call(self, stack: Tensor) -> Tensor:
        return self._run(stack) if self._module is not None else plain.forward(self.config, self._values, stack)

    def _noise(self, height: int, width: int) -> Tensor:
        shape = (1, 3 * (2 * self.config.radius + 1), height, width)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class _Named(Fused):
    """The kernels, so that a profile sees them."""

    def _call(self, name: str, dtype: torch.dtype, *arguments: Any) -> None:
        with record_function(f"fused {name}"):
            super()._call(name, dtype, *arguments)


def made(config: nets.NetConfig) -> nets.NAFNet | nets.MPRNet:
    """A net with weights that let values pass through it without growing or fading; always the same ones."""
    with torch.device("meta"):
        net = nets.build(config)
    net = net.to_empty(device="cpu")
    seed = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, p in net.named_parameters():
            bound = (3 / p[0].numel()) ** 0.5 if p.ndim == 4 and not key.endswith(("beta", "gamma")) else 0.1
            p.uniform_(-bound, bound, generator=seed)
            if p.shape == (1,):
                p.fill_(0.25)  # MPRNet's slope, as it begins to learn
            if ".norm" in key and key.endswith("weight"):
                p.add_(1)
    return net.eval()


def _load(name: str) -> tuple[NetInfo, nets.NAFNet | nets.MPRNet]:
    entry = registry.entries().get(name)
    if entry is None or entry.file is not None:
        info = weights.resolve(spec.NetPass(weights=name, accept_licence=True))
        found = weights.load(info)
        if not isinstance(found, nets.NAFNet | nets.MPRNet):
            raise WeightsError("only NAFNet and MPRNet have a plain form to be measured against", where=name)
        return info, found
    config = entry.config
    info = NetInfo(
        name=name,
        uri="made",
        sha256="",
        family=config.family,
        config=config.mapping(),
        radius=config.radius,
        licence=entry.licence,
        restricted=False,
        train_size=entry.train_size,
        parameter_bytes=0,
        activation_bytes_px=config.activation_bytes_px,
    )
    return info, made(config)
