"""Log scans and light: through the curve to what is shown and exactly back, for every code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.reel.formats import pixel_format
from pipeline.restore.colour import Converter
from pipeline.restore.transfer import Transfer
from pipeline.types import Colour

NAMES = ("gbrp10le", "gbrp12le", "rgb48be", "gray10le", "gray16le", "rgb24")


def colour(model: str, read_as: str) -> Colour:
    used = "rgb" if model == "rgb" else "gray"
    return Colour("unknown", "unknown", "unknown", "unknown", "unknown", used, True, (), read_as)  # type: ignore[arg-type]


def every_code(name: str) -> tuple[NDArray[np.generic], ...]:
    """A picture of every code that the format has, in all its components."""
    fmt = pixel_format(name)
    codes = np.arange(1 << fmt.depth).astype(fmt.dtype).reshape(16, -1)
    return tuple(codes if p.samples == 1 else np.repeat(codes[..., None], p.samples, -1) for p in fmt.planes)


def cineon(code: float) -> float:
    """Light of a 10-bit code by the book, in float64."""
    black = 10 ** ((95 - 685) * 0.002 / 0.6)
    return (10 ** ((code - 685) * 0.002 / 0.6) - black) / (1 - black)


def srgb(light: float) -> float:
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


@pytest.mark.parametrize("read_as", ["log", "linear"])
@pytest.mark.parametrize("name", NAMES)
def test_no_change_is_none_and_every_code_has_a_value_of_its_own(name: str, read_as: str) -> None:
    fmt = pixel_format(name)
    converter = Converter(fmt, colour(fmt.model, read_as), "cpu")
    planes = [p[None] for p in converter.upload(every_code(name))]
    rgb = converter.to_rgb(planes)
    assert (rgb[0, 0].flatten().diff() > 0).all(), "strictly rising over all codes"
    assert all(torch.equal(a, b) for a, b in zip(converter.delta(rgb, rgb.clone(), planes), planes, strict=True))


@pytest.mark.parametrize("read_as", ["log", "linear"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("move", [1, -1, 37])
def test_a_change_lands_on_the_code_that_is_shown_so(name: str, read_as: str, move: int) -> None:
    fmt = pixel_format(name)
    converter = Converter(fmt, colour(fmt.model, read_as), "cpu")
    top = (1 << fmt.depth) - 1
    source = every_code(name)
    wanted = tuple(np.clip(p.astype(np.int64) + move, 0, top).astype(p.dtype) for p in source)
    planes = [p[None] for p in converter.upload(source)]
    goal = converter.to_rgb([p[None] for p in converter.upload(wanted)])
    found = converter.delta(converter.to_rgb(planes), goal, planes)
    for plane, want in zip(found, wanted, strict=True):
        apart = np.abs(plane[0].numpy().astype(np.int64) - want.astype(np.int64))
        assert apart.max() == 0


def test_the_curve_is_cineon_s_and_srgb_s() -> None:
    codes = torch.arange(1024, dtype=torch.float32)
    shown = Transfer("log").shown(codes / 1023)
    assert abs(float(shown[95])) < 1e-6
    assert abs(float(shown[685]) - 1) < 1e-6
    for code in (96, 180, 300, 470, 600, 684):
        assert float(shown[code]) == pytest.approx(srgb(cineon(code)), abs=2e-4)
    # 18 % grey, which Cineon puts near code 470.
    assert cineon(470) == pytest.approx(0.18, abs=0.02)
    assert 2.0 < float(shown[1023]) < 2.2
    assert cineon(1023) == pytest.approx(13.53, abs=0.01)
    assert float(shown[1023]) == pytest.approx(1 + 1.055 / 2.4 * math.log(cineon(1023)), abs=1e-5)


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_the_curve_goes_both_ways_far_beyond_what_is_shown(kind: str) -> None:
    shown = torch.linspace(-0.05, 2.1, 100_001)
    transfer = Transfer(kind)  # type: ignore[arg-type]
    back = transfer.shown(transfer.values(shown))
    assert float((back - shown).abs().max()) < 2e-6
    wild = transfer.values(torch.tensor([-1e30, -3.0, 50.0, 1e30]))
    assert wild.isfinite().all()
    assert (wild.diff() >= 0).all()


def test_light_below_black_and_beyond_white_keeps_its_order() -> None:
    light = torch.tensor([-65504.0, -1.0, -1e-6, 0.0, 1e-6, 0.0031308, 0.18, 1.0, 2.0, 100.0, 65504.0])
    shown = Transfer("linear").shown(light)
    assert (shown.diff() > 0).all()
    back = Transfer("linear").values(shown)
    assert torch.allclose(back, light, rtol=3e-6, atol=1e-9)
