"""Pixel formats against FFmpeg itself: its scaler for what lies where, its framemd5 for hashes."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.format import names

from pipeline.errors import SourceError
from pipeline.reel.formats import frame_of, hash_planes, pixel_format, planes_of
from pipeline.types import PixelFormat
from tests.reel.films import Planes, picture

SIZE = (17, 11)
"""Odd on purpose: chroma rounds up."""


def _supported() -> list[str]:
    found = []
    for name in sorted(names):
        try:
            found.append(pixel_format(name).name)
        except SourceError:
            continue
    return found


SUPPORTED = _supported()
NEEDED = (
    "yuv420p",
    "yuv422p10le",
    "gbrp10le",
    "bgr0",
    "gray",
    "nv12",
    "p010le",
    "rgb24",
    "rgb48le",
    "yuv444p12le",
    "yuva444p10le",
)


def test_every_format_that_is_needed_is_there() -> None:
    assert set(NEEDED) <= set(SUPPORTED)
    assert len(SUPPORTED) > 150


@pytest.mark.parametrize(
    ("name", "shapes", "dtype"),
    [
        ("yuv420p", [(11, 17), (6, 9), (6, 9)], np.uint8),
        ("yuv422p10le", [(11, 17), (11, 9), (11, 9)], np.uint16),
        ("yuv410p", [(11, 17), (3, 5), (3, 5)], np.uint8),
        ("gbrp10le", [(11, 17)] * 3, np.uint16),
        ("bgr0", [(11, 17, 4)], np.uint8),
        ("gray", [(11, 17)], np.uint8),
        ("nv12", [(11, 17), (6, 9, 2)], np.uint8),
        ("p210le", [(11, 17), (11, 9, 2)], np.uint16),
        ("rgb48be", [(11, 17, 3)], np.uint16),
        ("yuva420p", [(11, 17), (6, 9), (6, 9), (11, 17)], np.uint8),
        ("ya8", [(11, 17, 2)], np.uint8),
        ("gbrapf32be", [(11, 17)] * 4, np.float32),
        ("grayf16le", [(11, 17)], np.float16),
    ],
)
def test_shapes_of_planes(name: str, shapes: list[tuple[int, ...]], dtype: Any) -> None:
    fmt = pixel_format(name)
    planes = planes_of(av.VideoFrame(*SIZE, name), fmt)
    assert [p.shape for p in planes] == shapes
    assert [fmt.plane_shape(i, *SIZE) for i in range(len(fmt.planes))] == shapes
    assert {p.dtype for p in planes} == {np.dtype(dtype)}
    assert fmt.frame_bytes(*SIZE) == sum(p.nbytes for p in planes)


@pytest.mark.parametrize("name", SUPPORTED)
def test_planes_survive_a_frame(name: str) -> None:
    fmt = pixel_format(name)
    given = picture(fmt, *SIZE, number=3)
    frame = frame_of(given, fmt, pts=7, time_base=Fraction(1, 18))
    assert (frame.pts, frame.time_base, frame.format.name) == (7, Fraction(1, 18), name)
    found = planes_of(frame, fmt)
    for a, b in zip(given, found, strict=True):
        assert np.array_equal(a, b)
        assert not b.flags.writeable


def _framemd5(planes: Planes, fmt: PixelFormat) -> str:
    """The hash that FFmpeg's own muxer writes."""
    text = io.BytesIO()
    with av.open(text, "w", format="framemd5") as out:
        stream: Any = out.add_stream("rawvideo", rate=24)
        stream.width, stream.height, stream.pix_fmt = *SIZE, fmt.name
        out.mux(stream.encode(frame_of(planes, fmt, pts=0, time_base=Fraction(1, 24))))
        out.mux(stream.encode(None))
    return text.getvalue().decode().splitlines()[-1].split(",")[-1].strip()


@pytest.mark.parametrize("name", SUPPORTED)
def test_hash_is_ffmpegs_framemd5(name: str) -> None:
    fmt = pixel_format(name)
    planes = picture(fmt, *SIZE, number=1)
    assert hash_planes(planes, fmt) == _framemd5(planes, fmt)


