"""Flow, shift and warp on pictures whose movement is known."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import motion

Picture = NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    motion.settle(1)


def scene(seed: int = 0, h: int = 400, w: int = 520) -> Picture:
    """Texture at all scales, as photographs have it: noise with a spectrum that falls with frequency."""
    rng = np.random.default_rng(seed)
    v, u = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :]
    amplitude = 1.0 / np.maximum(np.hypot(u, v), 0.004) ** 1.3
    found = np.fft.irfft2(amplitude * np.exp(2j * np.pi * rng.random((h, w // 2 + 1))), s=(h, w))
    return np.asarray(0.5 + 0.15 * found / found.std(), np.float32)


def view(picture: Picture, x: float, y: float, h: int = 240, w: int = 320) -> Picture:
    """What a window shows when the content has moved by (x, y): moved exactly, by phase."""
    v, u = np.fft.fftfreq(picture.shape[0])[:, None], np.fft.rfftfreq(picture.shape[1])[None, :]
    moved = np.fft.irfft2(np.fft.rfft2(picture) * np.exp(-2j * np.pi * (u * x + v * y)), s=picture.shape)
    return np.asarray(moved[80 : 80 + h, 100 : 100 + w], np.float32)


def test_shifts_are_found_to_a_tenth_of_a_pixel_through_grain_and_flicker() -> None:
    rng, picture = np.random.default_rng(1), scene()
    errors = []
    for _ in range(12):
        x, y = rng.uniform(-9, 9, 2)
        grain = rng.normal(0, 6 / 255, (2, 240, 320)).astype(np.float32)
        a = view(picture, 0, 0) + grain[0]
        b = view(picture, x, y) * np.float32(rng.uniform(0.85, 1.15)) + np.float32(rng.uniform(-0.03, 0.03)) + grain[1]
        found = motion.align(a, b)
        errors.append((found.x - x, found.y - y))
        assert found.confidence > 0.5
        assert found.still == 1.0
    assert np.abs(errors).max() < 0.1
    assert np.sqrt(np.mean(np.square(errors))) < 0.04


def test_what_moves_in_part_of_the_picture_is_not_the_shift_and_is_told() -> None:
    picture, other = scene(), scene(5)
    a, b = view(picture, 0, 0), view(picture, 0.6, -0.4)
    a[60:180, 100:200], b[60:180, 100:200] = view(other, 0, 0)[:120, :100], view(other, 6, 3)[:120, :100]
    found = motion.align(a, b)
    assert abs(found.x - 0.6) < 0.05
    assert abs(found.y + 0.4) < 0.05
    assert 0.5 < found.still < 0.95


def test_brightness_of_blocks_is_told_though_something_moves_there() -> None:
    picture = scene()
    a, b = view(picture, 0, 0), view(picture, 2, 1)
    b *= np.linspace(0.9, 1.1, 320, dtype=np.float32)
    b[0:40, 0:40] = 1.0
    gains = motion.align(a, b).gains.reshape(4, 4)
    wanted = np.log([0.925, 0.975, 1.025, 1.075])
    apart = np.abs(gains - wanted)
    assert apart.flat[1:].max() < 0.01
    assert apart[0, 0] < 0.03, "a spot on a sixth of a block moves its median a little, and a mean by 0.2"


def test_unrelated_pictures_are_no_shift() -> None:
    assert motion.align(view(scene(), 0, 0), view(scene(9), 0, 0)).still < 0.3
    tiny = np.zeros((8, 8), np.float32)
    assert motion.align(tiny, tiny).confidence == 0.0
    with pytest.raises(ValueError, match="one size"):
        motion.align(tiny, np.zeros((8, 9), np.float32))


def test_a_flow_says_where_points_went_and_back_again() -> None:
    picture, other = scene(), scene(5)
    a, b = view(picture, 0, 0), view(picture, 3, -2)
    a[80:160, 120:220], b[80:160, 128:228] = other[:80, :100], other[:80, :100]
    there, back = motion.flow(a, b), motion.flow(b, a)
    object_, ground = there[100:140, 140:200], there[:60]
    assert np.abs(object_ - (8, 0)).mean() < 0.3
    assert np.abs(ground[10:-10, 10:-10] - (3, -2)).mean() < 0.3
    assert np.abs(motion.warp(b, there) - a)[100:140, 140:200].mean() < 0.02
    apart = motion.disagreement(there, back)
    assert apart[100:140, 140:200].mean() < 0.3
    # What the object hides in the next frame cannot be found there.
    assert apart[80:160, 219:226].mean() > 4 * np.median(apart)
    assert np.array_equal(there, motion.flow(a, b))
    small = np.zeros((10, 12), np.float32)
    assert not motion.flow(small, small).any()


def test_a_fine_flow_is_nearer_on_clean_pictures_and_does_not_follow_grain() -> None:
    picture, rng = scene(), np.random.default_rng(2)
    a, b = view(picture, 0, 0), view(picture, 2.4, -1.3)

    def off(x: Picture, y: Picture, kind: Literal["usual", "fine"]) -> float:
        inner = motion.flow(x, y, kind=kind)[20:-20, 20:-20]
        return float(np.hypot(*np.moveaxis(inner - (2.4, -1.3), 2, 0)).mean())

    assert off(a, b, "fine") < 0.8 * off(a, b, "usual")
    grainy = [p + rng.normal(0, 8 / 255, p.shape).astype(np.float32) for p in (a, b)]
    assert off(grainy[0], grainy[1], "fine") < off(grainy[0], grainy[1], "usual")


def test_a_warp_reads_beside_itself_and_repeats_the_edge() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float32), (48, 1))
    by = np.zeros((48, 64, 2), np.float32)
    by[..., 0] = 2.5
    for kernel in ("linear", "cubic", "lanczos"):
        moved = motion.warp(ramp, by, kernel)
        assert np.allclose(moved[:, 4:56], ramp[:, 4:56] + 2.5, atol=1e-3)
        assert np.allclose(moved[:, -1], 63, atol=0.02), "Lanczos overshoots a little"
    assert (by[..., 0] == 2.5).all()


def test_a_warp_of_some_places_is_that_of_all_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    picture, by = rng.random((60, 90, 3), np.float32), rng.normal(0, 9, (60, 90, 2)).astype(np.float32)
    whole = motion.warp(picture, by, "lanczos")
    for share in (0.01, 0.5, 1.0):
        where = rng.random((60, 90)) <= share
        assert np.array_equal(motion.warp_at(where, picture, by), whole[where])
    grey = motion.warp_at(where, picture[..., :1], by)
    assert np.array_equal(grey[:, 0], motion.warp(picture[..., 0].copy(), by, "lanczos")[where])
    assert motion.warp_at(np.zeros((60, 90), np.bool_), picture, by).shape == (0, 3)


def test_means_outside_a_mask_do_not_see_into_it() -> None:
    picture = np.full((60, 80), 0.3, np.float32)
    mask = np.zeros((60, 80), np.bool_)
    mask[10:50, 20:70] = True
    picture[mask] = 9.0
    assert np.allclose(motion.mean_outside(picture, mask, 7), 0.3, atol=1e-5), "wider where nothing is near"
    flow = np.stack([picture, -picture], -1)
    assert np.allclose(motion.mean_outside(flow, mask, 7)[30, 40], (0.3, -0.3), atol=1e-5)


def test_regions_tell_what_hangs_together() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[2:5, 3:7] = mask[5, 7] = mask[12:14, 20:29] = True  # the corner counts
    found = motion.regions(mask)
    assert found.areas[1:].tolist() == [13, 18]
    assert found.boxes[1:].tolist() == [[3, 2, 8, 6], [20, 12, 29, 14]]
    values = np.arange(600, dtype=np.float32).reshape(20, 30)
    assert found.most(values)[1:].tolist() == [157.0, 418.0]
    assert found.sum(np.ones_like(values))[1:].tolist() == [13, 18]
    assert np.array_equal(found.chosen(np.array([True, False, True])), (found.labels == 2))


def test_a_spot_is_found_again_where_it_went() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0.5, 0.02, (80, 100)).astype(np.float32)
    b = rng.normal(0.5, 0.02, (80, 100)).astype(np.float32)
    a[40:46, 50:55], b[48:54, 41:46] = 0.9, 0.9
    box, inside = (48, 38, 57, 48), np.ones((10, 9), np.bool_)
    assert motion.found_nearby(a, inside, box, b, 12, 0.04)
    assert not motion.found_nearby(a, inside, box, b, 3, 0.15)
    a[48:54, 41:46] = 0.9  # it stands there in this picture too
    assert not motion.found_nearby(a, inside, box, b, 12, 0.04)
    assert motion.found_nearby(a, inside, box, a, 12, 0.04), "but its own place counts"
    ways = motion.match(a[38:48, 48:57], inside, a)
    assert ways.shape == (71, 92)
    assert np.unravel_index(int(ways.argmin()), ways.shape) == (38, 48)
