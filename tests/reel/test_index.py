from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import spec
from pipeline.errors import SourceError, StorageError
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.storage import store
from pipeline.types import FrameIndex, Reel
from tests.reel.films import ARCHIVE, make_film, packet_spans
from tests.s3 import Server

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
B_FRAMES = {"x264-params": "keyint=8:bframes=3:b-pyramid=normal:open-gop=1:scenecut=0:b-adapt=0"}

FILMS: dict[str, dict[str, Any]] = {
    "ffv1.mkv": {"options": ARCHIVE},
    "ffv1 gop.mkv": {"options": {"g": "8"}, "rate": Fraction(18)},
    "ffv1.avi": {"options": {"g": "4"}},
    "prores.mov": {"codec": "prores_ks", "pixel_format_name": "yuv422p10le", "rate": Fraction(24000, 1001)},
    "late prores.mov": {"codec": "prores_ks", "pixel_format_name": "yuv422p10le", "pts": range(37, 61)},
    "h264.mp4": {"codec": "libx264", "options": B_FRAMES},
    "late h264.mp4": {"codec": "libx264", "options": B_FRAMES, "pts": range(37, 61), "audio": "aac"},
    "h264.ts": {"codec": "libx264", "options": B_FRAMES, "rate": Fraction(30000, 1001)},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"g": "8", "bf": "2"}, "rate": Fraction(25)},
    "dnxhr.mxf": {
        "codec": "dnxhd",
        "pixel_format_name": "yuv422p10le",
        "options": {"profile": "dnxhr_hqx"},
        "size": (256, 128),
    },
}


def read(path: Path, say: spec.Source | None = None) -> tuple[Reel, FrameIndex]:
    reel = probe(str(path), path.stem, say or spec.Source())
    return reel, build(reel)


@pytest.mark.parametrize("name", FILMS)
def test_index_is_what_ffmpeg_demuxes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    make_film(path, frames=24, **FILMS[name])
    reel, index = read(path)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        packets = sorted((p.pts, p.is_keyframe, p.pos, p.size) for p in film.demux(stream) if p.size)
        assert index.time_base == stream.time_base
    assert list(zip(index.pts, index.key, index.position, index.size, strict=True)) == packets
    assert len(index) == 24
    assert np.all(np.diff(index.pts) > 0)
    assert (index.rate, index.constant) == (FILMS[name].get("rate", Fraction(24)), True)
    assert index.rate == reel.rate
    assert index.found_by == ("table" if "prores" in name else "demux")
    start = FILMS[name].get("pts", [0])[0] / index.rate
    if path.suffix in (".mkv", ".mov", ".mp4"):
        assert index.time(0) == pytest.approx(float(start), abs=0.001)
    assert index.time(23) - index.time(0) == 23 / index.rate
    assert index.digest == build(reel).digest


def test_index_through_s3(tmp_path: Path, s3: Server, s3_folder: str) -> None:
    path = tmp_path / "a.mov"
    make_film(path, audio="pcm_s16le", **FILMS["prores.mov"])
    store.put_file(path, store.join(s3_folder, "a.mov"))
    there = build(probe(store.join(s3_folder, "a.mov"), "a", spec.Source()))
    assert there.digest == read(path)[1].digest
    assert there.found_by == "table"


def test_a_store_that_stops_is_not_taken_for_the_films_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, options=ARCHIVE, size=(320, 240), frames=48)
    reel = probe(str(path), "a", spec.Source())

    class Failing:
        """A remote file whose store goes away in the middle."""

        def __init__(self) -> None:
            self.file = path.open("rb")

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def read(self, size: int) -> bytes:
            if self.file.tell() > reel.bytes // 2:
                raise StorageError("the store does not answer", where="s3://films/a.mkv", transient=True)
            return self.file.read(size)

        def seek(self, offset: int, whence: int = 0) -> int:
            return self.file.seek(offset, whence)

        def tell(self) -> int:
            return self.file.tell()

    monkeypatch.setattr(store, "open_read", lambda uri: Failing())
    with pytest.raises(StorageError, match="does not answer"):
        build(reel)


def test_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    pts = [0, 1, 2, 5, 6, 20, 21, 22, 40, 41]
    make_film(path, frames=10, pts=pts)
    _, index = read(path)
    assert not index.constant
    assert [index.time(n) for n in range(10)] == [Fraction(round(Fraction(p * 1000, 24)), 1000) for p in pts]


def test_a_wrong_rate_in_the_header_is_put_right(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    pts = [round(n * 1000 / Fraction(18)) for n in range(40)]
    make_film(path, frames=40, pts=pts, time_base=Fraction(1, 1000), rate=Fraction(25))
    reel, index = read(path)
    assert reel.rate == 25
    assert (index.rate, index.constant) == (18, True)
    # What the user says of the rate does not move the pictures.
    assert read(path, spec.Source(rate="16"))[1].rate == 18


# ---- what must not pass


@pytest.fixture(scope="module")
def whole_films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    films: dict[str, dict[str, Any]] = {
        "a.mkv": {"options": ARCHIVE, "audio": "pcm_s16le"},
        "a.avi": {},
        "a.mov": FILMS["prores.mov"] | {"container_options": {"movflags": "faststart"}},
        "a.mp4": FILMS["h264.mp4"] | {"container_options": {"movflags": "faststart"}},
    }
    for name, how in films.items():
        make_film(folder / name, frames=12, **how)
    return {name: (folder / name).read_bytes() for name in films}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_cut_is_noticed(tmp_path: Path, whole_films: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(whole_films)))
    whole = whole_films[name]
    path = tmp_path / name
    path.write_bytes(whole)
    assert len(read(path)[1]) == 12
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(SourceError) as told:
        read(path)
    assert str(path) in str(told.value)


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_cut_mxf(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.mxf"
    make_film(path, frames=12, **FILMS["dnxhr.mxf"])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError) as told:
        read(path)
    assert told.value.frame in (int(12 * share), int(12 * share) - 1)


