from __future__ import annotations

import dataclasses
import itertools
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.quality.figures import Meter
from pipeline.reel.formats import pixel_format
from pipeline.types import FrameFigures, PixelFormat
from tests.quality.pictures import colour, components, random_planes, reference_ssim, tensors

Planes = tuple[NDArray[Any], ...]


def no_change(height: int, width: int) -> Tensor:
    return torch.zeros(3, height, width)


def measured(
    fmt: PixelFormat, before: list[Planes], after: list[Planes], first: int = 0, full_range: bool = False
) -> Meter:
    meter = Meter(fmt, colour(full_range))
    height, width = before[0][fmt.components[0].plane].shape[:2]
    for n, (a, b) in enumerate(zip(before, after, strict=True), first):
        meter.see(n, tensors(a), tensors(b), no_change(height, width), no_change(height, width) + 0.5)
    return meter


def film(fmt: PixelFormat, frames: int, width: int, height: int, seed: int = 0) -> list[Planes]:
    return [random_planes(fmt, width, height, seed + n) for n in range(frames)]


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gbrp10le", "bgr0", "gray", "gray16le", "nv12", "p010le"])
def test_figures_are_their_definitions(name: str) -> None:
    fmt = pixel_format(name)
    before, after = film(fmt, 2, 45, 31), film(fmt, 2, 45, 31, seed=50)
    full = fmt.model != "yuv"
    got = measured(fmt, before, after, full_range=full).figures(0, 2, ())
    scale = 255 / (2**fmt.depth - 1) if full else 2.0 ** (8 - fmt.depth)

    def luma(planes: Planes) -> NDArray[Any]:
        c = components(planes, fmt)
        return c[0] * 1.0 if fmt.model != "rgb" else 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]

    for n in range(2):
        a, b = components(before[n], fmt), components(after[n], fmt)
        mse = sum(((x - y) ** 2).sum() for x, y in zip(a, b, strict=True)) / sum(x.size for x in a)
        f = got[n]
        assert f.psnr_db == pytest.approx(10 * np.log10((2**fmt.depth - 1) ** 2 / mse), abs=1e-4)
        expected = reference_ssim(luma(before[n]), luma(after[n]), 2**fmt.depth - 1)
        assert f.ssim == pytest.approx(expected, abs=1e-4)
        assert f.luma_source == pytest.approx(luma(before[n]).mean() * scale, rel=1e-6)
        assert f.luma_output == pytest.approx(luma(after[n]).mean() * scale, rel=1e-6)
        assert f.touched_fraction > 0.9
    second = got[1]
    for found, film_ in ((second.flicker_source, before), (second.flicker_output, after)):
        step = abs(luma(film_[1]).mean() - luma(film_[0]).mean()) * scale
        assert found == pytest.approx(step, abs=1e-4)
    for found, film_ in ((second.ydif_source, before), (second.ydif_output, after)):
        assert found == pytest.approx(np.abs(luma(film_[1]) - luma(film_[0])).mean() * scale, rel=1e-6)


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le"])
def test_luma_and_ydif_are_those_of_ffmpegs_signalstats(name: str) -> None:
    fmt = pixel_format(name)
    pictures = film(fmt, 3, 64, 48)
    got = measured(fmt, pictures, pictures).figures(0, 3, ())
    scale = 2 ** (fmt.depth - 8)
    for n, stats in enumerate(signalstats(name, pictures)):
        assert got[n].luma_source * scale == pytest.approx(stats["YAVG"], rel=1e-5)
        if n:
            assert got[n].ydif_source is not None
            assert got[n].ydif_source * scale == pytest.approx(stats["YDIF"], rel=1e-5)


