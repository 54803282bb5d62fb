"""Pictures of floats: what no pass changed comes back bit for bit, whatever it was, and nothing is clipped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.plan import cuts
from pipeline.quality.figures import Meter
from pipeline.reel.formats import pixel_format
from pipeline.restore.colour import Converter
from pipeline.types import Colour, Frames, PixelFormat

NAMES = ("gbrpf32le", "gbrapf32le", "gbrpf16le", "gbrapf16le", "grayf32le")
WILD = (0.0, -0.0, -2.5, 1.0, 13.5, 65504.0, 6e-8, np.inf, -np.inf, np.nan)


def colour(fmt: PixelFormat, read_as: str = "linear") -> Colour:
    used = "rgb" if fmt.model == "rgb" else "gray"
    return Colour("unknown", "unknown", "unknown", "unknown", "unknown", used, True, (), read_as)  # type: ignore[arg-type]


def planes_of(fmt: PixelFormat) -> tuple[NDArray[np.generic], ...]:
    rng = np.random.default_rng(5)
    found = []
    for _ in fmt.planes:
        plane = rng.normal(0.3, 0.5, (24, 32)).astype(fmt.dtype)
        plane[3, : len(WILD)] = WILD
        bits = plane.view(np.uint16 if fmt.depth == 16 else np.uint32)
        bits[4, 0] = 0x7E55 if fmt.depth == 16 else 0x7FC12345  # a number that is none, with a payload
        found.append(plane)
    return tuple(found)


def bits(plane: torch.Tensor) -> NDArray[np.generic]:
    array = plane.numpy()
    return array.view(np.uint16 if array.itemsize == 2 else np.uint32)


@pytest.mark.parametrize("read_as", ["linear", "display"])
@pytest.mark.parametrize("name", NAMES)
def test_no_change_leaves_every_bit(name: str, read_as: str) -> None:
    fmt = pixel_format(name)
    converter = Converter(fmt, colour(fmt, read_as), "cpu")
    planes = [p[None] for p in converter.upload(planes_of(fmt))]
    rgb = converter.to_rgb(planes)
    assert rgb.isfinite().all()
    for a, b in zip(converter.delta(rgb, rgb.clone(), planes), planes, strict=True):
        assert (bits(a) == bits(b)).all()


@pytest.mark.parametrize("read_as", ["linear", "display"])
@pytest.mark.parametrize("name", NAMES)
def test_one_changed_pixel_changes_one_pixel(name: str, read_as: str) -> None:
    fmt = pixel_format(name)
    converter = Converter(fmt, colour(fmt, read_as), "cpu")
    planes = [p[None] for p in converter.upload(planes_of(fmt))]
    rgb = converter.to_rgb(planes)
    out = rgb.clone()
    out[0, :, 10, 7] += 0.125
    out[0, :, 3, 9] += 0.125  # where the source holds no number
    out[0, :, 12, 0] = torch.nan  # and where a pass gives none
    found = converter.delta(rgb, out, planes)
    for c in fmt.components:
        where = bits(found[c.plane]) != bits(planes[c.plane])
        assert list(zip(*np.nonzero(where), strict=True)) == [(0, 10, 7)]
    if fmt.alpha is not None:
        assert (bits(found[fmt.alpha.plane]) == bits(planes[fmt.alpha.plane])).all()
    again = converter.to_rgb(found)
    assert torch.allclose(again[0, :, 10, 7], out[0, :, 10, 7], rtol=1e-3 if fmt.depth == 16 else 1e-5, atol=1e-5)


def test_what_lies_below_black_and_beyond_white_moves_and_is_not_clipped() -> None:
    fmt = pixel_format("gbrpf32le")
    converter = Converter(fmt, colour(fmt, "display"), "cpu")
    plane = torch.tensor([[[-2.5, 13.5, 65504.0]]])
    planes = [plane, plane.clone(), plane.clone()]
    rgb = converter.to_rgb(planes)
    for out in converter.delta(rgb, rgb + 0.25, planes):
        assert torch.equal(out, plane + 0.25)


@pytest.mark.parametrize("name", NAMES)
def test_figures_and_cuts_of_floats_are_numbers(name: str) -> None:
    fmt = pixel_format(name)
    before = planes_of(fmt)
    signature = cuts.signature(Frames(tuple(p[None] for p in before), fmt, 0, np.arange(1)))
    assert np.isfinite(signature).all()
    converter = Converter(fmt, colour(fmt), "cpu")
    planes = converter.upload(before)
    rgb = converter.to_rgb([p[None] for p in planes])[0]
    out = rgb.clone()
    out[:, 10:12, 7:9] += 0.2
    after = tuple(p[0] for p in converter.delta(rgb[None], out[None], [p[None] for p in planes]))
    meter = Meter(fmt, colour(fmt))
    meter.see(0, planes, planes, rgb, rgb)
    meter.see(1, planes, after, rgb, out)
    same, changed = meter.figures(0, 2, ())
    assert (same.psnr_db, same.touched_fraction) == (100.0, 0.0)
    assert changed.touched_fraction == changed.changed_fraction == 4 / (24 * 32)
    assert 0 <= changed.psnr_db < 100 or fmt.depth == 32
    for value in (changed.psnr_db, changed.ssim, changed.luma_source, changed.noise_source, changed.sharpness_source):
        assert np.isfinite(value)
