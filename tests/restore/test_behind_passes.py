"""What a pass knows of those before it: nets spare what `dirt` spared, and `degrain` gives back what a net took."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.restore.passes import Bench, Job, Spared, Through
from pipeline.restore.passes.degrain import DegrainPass
from pipeline.treatments import DegrainPass as Said
from tests.restore.test_passes import Clip, bar, frames_of, pan, passing, rain, restored, sparkle, worn
from tests.restore.toys import engine, net_pass, plan

NET = "pass: net, weights: nafnet-film"


def wrong(clip: Clip, out: Clip, truth: Clip) -> float:
    """Share of the worst frame that came out further from the truth than it was, by 16/255."""
    source = frames_of(clip).planes[0].astype(np.float32) / 65535
    return float((np.abs(out - truth) - np.abs(source - truth) > 16 / 255).mean((1, 2)).max())


@pytest.mark.parametrize(("trap", "net_alone"), [(bar, 5e-3), (rain, 5e-3), (sparkle, 5e-3), (passing, 5e-4)])
def test_no_net_takes_away_what_dirt_spared(trap: Callable[[Clip], None], net_alone: float) -> None:
    truth = np.array(pan(8, (0.4, 0.1), size=(240, 320)))
    trap(truth)
    truth = np.clip(truth, 0, 1)
    clip = truth + np.random.default_rng(1).normal(0, 3 / 255, truth.shape).astype(np.float32)
    assert wrong(clip, restored(clip, f"{{{NET}}}")[0], truth) > net_alone, "a net by itself takes it for dirt"
    assert wrong(clip, restored(clip, f"{{pass: dirt}}, {{{NET}}}")[0], truth) < 1e-3


def test_a_net_takes_away_what_stands_out_as_dirt_does_and_is_none_that_moves() -> None:
    """Too faint for the threshold of `dirt`, which sees it, and sees nothing like it nearby."""
    truth = pan(9, (1.0, 0.4), size=(160, 240))
    clip = truth + np.random.default_rng(2).normal(0, 2 / 255, truth.shape).astype(np.float32)
    clip[4, 70:78, 100:108] += 0.3
    out, worker = restored(clip, f"{{pass: dirt, threshold: 0.5}}, {{{NET}}}")
    assert worker.found[4]["dirt_fraction"] == 0.0
    assert np.abs(out - truth)[4, 70:78, 100:108].mean() < 0.06


def test_a_frame_with_too_much_dirt_for_dirt_is_the_nets() -> None:
    truth = pan(9, (1.0, 0.4), size=(160, 240))
    clip = truth + np.random.default_rng(2).normal(0, 2 / 255, truth.shape).astype(np.float32)
    for y in range(20, 140, 24):
        clip[4, y : y + 5, 20:220:24] = clip[4, y : y + 5, 22:220:24] = 0.95
    out, worker = restored(clip, f"{{pass: dirt, most: 0.001}}, {{{NET}}}")
    assert "dirt-limit" in worker.flags[4]
    spots = np.abs(clip[4] - truth[4]) > 0.1
    assert np.abs(out - truth)[4][spots].mean() < 0.2 * np.abs(clip - truth)[4][spots].mean()


def test_a_net_that_sees_one_frame_does_what_it_says_behind_dirt() -> None:
    """Such nets sharpen, or light dark film: nothing is taken away for being in one frame alone."""

    class Brighter(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 0.2

    rgb = torch.rand(3, 16, 16)
    spared = Spared(torch.ones(16, 16, dtype=torch.bool), torch.zeros(16, 16, dtype=torch.bool))
    bench = Bench(engine(), {}, torch.device("cpu"))
    for radius, moved in ((0, 0.2), (1, 0.0)):
        module = Brighter() if radius == 0 else torch.nn.Sequential(Middle(), Brighter())
        treatment = net_pass(module, radius)(plan("net", radius, "net"), bench)
        (found,) = treatment.restore([Job(0, (rgb,) * (2 * radius + 1), {}, spared=spared)])
        assert float((found.rgb - rgb).mean()) == pytest.approx(moved, abs=1e-5)


def test_a_net_gives_film_without_colour_none() -> None:
    class Tints(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.tensor((0.02, 0.0, -0.01)).view(1, 3, 1, 1)

    treatment = net_pass(Tints(), 0)(plan("net", 0, "net"), Bench(engine(), {}, torch.device("cpu")))
    grey, colour = torch.rand(1, 16, 16).expand(3, 16, 16), torch.rand(3, 16, 16)
    grey_out, colour_out = (treatment.restore([Job(0, (rgb,), {})])[0].rgb for rgb in (grey, colour))
    assert torch.equal(grey_out, grey_out[:1].expand(3, 16, 16))
    assert float((grey_out - grey).mean()) == pytest.approx(0.01 / 3, abs=1e-5)
    assert float((colour_out - colour)[0].mean()) == pytest.approx(0.02, abs=1e-5)


class Middle(torch.nn.Module):
    """The frame of a window of three."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 3:6]


