"""The delta form's promises in every pixel format that docs/formats.md lists, with every matrix and range."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.reel.formats import pixel_format
from pipeline.restore.colour import KR_KB, Converter
from pipeline.types import Colour, PixelFormat
from tests.reel import axes, sequences

LISTED = sorted(
    {name for names in (*axes.FORMATS.values(), *sequences.FORMATS.values()) for name in names}
    | {"gbrpf32le", "gbrapf32le", "grayf32le", "gbrpf16le", "gbrapf16le", "grayf16le"}
)
SIZE = (13, 11)
"""Width and height in px: both odd, so that chroma rounds up."""
PIXEL = (5, 6)
"""Row and column of the one that a pass changes."""


def picture(fmt: PixelFormat) -> tuple[NDArray[np.generic], ...]:
    """Every bit of every sample drawn: beyond the nominal range, padding, and floats that are no numbers too."""
    rng = np.random.default_rng(len(fmt.name))
    whole = np.dtype(f"u{fmt.dtype.itemsize}")
    shapes = (fmt.plane_shape(i, *SIZE) for i in range(len(fmt.planes)))
    return tuple(rng.integers(0, np.iinfo(whole).max, s, whole, endpoint=True).view(fmt.dtype) for s in shapes)


def readings(fmt: PixelFormat) -> list[Colour]:
    matrices = sorted(KR_KB) if fmt.model == "yuv" else [fmt.model]
    transfers = ["display"] if fmt.model == "yuv" else ["display", "linear"] + ["log"] * (not fmt.is_float)
    return [
        Colour("unknown", "unknown", "unknown", "unknown", location, matrix, full, (), transfer)  # type: ignore[arg-type]
        for matrix, full, location, transfer in product(matrices, (False, True), ("left", "topleft"), transfers)
    ]


def bits(plane: torch.Tensor) -> NDArray[np.generic]:
    array = plane[0].numpy()
    return array.view(f"u{array.dtype.itemsize}")


@pytest.mark.parametrize("name", LISTED)
def test_no_change_is_none_and_one_pixel_changes_only_what_the_chroma_filter_reaches(name: str) -> None:
    fmt = pixel_format(name)
    source = picture(fmt)
    for colour in readings(fmt):
        converter = Converter(fmt, colour, "cpu")
        planes = [p[None] for p in converter.upload(source)]
        rgb = converter.to_rgb(planes)
        assert rgb.isfinite().all()
        same = converter.delta(rgb, rgb.clone(), planes)
        assert all((bits(a) == bits(b)).all() for a, b in zip(same, planes, strict=True)), colour

        out = rgb.clone()
        out[0, :, PIXEL[0], PIXEL[1]] += torch.tensor([0.5, -0.25, 0.3])
        for layout, a, b in zip(fmt.planes, converter.delta(rgb, out, planes), planes, strict=True):
            changed = np.argwhere((bits(a) != bits(b)).reshape(*bits(a).shape[:2], -1).any(-1))
            # Linear interpolation reaches less than two chroma samples to either side.
            for place, pixel, log2 in zip(changed.T, PIXEL, (layout.log2_h, layout.log2_w), strict=True):
                reach = 0 if log2 == 0 else 1
                assert (np.abs(place - (pixel >> log2)) <= reach).all(), (colour, layout)
