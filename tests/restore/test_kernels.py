"""The compiled kernels: what torch computes, for any size, and the same bits whatever the number of threads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.errors import ReelmendError
from pipeline.restore import nets
from pipeline.restore.engine import MEMORY_BATCH, NetEngine
from pipeline.restore.kernels import build
from pipeline.restore.kernels.fused import Fused
from tests.restore.golden import filled, golden, one_thread, relative
from tests.restore.toys import engine, net_info

__all__ = ["one_thread"]

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler, which users need not have"
)
DTYPES = [torch.float32, torch.bfloat16]
SIZES = st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 140))


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REELMEND_CACHE", str(tmp_path_factory.mktemp("cache")))
        build.library.cache_clear()
        yield
        build.library.cache_clear()


@pytest.fixture(scope="module")
def fused() -> Fused:
    return Fused(build.library())


def some(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x


def near(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    assert found.shape == wanted.shape
    limit = 1e-6 if dtype == torch.float32 else 2**-8
    assert float((found.double() - wanted).abs().max()) <= limit * max(1.0, float(wanted.abs().max()))


@needs_compiler
class TestKernels:
    @settings(max_examples=15, deadline=None)
    @given(size=SIZES, c=st.sampled_from([16, 32, 48]), dtype=st.sampled_from(DTYPES))
    def test_layer_norm(self, fused: Fused, size: tuple[int, int, int], c: int, dtype: torch.dtype) -> None:
        b, h, w = size
        x, weight, bias = 3 + some(b, c, h, w, dtype=dtype), some(c, dtype=dtype), some(c, dtype=dtype, seed=1)
        with torch.no_grad():
            found = fused.layer_norm(x, weight, bias, 1e-6)
        wanted = F.layer_norm(x.double().permute(0, 2, 3, 1), (c,), weight.double(), bias.double(), 1e-6)
        near(found, wanted.permute(0, 3, 1, 2), dtype)

    @settings(max_examples=25, deadline=None)
    @given(size=SIZES, c=st.sampled_from([16, 48]), dtype=st.sampled_from(DTYPES))
    def test_depthwise_gate(self, fused: Fused, size: tuple[int, int, int], c: int, dtype: torch.dtype) -> None:
        b, h, w = size
        x, weight, bias = some(b, 2 * c, h, w, dtype=dtype), some(2 * c, 1, 3, 3, dtype=dtype), some(2 * c, dtype=dtype)
        with torch.no_grad():
            found, mean = fused.depthwise_gate(x, weight, bias)
        y, z = F.conv2d(x.double(), weight.double(), bias.double(), padding=1, groups=2 * c).chunk(2, 1)
        near(found, y * z, dtype)
        near(mean, (y * z).mean((2, 3), keepdim=True), torch.float32)

    @settings(max_examples=25, deadline=None)
    @given(size=SIZES, c=st.sampled_from([1, 3, 16, 40, 60]), dtype=st.sampled_from(DTYPES), slope=st.floats(-2, 2))
    def test_what_stands_around_channel_attention(
        self, fused: Fused, size: tuple[int, int, int], c: int, dtype: torch.dtype, slope: float
    ) -> None:
        b, h, w = size
        x, y, scale = some(b, c, h, w, dtype=dtype), some(b, c, h, w, dtype=dtype, seed=2), some(b, c, 1, 1, seed=3)
        with torch.no_grad():
            near(fused.mean(x), x.double().mean((2, 3), keepdim=True), torch.float32)
            near(fused.scaled(x, scale), x.double() * scale.double(), dtype)
            near(fused.scaled(x, scale, y), y.double() + x.double() * scale.double(), dtype)
            near(fused.scaled(x, scale[:1]), x.double() * scale[:1].double(), dtype)
            wanted = torch.where(x > 0, x.double(), x.double() * torch.tensor(slope, dtype=torch.float32).double())
            near(fused.prelu_(x.clone(), slope), wanted, dtype)

    @settings(max_examples=40, deadline=None)
    @given(
        size=SIZES,
        c=st.sampled_from([16, 40, 60, 81]),
        to=st.sampled_from([16, 40, 64, 81, 120]),
        slope=st.sampled_from([1.0, 0.25, -0.5]),
        bias=st.booleans(),
    )
    def test_convolution(
        self, fused: Fused, size: tuple[int, int, int], c: int, to: int, slope: float, bias: bool
    ) -> None:
        b, h, w = size
        x, weight, add = some(b, c, h, w), some(to, c, 3, 3, seed=1), some(to, seed=2) if bias else None
        taps = fused.taps(weight, add)
        assert taps is not None
        with torch.no_grad():
            found = fused.convolve(x, taps, slope)
        wanted = F.conv2d(x.double(), weight.double(), None if add is None else add.double(), padding=1)
        near(found, torch.where(wanted > 0, wanted, wanted * slope), torch.float32)

    def test_which_convolutions_are_taken(self, fused: Fused) -> None:
        assert fused.taps(some(16, 16, 3, 3), None) is not None
        for weight in (some(16, 3, 3, 3), some(3, 16, 3, 3), some(16, 16, 5, 5), some(16, 16, 3, 3).bfloat16()):
            assert fused.taps(weight, None) is None
        assert not fused.takes(some(1, 16, 4, 4, dtype=torch.bfloat16), dtype=torch.float32)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_threads_change_no_bit_and_nan_stays(self, fused: Fused, dtype: torch.dtype) -> None:
        x = some(2, 64, 37, 131, dtype=dtype)
        weight, bias = some(64, 1, 3, 3, dtype=dtype), some(64, dtype=dtype)
        taps = fused.taps(some(48, 64, 3, 3), None)
        assert taps is not None

        def everything() -> list[Tensor]:
            with torch.no_grad():
                gated, mean = fused.depthwise_gate(x, weight, bias)
                return [
                    fused.layer_norm(x, bias, bias, 1e-6),
                    gated,
                    mean,
                    fused.mean(x),
                    fused.scaled(x, fused.mean(x)),
                    *([fused.convolve(x, taps, 0.5)] if dtype == torch.float32 else []),
                ]

        x[0, 5, 3, 70] = float("nan")
        one = everything()
        torch.set_num_threads(2)
        two = everything()
        assert all(torch.equal(a.nan_to_num(99), b.nan_to_num(99)) for a, b in zip(one, two, strict=True))
        assert all(bool(t[0].isnan().any()) and not bool(t[1].isnan().any()) for t in one)


FULL = """
import ctypes, resource, sys
library = ctypes.CDLL(sys.argv[1])
deep, tall, i, f = 16384, 1 << 23, ctypes.c_int, ctypes.c_float
maps = (f * (16 * deep * 16))()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20),) * 2)
told = [library.winograd_float32(maps, maps, maps, f(1), maps, 1, 2, 2, deep, 16, 1)]
told.append(library.layer_norm_float32(maps, maps, maps, maps, ctypes.c_int64(1), tall, f(0), 1))
for kind in ("float32", "bfloat16"):
    told.append(getattr(library, f"mean_{kind}")(maps, maps, 1, 1, 1, 16, tall, 1))
    told.append(getattr(library, f"mean_{kind}")(maps, maps, 1, tall, 1, 16, 16, 1))
    told.append(getattr(library, f"depthwise_gate_{kind}")(maps, maps, maps, maps, maps, 1, tall, 1, 16, 1))
