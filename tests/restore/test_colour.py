"""Planes ↔ RGB: against plain float64 arithmetic, and the promises of the delta form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.reel.formats import pixel_format
from pipeline.restore.chroma import Filter
from pipeline.restore.colour import KR_KB, Converter
from pipeline.types import Colour, PixelFormat

GRAY = ["gray", "gray10le", "gray12le", "gray16le", "ya8", "ya16le"]
YUV = [
    "yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuva420p", "yuva444p16le",
    "yuv420p10le", "yuv422p10le", "yuv422p12le", "yuv444p10le", "yuv444p16le", "yuva422p10le",
    "nv12", "nv21", "nv16", "p010le", "p210le",
]  # fmt: skip
RGB = ["gbrp", "gbrp10le", "gbrp12le", "gbrp16le", "gbrap", "gbrap10le",
       "rgb24", "bgr24", "bgr0", "0rgb", "rgba", "argb", "rgb48le", "rgb48be", "bgr48le", "rgba64le"]  # fmt: skip
SITES = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0), "top": (0.5, 0.0), "bottomleft": (0.0, 1.0),
         "bottom": (0.5, 1.0), "unknown": (0.0, 0.5)}  # fmt: skip


def colour(matrix: str = "bt709", full: bool = False, location: str = "left") -> Colour:
    return Colour(matrix, "unknown", "unknown", "unknown", location, matrix, full)  # type: ignore[arg-type]


def colour_of(fmt: PixelFormat, matrix: str = "bt709", full: bool = False, location: str = "left") -> Colour:
    return colour(matrix if fmt.model == "yuv" else fmt.model, full, location)


def sound(fmt: PixelFormat, planes: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """With codes inside the format's depth, as decoders give them."""
    return [p & (((1 << fmt.depth) - 1) << fmt.components[0].shift) for p in planes]


def random_planes(fmt: PixelFormat, w: int, h: int, seed: int) -> list[NDArray[Any]]:
    """Every bit of every sample drawn: padding, alpha, bits below the code, and codes that no decoder gives too."""
    rng = np.random.default_rng(seed)
    top = np.iinfo(fmt.dtype).max
    found = [rng.integers(0, top, fmt.plane_shape(i, w, h), fmt.dtype, endpoint=True) for i in range(len(fmt.planes))]
    for plane in found:
        plane.flags.writeable = False
    return found


def codes(fmt: PixelFormat, planes: Any, i: int) -> NDArray[np.float64]:
    c = fmt.components[i]
    plane = np.asarray(planes[c.plane])
    plane = plane if plane.ndim == 2 else plane[..., c.sample]
    return (plane >> c.shift).astype(np.float64)