def test_a_later_look_sees_more_and_forgets_no_thing() -> None:
    def mask(*places: int) -> torch.Tensor:
        return torch.tensor([[i in places for i in range(6)]])

    first, later = Spared(mask(0, 1, 2), mask(4)), Spared(mask(1), mask(5))
    assert torch.equal(first.then(later).mask, mask(1, 4, 5))
    assert first.then(None) is first


@pytest.mark.parametrize("length", [5, 7])
def test_a_chain_that_looks_back_leaves_no_trace_of_tiles(length: int) -> None:
    said = f"{{pass: dirt}}, {{pass: degrain}}, {{{NET}}}, {{pass: degrain, name: again}}"
    clip = worn(20)[:, :96, :128]
    (short, a), (long, b) = restored(clip, said, length=length), restored(clip, said)
    assert np.array_equal(short, long)
    assert a.found == b.found


def softened(clip: Clip, detail: float, *, darker: float = 0.0, since: float = 0.0) -> Clip:
    """Behind a net that gave each frame a mean over 3 × 3 px, and took so much from all; and a pass that did again."""
    radius, last = DegrainPass.radius, len(clip) - 1
    given = [torch.from_numpy(np.repeat(f[None], 3, 0)) for f in clip]
    soft = [torch.nn.functional.avg_pool2d(p[None], 3, 1, 1, count_include_pad=False)[0] for p in given]
    nets = [Through(a, b - darker) for a, b in zip(given, soft, strict=True)]
    shown = [net.made - since for net in nets]
    treatment = DegrainPass(Said(detail=detail).model_dump())
    out = []
    for k in range(len(clip)):
        window = [min(max(k + j, 0), last) for j in range(-radius, radius + 1)]
        out += treatment.restore([Job(k, tuple(shown[j] for j in window), {}, tuple(nets[j] for j in window))])
    return np.stack([r.rgb[0].numpy() for r in out])


def textured() -> tuple[Clip, Clip]:
    """A pan over fine texture on the left and little of it on the right; with a little grain, and without."""
    rng = np.random.default_rng(3)
    scene = pan(9, (1.0, 0.0), size=(160, 240)).copy()
    texture = rng.normal(0, 0.03, (160, 260)).astype(np.float32)
    scene[:, :, :120] += np.stack([texture[:, k : k + 120] for k in range(9)])
    return (scene + rng.normal(0, 2 / 255, scene.shape)).astype(np.float32), scene


def test_detail_that_a_net_took_in_frame_after_frame_alike_comes_back_and_grain_does_not() -> None:
    clip, truth = textured()
    bare, back = softened(clip, 0.0), softened(clip, 1.0)
    there, flat = np.s_[3:-3, 12:-12, 12:100], np.s_[3:-3, 12:-12, 140:-12]

    def error(film: Clip, where: tuple[slice, ...]) -> float:
        return float(np.sqrt(np.mean(np.square((film - truth)[where]))))

    assert error(back, there) < 0.6 * error(bare, there)
    assert error(back, flat) < 1.1 * error(bare, flat)
    for end in (0, 1, -2, -1):
        at = (np.s_[end : end + 1 or None], *there[1:])
        assert error(back, at) < 0.8 * error(bare, at), "else it would jump at every cut"


@pytest.mark.parametrize("words", [{"darker": 0.05}, {"since": 0.05}], ids=["the net", "a pass behind it"])
def test_what_was_done_on_purpose_does_not_come_back(words: dict[str, float]) -> None:
    clip, _ = textured()
    out = softened(clip, 1.0, **words)
    assert np.abs((out - clip).mean((1, 2)) + 0.05).max() < 2e-3
