"""What a pass knows of those before it: nets spare what `dirt` spared, and `degrain` gives back what a net took."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.restore.passes.base import Job, Spared
from pipeline.restore.passes.degrain import DegrainPass
from pipeline.treatments import DegrainPass as Said
from tests.restore.test_passes import Clip, bar, frames_of, pan, passing, rain, restored, sparkle, worn

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


def softened(clip: Clip, detail: float) -> Clip:
    """Behind a net that gave each frame a mean over 3 × 3 px."""
    radius = DegrainPass.radius
    before = [torch.from_numpy(np.repeat(f[None], 3, 0)) for f in clip]
    after = [torch.nn.functional.avg_pool2d(p[None], 3, 1, 1, count_include_pad=False)[0] for p in before]
    treatment = DegrainPass(Said(detail=detail).model_dump())
    out = []
    for k in range(radius, len(clip) - radius):
        span = slice(k - radius, k + radius + 1)
        out += treatment.restore([Job(k, tuple(after[span]), {}, tuple(before[span]))])
    return np.stack([r.rgb[0].numpy() for r in out])


def test_detail_that_a_net_took_in_frame_after_frame_alike_comes_back_and_grain_does_not() -> None:
    rng = np.random.default_rng(3)
    scene = pan(9, (1.0, 0.0), size=(160, 240)).copy()
    texture = rng.normal(0, 0.03, (160, 260)).astype(np.float32)
    scene[:, :, :120] += np.stack([texture[:, k : k + 120] for k in range(9)])
    clip = (scene + rng.normal(0, 2 / 255, scene.shape)).astype(np.float32)
    truth = scene[3:-3]
    bare, back = softened(clip, 0.0), softened(clip, 1.0)
    there, flat = np.s_[:, 12:-12, 12:100], np.s_[:, 12:-12, 140:-12]

    def error(film: Clip, where: tuple[slice, ...]) -> float:
        return float(np.sqrt(np.mean(np.square((film - truth)[where]))))

    assert error(back, there) < 0.6 * error(bare, there)
    assert error(back, flat) < 1.1 * error(bare, flat)
