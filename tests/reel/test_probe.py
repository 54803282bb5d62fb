from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st

from pipeline import spec
from pipeline.errors import SourceError, StorageError
from pipeline.reel import colour, rates
from pipeline.reel.formats import frame_of, pixel_format
from pipeline.reel.probe import probe
from tests.reel.films import ARCHIVE, make_film, pictures
from tests.reel.rich import delivered
from tests.s3 import Server

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SAY = spec.Source()
SILENT_AND_SOUND = [Fraction(n) for n in (16, 18, 20, 22, 24, 25)] + [Fraction(24000, 1001), Fraction(30000, 1001)]


@pytest.mark.parametrize("rate", SILENT_AND_SOUND, ids=str)
@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_rates_are_exact(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    path = tmp_path / f"a.{suffix}"
    codec = "ffv1" if suffix == "mkv" else "prores_ks"
    fmt = "yuv422p10le"
    make_film(path, codec=codec, pixel_format_name=fmt, rate=rate, frames=8)
    reel = probe(str(path), "a", SAY)
    assert (reel.rate, reel.codec, reel.format.name) == (rate, "ffv1" if suffix == "mkv" else "prores", fmt)
    assert reel.time_base == Fraction(1, 1000) if suffix == "mkv" else reel.time_base.denominator % rate.numerator == 0


def test_rate_of_the_config_wins(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mkv", rate=Fraction(25), frames=4)
    assert probe(str(tmp_path / "a.mkv"), "a", spec.Source(rate="16")).rate == 16
    assert probe(str(tmp_path / "a.mkv"), "a", spec.Source(rate="24000/1001")).rate == Fraction(24000, 1001)


@given(rate=st.sampled_from(rates.STANDARD), count=st.integers(3, 5000), start=st.integers(0, 10**6))
def test_a_rate_is_found_again_from_rounded_milliseconds(rate: Fraction, count: int, start: int) -> None:
    pts = np.array([round((Fraction(start, 7) + n / rate) * 1000) for n in range(count)], np.int64)
    assert rates.fits(pts, Fraction(1, 1000), rate)
    found, mean = rates.find(pts, Fraction(1, 1000), [rate])
    assert found == rate
    assert mean is not None
    # Without a header: over a few seconds the one true rate stands out.
    if count / rate > 4:
        assert rates.find(pts, Fraction(1, 1000), [])[0] == rate


def test_a_wrong_header_rate_does_not_fit() -> None:
    pts = np.array([round(n * 1000 / Fraction(24000, 1001)) for n in range(2000)], np.int64)
    assert not rates.fits(pts, Fraction(1, 1000), Fraction(24))
    assert rates.find(pts, Fraction(1, 1000), [Fraction(24)])[0] == Fraction(24000, 1001)
    gap = np.concatenate([pts[:500], pts[505:]])
    assert rates.find(gap, Fraction(1, 1000), [Fraction(24000, 1001)])[0] is None


def test_a_gap_of_one_tick_is_seen_where_a_tick_is_a_frame() -> None:
    rate = Fraction(25)
    assert rates.fits(np.arange(9), 1 / rate, rate)
    assert not rates.fits(np.array([0, 2, 3, 4, 5]), 1 / rate, rate)
    assert not rates.fits(np.array([0, 1, 2, 3, 5]), 1 / rate, rate)


@given(rate=st.fractions(min_value=1, max_value=200, max_denominator=5000))
def test_snapping_moves_a_rate_by_less_than_a_ten_thousandth(rate: Fraction) -> None:
    assert abs(rates.snap(rate) / rate - 1) < Fraction(2, 10_000)
    assert rates.snap(Fraction(2997, 100)) == Fraction(30000, 1001)
    assert rates.snap(Fraction(24)) == 24


def test_rates_with_fine_ticks_do_not_overflow() -> None:
    pts = np.arange(100_000, dtype=np.int64) * 1_001_000_000
    assert rates.fits(pts, Fraction(1, 24_000_000_000), Fraction(24000, 1001))
    assert not rates.fits(pts, Fraction(1, 24_000_000_000), Fraction(24))


def test_everything_that_a_header_says(tmp_path: Path) -> None:
    path = tmp_path / "A film, tagged.mov"
    make_film(
        path,
        codec="prores_ks",
        pixel_format_name="yuv422p10le",
        frames=5,
        size=(96, 64),
        rate=Fraction(25),
        audio="pcm_s16le",
        tags={"title": "Ein Film – ü"},
        stream_tags={"timecode": "10:00:00:00"},
        colour={"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1},
        aspect=Fraction(4, 3),
    )
    reel = probe(str(path), "box/A film", SAY)
    assert (reel.name, reel.base_name, reel.uri) == ("box/A film", "A film", str(path))
    assert (reel.width, reel.height, reel.sample_aspect) == (96, 64, Fraction(4, 3))
    assert reel.container.startswith("mov")
    assert reel.bytes == path.stat().st_size
    assert reel.timecode == "10:00:00:00"
    assert reel.field_order == "progressive"
    assert dict(reel.tags)["title"] == "Ein Film – ü"
    assert (reel.others[0].kind, reel.others[0].codec) == ("audio", "pcm_s16le")
    assert "48000 Hz stereo" in reel.others[0].detail
    assert (reel.colour.matrix, reel.colour.range, reel.colour.primaries, reel.colour.transfer) == (
        "bt709",
        "tv",
        "bt709",
        "bt709",
    )
    assert (reel.colour.matrix_used, reel.colour.full_range_used, reel.colour.assumed) == ("bt709", False, ())


def test_chroma_location_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, codec="libx264", frames=3, options={"x264-params": "chromaloc=2"})
    assert probe(str(path), "a", SAY).colour.chroma_location == "topleft"
    make_film(path, codec="ffv1", frames=3)
    assert probe(str(path), "a", SAY).colour.chroma_location == "unknown"


@pytest.mark.parametrize(
    ("fmt", "height", "say", "matrix", "full", "told"),
    [
        ("yuv420p", 576, SAY, "bt601", False, "bt601 is taken for 576 lines"),
        ("yuv420p", 720, SAY, "bt709", False, "bt709 is taken for 720 lines"),
        ("yuvj420p", 576, SAY, "bt601", True, "bt601"),
        ("gray10le", 576, SAY, "gray", True, "full is taken for gray"),
        ("bgr0", 1080, SAY, "rgb", True, "full is taken for rgb"),
        ("yuv420p", 576, spec.Source(untagged_matrix="bt2020", untagged_range="full"), "bt2020", True, "as source"),
    ],
)
def test_what_is_untagged_is_assumed_aloud(
    fmt: str, height: int, say: spec.Source, matrix: str, full: bool, told: str
) -> None:
    untagged = dict.fromkeys(("matrix", "range_", "primaries", "transfer", "location"), "unknown")
    found = colour.resolve(pixel_format(fmt), **untagged, height=height, say=say)
    assert (found.matrix_used, found.full_range_used) == (matrix, full)
    assert told in " ".join(found.assumed)


@pytest.mark.parametrize(
    ("matrix", "used", "assumed"),
    [
        ("bt470bg", "bt601", 0),
        ("smpte170m", "bt601", 0),
        ("bt709", "bt709", 0),
        ("bt2020nc", "bt2020", 0),
        ("fcc", "bt601", 1),
        ("smpte240m", "bt709", 1),
        ("gbr", "bt709", 1),
    ],
)
def test_tags_win_over_the_config(matrix: str, used: str, assumed: int) -> None:
    say = spec.Source(untagged_matrix="bt709", untagged_range="full")
    tags = {"primaries": "unknown", "transfer": "unknown", "location": "left"}
    found = colour.resolve(pixel_format("yuv420p"), matrix=matrix, range_="tv", **tags, height=480, say=say)
    assert (found.matrix_used, found.full_range_used, len(found.assumed)) == (used, False, assumed)


def test_a_matrix_that_is_no_ycbcr_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=2, pixel_format_name="yuv444p", colour={"colorspace": 8})
    with pytest.raises(SourceError, match="ycgco"):
        probe(str(path), "a", SAY)


def test_names_of_colour_tags_are_ffmpegs() -> None:
    assert [colour.matrix_name(n) for n in (0, 1, 2, 5, 6, 9, 14, 99)] == [
        "gbr", "bt709", "unknown", "bt470bg", "smpte170m", "bt2020nc", "ictcp", "unknown",
    ]  # fmt: skip
    assert [colour.transfer_name(n) for n in (1, 8, 13, 16, 18)] == [
        "bt709", "linear", "iec61966-2-1", "smpte2084", "arib-std-b67",
    ]  # fmt: skip
    assert [colour.primaries_name(n) for n in (1, 5, 9, 12, 22)] == [
        "bt709", "bt470bg", "bt2020", "smpte432", "ebu3213",
    ]  # fmt: skip
    assert [colour.range_name(n) for n in (0, 1, 2, 7)] == ["unknown", "tv", "pc", "unknown"]


def test_source_id_changes_with_the_file(tmp_path: Path) -> None:
    path, twin = tmp_path / "a.mkv", tmp_path / "b.mkv"
    make_film(path, frames=3)
    first = probe(str(path), "a", SAY).source_id
    assert probe(str(path), "a", SAY).source_id == first
    shutil.copy2(path, twin)
    assert probe(str(twin), "a", SAY).source_id != first
    os.utime(path, ns=(0, 12345))
    assert probe(str(path), "a", SAY).source_id != first


def test_the_same_reel_through_s3(tmp_path: Path, s3: Server, s3_folder: str) -> None:
    from pipeline.storage import store

    path = tmp_path / "a.mkv"
    make_film(path, frames=5, options=ARCHIVE, audio="pcm_s16le")
    uri = store.join(s3_folder, "box 1/ä film.mkv")
    store.put_file(path, uri)
    here, there = probe(str(path), "a", SAY), probe(uri, "a", SAY)
    assert (there.bytes, there.rate, there.format, there.others) == (here.bytes, here.rate, here.format, here.others)
    with pytest.raises(SourceError, match=r"none\.mkv: "):
        probe(store.join(s3_folder, "none.mkv"), "a", SAY)


# ---- what is no film


def _fails(path: Path, say: str) -> None:
    with pytest.raises(SourceError, match=say) as told:
        probe(str(path), "a", SAY)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_what_is_no_film_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    _fails(path, "no such file|not")
    _fails(tmp_path, "folder")
    path.write_bytes(b"")
    _fails(path, "empty")
    path.write_text("FADE IN:\n" * 500)
    _fails(path, "no film")
    path.write_bytes(os.urandom(5000))
    _fails(path, "no film")
    text = tmp_path / "credits.txt"
    text.write_text("\x1b[31mDirected by\n" * 50)
    _fails(text, "no film")
    playlist = tmp_path / "a.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")
    _fails(playlist, "no film")