def batch(planes: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [p[None] for p in planes]


def position(n: int, factor: int, site: float) -> NDArray[np.float64]:
    return np.arange(n, dtype=np.float64) * factor + site * (factor - 1)


def reference(fmt: PixelFormat, planes: Any, c: Colour) -> NDArray[np.float64]:
    """RGB (3, H, W) by the standards' formulas, one sample after the other."""
    step, top = 2.0 ** (fmt.depth - 8), 2.0**fmt.depth - 1
    offset, scale, chroma = (0.0, top, top) if c.full_range_used else (16 * step, 219 * step, 224 * step)
    first = (codes(fmt, planes, 0) - offset) / scale
    if fmt.model == "gray":
        return np.stack([first] * 3)
    if fmt.model == "rgb":
        return np.stack([(codes(fmt, planes, i) - offset) / scale for i in range(3)])
    h, w = first.shape
    layout = fmt.planes[fmt.components[1].plane]
    across, down = SITES[c.chroma_location]
    both = []
    for i in (1, 2):
        x = (codes(fmt, planes, i) - 128 * step) / chroma
        at = position(x.shape[1], 1 << layout.log2_w, across)
        x = np.stack([np.interp(np.arange(w), at, row) for row in x])
        at = position(x.shape[0], 1 << layout.log2_h, down)
        both.append(np.stack([np.interp(np.arange(h), at, column) for column in x.T]).T)
    kr, kb = KR_KB[c.matrix_used]
    red, blue = first + 2 * (1 - kr) * both[1], first + 2 * (1 - kb) * both[0]
    return np.stack([red, (first - kr * red - kb * blue) / (1 - kr - kb), blue])


@pytest.mark.parametrize("name", GRAY + YUV + RGB)
def test_rgb_is_what_the_standards_say(name: str) -> None:
    fmt = pixel_format(name)
    for seed, (matrix, full, location) in enumerate(
        [
            ("bt601", False, "left"),
            ("bt709", True, "center"),
            ("bt2020", False, "topleft"),
            ("bt709", False, "bottom"),
            ("bt601", True, "unknown"),
        ]
    ):
        c = colour_of(fmt, matrix, full, location)
        planes = sound(fmt, random_planes(fmt, 23, 17, seed))
        converter = Converter(fmt, c, "cpu")
        rgb = converter.to_rgb(batch(converter.upload(planes)))
        assert rgb.dtype == torch.float32
        assert rgb.shape == (1, 3, 17, 23)
        np.testing.assert_allclose(rgb[0].numpy(), reference(fmt, planes, c), atol=2e-6)


def test_known_colours() -> None:
    """Rec. ITU-R BT.709-6 table 4 and BT.601: nominal peaks of 8-bit colour bars."""
    bars = {
        ("bt709", (235, 128, 128)): (1, 1, 1), ("bt709", (16, 128, 128)): (0, 0, 0),
        ("bt709", (63, 102, 240)): (1, 0, 0), ("bt709", (32, 240, 118)): (0, 0, 1),
        ("bt601", (81, 90, 240)): (1, 0, 0), ("bt601", (145, 54, 34)): (0, 1, 0),
    }  # fmt: skip
    fmt = pixel_format("yuv444p")
    for (matrix, code), rgb in bars.items():
        converter = Converter(fmt, colour(matrix), "cpu")
        got = converter.to_rgb([torch.full((1, 2, 2), v, dtype=torch.uint8) for v in code])[0, :, 0, 0]
        np.testing.assert_allclose(got.numpy(), rgb, atol=0.006)  # the codes are rounded to whole ones


def test_nothing_is_clipped_on_the_way_in_and_peaks_are_exact() -> None:
    fmt = pixel_format("yuv444p10le")
    y = torch.tensor([[[4, 64, 940, 1019]]], dtype=torch.int32).to(torch.uint16)
    middle = torch.full((1, 1, 4), 512, dtype=torch.int32).to(torch.uint16)
    rgb = Converter(fmt, colour(), "cpu").to_rgb([y, middle, middle])[0, :, 0]
    assert torch.equal(rgb[:, 1], torch.zeros(3))
    assert torch.equal(rgb[:, 2], torch.ones(3))
    assert rgb[:, 0].max() < -0.06
    assert rgb[:, 3].min() > 1.09


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(GRAY + YUV + RGB),
    w=st.integers(1, 19),
    h=st.integers(1, 19),
    seed=st.integers(0, 2**32 - 1),
    full=st.booleans(),
    location=st.sampled_from(sorted(SITES)),
)
def test_no_change_in_is_no_change_out(name: str, w: int, h: int, seed: int, full: bool, location: str) -> None:
    fmt = pixel_format(name)
    converter = Converter(fmt, colour_of(fmt, full=full, location=location), "cpu")
    planes = random_planes(fmt, w, h, seed)
    on_device = batch(converter.upload(planes))
    rgb = converter.to_rgb(on_device)
    for out in (rgb, rgb.clone()):
        for before, after in zip(planes, converter.delta(rgb, out, on_device), strict=True):
            assert after.dtype == on_device[0].dtype
            assert np.array_equal(before, after[0].numpy())


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(GRAY + YUV + RGB),
    w=st.integers(1, 19),
    h=st.integers(1, 19),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_one_pixel_changes_only_what_the_chroma_filter_reaches(name: str, w: int, h: int, seed: int, data: Any) -> None:
    fmt = pixel_format(name)
    x, y = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    location = data.draw(st.sampled_from(sorted(SITES)))
    converter = Converter(fmt, colour_of(fmt, location=location), "cpu")
    planes = random_planes(fmt, w, h, seed)
    on_device = batch(converter.upload(planes))
    rgb = converter.to_rgb(on_device)
    out = rgb.clone()
    out[0, :, y, x] += torch.tensor([0.9, -0.7, 0.8])
    after = converter.delta(rgb, out, on_device)
    across, down = SITES[location]
    for i, layout in enumerate(fmt.planes):
        changed = np.argwhere((after[i][0].numpy() != planes[i]).reshape(*planes[i].shape[:2], -1).any(-1))
        for row, column in changed:
            assert reached(y, row, h, 1 << layout.log2_h, down)
            assert reached(x, column, w, 1 << layout.log2_w, across)
    # What is not picture is carried.
    used = {(c.plane, c.sample) for c in fmt.components}
    for i, layout in enumerate(fmt.planes):
        for s in range(layout.samples):
            if (i, s) not in used:
                before, got = (p if layout.samples == 1 else p[..., s] for p in (planes[i], after[i][0].numpy()))
                assert np.array_equal(before, got)


