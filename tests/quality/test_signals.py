"""The signalstats set against FFmpeg's own filter, run on the same pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pipeline.quality import signals
from pipeline.quality.figures import Meter
from pipeline.reel.formats import pixel_format
from pipeline.types import SIGNALS, FrameFigures, PixelFormat
from tests.quality.pictures import blurred, colour, components, scene, tensors
from tests.quality.test_figures import measured, signalstats

Planes = tuple[NDArray[Any], ...]
LEVELS = {"luma": "YAVG", "ydif": "YDIF", "tout": "TOUT", "brng": "BRNG"}
NOT_CODES = {"tout", "brng", "vrep", "huemed", "hueavg"}


def natural(fmt: PixelFormat, seed: int, width: int = 75, height: int = 50) -> Planes:
    """A picture as films have them, with specks, a level below black and rows that repeat."""
    r = np.random.default_rng(seed)
    found = []
    for i, layout in enumerate(fmt.planes):
        h, w = fmt.plane_shape(i, width, height)
        p = blurred(scene(w, h, seed + i, contrast=40 if i == 0 else 30), 0.7) + r.normal(0, 0.6, (h, w))
        if layout.log2_w == layout.log2_h == 0 and i == 0:
            p[10:24] = p[10:14].mean()
            p[5, 20:40:2] += 60
            for y, x in zip(r.integers(28, h, 30), r.integers(1, w - 2, 30), strict=True):
                p[y, x - 1 : x + 2] += 50
        found.append(np.clip(p * 2 ** (fmt.depth - 8), 0, 2**fmt.depth - 1).round().astype(fmt.dtype))
    return tuple(found)


def told(f: FrameFigures, stream: str = "source") -> dict[str, float | None]:
    found = dict(zip(SIGNALS, getattr(f, f"signals_{stream}"), strict=True))
    return found | {name: getattr(f, f"{name}_{stream}") for name in LEVELS}


def held_to(
    stats: dict[str, float], f: FrameFigures, fmt: PixelFormat, first: bool, leave: set[str], rel: float = 6e-6
) -> None:
    for name, value in told(f).items():
        if name in leave or (first and name.endswith("dif")):
            continue
        assert value is not None, name
        codes = value if name in NOT_CODES else value * 2 ** (fmt.depth - 8)
        # The filter prints six digits.
        assert codes == pytest.approx(stats[LEVELS.get(name, name.upper())], rel=rel, abs=1e-12), name


@pytest.mark.parametrize(
    "name", ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv444p12le"]
)
def test_every_figure_is_that_of_ffmpegs_signalstats(name: str) -> None:
    fmt = pixel_format(name)
    film = [natural(fmt, seed) for seed in (1, 40, 80)]
    got = measured(fmt, film, film).figures(0, 3, ())
    for n, stats in enumerate(signalstats(name, film)):
        # Beyond 8 bits FFmpeg's TOUT is that of the low bytes: see the next test.
        held_to(stats, got[n], fmt, n == 0, {"tout"} if fmt.depth > 8 else set())
        assert stats["VREP"] > 0
    assert any(stats["BRNG"] > 0 for stats in signalstats(name, film))
    assert all(f.tout_source > 0 for f in got)


def test_extreme_codes_too() -> None:
    fmt = pixel_format("yuv420p")
    r = np.random.default_rng(0)
    for pick in ([0, 255], [128], [0], [255], [127, 128, 129], [16, 235, 240, 15, 241]):
        film = [tuple(r.choice(pick, fmt.plane_shape(i, 33, 17)).astype(np.uint8) for i in range(3)) for _ in range(2)]
        got = measured(fmt, film, film).figures(0, 2, ())
        for n, stats in enumerate(signalstats("yuv420p", film)):
            held_to(stats, got[n], fmt, n == 0, set())


def test_beyond_eight_bits_tout_is_that_of_the_eight_bit_picture() -> None:
    """FFmpeg cuts each code to its low byte there, which is no picture: shown, so that we learn when it is mended."""
    deep, flat = pixel_format("yuv422p10le"), pixel_format("yuv422p")
    film = [natural(deep, 5)]
    (got,) = measured(deep, film, film).figures(0, 1, ())
    high, low = ([tuple((p >> s).astype(np.uint8) for p in planes) for planes in film] for s in (2, 0))
    assert got.tout_source == pytest.approx(signalstats(flat.name, high)[0]["TOUT"], rel=6e-6)
    assert signalstats(deep.name, film)[0]["TOUT"] == signalstats(flat.name, low)[0]["TOUT"] != got.tout_source


@pytest.mark.parametrize("depth", [8, 10])
def test_gray_has_the_figures_of_luma_and_no_others(depth: int) -> None:
    gray, yuv = (pixel_format(f"{n}{'10le' if depth > 8 else ''}") for n in ("gray", "yuv444p"))
    film = [natural(gray, s) for s in (3, 9)]
    neutral = np.full_like(film[0][0], 1 << (depth - 1))
    got = measured(gray, film, film, full_range=False).figures(0, 2, ())
    for n, stats in enumerate(signalstats(yuv.name, [(p[0], neutral, neutral) for p in film])):
        colourless = {s for s in SIGNALS if s[0] in "uvsh" and s != "vrep"}
        assert {s for s, v in told(got[n]).items() if v is None} - {"ydif"} == colourless
        held_to(stats, got[n], gray, n == 0, colourless | {"brng"} | ({"tout"} if depth > 8 else set()))
        assert got[n].brng_source == 0  # full range: nothing is outside of it


def test_rgb_is_measured_as_full_range_ycbcr() -> None:
    fmt = pixel_format("gbrp")
    film = [natural(fmt, s) for s in (3, 9)]
    got = measured(fmt, film, film, full_range=True).figures(0, 2, ())
    turned = []
    for planes in film:
        r, g, b = (c.astype(np.float64) for c in components(planes, fmt))
        y = 0.2126 * r + 0.7152 * g + 0.0722 * b
        each = (y, (b - y) / 1.8556 + 128, (r - y) / 1.5748 + 128)
        turned.append(tuple(np.clip(c.round(), 0, 255).astype(np.uint8) for c in each))
    for n, stats in enumerate(signalstats("yuv444p", turned)):
        held_to(stats, got[n], fmt, n == 0, {"luma", "ydif", "brng"}, rel=1e-3)  # rounded from float32
        assert got[n].luma_source == pytest.approx(stats["YAVG"], abs=0.5)


def test_a_frame_that_was_changed_has_the_figures_of_both() -> None:
    fmt = pixel_format("yuv420p")
    before, after = ([natural(fmt, s) for s in seeds] for seeds in ((1, 2), (11, 12)))
    both = measured(fmt, before, after).figures(0, 2, ())
    alone = measured(fmt, after, after).figures(0, 2, ())
    assert [told(f, "output") for f in both] == [told(f) for f in alone]
    assert told(both[1]) != told(both[1], "output")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (3, 4), (5, 5)])
def test_small_pictures_have_figures(width: int, height: int) -> None:
    fmt = pixel_format("yuv444p")
    r = np.random.default_rng(width)
    film = [tuple(r.integers(0, 256, (height, width), np.uint8) for _ in range(3)) for _ in range(2)]
    got = measured(fmt, film, film).figures(0, 2, ())
    for n, stats in enumerate(signalstats("yuv444p", film)):
        held_to(stats, got[n], fmt, n == 0, set())


def test_codes_that_a_depth_does_not_allow_do_no_harm() -> None:
    fmt = pixel_format("yuv420p10le")
    film = [tuple(np.full(fmt.plane_shape(i, 8, 8), 65535, np.uint16) for i in range(3))] * 2
    (f, _) = measured(fmt, film, film).figures(0, 2, ())
    assert told(f)["ymax"] == 1023 / 4


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gbrp", "gbrp16le"])
def test_colours_counted_together_are_the_same_as_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fmt = pixel_format(name)
    film = [natural(fmt, s) for s in (3, 9)]
    if fmt.model == "yuv":  # faint colours, as most films have them: they lie close together
        middle = 1 << (fmt.depth - 1)
        film = [(y, *((c // 8 + middle - middle // 8) for c in uv)) for y, *uv in film]
    asked: list[int] = []
    polar = signals._polar
    monkeypatch.setattr(signals, "_polar", lambda u, v, bins: (asked.append(u.numel()), polar(u, v, bins))[1])
    together = measured(fmt, film, film).figures(0, 2, ())
    few = asked[0]
    monkeypatch.setattr(signals, "_COLOURS", 0)
    assert measured(fmt, film, film).figures(0, 2, ()) == together
    if fmt.model == "yuv":
        assert few < asked[-1] == film[0][1].size


def test_on_a_gpu_the_histogram_is_the_same() -> None:
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 13)).astype(np.float32))
    at = picture.flatten().to(torch.int64)
    other = torch.zeros(256, dtype=torch.int64).scatter_add_(0, at, torch.ones((), dtype=torch.int64).expand_as(at))
    assert torch.equal(signals._histogram(picture, 256), other)


@pytest.mark.parametrize("noise", [0.7, 6, 40])
def test_ssim_and_psnr_are_those_of_scikit_image(noise: float) -> None:
    fmt = pixel_format("gray")
    a = np.clip(scene(120, 90), 0, 255).round().astype(np.uint8)
    b = np.clip(a + np.random.default_rng(2).normal(0, noise, a.shape), 0, 255).round().astype(np.uint8)
    meter = Meter(fmt, colour(True))
    meter.see(0, tensors((a,)), tensors((b,)), torch.zeros(3, 90, 120), torch.ones(3, 90, 120))
    (f,) = meter.figures(0, 1, ())
    theirs = structural_similarity(a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert f.ssim == pytest.approx(theirs, abs=1e-3)
    assert f.psnr_db == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-3)
