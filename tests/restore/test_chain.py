"""The passes over a tile of film: the same picture whatever the tile, nothing across a cut, nothing for nothing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import spec
from pipeline.errors import WeightsError
from pipeline.restore import weights
from pipeline.restore.chain import Restorer
from pipeline.restore.engine import MEMORY_TILE
from pipeline.restore.passes import FACTORIES, Job, Restored
from pipeline.restore.passes.net import GUARD, NOT_FINITE
from pipeline.types import Colour, FrameParameters, Frames, PassPlan, Tile
from tests.restore.test_windows import naive
from tests.restore.toys import (
    GRAY,
    SD,
    Mix,
    Poison,
    Residual,
    cut_at,
    engine,
    film,
    net_info,
    net_pass,
    of,
    plan,
    tiles,
)

DEVICES = ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]
Parameters = Callable[[int], FrameParameters]


class Watch:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.before: dict[int, list[NDArray[Any]]] = {}
        self.after: dict[int, list[NDArray[Any]]] = {}
        self.rgb_before: dict[int, NDArray[Any]] = {}
        self.rgb: dict[int, NDArray[Any]] = {}
        self.untouched: set[int] = set()

    def __call__(self, n: int, before: Any, after: Any, rgb_before: Tensor, rgb_after: Tensor) -> None:
        self.numbers.append(n)
        self.before[n] = [p.cpu().numpy().copy() for p in before]
        self.after[n] = [p.cpu().numpy().copy() for p in after]
        self.rgb_before[n] = rgb_before.cpu().numpy().copy()
        self.rgb[n] = rgb_after.cpu().numpy().copy()
        if before is after and rgb_before is rgb_after:
            self.untouched.add(n)


def restorer(plans: Sequence[PassPlan], passes: dict[str, Any], device: str = "cpu", **said: Any) -> Restorer:
    return Restorer(plans, engine(**said), {}, device, factories={"toy": of(passes)})


def defaults(plans: Sequence[PassPlan], changes: dict[int, dict[str, dict[str, float]]] | None = None) -> Parameters:
    def parameters(n: int) -> FrameParameters:
        return {p.name: dict(p.parameters) | (changes or {}).get(n, {}).get(p.name, {}) for p in plans}

    return parameters


def run(
    r: Restorer,
    frames: Frames,
    length: int,
    cuts: Sequence[int],
    parameters: Parameters,
    halo: int,
    colour: Colour = GRAY,
) -> tuple[list[NDArray[Any]], dict[int, NDArray[Any]], dict[int, list[str]]]:
    """A whole film in tiles: planes, RGB and flags by frame. Overlap frames must come out as before."""
    total = len(frames)
    planes = [np.zeros_like(p) for p in frames.planes]
    rgb: dict[int, NDArray[Any]] = {}
    flags: dict[int, list[str]] = {}
    for tile in tiles(total, length, halo):
        watch = Watch()
        local = cut_at(total, cuts)[tile.read_first : tile.read_last]
        local[0] = False
        part = frames.span(tile.read_first, tile.read_last)
        out = r.run(part, tile, local, parameters, colour, watch)
        assert (out.first, out.last, out.format) == (tile.restore_first, tile.last, frames.format)
        assert np.array_equal(out.pts, frames.pts[tile.restore_first : tile.last])
        assert watch.numbers == list(range(tile.restore_first, tile.last)) == sorted(r.flags)
        for n in watch.numbers:
            for i, p in enumerate(out.frame(n)):
                assert np.array_equal(p, watch.after[n][i])
                assert np.array_equal(frames.planes[i][n], watch.before[n][i])
            if n < tile.first:
                assert np.array_equal(rgb[n], watch.rgb[n], equal_nan=True)
                assert all(np.array_equal(planes[i][n], p) for i, p in enumerate(out.frame(n)))
                assert flags[n] == r.flags[n]
            for i, p in enumerate(out.frame(n)):
                planes[i][n] = p
            rgb[n], flags[n] = watch.rgb[n], r.flags[n]
    return planes, rgb, flags


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_tile_leaves_no_trace(data: st.DataObject) -> None:
    """Several passes of any radius and group, cuts anywhere, frames left out, parameters of their own: every tile
    length gives the same bits, and they are what the whole film computed shot by shot, without streaming, gives."""
    total = data.draw(st.integers(1, 40))
    frames = film(total, seed=data.draw(st.integers(0, 99)))
    cuts = data.draw(st.sets(st.integers(1, max(1, total - 1)))) if total > 1 else set()
    if data.draw(st.booleans()):
        cuts = set(sorted(cuts)[:3])
    shapes = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=0, max_size=3))
    toys: dict[str, Any] = {f"p{i}": Mix(radius, group) for i, (radius, group) in enumerate(shapes)}
    plans = [plan(name, p.radius, lift=0.01) for name, p in toys.items()]
    changes: dict[int, dict[str, dict[str, float]]] = {}
    for n in data.draw(st.sets(st.integers(0, total - 1))):
        name = data.draw(st.sampled_from([p.name for p in plans] or ["none"]))
        strength = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
        changes[n] = {name: {"strength": strength, "lift": data.draw(st.sampled_from([0.0, 0.02]))}}
    parameters = defaults(plans, changes)
    r = restorer(plans, toys)
    reach = sum(p.radius for p in plans) + data.draw(st.sampled_from([0, 2]))

    whole = run(r, frames, total, sorted(cuts), parameters, reach)
    for length in (8, data.draw(st.integers(1, 40))):
        again = run(r, frames, length, sorted(cuts), parameters, reach)
        assert all(np.array_equal(a, b) for a, b in zip(whole[0], again[0], strict=True))
        assert all(np.array_equal(whole[1][n], again[1][n]) for n in range(total))

    picture = {n: np.stack([frames.planes[0][n] / 65535.0] * 3) for n in range(total)}
    for p in plans:
        new = {}
        for n in range(total):
            values = parameters(n)[p.name]
            made = toys[p.name].one([picture[m] for m in naive(n, p.radius, total, sorted(cuts))]) + values["lift"]
            new[n] = picture[n] + values["strength"] * (made - picture[n])
        picture = new
    for n in range(total):
        np.testing.assert_allclose(whole[1][n], picture[n], atol=1e-5)
        assert np.abs(whole[0][0][n] - np.clip(picture[n][0], 0, 1) * 65535).max() < 1.5


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_pass_sees_across_a_cut(data: st.DataObject) -> None:
    total = data.draw(st.integers(2, 30))
    cuts = sorted(data.draw(st.sets(st.integers(1, total - 1), min_size=1)))
    edges = [0, *cuts, total]
    shot = data.draw(st.integers(0, len(edges) - 2))
    clean = range(edges[shot], edges[shot + 1])
    toys = {"poison": Poison(), "a": Mix(data.draw(st.integers(1, 4))), "b": Mix(data.draw(st.integers(0, 3)), 2)}
    plans = [plan(name, p.radius, poison=0.0) for name, p in toys.items()]
    frames = film(total)
    reach = sum(p.radius for p in plans)
    r = restorer(plans, toys)
    poison = {n: {"poison": {"poison": 1.0}} for n in range(total) if n not in clean}
    length = data.draw(st.integers(1, 30))
    _, healthy, _ = run(r, frames, length, cuts, defaults(plans), reach)
    _, rgb, flags = run(r, frames, length, cuts, defaults(plans, poison), reach)
    for n in range(total):
        if n in clean:
            assert np.array_equal(rgb[n], healthy[n])
            assert flags[n] == []
        else:
            assert np.isnan(rgb[n]).all()
            assert flags[n] == ["poisoned"]


def test_flags_go_with_what_a_picture_is_made_from() -> None:
    toys = {"poison": Poison(), "a": Mix(1)}
    plans = [plan(name, p.radius, poison=0.0) for name, p in toys.items()]
    r = restorer(plans, toys)
    changes = {5: {"poison": {"poison": 1.0}}, 6: {"a": {"strength": 0.0}}}
    _, _, flags = run(r, film(10), 4, [], defaults(plans, changes), 1)
    assert [n for n, f in flags.items() if f] == [4, 5]


def test_strength_0_computes_nothing_and_leaves_every_bit() -> None:
    toys = {"a": Mix(2), "b": Mix(1)}
    plans = [plan(name, p.radius) for name, p in toys.items()]
    off = {"a": {"strength": 0.0}, "b": {"strength": 0.0}}
    frames = film(30, "yuv420p10le")
    r = restorer(plans, toys)
    watch = Watch()
    skipped = set(range(8, 20))
    tile = Tile(0, 0, 30, 0, 0, 0)
    out = r.run(frames, tile, cut_at(30, []), defaults(plans, dict.fromkeys(skipped, off)), SD, watch)
    assert watch.untouched == skipped
    assert sorted(toys["a"].numbers) == sorted(set(range(30)) - skipped) == sorted(toys["b"].numbers)
    for a, b in zip(out.planes, frames.planes, strict=True):
        assert np.array_equal(a[8:20], b[8:20])
        assert not np.array_equal(a[:8], b[:8])
    # What would only be read by frames that are left alone is not computed either, in the halo too.
    toys["a"].numbers.clear()
    changes = {n: {"b": {"strength": 0.0}} for n in range(9, 14)}
    tile = Tile(1, 10, 13, 1, 3, 3)
    r.run(frames.span(6, 16), tile, cut_at(10, []), defaults(plans, changes), SD, watch)
    assert toys["a"].numbers == [9, 10, 11, 12]


def test_strength_blends() -> None:
    class White(Mix):
        def restore(self, jobs: Sequence[Job]) -> list[Restored]:
            return [Restored(torch.ones_like(j.window[0])) for j in jobs]

    plans = [plan("a", 0)]
    frames = film(3)
    _, rgb, _ = run(restorer(plans, {"a": White(0)}), frames, 3, [], defaults(plans, {1: {"a": {"strength": 0.25}}}), 0)
    source = frames.planes[0].astype(np.float64) / 65535
    np.testing.assert_allclose(rgb[1][0], source[1] + 0.25 * (1 - source[1]), atol=1e-6)
    assert (rgb[0] == 1).all()


def test_an_empty_chain_copies() -> None:
    frames = film(5, "yuv422p10le")
    planes, _, _ = run(restorer([], {}), frames, 2, [3], defaults([]), 2, SD)
    assert all(np.array_equal(a, b) for a, b in zip(planes, frames.planes, strict=True))


@pytest.mark.parametrize("group", [1, 4])
def test_memory_is_bounded_by_the_windows(group: int) -> None:
    """However long the tile, no more pictures live at once than the windows and the group hold."""
    alive: list[weakref.ref[Tensor]] = []
    most: list[int] = []

    class Count(Mix):
        def restore(self, jobs: Sequence[Job]) -> list[Restored]:
            seen = [t for t in (r() for r in alive) if t is not None] + [t for j in jobs for t in j.window]
            alive[:] = [weakref.ref(t) for t in {id(t): t for t in seen}.values()]
            most.append(len(alive))
            return super().restore(jobs)

    toys = {"a": Count(2, group), "b": Count(1, group)}
    plans = [plan(name, p.radius) for name, p in toys.items()]
    found = []
    for total in (40, 160):
        most.clear()
        alive.clear()
        run(restorer(plans, toys), film(total), total, [], defaults(plans), 3)
        found.append(max(most))
    assert found[0] == found[1] <= (2 * 2 + 1) + (2 * 1 + 1) + 4 * group


class Slots(nn.Module):
    """A net whose answer depends on the frame's place in the batch, as a device's rounding may."""

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(len(x), dtype=torch.float32, device=x.device)
        return x[:, 3:6] * 0.9 + 0.05 * x[:, :3] + 0.01 * places[:, None, None, None]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("module", [Slots(), Residual(radius=1)])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_net_gives_the_same_in_every_tile(module: nn.Module, batch: int, device: str) -> None:
    plans = [plan("net", 1, "net")]
    frames = film(50, "yuv420p", 32, 20)
    r = Restorer(plans, engine(batch=batch), {}, device, factories={"net": net_pass(module, 1)})
    changes = {n: {"net": {"strength": 0.0}} for n in (3, 21, 22)}
    whole = run(r, frames, 50, [7, 8, 30], defaults(plans, changes), 1, SD)
    assert not np.array_equal(whole[0][0], frames.planes[0])
    for length in (6, 8, 48):  # with 6, groups of four begin in the middle
        again = run(r, frames, length, [7, 8, 30], defaults(plans, changes), 1, SD)
        assert all(np.array_equal(a, b) for a, b in zip(whole[0], again[0], strict=True))
        assert all(np.array_equal(whole[1][n], again[1][n]) for n in range(50))


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_the_bundled_net_gives_the_same_in_every_tile(precision: str) -> None:
    """The chain as a job has it: resolved, planned and loaded by name."""
    info = weights.resolve(spec.NetPass())
    plans = [PassPlan("net", "net", info.radius, {"tlc": None}, {"strength": 1.0}, info.sha256)]
    r = Restorer(plans, engine(precision=precision, batch=2), {"net": info}, "cpu")
    frames = film(26, "yuv422p10le", 45, 33)
    whole = run(r, frames, 26, [9, 12], defaults(plans), info.radius, SD)
    for length in (7, 8):
        again = run(r, frames, length, [9, 12], defaults(plans), info.radius, SD)
        assert all(np.array_equal(a, b) for a, b in zip(whole[0], again[0], strict=True))
    assert (whole[0][0] != frames.planes[0]).mean() > 0.5
    assert all(flags == [] for flags in whole[2].values())


def test_a_net_that_answers_without_numbers_leaves_the_frame() -> None:
    class Burst(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x.mean((1, 2, 3), keepdim=True) > 0.5, x / 0.0, x * 0.5)

    frames = film(4)
    planes = [frames.planes[0].copy()]
    planes[0][2] = 60000
    planes[0][[0, 1, 3]] //= 2
    frames = Frames(tuple(planes), frames.format, 0, frames.pts)
    plans = [plan("net", 0, "net")]
    r = Restorer(plans, engine(batch=2), {}, "cpu", factories={"net": net_pass(Burst(), 0)})
    out, _, flags = run(r, frames, 4, [], defaults(plans), 0)
    assert flags == {0: [], 1: [], 2: [GUARD, NOT_FINITE], 3: []}
    assert np.array_equal(out[0][2], planes[0][2])
    assert not np.array_equal(out[0][1], planes[0][1])


def test_the_memory_ladder_is_flagged_and_begins_anew_with_each_tile() -> None:
    class Tight(nn.Module):
        room = 620 * 620

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] * x.shape[-2] > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x

    module = Tight()
    plans = [plan("net", 0, "net")]
    r = Restorer(plans, engine(), {}, "cpu", factories={"net": net_pass(module, 0)})
    frames = film(2, "gray", 700, 640)
    args = (frames, Tile(0, 0, 2, 0, 0, 0), cut_at(2, []), defaults(plans), GRAY, Watch())
    r.run(*args)
    assert r.flags == {0: [MEMORY_TILE], 1: [MEMORY_TILE]}
    module.room = 1 << 30
    r.run(*args)
    assert r.flags == {0: [], 1: []}


def test_what_does_not_fit_together_is_refused() -> None:
    r = restorer([plan("a", 2)], {"a": Mix(2)})
    parameters = defaults([plan("a", 2)])
    frames = film(20)
    with pytest.raises(ValueError, match="the chain needs 2"):
        r.run(frames.span(8, 20), Tile(1, 10, 20, 1, 1, 0), cut_at(12, []), parameters, GRAY, Watch())
    with pytest.raises(ValueError, match="are not what tile 1 reads: 7:20"):
        r.run(frames.span(8, 20), Tile(1, 10, 20, 1, 2, 0), cut_at(12, []), parameters, GRAY, Watch())
    with pytest.raises(ValueError, match="11 cuts for 12 frames"):
        r.run(frames.span(0, 12), Tile(0, 0, 10, 0, 0, 2), cut_at(11, []), parameters, GRAY, Watch())
    with pytest.raises(ValueError, match="planned with radius 1"):
        restorer([plan("a", 1)], {"a": Mix(2)})
    with pytest.raises(WeightsError, match="Install the same reelmend"):
        Restorer([plan("net", 0, "net")], engine(), {"net": net_info()}, "cpu", factories=FACTORIES)
