"""framemd5 text: line for line as FFmpeg's own muxer writes it for the same film."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError, VerifyError
from pipeline.reel.formats import pixel_format
from pipeline.reel.framemd5 import decoded_hashes, framemd5_text, of_constant_rate, of_times, parse
from tests.reel.films import make_film

OLD = Path(__file__).parents[2].parent / "shared" / "data" / "oldfilm"


def by_ffmpeg(path: Path, base: Fraction, aspect: Fraction, durations: list[int] | None = None) -> str:
    """What FFmpeg's framemd5 muxer says of a film's decoded frames, counted in ``base``."""
    text = io.BytesIO()
    with av.open(str(path)) as film, av.open(text, "w", "framemd5", container_options={"fflags": "+bitexact"}) as out:
        video = film.streams.video[0]
        raw: Any = out.add_stream("rawvideo", rate=1 / base)
        raw.width, raw.height, raw.pix_fmt = video.width, video.height, video.codec_context.pix_fmt
        raw.codec_context.time_base = raw.time_base = base
        for number, frame in enumerate(film.decode(video)):
            frame.pts = round((frame.pts or 0) * (frame.time_base or 1) / base)
            frame.time_base = base
            for packet in raw.encode(frame):
                packet.duration = durations[number] if durations else 1
                out.mux(packet)
        out.mux(raw.encode(None))
    # av cannot set the shape of a pixel on a stream, so FFmpeg's own line says that it is not known.
    return text.getvalue().decode().replace("#sar 0: 0/1", f"#sar 0: {aspect.numerator}/{aspect.denominator}")


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gbrp10le", "bgr0", "gray", "gray16le", "yuva444p10le"])
@pytest.mark.parametrize("rate", [Fraction(18), Fraction(24000, 1001)])
def test_a_film_of_constant_rate(name: str, rate: Fraction, tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    make_film(path, pixel_format_name=name, rate=rate, frames=7)
    found = list(decoded_hashes(str(path), 2))
    assert [round(pts * Fraction(1, 1000) * rate) for pts, _ in found] == list(range(7))
    size = pixel_format(name).frame_bytes(64, 48)
    film = of_constant_rate(rate, (64, 48), Fraction(0), size, [md5 for _, md5 in found])
    assert framemd5_text(film) == by_ffmpeg(path, 1 / rate, Fraction(0))
    assert parse(framemd5_text(film)) == film


def test_a_film_with_times_of_its_own(tmp_path: Path) -> None:
    path, pts = tmp_path / "film.mkv", [5, 46, 48, 300, 100_000]
    make_film(path, frames=5, pts=pts, time_base=Fraction(1, 1000))
    found = list(decoded_hashes(str(path)))
    assert [p for p, _ in found] == pts
    film = of_times(
        Fraction(1, 1000), (64, 48), Fraction(16, 15), pixel_format("yuv420p").frame_bytes(64, 48), pts,
        [md5 for _, md5 in found],
    )  # fmt: skip
    assert film.durations == (41, 2, 252, 99_700, 99_700)
    assert framemd5_text(film) == by_ffmpeg(path, Fraction(1, 1000), Fraction(16, 15), list(film.durations))
    assert parse(framemd5_text(film)) == film


@pytest.mark.skipif(not OLD.is_dir(), reason="the old films are not here")
@pytest.mark.parametrize("name", ["train_robbery_1903.mkv"])
def test_real_film(name: str) -> None:
    path = OLD / name
    with av.open(str(path)) as film:
        rate = Fraction(film.streams.video[0].average_rate or 0)
    hashes = [md5 for _, md5 in decoded_hashes(str(path))]
    said = of_constant_rate(rate, (480, 368), Fraction(0), 480 * 368 * 4, hashes)
    assert framemd5_text(said) == by_ffmpeg(path, 1 / rate, Fraction(0))


def test_one_frame_and_none() -> None:
    assert of_times(Fraction(1, 25), (2, 2), Fraction(1), 6, [7], ["0" * 32]).durations == (0,)
    empty = of_constant_rate(Fraction(25), (2, 2), Fraction(1), 6, [])
    assert parse(framemd5_text(empty)).md5s == ()


@given(
    st.fractions(Fraction(1, 60), 240, max_denominator=1001),
    st.integers(-(10**9), 10**12),
    st.lists(st.from_regex(r"[0-9a-f]{32}", fullmatch=True), min_size=1, max_size=20),
)
def test_what_is_written_is_read(rate: Fraction, start: int, md5s: list[str]) -> None:
    film = of_constant_rate(rate, (1920, 1080), Fraction(1), 1920 * 1080, md5s, start=start)
    assert parse(framemd5_text(film)) == film


def test_what_is_not_framemd5_is_refused_with_the_line() -> None:
    text = framemd5_text(of_constant_rate(Fraction(25), (2, 2), Fraction(1), 6, ["0" * 32, "1" * 32]))
    for wrong, said in (
        (text.replace("1" * 32, "x" * 32), "line 11"),
        (text.replace("\n0,          1", "\n1,          1"), "line 11"),
        (text.replace("#version: 2", "#version: 1"), "version"),
        (text.replace("#hash: MD5", "#hash: SHA256"), "MD5"),
        (text.replace("#tb 0: 1/25", "#tb 0: 1/0"), "time base"),
        (text.replace("#dimensions", "#nothing"), "dimensions"),
        (text.replace("6, " + "1" * 32, "7, " + "1" * 32), "2 sizes"),
    ):
        assert wrong != text
        with pytest.raises(VerifyError, match=said):
            parse(wrong, where="output.framemd5")


def test_what_cannot_be_decoded_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.mkv").write_text("no film")
    with pytest.raises(SourceError, match=r"text\.mkv"):
        list(decoded_hashes(str(tmp_path / "text.mkv")))