def signalstats(name: str, pictures: list[Planes]) -> list[dict[str, float]]:
    height, width = pictures[0][0].shape
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "stats"
        graph = av.filter.Graph()
        chain = [
            graph.add_buffer(width=width, height=height, format=av.VideoFormat(name), time_base=Fraction(1, 24)),
            graph.add("signalstats", "stat=tout+vrep+brng"),
            graph.add("metadata", f"mode=print:file={told}"),
            graph.add("buffersink"),
        ]
        for a, b in itertools.pairwise(chain):
            a.link_to(b)
        graph.configure()
        for n, planes in enumerate(pictures):
            frame = av.VideoFrame(width, height, name)
            for plane, values in zip(frame.planes, planes, strict=True):
                lines = np.zeros((plane.height, plane.line_size), np.uint8)
                lines[:, : values.shape[1] * values.itemsize] = values.view(np.uint8)
                plane.update(lines.tobytes())
            frame.pts, frame.time_base = n, Fraction(1, 24)
            chain[0].push(frame)
            chain[-1].pull()
        del graph, chain
        found: list[dict[str, float]] = []
        for line in told.read_text().splitlines():
            if line.startswith("frame:"):
                found.append({})
            else:
                key, _, value = line.partition("=")
                found[-1][key.rsplit(".", 1)[-1]] = float(value)
        return found


def test_untouched_frames_say_so_exactly() -> None:
    fmt = pixel_format("yuv420p")
    pictures = film(fmt, 2, 40, 30)
    for f in measured(fmt, pictures, pictures).figures(0, 2, ()):
        assert (f.psnr_db, f.ssim, f.touched_fraction, f.changed_fraction) == (100.0, 1.0, 0.0, 0.0)
        assert (f.luma_source, f.noise_source, f.ydif_source) == (f.luma_output, f.noise_output, f.ydif_output)


def test_the_way_for_untouched_frames_gives_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    fmt = pixel_format("yuv420p")
    before = film(fmt, 4, 75, 90)
    after = [before[0], film(fmt, 1, 75, 90, 9)[0], before[2], before[3]]
    short = measured(fmt, before, after).figures(0, 4, ())
    monkeypatch.setattr(torch, "equal", lambda a, b: False)
    assert measured(fmt, before, after).figures(0, 4, ()) == short


def test_one_least_code_in_sixteen_bits_is_not_equal() -> None:
    fmt = pixel_format("yuv444p16le")
    (a,) = film(fmt, 1, 200, 200)
    b = tuple(p.copy() for p in a)
    b[1][0, 0] ^= 1
    (f,) = measured(fmt, [a], [b]).figures(0, 1, ())
    assert f.psnr_db == 99.99
    assert f.touched_fraction == 1 / 40_000


def test_figures_do_not_depend_on_the_tile() -> None:
    fmt = pixel_format("yuv422p10le")
    before, after = film(fmt, 9, 60, 44), film(fmt, 9, 60, 44, seed=100)
    whole = measured(fmt, before, after).figures(0, 9, {4})
    tiled: list[FrameFigures] = []
    for first, last in ((0, 1), (1, 4), (4, 7), (7, 9)):
        start = max(0, first - 1)  # the overlap frame
        tiled += measured(fmt, before[start:last], after[start:last], start).figures(first, last, {4})
    assert tiled == whole


def test_figures_do_not_depend_on_the_number_of_threads() -> None:
    fmt = pixel_format("yuv420p")
    before, after = film(fmt, 2, 321, 239), film(fmt, 2, 321, 239, seed=100)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(measured(fmt, before, after).figures(0, 2, ()))
    assert found[0] == found[1]


def test_nothing_is_compared_across_a_cut_or_with_a_frame_not_seen() -> None:
    fmt = pixel_format("gray")
    pictures = film(fmt, 4, 20, 20)
    got = measured(fmt, pictures, pictures, first=10).figures(10, 14, {12})
    none = [f.flicker_source is None for f in got]
    assert none == [True, False, True, False]
    for name in ("flicker_output", "ydif_source", "ydif_output"):
        assert [getattr(f, name) is None for f in got] == none


