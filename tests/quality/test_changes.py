"""Figures of what restoring did to one frame: the step at a seam, black, and the blocks that are held together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.quality import measures
from pipeline.quality.changes import Borders, seam
from pipeline.quality.figures import Meter
from pipeline.reel.formats import pixel_format
from tests.quality.pictures import blurred, colour, scene, tensors
from tests.quality.test_figures import no_change


def t(picture: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture, np.float32).copy())


def codes(picture: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(picture, 0, 255).round().astype(np.uint8)


class TestSeam:
    borders = Borders(rows=(40,), columns=(64, 100))

    def test_a_step_is_told_in_its_own_size(self) -> None:
        change = np.random.default_rng(0).normal(0, 2, (90, 160))
        assert float(seam(t(change), self.borders)) < 0.6
        change[:, 100:] += 6.0
        assert float(seam(t(change), self.borders)) == pytest.approx(6 - 2.7, abs=0.6)  # less what grain does anyway
        smooth = blurred(change, 3)
        smooth[40:] -= 3.0
        assert float(seam(t(smooth), self.borders)) == pytest.approx(3.0, abs=0.2)

    def test_an_edge_elsewhere_is_none(self) -> None:
        change = np.zeros((90, 160))
        change[:, 80:] += 20
        assert float(seam(t(change), self.borders)) == 0

    def test_borders_at_the_very_end_do_no_harm(self) -> None:
        assert float(seam(t(np.ones((4, 4))), Borders((1, 3), (1, 3, 99)))) == 0

    def test_the_meter_tells_it_in_eight_bit_codes(self) -> None:
        fmt = pixel_format("gray10le")
        picture = (scene(160, 90) * 4).clip(0, 1023).round().astype(np.uint16)
        other = picture.copy()
        other[:, 100:] += 20
        found = []
        for borders in (self.borders, Borders()):
            meter = Meter(fmt, colour(False), borders=borders)
            meter.see(0, tensors((picture,)), tensors((other,)), no_change(90, 160), no_change(90, 160))
            found.append(meter.figures(0, 1, ())[0].seam_space)
        assert found == [pytest.approx(5, abs=0.01), None]


def test_black_is_below_a_tenth_of_the_range() -> None:
    for name, level, full, expected in (
        ("yuv420p", 16 + 21, False, 1.0),
        ("yuv420p", 16 + 22, False, 0.0),
        ("gray10le", 102, True, 1.0),
        ("gray10le", 103, True, 0.0),
    ):
        fmt = pixel_format(name)
        planes = tuple(np.full(fmt.plane_shape(i, 8, 8), level, fmt.dtype) for i in range(len(fmt.planes)))
        meter = Meter(fmt, colour(full))
        meter.see(0, tensors(planes), tensors(planes), no_change(8, 8), no_change(8, 8))
        assert meter.figures(0, 1, ())[0].black_fraction == expected, (name, level)


def test_blocks_are_means_of_the_restored_picture() -> None:
    fmt = pixel_format("gray10le")
    planes = [(scene(96, 72, s) * 4).clip(0, 1023).round().astype(np.uint16) for s in (0, 1)]
    meter = Meter(fmt, colour(False), edges=(5,))
    meter.see(5, tensors(planes[:1]), tensors(planes[1:]), no_change(72, 96), no_change(72, 96))
    expected = (planes[1] / 4).reshape(measures.BLOCKS[0], 4, measures.BLOCKS[1], 4).mean((1, 3)).flatten()
    np.testing.assert_allclose(meter.blocks(5), expected, rtol=1e-5)