def _sound(path: Path, cover: bool) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48_000, layout="stereo")
        image = out.add_stream("mjpeg", rate=1) if cover else None
        if image is not None:
            image.width, image.height, image.pix_fmt = 32, 32, "yuvj420p"
            image.disposition = Disposition.attached_pic
            out.mux(image.encode(av.VideoFrame(32, 32, "yuvj420p")))
            out.mux(image.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 2048), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    _sound(tmp_path / "a.mkv", cover=False)
    _fails(tmp_path / "a.mkv", "no picture: it holds only audio")


def test_a_cover_picture_is_no_film(tmp_path: Path) -> None:
    _sound(tmp_path / "a.mp4", cover=True)
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert film.streams.video
    _fails(tmp_path / "a.mp4", "holds only a cover picture and audio")


@pytest.mark.parametrize("suffix", ["mkv", "mov", "avi"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_film_that_is_cut_short(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    codec, fmt = ("prores_ks", "yuv422p10le") if suffix == "mov" else ("ffv1", "yuv420p")
    make_film(path, codec=codec, pixel_format_name=fmt, frames=12)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    _fails(path, "cut short|only the start")


def test_formats_and_sizes_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nut"
    make_film(path, codec="rawvideo", pixel_format_name="gray", size=(16_400, 2), frames=1)
    _fails(path, "16400x2")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("rawvideo", rate=24)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuyv422"
        out.mux(stream.encode(av.VideoFrame(32, 32, "yuyv422")))
    _fails(path, "yuyv422 packs")


def test_a_store_that_fails_is_no_fault_of_the_film(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as told:
        probe("s3-that-is-none://films/a.mkv", "a", SAY)
    assert not isinstance(told.value, SourceError)


# ---- the real ones


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not here")
@pytest.mark.parametrize(
    ("name", "rate", "stream", "size", "fmt", "others"),
    [
        ("oldfilm/earthquake_1906.mkv", Fraction(16), 0, (480, 368), "bgr0", []),
        ("oldfilm/train_robbery_1903.mkv", Fraction(18), 0, (480, 368), "bgr0", []),
        # Two pictures: FFmpeg's own choice is the larger one, stream 3.
        ("nasa_13013.mp4", Fraction(30000, 1001), 3, (480, 270), "yuv420p",
         ["video", "audio", "subtitle", "audio", "subtitle"]),
    ],
)  # fmt: skip
def test_real_films(name: str, rate: Fraction, stream: int, size: tuple[int, int], fmt: str, others: list[str]) -> None:
    reel = probe(str(SHARED / name), "a", SAY)
    assert (reel.rate, reel.stream, (reel.width, reel.height), reel.format.name) == (rate, stream, size, fmt)
    assert [o.kind for o in reel.others] == others


@pytest.mark.parametrize(("order", "told"), [("tt", "upper field first"), ("bt", "lower field first in the file")])
def test_two_fields_are_refused_unless_the_config_says_so(tmp_path: Path, order: str, told: str) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=2, options={"field_order": order})
    with pytest.raises(SourceError, match=told) as refused:
        probe(str(path), "a", SAY)
    assert "source.interlaced: per_field" in str(refused.value)
    reel = probe(str(path), "a", spec.Source(interlaced="per_field"))
    assert (reel.field_order, reel.interlaced) == (order, True)


@pytest.mark.parametrize(("degrees", "flips"), [(90, (False, False)), (180, (False, False)), (0, (True, False))])
def test_how_a_picture_is_turned_is_read_and_carried(tmp_path: Path, degrees: int, flips: tuple[bool, bool]) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.set_display_rotation(degrees, *flips)
        for n, planes in enumerate(pictures("yuvj420p", 3)):
            out.mux(stream.encode(frame_of(planes, pixel_format("yuvj420p"), pts=n, time_base=Fraction(1, 24))))
        out.mux(stream.encode(None))
    reel = probe(str(path), "a", SAY)
    assert reel.display_matrix is not None
    assert any(flips) or abs(reel.rotation) == degrees
    copy, _, _, _ = delivered(path, tmp_path)
    again = probe(str(copy), "a", SAY)
    assert again.display_matrix == reel.display_matrix