def test_frames_come_in_order_and_are_all_seen() -> None:
    fmt = pixel_format("gray")
    pictures = film(fmt, 2, 20, 20)
    meter = measured(fmt, pictures, pictures, first=5)
    (planes,) = (tensors(pictures[0]),)
    for number in (5, 6, 8):
        with pytest.raises(ValueError, match=f"frame {number} does not follow frame 6"):
            meter.see(number, planes, planes, no_change(20, 20), no_change(20, 20))
    with pytest.raises(ValueError, match="frame 7 was not measured"):
        meter.figures(5, 8, ())
    assert meter.figures(6, 6, ()) == []


def test_tensors_may_be_used_again_after_see() -> None:
    fmt = pixel_format("gbrp")
    before, after = film(fmt, 2, 30, 30), film(fmt, 2, 30, 30, seed=7)
    expected = measured(fmt, before, after).figures(0, 2, ())
    meter = Meter(fmt, colour())
    a, b = tensors(before[0]), tensors(after[0])
    rgb = no_change(30, 30), no_change(30, 30)
    for n in range(2):
        for mine, theirs in ((a, before[n]), (b, after[n])):
            for plane, values in zip(mine, theirs, strict=True):
                plane.copy_(torch.from_numpy(values))
        rgb[0].zero_()
        rgb[1].fill_(0.5)
        meter.see(n, a, b, *rgb)
        for tensor in (*a, *b, *rgb):
            tensor.fill_(3)
    assert meter.figures(0, 2, ()) == expected


class TestChanged:
    def fraction(self, depth: int, code: int | list[int], step: int, channel: int = 1, touch: bool = True) -> float:
        """A picture of levels, one a column, of which every fourth row moves by ``step`` codes in one channel."""
        fmt = pixel_format("gbrp" if depth == 8 else f"gbrp{depth}le")
        before = tuple(np.tile(np.array(code, fmt.dtype), (8, 1)) for _ in range(3))
        after = tuple(p.copy() for p in before)
        plane = fmt.components[channel].plane
        after[plane][::4] += np.array(step, fmt.dtype)
        rgb = [
            torch.from_numpy(np.stack([c / (2**depth - 1) for c in components(p, fmt)]).astype(np.float32))
            for p in (before, after)
        ]
        meter = Meter(fmt, colour(True))
        meter.see(0, tensors(before), tensors(after if touch else before), *rgb)
        return meter.figures(0, 1, ())[0].changed_fraction

    def test_more_than_four_codes_of_eight_bits_at_every_level(self) -> None:
        assert self.fraction(8, list(range(251)), 4) == 0
        assert self.fraction(8, list(range(251)), 5) == 0.25

    def test_the_same_threshold_at_sixteen_bits(self) -> None:
        for code in (0, 1, 777, 30_000, 64_000):
            assert self.fraction(16, code, 4 * 257) == 0
            assert self.fraction(16, code, 4 * 257 + 1) == 0.25

    @pytest.mark.parametrize("channel", [0, 1, 2])
    def test_any_channel_counts(self, channel: int) -> None:
        assert self.fraction(10, 300, 100, channel) == 0.25

    def test_what_comes_out_unchanged_has_not_changed(self) -> None:
        # Outside the code range a net may move RGB without moving a code value.
        assert self.fraction(8, 100, 50, touch=False) == 0


def test_every_figure_is_a_plain_finite_number() -> None:
    fmt = pixel_format("yuv420p")
    dark = [tuple(np.zeros_like(p) for p in random_planes(fmt, 16, 16, 0))] * 2
    for f in measured(fmt, dark, film(fmt, 2, 16, 16)).figures(0, 2, {1}):
        for name, value in dataclasses.asdict(f).items():
            plain = int if name == "scratch_columns" else float
            for number in value if isinstance(value, tuple) else (value,):
                assert number is None or (type(number) is plain and np.isfinite(number)), name
