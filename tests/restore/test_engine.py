"""A net on a device: spatial tiles, batches of one shape, precision, and running out of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.errors import ReelmendError
from pipeline.plan.memory import spatial_tile
from pipeline.reel.formats import pixel_format
from pipeline.restore.colour import Converter
from pipeline.restore.engine import MEMORY_BATCH, MEMORY_CPU, MEMORY_TILE, NetEngine, settle, spans
from tests.restore.toys import GRAY, Residual, engine, net_info


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make(module: nn.Module, radius: int = 0, **said: Any) -> NetEngine:
    return NetEngine(module, net_info(radius), engine(**said), "cpu")


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@given(size=st.integers(1, 9000), tile=st.integers(2, 40), halo=st.integers(2, 20))
@settings(max_examples=300, deadline=None)
def test_spans_cover_an_axis_with_equal_tiles_and_their_halo(size: int, tile: int, halo: int) -> None:
    tile, halo = tile * 64, halo * 16
    found = spans(size, tile, halo)
    assert [s.keep_first for s in found] == [0, *(s.keep_last for s in found[:-1])]
    assert found[-1].keep_last == size
    assert len({s.last - s.first for s in found}) == 1
    assert found[0].last - found[0].first <= tile + 2 * halo + 63
    for s in found:
        assert 0 <= s.first <= s.keep_first < s.keep_last <= s.last <= size
        assert s.first % 64 == 0
        assert s.first == 0 or s.keep_first - s.first >= halo
        assert s.last == size or s.last - s.keep_last >= halo


def test_spatial_tiles_give_what_the_whole_frame_gives() -> None:
    module = Residual(whole=True)
    x = (pictures(2, 3, 301, 467) * 8).round()
    whole = make(module, batch=2)(x)
    tiled = make(module, batch=2, tile=128, halo=32)
    module.shapes.clear()
    out = tiled(x)
    assert torch.equal(out, whole)
    assert len(module.shapes) > 4
    assert len(set(module.shapes)) == 1
    assert tiled.flags == frozenset()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_every_call_has_the_spec_s_batch(batch: int, n: int) -> None:
    module = Residual(radius=1)
    run = make(module, 1, batch=batch)
    x = pictures(n, 9, 20, 12)
    out = run(x)
    assert set(module.shapes) == {(batch, 9, 20, 12)}
    assert out.shape == (n, 3, 20, 12)
    one_by_one = torch.cat([run(x[i : i + 1]) for i in range(n)])
    torch.testing.assert_close(out, one_by_one, rtol=0, atol=1e-6)


def test_precision() -> None:
    x = pictures(1, 9, 40, 36)
    plain = Residual(radius=1)(x)
    exact = make(Residual(radius=1), 1)(x)
    module = Residual(radius=1)
    fast = make(module, 1, precision="fast")(x)
    assert exact.dtype == fast.dtype == torch.float32
    torch.testing.assert_close(exact, plain, rtol=0, atol=1e-6)
    assert all(p.dtype == torch.bfloat16 for p in module.parameters())
    apart = (fast - plain).abs().max()
    assert 0 < apart < 0.01


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", ["gray10le", "gray16le"])
def test_a_net_that_changes_nothing_keeps_every_code(precision: str, name: str) -> None:
    """In bfloat16 too: the picture itself never goes through it."""
    fmt = pixel_format(name)
    module = Residual()
    for p in module.body.parameters():
        p.zero_()
    codes = torch.arange(1 << fmt.depth, dtype=torch.int32).to(torch.uint16).reshape(1, 32, -1)
    converter = Converter(fmt, GRAY, "cpu")
    rgb = converter.to_rgb([codes])
    out = make(module, precision=precision)(rgb)
    assert torch.equal(out, rgb)
    assert torch.equal(converter.delta(rgb, out, [codes])[0], codes)


class Small(nn.Module):
    """A device with room for so many pixels in a call; gives the picture with one added. ``to`` takes it to another
    place, with more room."""

    def __init__(self, room: int, elsewhere: int = 0, word: type[Exception] = torch.OutOfMemoryError):
        super().__init__()
        self.room = room
        self.elsewhere = elsewhere
        self.word = word
        self.shapes: list[tuple[int, int, int]] = []

    def to(self, *args: Any, **kwargs: Any) -> Small:
        if args:
            self.room, self.elsewhere = self.elsewhere, self.room
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append((len(x), *x.shape[2:]))
        if len(x) * x.shape[-1] * x.shape[-2] > self.room:
            raise self.word("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: not enough memory")
        return x + 1


def test_the_memory_ladder_one_step_after_the_other() -> None:
    """Half the batch, down to one; smaller and smaller spatial tiles; the CPU. The picture is the same all the way."""
    x = pictures(4, 3, 700, 1300)

    def flags(room: int, elsewhere: int = 0, **said: Any) -> frozenset[str]:
        module = Small(room, elsewhere)
        run = NetEngine(module, net_info(), engine(**said), "cpu", last_resort="cpu" if elsewhere else None)
        assert torch.equal(run(x), x + 1)
        # What did not fit is not tried again until the next tile of film, which begins as the plan says.
        tried = len(module.shapes)
        assert torch.equal(run(x), x + 1)
        assert max(module.shapes[tried:]) in module.shapes[:tried]
        found = run.flags
        run.reset()
        assert run.flags == frozenset()
        if not elsewhere:
            module.room = 1 << 40
        module.shapes.clear()
        assert torch.equal(run(x), x + 1)
        assert module.shapes[0] == (said.get("batch", 1), 700, 1300)
        return found

    whole = 700 * 1300
    assert flags(4 * whole, batch=4) == frozenset()
    assert flags(2 * whole, batch=4) == flags(whole, batch=4) == {MEMORY_BATCH}
    assert flags(whole - 1, batch=4) == {MEMORY_BATCH, MEMORY_TILE}
    assert flags(700 * 700) == flags(400 * 400) == {MEMORY_TILE}
    assert flags(1000, 1 << 30) == {MEMORY_TILE, MEMORY_CPU}
    assert flags(1000, 1 << 30, batch=2) == {MEMORY_BATCH, MEMORY_TILE, MEMORY_CPU}


def test_the_cpu_s_allocator_is_understood_and_other_errors_are_not_memory() -> None:
    x = pictures(2, 3, 40, 40)
    run = make(Small(1600, word=RuntimeError), batch=2)
    assert torch.equal(run(x), x + 1)
    assert run.flags == {MEMORY_BATCH}

    class Wrong(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        make(Wrong())(x)


@pytest.mark.parametrize("tile", [None, 256])
def test_memory_that_does_not_do_is_said(tile: int | None) -> None:
    module = Small(1000)
    with pytest.raises(ReelmendError, match=r"toy finds no memory on cpu .* 800x600.*cluster\.restorers"):
        make(module, tile=tile)(torch.zeros(1, 3, 600, 800))
    # No step that makes a call no smaller is tried.
    assert len(module.shapes) == len(set(module.shapes)) == (2 if tile else 4)


def test_a_net_that_finds_no_way_back_stays_on_the_cpu_and_flagged() -> None:
    module = Small(1000, 1 << 30)
    run = NetEngine(module, net_info(), engine(), "cpu", last_resort="cpu")
    x = pictures(1, 3, 300, 300)
    run(x)

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    module.to = full  # type: ignore[method-assign]
    run.reset()
    assert torch.equal(run(x), x + 1)
    assert MEMORY_CPU in run.flags


def test_whole_frames_where_the_plan_s_memory_allows_else_spatial_tiles() -> None:
    heavy = replace(net_info(), activation_bytes_px=4096.0)

    def side(w: int, h: int, **said: Any) -> int | None:
        return spatial_tile(w, h, heavy, engine(**said))

    assert side(1024, 1024, memory_gib=4) is None
    assert side(1024, 1025, memory_gib=4) == 512
    assert side(1024, 1025, memory_gib=4, batch=8) == 384
    assert side(1024, 1025, memory_gib=0.25) == 384
    assert side(640, 480, memory_gib=4, tile=128) == 128
    assert side(1024, 1536, memory_gib=4, precision="fast") is None
    # The engine does as the plan has it.
    module = Residual()
    NetEngine(module, heavy, engine(memory_gib=1.0), "cpu")(pictures(1, 3, 600, 700))
    assert set(module.shapes) == {(1, 3, 472, 508)}


@pytest.mark.parametrize(
    ("forward", "word"),
    [(lambda x: x[:, :1], "wanted is"), (lambda x: x.double(), "float64"), (lambda x: x[..., 1:], "wanted is")],
)
def test_a_net_that_gives_something_else_is_refused(forward: Callable[[Tensor], Tensor], word: str) -> None:
    module = nn.Module()
    module.forward = forward
    with pytest.raises(ValueError, match=word):
        make(module)(torch.zeros(1, 3, 8, 8))


def test_a_wrong_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="toy takes 9 of float32"):
        make(Residual(1), 1)(torch.zeros(1, 3, 8, 8))


def test_settling_fixes_what_could_change_pictures() -> None:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    settle(engine(cpu_threads=2), "cpu")
    assert torch.get_num_threads() == 2
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_gpu_agrees(precision: str) -> None:
    settle(engine(), "cuda:0")
    x = pictures(2, 9, 301, 467)
    wanted = make(Residual(radius=1).double().float(), 1, batch=2)(x)
    run = NetEngine(Residual(radius=1), net_info(1), engine(batch=2, precision=precision), "cuda:0")
    got = run(x.to("cuda:0")).cpu()
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5 if precision == "exact" else 0.01)
