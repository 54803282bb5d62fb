"""NAFNet's block in two passes: what the block computes, whatever compiles it."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import ReelmendError
from pipeline.restore import engine as engine_module
from pipeline.restore import nets
from pipeline.restore.kernels import schedule
from pipeline.restore.kernels.schedule import TwoPasses
from tests.restore.golden import filled, golden, one_thread, relative

__all__ = ["one_thread"]


def outputs(name: str, two_passes: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    g = golden(name)
    net, plain = filled(g.config).to(dtype), filled(g.config).to(dtype)
    assert isinstance(net, nets.NAFNet)
    net.set_schedule(two_passes)
    x = g.input.to(torch.float64 if dtype == torch.float64 else torch.float32)
    with torch.inference_mode():
        return net(x), plain(x)


class Passes(TwoPasses):
    """Not compiled at all."""

    def __init__(self) -> None:
        self._first, self._second = schedule.first, schedule.second


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["nafnet_tiny", "nafnet_tiny_tlc"])
def test_two_passes_compute_the_block(name: str, dtype: torch.dtype) -> None:
    found, wanted = outputs(name, Passes(), dtype)
    assert relative(found, wanted) < {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 0.02}[dtype]
    if dtype == torch.float32:
        assert relative(found[0], golden(name).outputs[0]) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nafnet_tiny", "nafnet_tiny_tlc"])
def test_they_do_when_torch_traces_them(name: str) -> None:
    """As one graph each, which is what a compiler is given."""
    found, wanted = outputs(name, TwoPasses("no device", backend="eager"), torch.float32)
    assert relative(found, wanted) < 1e-6
    assert relative(found[0], golden(name).outputs[0]) <= 1e-5


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not shutil.which("g++"), reason="torch's compiler needs g++ on a CPU")
def test_they_do_when_torch_compiles_them() -> None:
    config = {"arch": "nafnet", "width": 16, "enc_blk_nums": [], "middle_blk_num": 1, "dec_blk_nums": []}
    net, plain = filled(config), filled(config)
    assert isinstance(net, nets.NAFNet)
    net.set_schedule(TwoPasses("no device"))
    x = torch.rand(1, 3, 24, 40)
    with torch.inference_mode():
        assert relative(net(x), plain(x)) < 1e-6


def test_nothing_is_timed() -> None:
    for options in (schedule.OPTIONS, *schedule.TUNED.values()):
        assert not options.get("max_autotune")
        assert not options.get("coordinate_descent_tuning")


def test_a_gpu_without_triton_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    net = filled(golden("nafnet_tiny").config)
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(engine_module, "_has_triton", lambda: False)
    with pytest.raises(ReelmendError, match=r"Triton.*engine\.kernels: torch"):
        engine_module._compile(net, gpu)
    monkeypatch.setattr(engine_module, "_has_triton", lambda: True)
    monkeypatch.setattr(engine_module, "device_name", lambda _: "some GPU")
    engine_module._compile(net, gpu)
    assert {type(m.schedule) for m in net.modules() if hasattr(m, "schedule")} == {TwoPasses}