def _scaled(fmt: PixelFormat) -> Planes:
    """A flat picture in this format, made by FFmpeg's scaler: R, G, B = 30, 100, 200 or Y, Cb, Cr = 60, 110, 180."""
    source, values = ("gbrp", (100, 200, 30)) if fmt.model == "rgb" else ("yuv444p", (60, 110, 180))
    flat = tuple(np.full((16, 32), v, np.uint8) for v in values)
    return planes_of(frame_of(flat, pixel_format(source)).reformat(format=fmt.name), fmt)


# The scaler changes the range for yuvj, makes no floats of 16 bits, and gray has one component only.
@pytest.mark.parametrize(
    "name", [n for n in SUPPORTED if pixel_format(n).model != "gray" and "yuvj" not in n and "f16" not in n]
)
def test_components_lie_where_ffmpeg_puts_them(name: str) -> None:
    fmt = pixel_format(name)
    planes = _scaled(fmt)
    expected = (30, 100, 200) if fmt.model == "rgb" else (60, 110, 180)
    for component, value in zip(fmt.components, expected, strict=True):
        plane = planes[component.plane]
        samples = plane[..., component.sample] if plane.ndim == 3 else plane
        if fmt.is_float:
            assert np.median(samples) * 255 == pytest.approx(value, abs=1.1)
            continue
        code = np.median(samples) / (1 << component.shift)
        assert code / (1 << (component.depth - 8)) == pytest.approx(value, abs=1.1)
        assert code < 1 << component.depth
    if fmt.alpha is not None:
        plane = planes[fmt.alpha.plane]
        alpha = plane[..., fmt.alpha.sample] if plane.ndim == 3 else plane
        assert np.median(alpha) == pytest.approx(1 if fmt.is_float else (1 << fmt.depth) - 1, rel=0.01)


def test_high_bits_formats_have_a_shift() -> None:
    shifts = {"p010le": 6, "p012le": 4, "p016le": 0, "nv20le": 0, "yuv420p10le": 0, "gbrp12msble": 4}
    assert {name: pixel_format(name).components[0].shift for name in shifts} == shifts


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pal8", "palette"),
        ("monow", "1 bits"),
        ("rgb565le", "5/6 bits"),
        ("rgbf32le", "packs floating"),
        ("yaf16le", "packs floating"),
        ("gray32le", "32 bits"),
        ("rgb96le", "32 bits"),
        ("yuyv422", "packs"),
        ("x2rgb10le", "packs"),
        ("bayer_rggb16le", "mosaic"),
        ("xyz12le", "XYZ"),
        ("cuda", "hardware"),
        ("nonsense", "knows no"),
    ],
)
def test_what_cannot_be_carried_is_refused(name: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as told:
        pixel_format(name)
    assert name in str(told.value)


def test_a_frame_of_another_format_is_refused() -> None:
    with pytest.raises(SourceError, match="gray where yuv420p"):
        planes_of(av.VideoFrame(16, 16, "gray"), pixel_format("yuv420p"))


def test_planes_of_wrong_shape_or_type_are_refused() -> None:
    fmt = pixel_format("yuv420p")
    y, u, v = picture(fmt, 16, 16, 0)
    with pytest.raises(ValueError, match="plane 1"):
        frame_of((y, u[:-1], v), fmt)
    with pytest.raises(ValueError, match="uint16"):
        frame_of((y.astype(np.uint16), u, v), fmt)


def test_a_bottom_up_picture_comes_top_line_first() -> None:
    fmt = pixel_format("gray")
    (plane,) = given = picture(fmt, 48, 32, 5)
    graph = Graph()
    source = graph.add_buffer(width=48, height=32, format=av.VideoFormat("gray"), time_base=Fraction(1, 24))
    flip, sink = graph.add("vflip"), graph.add("buffersink")
    source.link_to(flip)
    flip.link_to(sink)
    graph.configure()
    graph.push(frame_of(given, fmt, pts=0, time_base=Fraction(1, 24)))
    flipped = graph.pull()
    assert isinstance(flipped, av.VideoFrame)
    assert flipped.planes[0].line_size < 0
    assert np.array_equal(planes_of(flipped, fmt)[0], plane[::-1])


def test_views_outlive_their_frame() -> None:
    fmt = pixel_format("gbrp10le")
    given = picture(fmt, 64, 48, 2)
    views = planes_of(frame_of(given, fmt), fmt)
    for _ in range(20):
        frame_of(picture(fmt, 64, 48, 9), fmt)
    assert all(np.array_equal(a, b) for a, b in zip(given, views, strict=True))
