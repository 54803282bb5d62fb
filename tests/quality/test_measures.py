"""Each measure against its definition in plain numpy, or against pictures whose figure is known."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.quality import measures
from pipeline.reel.formats import pixel_format
from pipeline.types import PixelFormat
from tests.quality.pictures import blurred, components, random_planes, reference_ssim, scene, tensors

OLD_FILM = Path(__file__).parents[2].parent / "shared" / "data" / "oldfilm"

Planes = tuple[NDArray[Any], ...]


def t(picture: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture, np.float32).copy())


class TestSsim:
    @pytest.mark.parametrize(
        ("noise", "depth"), [(0.5, 8), (5, 8), (60, 8), (20, 10), (2, 16), (3000, 16)], ids=lambda v: str(v)
    )
    def test_equals_the_paper_in_float64(self, noise: float, depth: int) -> None:
        peak = 2**depth - 1
        a = np.clip(scene(97, 83) * peak / 255, 0, peak).round()
        b = np.clip(a + np.random.default_rng(1).normal(0, noise, a.shape), 0, peak).round()
        assert float(measures.ssim(t(a), t(b), peak)) == pytest.approx(reference_ssim(a, b, peak), abs=2e-5)

    def test_flat_pictures_compare_by_level_alone(self) -> None:
        a, b = torch.full((40, 40), 60.0), torch.full((40, 40), 180.0)
        c1 = 2.55**2
        expected = (2 * 60 * 180 + c1) / (60**2 + 180**2 + c1)
        assert float(measures.ssim(a, b, 255.0)) == pytest.approx(expected, abs=1e-4)

    def test_is_one_exactly_where_pictures_are_equal_and_only_there(self) -> None:
        a = t(scene(64, 150).round())
        b = a.clone()
        assert float(measures.ssim(a, b, 255.0)) == 1.0
        b[75, 30] += 8
        assert float(measures.ssim(a, b, 255.0)) < 1.0

    def test_does_not_depend_on_the_bands_it_is_computed_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a = t(scene(61, 203, 1).round())
        b = t(scene(61, 203, 2).round())
        found = set()
        for rows in (1, 7, 64, 10_000):
            monkeypatch.setattr(measures, "_SSIM_ROWS", rows)
            found.add(float(measures.ssim(a, b, 255.0)))
        assert len(found) == 1

    @pytest.mark.parametrize("shape", [(1, 1), (10, 40), (11, 11), (40, 3)])
    def test_small_pictures_have_one_too(self, shape: tuple[int, int]) -> None:
        r = np.random.default_rng(0)
        a, b = (r.integers(0, 256, shape).astype(np.float64) for _ in range(2))
        pad = [((n := max(0, 11 - s)) // 2, n - n // 2) for s in shape]
        expected = reference_ssim(np.pad(a, pad, "edge"), np.pad(b, pad, "edge"), 255)
        assert float(measures.ssim(t(a), t(b), 255.0)) == pytest.approx(expected, abs=1e-4)


class TestNoise:
    def gradient(self, width: int = 320, height: int = 240) -> NDArray[Any]:
        y, x = np.mgrid[:height, :width]
        ramp: NDArray[np.float64] = 40 + 0.3 * x + 0.25 * y
        return ramp

    @pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0, 12.0])
    def test_finds_the_sigma_of_white_noise_on_a_gradient(self, sigma: float) -> None:
        noisy = self.gradient() + np.random.default_rng(3).normal(0, sigma, (240, 320))
        assert float(measures.noise_sigma(t(noisy.round()))) == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.04)

    def test_a_clean_gradient_and_upright_edges_have_none(self) -> None:
        picture = self.gradient()
        picture[:, 100:180] += 90
        picture[60:150] -= 30
        assert float(measures.noise_sigma(t(picture))) < 0.02

    def test_texture_on_a_third_of_the_picture_does_not_count(self) -> None:
        r = np.random.default_rng(4)
        noisy = self.gradient() + r.normal(0, 2, (240, 320))
        noisy[:80] += r.choice([-60.0, 60.0], (80, 320))
        assert float(measures.noise_sigma(t(noisy))) == pytest.approx(2, rel=0.1)

    @pytest.mark.skipif(not OLD_FILM.is_dir(), reason="the old films are not here")
    @pytest.mark.parametrize("sigma", [3.0, 8.0])
    def test_the_picture_of_an_old_film_is_told_from_grain_added_to_it(self, sigma: float) -> None:
        for path in sorted(OLD_FILM.glob("*.mkv")):
            with av.open(str(path)) as film:
                frame = next(itertools.islice(film.decode(video=0), 20, None))
            luma = frame.to_ndarray(format="gray").astype(np.float64)
            noisy = (luma + np.random.default_rng(6).normal(0, sigma, luma.shape)).round()
            assert float(measures.noise_sigma(t(noisy))) == pytest.approx(sigma, rel=0.05), path.name

    @pytest.mark.parametrize("shape", [(1, 50), (2, 2), (3, 3), (17, 300), (18, 18)])
    def test_small_pictures_have_a_figure(self, shape: tuple[int, int]) -> None:
        found = float(measures.noise_sigma(t(np.random.default_rng(0).normal(100, 5, shape))))
        assert found == 0 if min(shape) < 3 else 0 < found < 50


class TestSharpness:
    def of(self, picture: NDArray[np.float64]) -> float:
        p = t(picture)
        mean = measures.mean_of(p)
        return measures.sharpness(
            float(measures.gradient_energy(p)), float(measures.variance_of(p, mean)), float(measures.noise_sigma(p))
        )

    def test_gradient_is_sobels(self) -> None:
        p = np.random.default_rng(0).integers(0, 256, (9, 12)).astype(np.float64)
        kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
        windows = np.lib.stride_tricks.sliding_window_view(p, (3, 3))
        gx, gy = (np.einsum("hwij,ij->hw", windows, k) for k in (kernel, kernel.T))
        assert float(measures.gradient_energy(t(p))) == pytest.approx((gx**2 + gy**2).mean(), rel=1e-6)

    def test_a_ramp_has_its_own_slope(self) -> None:
        y, x = np.mgrid[:50, :60]
        assert float(measures.gradient_energy(t(1.5 * x + 2.0 * y))) == pytest.approx(1.5**2 + 2.0**2)

    def test_falls_with_every_blur(self) -> None:
        picture = scene(256, 192)
        found = [self.of(blurred(picture, s) if s else picture) for s in (0, 0.6, 1, 2, 4)]
        assert all(a > 1.05 * b for a, b in itertools.pairwise(found)), found

    def test_a_gain_is_not_sharpness(self) -> None:
        picture = scene(256, 192)
        assert self.of(0.8 * picture + 10) == pytest.approx(self.of(picture), rel=0.01)

    def test_grain_is_not_sharpness(self) -> None:
        picture = blurred(scene(256, 192), 1)
        grain = np.random.default_rng(1).normal(0, 6, picture.shape)
        assert self.of(picture + grain) == pytest.approx(self.of(picture), rel=0.05)

    def test_a_flat_frame_has_none(self) -> None:
        assert self.of(np.full((30, 30), 77.0)) == 0
        assert self.of(np.full((2, 30), 77.0)) == 0


@given(st.integers(1, 400), st.integers(8, 16), st.booleans())
def test_psnr_is_a_hundred_for_equal_pictures_only(error: int, depth: int, equal: bool) -> None:
    found = measures.psnr_db(0.0 if equal else error, 10**7, depth)
    assert (found == 100.0) == equal
    assert found <= 100.0


def test_levels_are_those_of_the_same_signal_at_eight_bits() -> None:
    for depth, black, white in ((8, 16, 235), (10, 64, 940), (12, 256, 3760), (16, 4096, 60160)):
        assert black * measures.luma_scale(depth, full_range=False) == 16
        assert white * measures.luma_scale(depth, full_range=False) == 235
        assert (2**depth - 1) * measures.luma_scale(depth, full_range=True) == pytest.approx(255)


def touched(before: Planes, after: Planes, fmt: PixelFormat) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = (measures.component_codes(tensors(p), fmt) for p in (before, after))
    return measures.touched(a, b, fmt)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(
        ["yuv420p", "yuv422p10le", "yuv410p", "yuv444p16le", "gbrp10le", "bgr0", "rgb48le", "nv12", "p010le", "gray"]
    ),
    st.integers(1, 21),
    st.integers(1, 17),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 20)), max_size=4),
)
def test_touched_pixels_and_square_error(
    name: str, width: int, height: int, changes: list[tuple[int, int, int]]
) -> None:
    fmt = pixel_format(name)
    before = random_planes(fmt, width, height, 0)
    after = tuple(p.copy() for p in before)
    expected = np.zeros((height, width), bool)
    for component, y, x in changes:
        c = fmt.components[component % len(fmt.components)]
        plane, layout = after[c.plane], fmt.planes[c.plane]
        y, x = y % plane.shape[0], x % plane.shape[1]
        at = (y, x, c.sample) if plane.ndim == 3 else (y, x)
        plane[at] ^= 1 << c.shift
    for a, b, c in zip(components(before, fmt), components(after, fmt), fmt.components, strict=True):
        layout = fmt.planes[c.plane]
        for y, x in np.argwhere(a != b):
            expected[y << layout.log2_h : (y + 1) << layout.log2_h, x << layout.log2_w : (x + 1) << layout.log2_w] = 1
    mask, error = touched(before, after, fmt)
    np.testing.assert_array_equal(mask.numpy(), expected)
    squares = [((a - b) ** 2).sum() for a, b in zip(components(before, fmt), components(after, fmt), strict=True)]
    assert float(error) == sum(squares)


def test_padding_and_alpha_are_no_picture() -> None:
    for name, sample in (("bgr0", 3), ("rgba", 3)):
        fmt = pixel_format(name)
        before = random_planes(fmt, 8, 6, 0)
        after = (before[0].copy(),)
        after[0][..., sample] ^= 255
        mask, error = touched(before, after, fmt)
        assert not mask.any()
        assert float(error) == 0


def test_luma_of_rgb_has_the_weights_of_bt709() -> None:
    codes = [torch.tensor([[100.0]]), torch.tensor([[50.0]]), torch.tensor([[200.0]])]
    assert float(measures.luma_of(codes, "rgb")) == pytest.approx(0.2126 * 100 + 0.7152 * 50 + 0.0722 * 200)