def _edit(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_cut_mkv_of_unknown_length(tmp_path: Path) -> None:
    """A recording that says no length in its Segment: the stream's duration tag tells."""
    path = tmp_path / "a.mkv"
    make_film(path, frames=12, options=ARCHIVE)
    segment = path.read_bytes().index(b"\x18\x53\x80\x67")
    _edit(path, segment + 4, b"\x01" + b"\xff" * 7)
    assert len(read(path)[1]) == 12
    position, _ = packet_spans(path)[9]
    # Cut between two pictures, where FFmpeg sees nothing wrong.
    path.write_bytes(path.read_bytes()[: position - 7])
    with pytest.raises(SourceError, match=r"missing at the end|cut short") as told:
        read(path)
    assert told.value.frame in (9, None)


def test_a_picture_that_went_missing_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=12, options=ARCHIVE)
    position, _ = packet_spans(path)[5]
    block = path.read_bytes().rindex(b"\xa3", 0, position)
    _edit(path, block, b"\xec")  # a Void element in place of the block
    with pytest.raises(SourceError, match="cue table lists one") as told:
        read(path)
    assert told.value.frame == 5


def test_a_container_that_is_damaged_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=12, options=ARCHIVE)
    position, size = packet_spans(path)[5]
    _edit(path, position - 12, bytes(size + 12))
    with pytest.raises(SourceError):
        read(path)


@pytest.mark.parametrize(
    ("size", "say", "frame"), [(0x7FFFFFF0, "damaged in its header", None), (0x10000000, "cut short", 4)]
)
def test_table_that_points_past_the_end(tmp_path: Path, size: int, say: str, frame: int | None) -> None:
    """A table of sample sizes that lies: FFmpeg drops what it finds absurd, and believes the rest."""
    path = tmp_path / "a.mov"
    make_film(path, frames=6, codec="prores_ks", pixel_format_name="yuv422p10le")
    data = path.read_bytes()
    sizes = data.index(b"stsz") + 16
    assert struct.unpack(">I", data[sizes - 4 : sizes])[0] == 6
    _edit(path, sizes + 4 * 4, struct.pack(">I", size))
    with pytest.raises(SourceError, match=say) as told:
        read(path)
    assert told.value.frame == frame


def test_times_that_collide(tmp_path: Path) -> None:
    """2000 pictures a second do not fit Matroska's milliseconds."""
    path = tmp_path / "a.mkv"
    make_film(path, frames=8, rate=Fraction(2000), codec="ffv1")
    with pytest.raises(SourceError, match="same presentation time") as told:
        read(path, spec.Source(rate="24"))
    assert told.value.frame is not None


def test_times_that_are_missing(tmp_path: Path) -> None:
    """AVI holds no presentation times; with B-frames they cannot be told from its order."""
    path = tmp_path / "a.avi"
    make_film(path, frames=16, codec="libx264", options=B_FRAMES)
    with pytest.raises(SourceError, match="no presentation time"):
        read(path)


@pytest.mark.parametrize(("codec", "fmt"), [("rawvideo", "rgb24"), ("ffv1", "yuv420p")])
def test_no_frames(tmp_path: Path, codec: str, fmt: str) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 32, 32, fmt
        out.start_encoding()
    with pytest.raises(SourceError, match=r"no frames|incomplete"):
        read(path)


def test_frames_and_streams_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=9, audio="pcm_s16le")
    reel = probe(str(path), "a", spec.Source())
    monkeypatch.setattr("pipeline.reel.index.MAX_FRAMES", 8)
    with pytest.raises(SourceError, match="more than 8 frames"):
        build(reel)
    monkeypatch.setattr("pipeline.reel.source.MAX_STREAMS", 1)
    with pytest.raises(SourceError, match="2 streams"):
        build(reel)


def test_a_source_that_changed_since_the_probe(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=3)
    reel = probe(str(path), "a", spec.Source())
    make_film(path, frames=4)
    with pytest.raises(SourceError, match="changed since"):
        build(reel)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not here")
@pytest.mark.parametrize(
    ("name", "count", "rate"),
    [
        ("oldfilm/earthquake_1906.mkv", 49, Fraction(16)),
        ("oldfilm/market_street_1906.mkv", 60, Fraction(16)),
        ("oldfilm/train_robbery_1903.mkv", 48, Fraction(18)),
        ("nasa_13013.mp4", 390, Fraction(30000, 1001)),
    ],
)
def test_real_films(name: str, count: int, rate: Fraction) -> None:
    _, index = read(SHARED / name)
    assert (len(index), index.rate, index.constant) == (count, rate, True)
