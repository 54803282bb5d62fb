"""What a whole shot goes through: drawn from ranges, with a target that keeps what a repair of dirt must keep."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from pipeline.reel.roundtrip import through_h264
from pipeline.train.damage import Damaged, Ranges, Recipe, damage, draw
from pipeline.train.damage.codec import through
from pipeline.train.damage.walks import track

NOTHING = Recipe(dirt=0, scratches=0, flicker=0, grain=0)


def picture(frames: int = 5, height: int = 64, width: int = 96) -> np.ndarray:
    """A soft pattern of all levels, the same in every frame."""
    y, x = np.mgrid[:height, :width]
    levels = [0.5 + 0.35 * np.sin(x / (5 + c)) * np.cos(y / (7 - c)) for c in range(3)]
    return np.stack([np.stack(levels)] * frames).astype(np.float32)


def test_recipes_are_seeded_and_lie_in_their_ranges() -> None:
    ranges = Ranges()
    found = [draw(ranges, np.random.default_rng(i), frames=5) for i in range(200)]
    assert found[3] == draw(ranges, np.random.default_rng(3), frames=5)
    for name in ("dirt", "overlays", "flicker", "flicker_local", "weave", "grain", "blur", "gamma", "grain_lag"):
        low, high = getattr(ranges, name)
        values = [getattr(r, name) for r in found]
        assert low <= min(values) <= max(values) <= high, name
        assert max(values) - min(values) > 0.8 * (high - low), name
    assert 0.4 < np.mean([r.monochrome for r in found]) < 0.6
    assert all(r.grain_colour == 0 and r.fade == (0, 0, 0) for r in found if r.monochrome)
    assert {r.codec for r in found} == {None, "jpeg", "h264"}
    assert all(40 <= r.codec_quality <= 100 for r in found if r.codec == "jpeg")
    assert all(r.splice is None or 1 <= r.splice < 5 for r in found)
    assert all(r.grain_even for r in found)
    spliced = [draw(Ranges(splice=1.0), np.random.default_rng(i), frames=5).lost for i in range(60)]
    assert set(spliced) == {1, 2, 3}
    assert draw(Ranges(splice=1.0, lost=0), np.random.default_rng(0), frames=5).lost == 0


def test_the_ranges_are_those_that_restorers_see() -> None:
    """The table of effects: what is written here is written there."""
    ranges = Ranges()
    wanted = {
        "dirt": (0, 30),
        "dirt_radius": (1, 25),
        "dirt_opacity": (0.6, 1),
        "scratches": (0, 4),
        "scratch_width": (1, 5),
        "scratch_tilt": 5,
        "scratch_depth": (0.05, 0.4),
        "scratch_walk": (0.2, 1.5),
        "scratch_life": (10, 300),
        "scratch_static": 0.1,
        "flicker": (0, 0.05),
        "flicker_offset": (0, 2.7 / 255),
        "flicker_memory": (0, 0.5),
        "flicker_local": (0, 0.05),
        "weave": (0.3, 2),
        "weave_turn": 0.1,
        "weave_memory": (0.3, 0.8),
        "grain": (2 / 255, 12 / 255),
        "grain_lag": (1, 3),
        "grain_colour": (0, 0.8),
        "monochrome": 0.5,
        "fade_most": (0.6, 0.15, 0.4),
        "fade_floor": (0, 0.1),
        "fade_crosstalk": (0, 0.1),
        "blur": (0.3, 2.5),
        "anisotropic": 0.5,
        "gamma": (0.8, 1.3),
        "splice_jump": 20,
        "lost": 3,
        "splice": 0.005,
        "jpeg_quality": (40, 100),
        "h264_crf": (18, 40),
    }
    for name, span in wanted.items():
        assert getattr(ranges, name) == pytest.approx(span), name
    assert Recipe().hair_life == (24, 500)


def test_one_range_changed_leaves_the_other_draws_alone() -> None:
    a, b = (draw(r, np.random.default_rng(1), frames=5) for r in (Ranges(), Ranges(grain=(0.5, 0.6), splice=1.0)))
    differing = {k for k, v in asdict(a).items() if v != asdict(b)[k]}
    assert differing <= {"grain", "splice", "splice_jump", "lost"}


def test_the_target_keeps_brightness_place_and_tone_but_no_defect() -> None:
    recipe = replace(
        NOTHING,
        dirt=8,
        scratches=1,
        scratch_depth=(0.3, 0.4),
        flicker=0.04,
        flicker_offset=0.01,
        flicker_local=0.05,
        weave=8.0,
        gamma=1.2,
        grain=0.02,
    )
    made = damage(picture(), recipe, 3)
    mean = [p.mean(axis=(1, 2, 3)) for p in (made.damaged, made.target)]
    np.testing.assert_allclose(*mean, atol=0.02)
    apart = np.abs(made.damaged - made.target).mean(axis=1)
    assert apart[~made.mask].mean() < 0.02
    assert apart[made.masks["dirt"]].mean() > 0.1
    assert np.abs(made.target[1] - made.target[0]).mean() > 0.01, "neither weave nor flicker is in the target"
    assert np.array_equal(made.clean, picture())


def test_lines_that_are_to_be_left_alone_are_in_the_target() -> None:
    recipe = replace(NOTHING, scratches=2, hairs=1, scratch_depth=(0.3, 0.4), scratch_tilt=3.0, grain=0.0)
    for seed in range(3):
        kept = damage(picture(), replace(recipe, keep_lines=True), seed)
        assert kept.masks["scratches"].any()
        np.testing.assert_allclose(kept.target, np.clip(kept.damaged, 0, 1), atol=1e-6)
        gone = damage(picture(), recipe, seed)
        assert np.array_equal(gone.damaged, kept.damaged)
        assert np.array_equal(gone.target, gone.clean)


def test_a_gate_hair_stands_still_at_an_edge() -> None:
    recipe = replace(NOTHING, hairs=1, hair_life=(1e6, 1e6))
    seen, edges = 0, set()
    for seed in range(16):
        made = damage(picture(4, 120, 200), recipe, seed, width=800)
        hair = made.masks["hairs"]
        if not hair.any():
            continue  # outside of the crop
        seen += 1
        assert (hair == hair[0]).all()
        sides = {"top": hair[0, 0], "bottom": hair[0, -1], "left": hair[0, :, 0], "right": hair[0, :, -1]}
        at = {side for side, line in sides.items() if line.any()}
        assert at
        edges |= at
        assert (made.damaged <= made.clean + 1e-6).all()
        assert np.array_equal(made.damaged[:, 0][~hair], made.clean[:, 0][~hair]) or (
            np.abs(made.damaged - made.clean).max(axis=1)[~hair].max() < 0.05
        )
    assert seen >= 12
    assert edges == {"top", "bottom", "left", "right"}


def test_overlays_are_laid_where_the_mask_says() -> None:
    ink = [np.full((40, 20), 255, np.uint8), np.full((8, 8), 200, np.uint8)]
    recipe = replace(NOTHING, overlays=2.0, overlay_size=(100, 400), dirt_opacity=(1.0, 1.0))
    made = damage(picture(12), recipe, 5, overlays=ink)
    dirt = made.masks["dirt"]
    assert 0.005 < dirt.mean() < 0.5
    changed = np.abs(made.damaged - made.clean).max(axis=1) > 0.05
    assert not changed[~dirt].any()
    assert changed[dirt].mean() > 0.8
    assert np.array_equal(made.damaged, damage(picture(12), recipe, 5, overlays=ink).damaged)
    assert np.array_equal(damage(picture(12), recipe, 5).damaged, picture(12)), "overlays from nowhere"


def test_weave_walks_about_its_place() -> None:
    recipe = replace(NOTHING, weave=2.0, weave_memory=0.6, weave_turn=0.1)
    way = track(2000, recipe, 1, width=2048)
    assert way[:, :2].std() == pytest.approx(2.0, rel=0.1)
    assert abs(way[:, :2].mean()) < 0.3
    assert np.abs(np.rad2deg(way[:, 2])).max() <= 0.1 + 1e-6
    ahead = np.corrcoef(way[:-1, 0], way[1:, 0])[0, 1]
    assert ahead == pytest.approx(0.6, abs=0.06)
    assert np.abs(track(2000, recipe, 1, width=1024)[:, :2] * 2 - way[:, :2]).max() < 1e-5


def test_the_picture_moves_by_what_the_track_says() -> None:
    clean = picture(6, 96, 128)
    made = damage(clean, replace(NOTHING, weave=24.0, weave_turn=0.0), 4)
    y, x = np.mgrid[20:76, 20:108]
    for frame in range(6):
        dy, dx, _ = made.track[frame]
        wanted = 0.5 + 0.35 * np.sin((x - dx) / 5) * np.cos((y - dy) / 7)
        np.testing.assert_allclose(made.damaged[frame, 0, 20:76, 20:108], wanted, atol=0.01)


def test_a_splice_loses_frames_jumps_and_is_dirty() -> None:
    clean = np.concatenate([picture(1) * np.float32(k / 20) for k in range(1, 21)])
    recipe = replace(NOTHING, splice=8, lost=3, splice_jump=400.0)
    made = damage(clean, recipe, 2)
    assert made.kept.tolist() == [*range(8), *range(11, 20)]
    assert np.array_equal(made.clean, clean[made.kept])
    jump = 400 * 96 / 2048
    assert made.track[8, 0] == pytest.approx(jump)
    assert made.track[9, 0] == pytest.approx(jump / 2)
    assert not np.delete(made.track, (8, 9), axis=0).any()
    spots = [damage(clean, replace(recipe, dirt=6), seed).masks["dirt"].mean(axis=(1, 2)) for seed in range(12)]
    mean = np.mean(spots, axis=0)
    assert mean[7:9].mean() > 2.5 * np.delete(mean, (7, 8)).mean()
    with pytest.raises(ValueError, match="leave none"):
        damage(clean[:2], replace(NOTHING, splice=0, lost=2), 0)


def test_dyes_fade_towards_their_complement_and_black_lifts() -> None:
    clean = picture()
    made = damage(clean, replace(NOTHING, fade=(0.5, 0.0, 0.0)), 1).target
    # Half of the cyan dye gone: half the density in red, so its square root.
    np.testing.assert_allclose(made[:, 0], np.sqrt(clean[:, 0]), atol=2e-3)
    np.testing.assert_allclose(made[:, 1:], clean[:, 1:], atol=2e-3)
    floor = damage(clean, replace(NOTHING, fade_floor=0.1), 1).target
    np.testing.assert_allclose(floor, clean * 10**-0.1, atol=2e-3)


def test_monochrome_is_grey_and_stays_grey_under_grain() -> None:
    made = damage(picture(), replace(NOTHING, monochrome=True, grain=0.04, grain_colour=0, gamma=0.9, grain_lag=3), 1)
    assert np.array_equal(made.damaged[:, 0], made.damaged[:, 2])
    noise = made.damaged - made.target
    level = np.sqrt(4 * made.target * (1 - made.target))
    assert (noise / level).std() == pytest.approx(0.04, rel=0.1)
    flat = noise[:, 0] / level[:, 0]
    assert np.mean(flat[..., 1:] * flat[..., :-1]) / flat.var() > 0.3, "the grain has no size"


def test_blur_keeps_the_level_and_spreads_a_point() -> None:
    point = np.zeros((3, 3, 41, 41), np.float32)
    point[:, :, 20, 20] = 1.0
    made = damage(point, replace(NOTHING, blur=1.5, blur_ratio=1.4), 1)
    spread = made.damaged[1, 0]
    at = np.arange(41) - 20
    assert spread.sum() == pytest.approx(1.0, abs=1e-3)
    assert np.sqrt((spread.sum(0) * at**2).sum()) == pytest.approx(1.5, rel=0.1)
    assert np.sqrt((spread.sum(1) * at**2).sum()) == pytest.approx(2.1, rel=0.1)
    assert np.array_equal(made.target, point)


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_codecs_lose_more_the_less_they_may_keep(codec: str) -> None:
    clean = np.clip(picture(3, 50, 70) + np.random.default_rng(0).normal(0, 0.02, (3, 1, 50, 70)), 0, 1)
    clean = clean.astype(np.float32)
    good, bad = (95, 40) if codec == "jpeg" else (18, 40)
    errors = [np.sqrt(((through(clean, codec, q) - clean) ** 2).mean()) for q in (good, bad)]
    assert errors[0] < 0.035
    assert 1.3 * errors[0] < errors[1] < 0.1
    assert np.array_equal(through(clean, codec, bad), through(clean, codec, bad))


def test_jpeg_of_flat_pictures_is_flat() -> None:
    flat = np.full((1, 3, 24, 40), 128 / 255, np.float32)
    np.testing.assert_allclose(through(flat, "jpeg", 50), flat, atol=1.5 / 255)


def test_h264_refuses_odd_sides() -> None:
    with pytest.raises(ValueError, match="even sides"):
        through_h264(np.zeros((1, 15, 16, 3), np.uint8), 23)


def test_every_effect_at_once_is_seeded_and_in_range() -> None:
    def made(seed: int) -> Damaged:
        recipe = replace(draw(Ranges(splice=1.0, hair=1.0, scratched=1.0), np.random.default_rng(7), frames=5), lost=1)
        return damage(picture(6), recipe, seed, width=480, overlays=[np.full((9, 9), 255, np.uint8)])

    one, two, other = made(1), made(1), made(2)
    assert np.array_equal(one.damaged, two.damaged)
    assert np.array_equal(one.target, two.target)
    assert not np.array_equal(one.damaged, other.damaged)
    for clip in (one.damaged, one.target):
        assert clip.dtype == np.float32
        assert clip.shape == (5, 3, 64, 96)
        assert 0 <= clip.min() <= clip.max() <= 1