def reached(pixel: int, sample: int, size: int, factor: int, site: float) -> bool:
    """Whether a pixel lies under a sample's triangle; the first and the last pixel stand for all beyond them."""
    at = position(sample + 1, factor, site)[-1]
    beyond = (pixel == size - 1 and at + factor > size) or (pixel == 0 and at - factor < -1)
    return bool(abs(at - pixel) < factor or beyond)


@pytest.mark.parametrize("name", GRAY + YUV + RGB)
@pytest.mark.parametrize("full", [False, True])
def test_a_flat_colourless_change_is_a_step_of_luma(name: str, full: bool) -> None:
    fmt = pixel_format(name)
    converter = Converter(fmt, colour_of(fmt, full=full), "cpu")
    top = (1 << fmt.depth) - 1
    shift = fmt.components[0].shift
    planes = [np.full(fmt.plane_shape(i, 7, 5), (top // 2) << shift, fmt.dtype) for i in range(len(fmt.planes))]
    on_device = batch(converter.upload(planes))
    rgb = converter.to_rgb(on_device)
    scale = top if full else 219 * 2 ** (fmt.depth - 8)
    after = converter.delta(rgb, rgb + 10 / scale, on_device)
    moved = [codes(fmt, [p[0].numpy() for p in after], i) - top // 2 for i in range(len(fmt.components))]
    for i, m in enumerate(moved):
        assert np.array_equal(m, np.full_like(m, 0.0 if fmt.model == "yuv" and i else 10.0))


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "p010le", "gray16le", "gbrp12le", "bgr0"])
def test_a_change_is_clipped_to_the_codes(name: str) -> None:
    fmt = pixel_format(name)
    converter = Converter(fmt, colour_of(fmt), "cpu")
    on_device = batch(converter.upload(sound(fmt, random_planes(fmt, 8, 6, 1))))
    rgb = converter.to_rgb(on_device)
    white = codes(fmt, [p[0].numpy() for p in converter.delta(rgb, rgb + 9.0, on_device)], 0)
    black = codes(fmt, [p[0].numpy() for p in converter.delta(rgb, rgb - 9.0, on_device)], 0)
    assert (white == (1 << fmt.depth) - 1).all()
    assert (black == 0).all()


def test_bits_below_the_code_are_carried() -> None:
    fmt = pixel_format("p010le")
    converter = Converter(fmt, colour(), "cpu")
    y = torch.tensor([[[0, 63, 0x8025, 0xFFFF]]], dtype=torch.int32).to(torch.uint16)
    planes = [y, torch.full((1, 1, 2, 2), 1 << 15, dtype=torch.int32).to(torch.uint16)]
    rgb = converter.to_rgb(planes)
    up, down = (converter.delta(rgb, rgb + d / 876, planes)[0].to(torch.int32)[0, 0].tolist() for d in (2, -2))
    assert up == [128, 63 + 128, 0x8025 + 128, 0xFFFF]
    assert down == [0, 63, 0x8025 - 128, 0xFFFF - 128]


@pytest.mark.parametrize("name", YUV)
def test_a_change_of_colours_comes_back(name: str) -> None:
    """What a smooth change asks for is what the planes then show, to a rounding in each component."""
    fmt = pixel_format(name)
    converter = Converter(fmt, colour_of(fmt, "bt601"), "cpu")
    w, h = 32, 24
    middle = 1 << (fmt.depth - 1) << fmt.components[0].shift
    on_device = batch(
        converter.upload([np.full(fmt.plane_shape(i, w, h), middle, fmt.dtype) for i in range(len(fmt.planes))])
    )
    rgb = converter.to_rgb(on_device)
    ramp = torch.linspace(-0.1, 0.1, w).expand(h, w) + torch.linspace(0, 0.1, h)[:, None]
    out = rgb + torch.stack((ramp, -ramp / 2, ramp / 3))
    got = converter.to_rgb(converter.delta(rgb, out, on_device))
    inner = (..., slice(8, -8), slice(8, -8))  # the ramp's own ends are bent by the repeated border
    codes_apart = (got - out)[inner].abs().max() * 219 * 2 ** (fmt.depth - 8)
    assert codes_apart < 1.8


@pytest.mark.parametrize("site", ["first", "middle", "last"])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_the_way_down_is_the_matching_triangle(factor: int, site: Any) -> None:
    f = Filter(factor, site)
    size = 11
    n = -(-size // factor)
    matrix = f.down(torch.eye(size), 0).numpy()
    at = position(n, factor, {"first": 0.0, "middle": 0.5, "last": 1.0}[site])
    wanted = np.zeros((n, size))
    for i in range(n):
        for x in range(-2 * factor, size + 2 * factor):
            wanted[i, min(max(x, 0), size - 1)] += max(0.0, 1 - abs(x - at[i]) / factor) / factor
    assert np.array_equal(matrix, wanted.astype(np.float32))
    # The same along the other axis, and constants stay.
    assert np.array_equal(f.down(torch.eye(size), 1).numpy(), matrix.T)
    assert torch.equal(f.down(torch.full((1, size), 0.3), 1), torch.full((1, n), 0.3))
    assert torch.equal(f.up(torch.full((1, n), 0.3), 1, size), torch.full((1, size), 0.3))


def test_frames_of_a_batch_do_not_mix() -> None:
    fmt = pixel_format("yuv420p")
    converter = Converter(fmt, colour(), "cpu")
    singles = [batch(converter.upload(random_planes(fmt, 9, 7, s))) for s in range(3)]
    together = [torch.cat(p) for p in zip(*singles, strict=True)]
    rgb = converter.to_rgb(together)
    assert torch.equal(rgb, torch.cat([converter.to_rgb(p) for p in singles]))
    after = converter.delta(rgb, rgb * 1.1, together)
    for i, p in enumerate(singles):
        one = converter.delta(rgb[i : i + 1], rgb[i : i + 1] * 1.1, p)
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(after, one, strict=True))


def test_an_unknown_matrix_is_refused() -> None:
    with pytest.raises(SourceError, match="bt601, bt709, bt2020"):
        Converter(pixel_format("yuv420p"), replace(colour(), matrix_used="rgb"), "cpu")
