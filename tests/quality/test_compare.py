from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import CallError
from pipeline.quality.compare import compare
from pipeline.quality.figures import Meter
from pipeline.reel.formats import pixel_format
from pipeline.types import Frames, PixelFormat
from tests.quality.pictures import colour, random_planes, scene, tensors
from tests.quality.test_figures import no_change


def frames(fmt: PixelFormat, seed: int, count: int = 2, width: int = 40, height: int = 30, first: int = 7) -> Frames:
    each = [random_planes(fmt, width, height, seed + n) for n in range(count)]
    planes = tuple(np.stack(p) for p in zip(*each, strict=True))
    for p in planes:
        p.setflags(write=False)
    return Frames(planes, fmt, first, np.arange(count))


def colourless(fmt: PixelFormat, width: int = 40, height: int = 30) -> list[NDArray[Any]]:
    """One frame's chroma planes at their middle."""
    return [np.full((1, *fmt.plane_shape(i, width, height)), 1 << (fmt.depth - 1), fmt.dtype) for i in (1, 2)]


def test_agrees_with_the_meter() -> None:
    fmt = pixel_format("yuv422p10le")
    a, b = frames(fmt, 0), frames(fmt, 50)
    meter = Meter(fmt, colour())
    for n in (7, 8):
        meter.see(n, tensors(a.frame(n)), tensors(b.frame(n)), no_change(30, 40), no_change(30, 40))
    for row, f in zip(compare(a, b, colour()), meter.figures(7, 9, ()), strict=True):
        assert row["psnr_db"] == f.psnr_db
        assert row["touched_fraction"] == f.touched_fraction
        assert row["ssim"] == pytest.approx(f.ssim, abs=1e-3)
    assert [r["frame"] for r in compare(a, b, colour())] == [7, 8]


def test_a_film_equals_itself() -> None:
    a = frames(pixel_format("nv12"), 0)
    for row in compare(a, a, colour()):
        assert (row["psnr_db"], row["psnr_y_db"], row["ssim"], row["touched_fraction"]) == (100.0, 100.0, 1.0, 0.0)


def test_order_in_memory_is_no_difference() -> None:
    nv12, planar = pixel_format("nv12"), pixel_format("yuv420p")
    a = frames(nv12, 0)
    y, uv = a.planes
    b = Frames((y, uv[..., 0], uv[..., 1]), planar, 0, a.pts)
    assert all(row["psnr_db"] == 100.0 for row in compare(a, b, colour()))


def test_a_ten_bit_master_and_its_eight_bit_copy_are_compared_by_luma() -> None:
    ten, eight = pixel_format("yuv422p10le"), pixel_format("yuv420p")
    luma = np.clip(scene(40, 30), 16, 235).round()[None]
    a = Frames(((luma * 4).astype(np.uint16), *colourless(ten)), ten, 0, np.arange(1))
    b = Frames((luma.astype(np.uint8), *colourless(eight)), eight, 0, np.arange(1))
    (row,) = compare(a, b, colour())
    assert (row["psnr_y_db"], row["ssim"]) == (100.0, 1.0)
    assert row["psnr_db"] is None
    assert row["touched_fraction"] is None


def test_limited_against_full_range_is_compared_by_level() -> None:
    limited, gray = pixel_format("yuv420p"), pixel_format("gray")
    codes = np.clip(scene(40, 30), 16, 235).round()[None].astype(np.uint8)
    a = Frames((codes, *colourless(limited)), limited, 0, np.arange(1))
    full = ((codes.astype(np.float64) - 16) * 255 / 219).round().astype(np.uint8)
    (row,) = compare(a, Frames((full,), gray, 0, np.arange(1)), colour(False), colour(True))
    assert row["psnr_y_db"] is not None
    assert row["psnr_y_db"] > 58  # rounding to whole codes is all that is between them
    assert row["ssim"] == pytest.approx(1, abs=1e-3)


def test_sizes_must_agree() -> None:
    fmt = pixel_format("gray")
    with pytest.raises(CallError, match="40×30 and 42×30"):
        compare(frames(fmt, 0), frames(fmt, 0, width=42), colour())
    with pytest.raises(ValueError, match="2 frames against 1"):
        compare(frames(fmt, 0), frames(fmt, 0, count=1), colour())
