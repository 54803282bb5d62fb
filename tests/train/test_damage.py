"""Synthetic damage: seeded, inside its ranges, with masks that tell the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.train.damage import Recipe, damage

NOTHING = Recipe(dirt=0, scratches=0, flicker=0, grain=0)


def grey(frames: int = 6, height: int = 96, width: int = 128, level: float = 0.5) -> np.ndarray:
    return np.full((frames, 3, height, width), level, np.float32)


def test_nothing_asked_is_nothing_done() -> None:
    clean = grey()
    made = damage(clean, NOTHING, 1)
    assert np.array_equal(made.damaged, clean)
    assert not made.mask.any()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_is_seeded_and_stays_in_range(seed: int) -> None:
    clean = grey(3, 48, 64)
    recipe = Recipe(scratches=2, flicker=0.05)
    one, two = damage(clean, recipe, seed), damage(clean, recipe, seed)
    assert np.array_equal(one.damaged, two.damaged)
    assert np.array_equal(one.mask, two.mask)
    assert one.damaged.dtype == np.float32
    assert one.damaged.min() >= 0
    assert one.damaged.max() <= 1
    assert np.array_equal(one.clean, grey(3, 48, 64)), "the clean clip was written into"
    assert not np.array_equal(one.damaged, damage(clean, recipe, seed + 1).damaged)


def test_dirt_changes_what_its_mask_says_and_nothing_else() -> None:
    made = damage(grey(), replace(NOTHING, dirt=12), 7)
    change = np.abs(made.damaged - made.clean).max(axis=1)
    dirt = made.masks["dirt"]
    assert 0.0005 < dirt.mean() < 0.1
    assert change[~dirt].max() < 0.05
    assert change[dirt].min() > 0.01
    assert made.damaged[dirt[:, None].repeat(3, 1)].max() > 0.8, "no bright dirt"
    assert made.damaged[dirt[:, None].repeat(3, 1)].min() < 0.2, "no dark dirt"


def test_dirt_lives_for_one_frame() -> None:
    dirt = damage(grey(40), replace(NOTHING, dirt=8), 3).masks["dirt"]
    both = (dirt[1:] & dirt[:-1]).mean()
    assert both < 2 * dirt.mean() ** 2 + 1e-4, "dirt stays from frame to frame"


def test_dirt_scales_with_the_picture() -> None:
    small = damage(grey(20, 120, 160), replace(NOTHING, dirt=20), 5).masks["dirt"].mean()
    large = damage(grey(20, 480, 640), replace(NOTHING, dirt=20), 5).masks["dirt"].mean()
    # Fewer specks fall below a pixel in the larger one, so the shares are near, not equal.
    assert 0.3 < large / small < 1.2


def test_a_scratch_stays_in_every_frame_and_drifts_a_little() -> None:
    made = damage(grey(12, 64, 512), replace(NOTHING, scratches=1, scratch_depth=(0.3, 0.4)), 4)
    change = np.abs(made.damaged - made.clean)[:, 0]
    assert np.array_equal(change, np.broadcast_to(change[:, :1], change.shape)), "a scratch runs from top to bottom"
    place = change[:, 0].argmax(axis=1)
    assert np.abs(np.diff(place)).max() <= 3
    assert made.masks["scratches"].any(axis=(1, 2)).all()
    assert change[~made.masks["scratches"]].max() < 0.01


def test_flicker_is_one_gain_a_frame() -> None:
    made = damage(grey(200), replace(NOTHING, flicker=0.05), 2)
    level = made.damaged.mean(axis=(1, 2, 3)) / 0.5
    np.testing.assert_allclose(level, made.gain, atol=1e-5)
    assert 0.035 < level.std() < 0.065
    assert (np.abs(level - 1) <= 0.15 + 1e-6).all()
    assert not made.mask.any(), "flicker is no local defect"


def test_grain_has_the_asked_strength_and_spares_black_and_white() -> None:
    recipe = replace(NOTHING, grain=8 / 255)
    middle = damage(grey(), recipe, 9).damaged - np.float32(0.5)
    assert middle.std() == pytest.approx(8 / 255, rel=0.05)
    for level in (0.0, 1.0):
        assert np.array_equal(damage(grey(level=level), recipe, 9).damaged, grey(level=level))


def test_monochrome_grain_is_equal_in_all_channels() -> None:
    mono = damage(grey(), replace(NOTHING, grain=0.02, grain_colour=0), 9).damaged
    assert np.array_equal(mono[:, 0], mono[:, 2])
    own = damage(grey(), replace(NOTHING, grain=0.02, grain_colour=1), 9).damaged - 0.5
    assert abs(np.corrcoef(own[:, 0].ravel(), own[:, 2].ravel())[0, 1]) < 0.05


def together(grain: np.ndarray, down: int, right: int) -> float:
    """Correlation of pixels with those so far down and right of them."""
    rows, columns = grain.shape[2:]
    at = grain[..., : rows - down, max(0, -right) : columns - max(0, right)]
    there = grain[..., down:, max(0, right) : columns + min(0, right)]
    return float(np.corrcoef(at.ravel(), there.ravel())[0, 1])


@pytest.mark.parametrize("lag", [1, 2, 3])
@pytest.mark.parametrize("colour", [0.0, 0.4, 1.0])
def test_grain_is_alike_towards_all_sides_and_ends_at_the_edges(lag: int, colour: float) -> None:
    recipe = replace(NOTHING, grain=8 / 255, grain_lag=lag, grain_colour=colour, grain_even=True)
    grain = damage(grey(8, 192, 192), recipe, 3).damaged - np.float32(0.5)
    assert grain.std() == pytest.approx(8 / 255, rel=0.03)
    assert abs(grain.mean()) < 0.001
    near = [together(grain, 1, 0), together(grain, 0, 1)]
    assert near == pytest.approx([0.37, 0.37], abs=0.04)
    aslant = [together(grain, 1, 1), together(grain, 1, -1)]
    assert aslant == pytest.approx([0.14, 0.14], abs=0.035)
    assert aslant[0] == pytest.approx(aslant[1], abs=0.015)
    assert abs(together(grain, lag + 1, 0)) < 0.02
    for first, last in ((grain[..., 0, :], grain[..., -1, :]), (grain[..., 0], grain[..., -1])):
        assert abs(np.corrcoef(first.ravel(), last.ravel())[0, 1]) < 0.07, "it wraps round the picture"
        assert [first.std(), last.std()] == pytest.approx([8 / 255] * 2, rel=0.08)
    channels = np.corrcoef(grain[:, 0].ravel(), grain[:, 2].ravel())[0, 1]
    assert channels == pytest.approx(1 - colour, abs=0.02)
    frames = np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]
    assert abs(frames) < 0.02, "grain stays from frame to frame"


def test_even_grain_spares_black_and_white_and_needs_no_clumps() -> None:
    recipe = replace(NOTHING, grain=8 / 255, grain_lag=0, grain_even=True)
    for level in (0.0, 1.0):
        assert np.array_equal(damage(grey(level=level), recipe, 9).damaged, grey(level=level))
    alone = damage(grey(), recipe, 9).damaged - np.float32(0.5)
    assert abs(together(alone, 1, 0)) < 0.02


def test_grain_of_the_benchmark_stays_as_it_was() -> None:
    """Its clips' figures are published. 12 values of a clip, as the first form of the filter made them."""
    recipe = replace(NOTHING, grain=8 / 255, grain_lag=2, drift=0.02)
    made = damage(grey(2, 48, 64), recipe, 5).damaged
    assert not recipe.grain_even
    found = np.rint((made[:, 1, ::16, ::32] - np.float32(0.5)) * 1e5).astype(int).ravel().tolist()
    assert found == [-3888, -1595, 134, 2999, 5219, -218, -1298, 661, 3035, -938, -6045, 1805]


def test_one_effect_more_leaves_the_others_alone() -> None:
    alone = damage(grey(), replace(NOTHING, dirt=6), 11)
    among = damage(grey(), Recipe(dirt=6, scratches=3), 11)
    assert np.array_equal(alone.masks["dirt"], among.masks["dirt"])


def test_refuses_what_is_no_clip() -> None:
    with pytest.raises(ValueError, match="float32"):
        damage(grey().astype(np.float64), NOTHING, 0)
    with pytest.raises(ValueError, match="float32"):
        damage(np.zeros((2, 4, 8, 8), np.float32), NOTHING, 0)
