"""The guard: what restoration does passes, what a broken net makes of flat dark frames does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.restore import nets, weights
from pipeline.restore.engine import MEMORY_BATCH, NetEngine
from pipeline.restore.fields import FieldPass
from pipeline.restore.guard import broken
from pipeline.restore.measure import made
from pipeline.restore.passes import Job, NetPass
from pipeline.restore.passes.net import GUARD, NOT_FINITE
from pipeline.spec import Guard
from pipeline.tables import read_columns
from tests.cluster import alone
from tests.reel.films import make_film
from tests.restore.golden import one_thread
from tests.restore.toys import engine, net_info

__all__ = ["one_thread"]

H, W = 144, 192


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scene(seed: int = 0, *, gray: bool = True, low: float = 0.05, high: float = 0.9) -> Tensor:
    """(3, H, W): soft shapes and fine detail."""
    rough = F.interpolate(noise(1, 1 if gray else 3, 9, 12, seed=seed), (H, W), mode="bicubic")[0]
    fine = 0.15 * noise(1, H, W, seed=seed + 1)
    x = torch.sigmoid(1.2 * rough + fine)
    return (low + (high - low) * x).expand(3, H, W).clone()


def flat(red: float, green: float, blue: float, grain: float = 0.004) -> Tensor:
    return torch.tensor((red, green, blue)).view(3, 1, 1) + grain * noise(3, H, W)


DARK = flat(33 / 255, 25 / 255, 23 / 255)
TITLE = scene(4)
TITLE[:] = 0.02
TITLE[:, 60:76, 40:150:6] = 0.9  # white letters on black
FRAMES = {
    "flat dark": DARK,
    "black leader": flat(0, 0, 0),
    "title": TITLE,
    "white flash": flat(1, 1, 1),
    "fade": scene(2) * 0.06,
    "gray scene": scene(3),
    "colour scene": scene(5, gray=False),
}


def stopped(stack: Tensor, out: Tensor, **limits: float) -> bool:
    return bool(broken(stack[None], out[None], Guard(**limits))[0])


def blob(x: Tensor, red: float, green: float, blue: float, share: float) -> Tensor:
    """The picture with a rectangle of a colour over a share of it."""
    side = round((share * H * W) ** 0.5)
    out = x.clone()
    out[:, 8 : 8 + side, 16 : 16 + side] = torch.tensor((red, green, blue)).view(3, 1, 1)
    return out


class TestRule:
    @pytest.mark.parametrize("name", FRAMES)
    def test_restoration_passes(self, name: str) -> None:
        x = FRAMES[name]
        soft = F.avg_pool2d(x[None], 5, 1, 2, count_include_pad=False)[0]
        assert not stopped(x, x)
        assert not stopped(x, soft)  # grain taken away
        assert not stopped(soft, x + (x - soft))  # blur taken away, with overshoot
        noisy = (x + 0.15 * noise(3, H, W, seed=9)).clamp(0, 1)
        assert not stopped(noisy, x)  # heavy noise, clipped at black and white
        assert not stopped(x, x.clamp(0, 1))

    @pytest.mark.parametrize("name", [n for n in FRAMES if n not in ("flat dark", "fade")])
    @pytest.mark.parametrize("colour", [0.0, 1.0])
    def test_a_big_blotch_may_be_repaired(self, name: str, colour: float) -> None:
        """A quarter of the picture is black or white; the net finds what was below."""
        truth = FRAMES[name]
        assert not stopped(blob(truth, colour, colour, colour, 0.25), truth)

    def test_a_blotch_on_a_flat_dark_frame_may_be_repaired(self) -> None:
        assert not stopped(blob(DARK, 1.0, 1.0, 1.0, 0.25), DARK)
        assert not stopped(blob(FRAMES["fade"], 0.8, 0.8, 0.7, 0.25), FRAMES["fade"])

    def test_rain_may_be_taken_away(self) -> None:
        truth = scene(6, gray=False)
        streaks = (noise(1, H, W, seed=3) > 1.6).float()
        streaks = F.max_pool2d(streaks[None], (15, 1), 1, (7, 0))[0] * 0.35  # most of the picture is rain
        assert float((streaks > 0).float().mean()) > 0.4
        assert not stopped((truth + streaks).clamp(0, 1), truth)

    def test_a_lost_frame_may_be_taken_from_its_neighbours(self) -> None:
        before, after = scene(7), scene(7) * 0.98
        assert not stopped(torch.cat((before, flat(1, 1, 1), after)), (before + after) / 2)
        # A net that sees this frame alone can only invent it.
        assert stopped(flat(1, 1, 1), before)

    @pytest.mark.parametrize("name", FRAMES)
    @pytest.mark.parametrize("colour", [(1.0, 0.0, 1.0), (0.0, 1.0, 0.2), (3.0, -2.0, 0.5)])
    def test_colours_out_of_nowhere_do_not_pass(self, name: str, colour: tuple[float, float, float]) -> None:
        x = FRAMES[name]
        wild = name == "colour scene" and max(colour) <= 1  # colours that it may well have itself
        assert stopped(x, blob(x, *colour, 0.1)) or wild
        assert stopped(x, x + torch.tensor(colour).view(3, 1, 1))
        assert stopped(x, torch.tensor(colour).view(3, 1, 1) + 0 * x)

    @pytest.mark.parametrize("name", ["flat dark", "black leader", "white flash", "fade"])
    def test_a_tint_of_flat_frames_does_not_pass(self, name: str) -> None:
        x = FRAMES[name]
        assert stopped(x, x + torch.tensor((0.06, -0.06, 0.06)).view(3, 1, 1) * (1 + x.std()))
        assert not stopped(x, x + 0.01)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_what_is_not_finite_does_not_pass(self, value: float) -> None:
        x = scene()
        out = x.clone()
        out[1, 5, 7] = value
        assert stopped(x, out)
        assert stopped(x, out, tint=1.0, tint_area=1.0, change=1.0, change_area=1.0)

    def test_each_picture_is_judged_by_itself(self) -> None:
        stack = torch.stack([FRAMES[n] for n in FRAMES])
        out = stack.clone()
        out[2] = out[2].flip(0).neg()
        out[4] += torch.tensor((0.5, 0.0, 0.5)).view(3, 1, 1)
        assert broken(stack, out, Guard()).tolist() == [False, False, True, False, True, False, False]

    @pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 47), (17, 15)])
    def test_tiny_pictures(self, size: tuple[int, int]) -> None:
        x = 0.1 + 0.01 * noise(3, *size)
        assert not stopped(x, x + 0.01)
        assert stopped(x, x + 0.3)


SMALL = (48, 48)


def leader() -> list[Tensor]:
    """Flat dark, black leader with dust, white flash, and a fade to black of five frames."""
    dust = flat(0, 0, 0)
    dust[:, 30, 40:43] = 1.0
    found = [
        DARK,
        dust,
        flat(1, 1, 1),
        *(scene(8) * k for k in (0.2, 0.12, 0.06, 0.02, 0.005)),
    ]  # MPRNet has no bias: it leaves 0 as it is
    return [x[:, : SMALL[0], : SMALL[1]].contiguous() for x in found]


BIG = {"nafnet-sidd-w64", "nafnet-gopro-w64", "nafnet-reds-w64", "mprnet-denoise", "mprnet-deblur"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in BIG)) for n in weights.registry.entries()]
)
def test_no_net_harms_leader_flash_or_fade(name: str) -> None:
    """Every registered architecture. Where its last layers are blown up it gives false colours, and each of these
    frames comes out as it went in, flagged; where they are tame its changes are delivered."""
    config = weights.registry.named(name).config
    frames = leader()
    jobs = [Job(n, (x,) * (2 * config.radius + 1), {}) for n, x in enumerate(frames)]
    net = made(config)
    info = replace(net_info(config.radius), name=name)

    def through(last: float) -> list[tuple[Tensor, frozenset[str]]]:
        with torch.no_grad():
            for end in (net.ending,) if isinstance(net, nets.NAFNet) else (net.tail,):
                for p in end.parameters():
                    p.mul_(last)
        net_pass = NetPass(NetEngine(net, info, engine(precision="fast"), "cpu"), 1, Guard())
        return [(r.rgb, r.marks) for job in jobs for r in net_pass.restore([job])]

    with torch.inference_mode():
        strayed = max(float((net(torch.cat(j.window)[None]) - j.window[0]).abs().mean()) for j in jobs)
    for (rgb, flags), x in zip(through(0.01 / strayed), frames, strict=True):
        assert flags == frozenset()
        assert not torch.equal(rgb, x)
    for (rgb, flags), x in zip(through(2e4), frames, strict=True):
        assert flags == {GUARD}
        assert rgb is x
    for (rgb, flags), x in zip(through(float("nan")), frames, strict=True):
        assert flags == {GUARD, NOT_FINITE}
        assert rgb is x


def test_with_a_limit_small_changes_stay_and_large_ones_are_not_made() -> None:
    class Both(nn.Module):
        """Takes a little off everywhere, and a spot away."""

        def forward(self, x: Tensor) -> Tensor:
            out = x - 0.03
            out[..., 40:44, 60:64] = 0.1
            return out

    shown = torch.full((3, H, W), 0.6)
    jobs = [Job(0, (shown,), {})]
    whole, limited = (
        NetPass(NetEngine(Both(), net_info(), engine(), "cpu"), 1, None, most).restore(jobs)[0].rgb
        for most in (None, 0.08)
    )
    spot = torch.zeros(H, W, dtype=torch.bool)
    spot[40:44, 60:64] = True
    assert torch.allclose(whole[:, spot], torch.tensor(0.1))
    assert torch.equal(limited[:, spot], shown[:, spot])
    assert torch.allclose(limited[:, ~spot], whole[:, ~spot])


def test_no_field_is_left_alone_by_itself() -> None:
    class Odd(nn.Module):
        """Breaks the second field that it is shown."""

        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x + (0.01 if self.calls % 2 else 2.0)

    net = Odd()
    built = [NetPass(NetEngine(net, net_info(), engine(), "cpu"), 1, Guard()) for _ in range(2)]
    x = scene(1)
    (found,) = FieldPass(*built).restore([Job(0, (x,), {})])
    assert found.marks == {GUARD}
    assert found.rgb is x


def test_a_broken_frame_is_delivered_as_it_was_and_flagged_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=5, size=(96, 64))
    real = NetEngine.__call__

    def break_one(self: NetEngine, stack: Tensor) -> Tensor:
        out = real(self, stack)
        break_one.calls += 1  # type: ignore[attr-defined]
        return out + torch.tensor((0.8, -0.5, 0.8)).view(3, 1, 1) if break_one.calls == 3 else out  # type: ignore[attr-defined]

    break_one.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(NetEngine, "__call__", break_one)
    alone.restore(path, tmp_path / "out", "flags.heavy_change.use=false")
    rows: dict[str, Any] = read_columns(
        tmp_path / "out" / "a" / "report" / "frames.parquet", ["flags", "touched_fraction", "source_md5", "output_md5"]
    )
    assert [tuple(f) for f in rows["flags"]] == [(), (), (GUARD,), (), ()]
    same = np.array(rows["source_md5"]) == np.array(rows["output_md5"])
    assert same.tolist() == [False, False, True, False, False]
    assert (np.array(rows["touched_fraction"]) == 0).tolist() == same.tolist()


def test_a_frame_that_found_no_memory_is_restored_and_flagged_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator fails once, in the second tile of film; its frames are computed one by one, and say so."""
    path = tmp_path / "a.mkv"
    make_film(path, frames=8, size=(96, 64))
    real, calls = nets.NAFNet.forward, []

    def tight(self: nets.NAFNet, stack: Tensor) -> Tensor:
        calls.append(len(stack))
        if len(calls) == 4:  # the first of the second tile of film
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, stack)

    monkeypatch.setattr(nets.NAFNet, "forward", tight)
    alone.restore(path, tmp_path / "out", "engine.batch=2", "tiles.frames=4", "flags.heavy_change.use=false")
    rows = read_columns(tmp_path / "out" / "a" / "report" / "frames.parquet", ["flags", "touched_fraction", "tile"])
    told = [(MEMORY_BATCH, "memory-ladder") if t else () for t in rows["tile"]]
    assert [tuple(f) for f in rows["flags"]] == told
    assert 0 < told.count(()) < 8
    assert all(t > 0 for t in rows["touched_fraction"])
    assert calls[:4] == [2, 2, 2, 2]
    assert set(calls[4:]) == {1}


def test_the_limits_are_part_of_the_plan() -> None:
    from pipeline.plan.make import chain_of
    from pipeline.spec import parse

    nets_of = {"net": net_info()}
    plans = [
        chain_of(parse("", overrides=said), nets_of)[0].settings["guard"]
        for said in ([], ["chain.0.guard.tint=0.1"], ["chain.0.guard=null"])
    ]
    assert plans[0] == Guard().model_dump()
    assert plans[1]["tint"] == 0.1
    assert plans[2] is None
