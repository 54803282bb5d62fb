"""What a deliverable is: formats, and the time of every frame."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, SourceError
from pipeline.reel.convert import Converter, regroup, tags
from pipeline.reel.deliver import check_asked, deliver_format, output_pts, same_samples, time_shift
from pipeline.reel.formats import pixel_format
from pipeline.spec import Output
from pipeline.types import Colour, FrameIndex, Reel
from tests.reel.films import picture

KEPT = "yuv420p yuv422p10le gbrp10le bgr0 gray yuv444p16le ya8 bgra gray16le gbrap12le"

REGROUPED = "rgb24 bgr0 gbrp nv12 nv21 p010le p210le rgb48be gbrp16le ayuv64le vuya rgba abgr ya8"


def made_index(pts: list[int], base: Fraction, rate: Fraction, constant: bool = True) -> FrameIndex:
    n = len(pts)
    zeros = np.zeros(n, np.int64)
    return FrameIndex(np.array(pts, np.int64), np.ones(n, bool), zeros, zeros, base, rate, constant, "demux")


def made_reel(name: str = "yuv420p", rate: Fraction = Fraction(24), **other: Any) -> Reel:
    said: dict[str, Any] = {
        "name": "r", "uri": "r.mkv", "source_id": "0" * 64, "bytes": 1, "container": "matroska,webm", "stream": 0,
        "codec": "ffv1", "width": 64, "height": 48, "format": pixel_format(name), "rate": rate,
        "time_base": Fraction(1, 1000), "sample_aspect": Fraction(1),
        "colour": colour(), "field_order": "progressive", "timecode": None, "others": (), "tags": (),
    }  # fmt: skip
    return Reel(**(said | other))


def colour(used: Any = "bt601", full: bool = False, **tagged: str) -> Colour:
    names = dict.fromkeys(("matrix", "range", "primaries", "transfer", "chroma_location"), "unknown") | tagged
    return Colour(**names, matrix_used=used, full_range_used=full)


@pytest.mark.parametrize("name", KEPT.split())
def test_ffv1_keeps_the_source_s_own_format(name: str) -> None:
    assert deliver_format(pixel_format(name), Output()).name == name


@pytest.mark.parametrize(
    ("source", "ffv1", "h264", "prores"),
    [
        ("rgb24", "bgr0", "yuv444p", "yuv444p10le"),
        ("rgba", "bgra", "yuv444p", "yuva444p10le"),
        ("gbrp", "bgr0", "yuv444p", "yuv444p10le"),
        ("nv12", "yuv420p", "yuv420p", "yuv422p10le"),
        ("p010le", "yuv420p10le", "yuv420p10le", "yuv422p10le"),
        ("yuvj422p", "yuv422p", "yuv422p", "yuv422p10le"),
        ("gray10be", "gray10le", "yuv420p10le", "yuv422p10le"),
        ("rgb48be", "gbrp16le", "yuv444p10le", "yuv444p10le"),
        ("yuv411p", "yuv411p", "yuv422p", "yuv422p10le"),
        ("yuv410p", "yuv410p", "yuv420p", "yuv422p10le"),
        ("yuv440p", "yuv440p", "yuv444p", "yuv444p10le"),
        ("yuv444p12le", "yuv444p12le", "yuv444p10le", "yuv444p10le"),
    ],
)
def test_the_nearest_format_that_a_codec_holds(source: str, ffv1: str, h264: str, prores: str) -> None:
    for codec, expected in (("ffv1", ffv1), ("h264", h264), ("prores", prores)):
        assert deliver_format(pixel_format(source), Output(codec=codec)).name == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "hevc", "av1", "dnxhr"),
    [
        ("yuv420p", "yuv420p10le", "yuv420p", "yuv422p10le"),
        ("yuv422p10le", "yuv422p10le", "yuv420p10le", "yuv422p10le"),
        ("yuv444p16le", "yuv444p10le", "yuv420p10le", "yuv444p10le"),
        ("gray", "yuv420p10le", "yuv420p", "yuv422p10le"),
        ("gbrp12le", "yuv444p10le", "yuv420p10le", "yuv444p10le"),
    ],
)
def test_the_nearest_format_of_the_further_codecs(source: str, hevc: str, av1: str, dnxhr: str) -> None:
    for codec, expected in (("hevc", hevc), ("av1", av1), ("dnxhr", dnxhr)):
        assert deliver_format(pixel_format(source), Output(codec=codec)).name == expected  # type: ignore[arg-type]


def test_sizes_below_an_encoder_s_least_are_refused_before_any_work() -> None:
    for codec, width, height in (("dnxhr", 255, 120), ("dnxhr", 256, 119), ("hevc", 16, 15), ("av1", 3, 4)):
        with pytest.raises(SourceError, match=f"{codec} holds no picture of {width}×{height} px"):
            deliver_format(pixel_format("yuv420p"), Output(codec=codec), width=width, height=height)  # type: ignore[arg-type]


def test_a_quality_is_one_of_the_codec_s() -> None:
    assert Output(codec="av1", crf=60).crf == 60
    with pytest.raises(ValueError, match="hevc takes 0 to 51"):
        Output(codec="hevc", crf=52)


def test_what_a_codec_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(SourceError, match="ya16le"):
        deliver_format(pixel_format("ya16le"), Output())
    with pytest.raises(SourceError, match=r"yuv420p.*as yuv422p"):
        deliver_format(pixel_format("yuv420p"), Output(pixel_format="yuv422p"))
    with pytest.raises(ConfigError, match=r"rgb565.*source"):
        deliver_format(pixel_format("yuv420p"), Output(pixel_format="rgb565"))
    with pytest.raises(ConfigError, match="h264 is not written as gbrp; it can be yuv420p"):
        deliver_format(pixel_format("yuv420p"), Output(codec="h264", pixel_format="gbrp"))


def test_what_a_codec_never_holds_is_told_without_a_source() -> None:
    for output in (Output(pixel_format="rgb565"), Output(codec="h264", pixel_format="gbrp")):
        with pytest.raises(ConfigError, match=output.pixel_format) as caught:
            check_asked(output)
        assert "master" in str(caught.value)
    for output in (Output(), Output(pixel_format="yuv422p"), Output(codec="prores", pixel_format="yuva444p10le")):
        check_asked(output)


def test_odd_sizes_are_never_cropped() -> None:
    fmt, asked = pixel_format("yuv420p"), Output(codec="h264", pixel_format="yuv420p")
    assert deliver_format(fmt, asked, width=64, height=48).name == "yuv420p"
    assert deliver_format(fmt, asked, width=63, height=48).name == "yuv444p"
    assert deliver_format(fmt, asked, width=64, height=47).name == "yuv444p"
    assert deliver_format(pixel_format("yuv422p"), Output(codec="h264"), width=64, height=47).name == "yuv422p"
    assert deliver_format(fmt, Output(codec="prores"), width=64, height=47).name == "yuv422p10le"
    assert deliver_format(fmt, Output(codec="prores"), width=63, height=48).name == "yuv444p10le"


@given(st.sampled_from(REGROUPED.split()), st.integers(1, 33), st.integers(1, 33))
@settings(max_examples=60, deadline=None)
def test_regrouping_keeps_every_code_value(name: str, width: int, height: int) -> None:
    source = pixel_format(name)
    try:
        target = deliver_format(source, Output())
    except SourceError:
        return
    planes = picture(source, width, height, 3)
    there = regroup(planes, source, target)
    assert [p.shape for p in there] == [target.plane_shape(i, width, height) for i in range(len(target.planes))]
    back = regroup(there, target, source)
    assert same_samples(source, target)
    for found, given_ in zip(back, regroup(planes, source, source), strict=True):
        np.testing.assert_array_equal(found, given_)


def test_padding_becomes_zero_as_ffv1_has_it() -> None:
    fmt = pixel_format("bgr0")
    plane = np.full((4, 6, 4), 255, np.uint8)
    (found,) = regroup((plane,), fmt, fmt)
    assert (found[..., :3] == 255).all()
    assert not found[..., 3].any()
    assert plane.all(), "the planes that were given are never written into"


@given(
    st.sampled_from([Fraction(16), Fraction(18), Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001)]),
    st.integers(0, 5000),
    st.integers(2, 200),
    st.sampled_from(["h264", "prores"]),
)
@settings(max_examples=50, deadline=None)
def test_mp4_and_mov_hold_the_rate_exactly(rate: Fraction, start_ms: int, frames: int, codec: Any) -> None:
    pts = [start_ms + round(n * 1000 / rate) for n in range(frames)]
    index = made_index(pts, Fraction(1, 1000), rate)
    base, ticks = output_pts(index, made_reel(rate=rate), 0, frames, Output(codec=codec))
    assert base.numerator == 1
    assert base.denominator >= 10_000, "FFmpeg would choose another one"
    assert [int(t) * base for t in ticks] == [Fraction(start_ms, 1000) + n / rate for n in range(frames)]


@pytest.mark.parametrize("rate", [Fraction(16), Fraction(18), Fraction(24000, 1001), Fraction(25)])
def test_matroska_gets_the_nearest_millisecond(rate: Fraction) -> None:
    step = 1 / rate / Fraction(1, 24000)
    pts = [1200 + int(n * step) for n in range(500)]
    index = made_index(pts, Fraction(1, 24000), rate)
    base, ticks = output_pts(index, made_reel(rate=rate), 3, 500, Output())
    assert base == Fraction(1, 1000)
    for number, tick in zip(range(3, 500), ticks, strict=True):
        assert abs(int(tick) - index.time(number) * 1000) <= Fraction(1, 2)


def test_a_source_s_own_ticks_pass_unchanged() -> None:
    jittered = [5, 47, 88, 130, 172]
    index = made_index(jittered, Fraction(1, 1000), Fraction(24000, 1001))
    assert output_pts(index, made_reel(), 1, 4, Output())[1].tolist() == jittered[1:4]
    odd = [0, 17, 900, 4000]
    free = made_index(odd, Fraction(1, 90_000), Fraction(24), constant=False)
    base, ticks = output_pts(free, made_reel(), 0, 4, Output(codec="h264"))
    assert (base, ticks.tolist()) == (Fraction(1, 90_000), odd)


def test_an_excerpt_starts_in_mp4_where_the_reel_does() -> None:
    index = made_index([600 + 40 * n for n in range(100)], Fraction(1, 1000), Fraction(25))
    for output, start in ((Output(codec="h264"), Fraction(6, 10)), (Output(), Fraction(6, 10) + Fraction(50, 25))):
        base, ticks = output_pts(index, made_reel(), 50, 60, output)
        assert int(ticks[0]) * base == start
        assert time_shift(index, 50, output) == index.time(50) - start
        assert time_shift(index, 0, output) == 0


def test_two_frames_never_fall_on_one_tick() -> None:
    index = made_index([0, 10, 20, 5000], Fraction(1, 90_000), Fraction(24), constant=False)
    with pytest.raises(SourceError, match="same time") as caught:
        output_pts(index, made_reel(), 0, 4, Output())
    assert caught.value.frame == 1
    assert output_pts(index, made_reel(), 0, 4, Output(codec="h264"))[1].tolist() == [0, 10, 20, 5000]


def test_long_reels_do_not_run_over() -> None:
    rate = Fraction(24000, 1001)
    count = 300_000
    index = made_index([int(n * 1001) for n in range(count)], Fraction(1, 24000), rate)
    base, ticks = output_pts(index, made_reel(rate=rate), 0, count, Output(codec="prores"))
    assert int(ticks[-1]) * base == (count - 1) / rate


class TestColour:
    """The conversions of viewing copies, against BT.601 and BT.709 computed by hand."""

    RED = np.zeros((16, 16, 4), np.uint8)
    RED[..., 2] = 255

    @pytest.mark.parametrize(
        ("height", "matrix", "expected"), [(16, "smpte170m", (81, 90, 240)), (720, "bt709", (63, 102, 240))]
    )
    def test_rgb_becomes_limited_yuv_by_the_picture_s_height(self, height: int, matrix: str, expected: Any) -> None:
        source, target = pixel_format("bgr0"), pixel_format("yuv444p")
        red = np.repeat(self.RED, height // 16, 0)
        found = Converter(source, target, colour("rgb", True), 16, height)((red,))
        assert [int(p[3, 3]) for p in found] == pytest.approx(expected, abs=1)
        said = tags(source, target, colour("rgb", True), height)
        assert (said.matrix, said.range) == (matrix, "tv")

    def test_gray_becomes_limited_with_neutral_chroma(self) -> None:
        source, target = pixel_format("gray"), pixel_format("yuv420p")
        ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
        y, u, v = Converter(source, target, colour("gray", True), 16, 16)((ramp,))
        assert (int(y.min()), int(y.max())) == (16, 235)
        assert set(np.unique(u)) | set(np.unique(v)) == {128}
        same, _, _ = Converter(source, target, colour("gray", False), 16, 16)((ramp,))
        np.testing.assert_array_equal(same, ramp, "limited gray is limited luma already")

    @pytest.mark.parametrize(("full", "name"), [(False, "unknown"), (True, "pc")])
    def test_yuv_keeps_its_range(self, full: bool, name: str) -> None:
        source, target = pixel_format("yuv422p"), pixel_format("yuv422p10le")
        planes = tuple(np.full((16, w), v, np.uint8) for w, v in ((16, 250), (8, 60), (8, 200)))
        found = Converter(source, target, colour(full=full, range=name), 16, 16)(planes)
        if not full:
            assert [int(p[5, 5]) for p in found] == [1000, 240, 800]
        else:
            assert [int(p[5, 5]) for p in found] == pytest.approx([250 * 1023 / 255, 240, 800], abs=3)
        assert tags(source, target, colour(full=full, range=name), 16).range == name

    def test_chroma_stays_where_it_is_sited(self) -> None:
        # Chroma that rises from left to right: at even columns (left) its own value, between them (center) the mean.
        source, target = pixel_format("yuv444p"), pixel_format("yuv420p")
        u = np.repeat((np.arange(32) * 4 + 60)[None], 16, 0).astype(np.uint8)
        flat = np.full((16, 32), 128, np.uint8)
        left = Converter(source, target, colour(), 32, 16)((flat, u, flat))[1]
        np.testing.assert_array_equal(left[4, 3:12], u[4, 6:24:2])
        assert tags(source, target, colour(), 16).chroma_location == "left"
        kept = tags(pixel_format("yuv420p"), pixel_format("yuv420p10le"), colour(chroma_location="topleft"), 16)
        assert kept.chroma_location == "topleft"