print(told, library.mean_float32(maps, maps, 1, 1, 1, 16, 16, 1))
"""


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="bounds a process's memory as Linux does")
def test_a_kernel_without_memory_ends_no_process(fused: Fused) -> None:
    """In a process of its own, which may take 20 MiB more than it has."""
    words = [sys.executable, "-c", FULL, fused._library._name]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"{[1] * 8} 0\n"), ended.stderr


@needs_compiler
def test_a_kernel_without_memory_takes_a_step_of_the_ladder() -> None:
    net, x = filled(golden("nafnet_tiny").config), some(1, 3, 90, 160).contiguous()
    run = NetEngine(net, net_info(), engine(kernels="compiled", batch=2), "cpu")
    wanted = run(x)

    class Full:
        """A library whose first call finds no memory."""

        calls = 0

        def __getattr__(self, name: str) -> Any:
            self.calls += 1
            return getattr(build.library(), name) if self.calls > 1 else lambda *_: 1

    net.set_fused(Fused(Full()))  # type: ignore[arg-type]
    near(run(x), wanted.double(), torch.float32)
    assert run.flags == {MEMORY_BATCH}


@needs_compiler
@pytest.mark.parametrize(
    "name",
    [
        "nafnet_tiny",
        "nafnet_tiny_tlc",
        "nafnet_sidd_w32",
        "mprnet_derain",
        pytest.param("mprnet_derain_tlc", marks=pytest.mark.slow),
    ],
)
def test_nets_compute_the_golden_numbers_with_them(name: str, fused: Fused) -> None:
    g = golden(name)
    net = filled(g.config)
    plain = filled(g.config)
    net.set_fused(fused)
    with torch.inference_mode():
        assert relative(net(g.input)[0], g.outputs[0]) <= 1e-5
        assert not torch.equal(net(g.input), plain(g.input))  # they ran
        change = g.outputs[0] - g.input[0].numpy()
        assert relative(net.bfloat16()(g.input)[0] - g.input[0], change) < 0.05
        # Other number formats are torch's.
        again = filled(g.config).double()
        again.set_fused(fused)
        assert torch.equal(again(g.input.double()), plain.double()(g.input.double()))


@needs_compiler
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 47), (210, 70)])
@pytest.mark.parametrize("kind", ["nafnet", "mprnet"])
def test_nets_compute_the_same_at_any_size(kind: str, size: tuple[int, int]) -> None:
    """In batches and spatial tiles too."""
    small = {"arch": "mprnet", "n_feat": 16, "scale_unetfeats": 8, "scale_orsnetfeats": 8, "num_cab": 1}
    config = golden("nafnet_tiny").config if kind == "nafnet" else small
    x = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    plain, found = (
        NetEngine(filled(config), net_info(), engine(kernels=kernels, batch=2, tile=128), "cpu")(x)
        for kernels in ("torch", "compiled")
    )
    assert relative(found, plain) <= 1e-5
    assert not torch.equal(found, plain)  # they ran


@needs_compiler
def test_the_spec_says_whether_they_are_used() -> None:
    def blocks(kernels: str) -> set[bool]:
        net = nets.build(golden("nafnet_tiny").config)
        NetEngine(net, net_info(), engine(kernels=kernels), "cpu")
        return {m.fused is not None for m in net.modules() if hasattr(m, "fused")}

    assert blocks("torch") == {False}
    assert blocks("compiled") == {True}


@needs_compiler
def test_the_library_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    build.library()
    build.library.cache_clear()
    real, commands = build._run, []

    def run(command: list[str]) -> str:
        commands.append(command)
        return real(command)

    monkeypatch.setattr(build, "_run", run)
    build.library()
    assert [c[1:] for c in commands] == [["--version"]]


@pytest.mark.parametrize(
    ("compiler", "word"), [("false", "cannot be built|does not run"), ("/no/such/compiler", "does not run")]
)
def test_a_worker_without_a_compiler_says_so(
    compiler: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler)
    build.library.cache_clear()
    with pytest.raises(ReelmendError, match=rf"({word}).*engine\.kernels: torch"):
        build.library()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReelmendError, match="there is none of c"):
        build.library()
    build.library.cache_clear()
