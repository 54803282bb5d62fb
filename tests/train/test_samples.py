"""Samples: pure functions of seed, step and number, as a net meets them in a chain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline.reel.still import write_png
from pipeline.train.bank import Bank
from pipeline.train.pictures import find
from pipeline.train.samples import Samples
from tests.train.conftest import photo
from tests.train.test_fit import make

QUIET = {"dirt": [0, 0], "overlays": [0, 0], "scratched": 0.0, "hair": 0.0, "weave": [0, 0], "blur": [0, 0]}
GRAINY = {**QUIET, "grain": [0.03, 0.03], "flicker": [0.05, 0.05], "jpeg": 0.0, "h264": 0.0, "splice": 0.0}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(3):
        write_png(folder / f"p{number}.png", photo(number, 240, 312))
    return folder


def samples(folder: Path, damage: Mapping[str, object] = GRAINY, **more: object) -> Samples:
    spec = make(
        folder,
        data={"sources": [{"uri": str(folder)}], "width": [160, 320], "validation": 0.4},
        damage=damage,
        motion={"pan": 1.0, "objects": [0, 0], "limbs": 0.0},
        **more,
    )
    bank = Bank(spec.data.width, 64)
    return Samples(spec, bank, find(spec.data, spec.seed).train, 1, None)


def test_degrained_samples_have_lost_their_grain_and_keep_their_truth(films: Path) -> None:
    plain, without = (samples(films, degrained=share).batch(3, range(4)) for share in (0.0, 1.0))
    assert without.stack.shape == plain.stack.shape == (4, 9, 32, 32)
    assert without.target.shape == plain.target.shape == (4, 3, 32, 32)
    left = [float(np.abs(b.stack[:, 3:6] - b.target).mean()) for b in (plain, without)]
    assert left[1] < 0.6 * left[0], "grain of 0.03 is mostly gone"
    assert without.stack.min() >= 0
    assert without.stack.max() <= 1
    assert np.abs(np.diff(without.stack.reshape(4, 3, 3, 32, 32).mean((2, 3, 4)), axis=1)).max() < 0.02, "no flicker"


def test_a_share_of_them_is_and_every_time_the_same_ones(films: Path) -> None:
    one, again = (samples(films, degrained=0.5).batch(0, range(8)) for _ in range(2))
    assert np.array_equal(one.stack, again.stack)
    left = np.abs(one.stack[:, 3:6] - one.target).mean((1, 2, 3))
    assert left.max() > 1.7 * left.min(), "some have their grain, others not"
    whole = samples(films, degrained=0.5).validation(0)
    assert whole.damaged.shape == whole.target.shape == (4, 3, 32, 32)
    assert whole.mask.shape == (4, 32, 32)


def test_degrained_samples_have_a_crops_dirt_and_no_line_that_the_net_would_have_to_draw(films: Path) -> None:
    dirty = {**GRAINY, "dirt": [4, 4], "dirt_radius": [4, 8]}
    shares = [
        np.mean([made.validation(n).mask.mean() for n in range(24)])
        for made in (samples(films, dirty, degrained=share) for share in (0.0, 1.0))
    ]
    assert 0.6 < shares[1] / shares[0] < 1.6, shares
    lined = {**GRAINY, "scratched": 1.0, "scratches": [2, 4], "hair": 1.0}
    assert samples(films, lined, degrained=0.0).validation(0).mask.any()
    assert not any(samples(films, lined, degrained=1.0).validation(n).mask.any() for n in range(4))


def test_another_round_draws_other_samples_and_is_measured_on_the_same_clips(films: Path) -> None:
    first, again, second = (samples(films, round=n) for n in (1, 1, 2))
    assert np.array_equal(first.batch(2, [0, 1]).stack, again.batch(2, [0, 1]).stack)
    assert not np.array_equal(first.batch(2, [0, 1]).stack, second.batch(2, [0, 1]).stack)
    assert not np.array_equal(samples(films).batch(2, [0, 1]).stack, first.batch(2, [0, 1]).stack)
    assert np.array_equal(first.validation(0).damaged, second.validation(0).damaged)
    assert np.array_equal(samples(films).validation(0).damaged, second.validation(0).damaged)
