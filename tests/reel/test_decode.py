from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import spec
from pipeline.errors import MissingError, SourceError, StorageError
from pipeline.reel import ffv1
from pipeline.reel.decode import batches, decode
from pipeline.reel.formats import hash_planes, pixel_format, planes_of
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.reel.reading import frames
from pipeline.storage import store
from pipeline.types import FrameIndex, Frames, Reel
from tests.reel.films import ARCHIVE, damage, make_film, packet_spans
from tests.s3 import Server

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
OPEN_GOP = {"x264-params": "keyint=8:min-keyint=8:bframes=3:b-pyramid=normal:open-gop=1:scenecut=0:b-adapt=0"}


def read(path: Path) -> tuple[Reel, FrameIndex]:
    reel = probe(str(path), path.stem, spec.Source())
    return reel, build(reel)


def hashes(found: Frames) -> list[str]:
    return [hash_planes(found.frame(n), found.format) for n in range(found.first, found.last)]


# ---- exact pictures


@pytest.mark.parametrize(
    "name", ["yuv420p", "yuv422p10le", "gbrp10le", "gray", "gray16le", "yuva444p10le", "bgra", "yuv410p", "yuv444p12le"]
)
def test_lossless_films_come_out_as_they_went_in(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.mkv"
    # FFmpeg's FFV1 cannot cut subsampled pictures of some odd sizes into 16 slices.
    odd = {"level": "3", "g": "1"}
    given_planes = make_film(path, pixel_format_name=name, frames=5, size=(51, 39), options=odd)
    reel, index = read(path)
    found = decode(reel, index, 0, 5, threads=2)
    assert (found.format, found.first, len(found)) == (pixel_format(name), 0, 5)
    assert list(found.pts) == list(index.pts)
    for n, planes in enumerate(given_planes):
        for a, b in zip(planes, found.frame(n), strict=True):
            assert np.array_equal(a, b)


def test_bgr0_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    given_planes = make_film(path, pixel_format_name="bgr0", frames=4, options=ARCHIVE)
    reel, index = read(path)
    found = decode(reel, index, 0, 4, threads=1)
    # The fourth byte is padding, which FFV1 does not keep.
    assert all(np.array_equal(p[0][..., :3], found.frame(n)[0][..., :3]) for n, p in enumerate(given_planes))


@pytest.mark.parametrize("name", ["nv12", "rgb24", "rgb48be", "gray16be", "yuv422p10be", "argb", "vuya"])
def test_raw_films_of_packed_and_big_endian_formats(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.nut"
    given_planes = make_film(path, codec="rawvideo", pixel_format_name=name, frames=4, size=(50, 38))
    reel, index = read(path)
    found = decode(reel, index, 0, 4, threads=1)
    assert reel.format.name == name
    for n, planes in enumerate(given_planes):
        assert all(np.array_equal(a, b) for a, b in zip(planes, found.frame(n), strict=True))


# ---- spans

FILMS: dict[str, dict[str, Any]] = {
    "ffv1.mkv": {"options": ARCHIVE, "pixel_format_name": "yuv422p10le"},
    "ffv1 gop.mkv": {"options": {"g": "8"}, "rate": Fraction(18), "pts": range(5, 45)},
    "ffv1 gop.avi": {"options": {"g": "8"}},
    "prores.mov": {"codec": "prores_ks", "pixel_format_name": "yuv422p10le"},
    "h264.mp4": {"codec": "libx264", "options": OPEN_GOP, "pts": range(37, 77), "audio": "aac"},
    "h264.mkv": {"codec": "libx264", "options": OPEN_GOP},
    "h264.ts": {"codec": "libx264", "options": OPEN_GOP, "pts": range(11, 51)},
    "refresh.mp4": {
        "codec": "libx264",
        "options": {"x264-params": "intra-refresh=1:keyint=8:bframes=0:qp=20"},
    },
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"g": "8", "bf": "2"}},
    "hevc.mkv": {
        "codec": "libx265",
        "pixel_format_name": "yuv420p10le",
        "options": {"x265-params": "keyint=8:min-keyint=8:bframes=3:open-gop=1:log-level=none:pools=1"},
    },
    "variable.mkv": {"options": {"g": "5"}, "pts": [n + (n // 7) * 3 for n in range(40)]},
}
COUNT = 40


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Reel, FrameIndex, list[tuple[int, str]]]]:
    """Each film with what FFmpeg itself gives, start to end: (pts, hash)."""
    folder = tmp_path_factory.mktemp("films")
    made = {}
    for name, how in FILMS.items():
        make_film(folder / name, frames=COUNT, **how)
        reel, index = read(folder / name)
        with av.open(str(folder / name)) as film:
            stream = film.streams.best("video")
            assert stream is not None
            whole = [(f.pts, hash_planes(planes_of(f, reel.format), reel.format)) for f in film.decode(stream)]
        made[name] = (reel, index, whole)
    return made


@pytest.mark.parametrize("name", FILMS)
def test_the_whole_film(films: dict[str, Any], name: str) -> None:
    reel, index, whole = films[name]
    found = decode(reel, index, 0, COUNT, threads=2)
    assert list(zip(found.pts, hashes(found), strict=True)) == whole
    assert len({h for _, h in whole}) == COUNT


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_span_equals_the_whole(films: dict[str, Any], data: st.DataObject) -> None:
    reel, index, whole = films[data.draw(st.sampled_from(sorted(FILMS)))]
    first = data.draw(st.integers(0, COUNT - 1))
    last = data.draw(st.integers(first + 1, min(COUNT, first + 12)))
    found = decode(reel, index, first, last, threads=data.draw(st.sampled_from([1, 3])))
    assert list(zip(found.pts, hashes(found), strict=True)) == whole[first:last]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_batches_are_the_same_frames(films: dict[str, Any], data: st.DataObject) -> None:
    reel, index, whole = films[data.draw(st.sampled_from(["ffv1 gop.mkv", "h264.mp4", "prores.mov"]))]
    first = data.draw(st.integers(0, COUNT - 1))
    last = data.draw(st.integers(first + 1, COUNT))
    size = data.draw(st.integers(1, 9))
    found = list(batches(reel, index, first, last, threads=1, size=size))
    assert [len(b) for b in found[:-1]] == [size] * (len(found) - 1)
    assert [b.first for b in found] == list(range(first, last, size))
    got = [(int(p), h) for b in found for p, h in zip(b.pts, hashes(b), strict=True)]
    assert got == whole[first:last]


def test_wrong_spans_are_refused(films: dict[str, Any]) -> None:
    reel, index, _ = films["ffv1.mkv"]
    for first, last in ((0, COUNT + 1), (-1, 3), (5, 5), (7, 3)):
        with pytest.raises(ValueError, match="not inside"):
            decode(reel, index, first, last, threads=1)
    with pytest.raises(ValueError, match="threads"):
        decode(reel, index, 0, 1, threads=0)


def test_a_reader_that_stops_early_leaves_nothing_open(films: dict[str, Any]) -> None:
    reel, index, whole = films["h264.mkv"]
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        run = frames(reel, index, 9, 30, threads=2)
        number, planes = next(run)
        assert (number, hash_planes(planes, reel.format)) == (9, whole[9][1])
        run.close()
    assert len(list(descriptors.iterdir())) == before


def test_memory_stays_flat(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    make_film(path, codec="v210", pixel_format_name="yuv422p10le", size=(640, 480), frames=60)
    reel, index = read(path)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def run() -> None:
        for batch in batches(reel, index, 0, 60, threads=1):
            assert batch.planes[0].shape[1:] == (480, 640)

    run()
    before = resident()
    for _ in range(10):
        run()
    # 600 frames of 1.2 MB went through; one leaked in twenty would show.
    assert resident() - before < 30 << 20


# ---- remote


def test_spans_through_s3(films: dict[str, Any], s3: Server, s3_folder: str, tmp_path: Path) -> None:
    for name in ("ffv1.mkv", "h264.mp4"):
        reel, index, whole = films[name]
        uri = store.join(s3_folder, name)
        store.put_file(Path(reel.uri), uri)
        there = dataclasses.replace(probe(uri, "a", spec.Source()))
        about = build(there)
        np.testing.assert_array_equal(about.pts, index.pts)
        assert (about.digest == index.digest) is (about.found_by != "cues")
        assert hashes(decode(there, index, 13, 22, threads=2)) == [h for _, h in whole[13:22]]
        # A staged copy is read in its place; where it is gone, that is the node's trouble and not the film's.
        store.delete(uri)
        assert hashes(decode(there, index, 13, 14, threads=1, local=Path(reel.uri))) == [whole[13][1]]
        with pytest.raises(MissingError):
            decode(there, index, 13, 14, threads=1, local=tmp_path / "gone.mkv")
        with pytest.raises(SourceError, match="no such file"):
            decode(there, index, 13, 14, threads=1)


def test_a_store_that_stops_is_no_fault_of_the_film(films: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    reel, index, _ = films["ffv1.mkv"]
    real = store.open_read

    class Stopping:
        def __init__(self, uri: str) -> None:
            self.file, self.left = real(uri), reel.bytes // 2

        def __enter__(self) -> Stopping:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def read(self, size: int) -> bytes:
            self.left -= size
            if self.left < 0:
                raise StorageError("the store does not answer", transient=True)
            return self.file.read(min(size, 4096))

        def seek(self, offset: int, whence: int = 0) -> int:
            return self.file.seek(offset, whence)

        def tell(self) -> int:
            return self.file.tell()

    monkeypatch.setattr(store, "open_read", Stopping)
    with pytest.raises(StorageError, match="does not answer"):
        decode(reel, index, 0, COUNT, threads=1)


# ---- damage


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("place", [0.02, 0.5, 0.97])
@pytest.mark.parametrize(
    "options",
    [ARCHIVE, ARCHIVE | {"g": "6", "slices": "4"}, ARCHIVE | {"slicecrc": "0", "slices": "4"}],
    ids=["archive", "gop", "no-crc"],
)
def test_a_damaged_slice_names_its_frame(tmp_path: Path, options: dict[str, str], place: float, threads: int) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=12, size=(96, 64), options=options)
    reel, index = read(path)
    before = hashes(decode(reel, index, 0, 12, threads=1))
    position, size = packet_spans(path)[7]
    damage(path, position + int(size * place), 3)
    with pytest.raises(SourceError, match="damaged") as told:
        decode(reel, index, 0, 12, threads=threads)
    assert (told.value.frame, told.value.where) == (7, str(path))
    # What does not need the damaged frame is still to be had.
    assert hashes(decode(reel, index, 0, 7, threads=threads)) == before[:7]
    if "g" in options and options["g"] == "1":
        assert hashes(decode(reel, index, 8, 12, threads=threads)) == before[8:]
    else:
        with pytest.raises(SourceError) as told:
            decode(reel, index, 8, 12, threads=threads)
        assert told.value.frame == 7


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_of_an_archive_film_passes_for_picture(archive_film: Path, place: float, bit: int) -> None:
    """Wherever a bit turns over: an error, or the pictures as they were (it was in a tag, or a table nobody needs)."""
    whole = archive_film.read_bytes()
    data = bytearray(whole)
    data[int(place * len(data))] ^= 1 << bit
    path = archive_film.with_name("flipped.mkv")
    path.write_bytes(bytes(data))
    reel, index = read(archive_film)
    try:
        found = decode(*read(path), 0, 6, threads=2)
    except SourceError:
        return
    assert hashes(found) == hashes(decode(reel, index, 0, 6, threads=2))


@pytest.fixture(scope="module")
def archive_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "a.mkv"
    make_film(path, frames=6, size=(96, 64), pixel_format_name="yuv422p10le", options=ARCHIVE)
    return path


@pytest.mark.parametrize(("version", "crc"), [("3", "0"), ("3", "1"), ("4", "0"), ("4", "1"), ("4", "2")])
def test_slices_and_their_crc(tmp_path: Path, version: str, crc: str) -> None:
    path = tmp_path / "a.mkv"
    options = {"level": version, "slices": "6", "slicecrc": crc, "g": "1", "strict": "experimental"}
    make_film(path, frames=2, size=(96, 64), options=options)
    with av.open(str(path)) as film:
        packet = bytes(next(film.demux(video=0)))
    assert ffv1.damaged_slices(packet) == (([], 0) if crc == "0" else ([], 6))
    if crc == "0":
        return
    for at in range(0, len(packet), 97):
        bad = bytearray(packet)
        bad[at] ^= 1
        damaged, count = ffv1.damaged_slices(bytes(bad))
        assert len(damaged) == 1
        assert count in (6, 1)
    assert ffv1.damaged_slices(packet[:-1]) == ([0], 1)


def test_damaged_prores(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    make_film(path, codec="prores_ks", pixel_format_name="yuv422p10le", frames=8, size=(160, 128))
    reel, index = read(path)
    position, size = packet_spans(path)[3]
    damage(path, position + size // 2, 40)
    for threads in (1, 3):
        with pytest.raises(SourceError) as told:
            decode(reel, index, 0, 8, threads=threads)
        assert told.value.frame == 3


def test_damage_in_one_film_is_not_told_of_another(tmp_path: Path) -> None:
    """Without CRC, damage is a log line from a slice thread, which does not say whose it is."""
    good, bad = tmp_path / "good.mkv", tmp_path / "bad.mkv"
    options = ARCHIVE | {"slicecrc": "0"}
    for path in (good, bad):
        make_film(path, frames=30, size=(160, 128), options=options)
    films = [read(good), read(bad)]
    for position, size in packet_spans(bad)[::3]:
        damage(bad, position + size // 2)
    told: dict[str, list[int | None]] = {"good": [], "bad": []}

    def run(reel: Reel, index: FrameIndex) -> None:
        for n in range(0, 30, 3):
            try:
                decode(reel, index, n, n + 3, threads=4)
            except SourceError as error:
                told[reel.name].append(error.frame)

    workers = [threading.Thread(target=run, args=film, daemon=True) for film in films for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert told["good"] == []
    assert sorted(n for n in told["bad"] if n is not None) == sorted([*range(0, 30, 3)] * 2)


def test_a_frame_that_is_listed_and_not_there(films: dict[str, Any]) -> None:
    reel, index, _ = films["h264.mkv"]
    pts = index.pts.copy()
    pts[21] += 1
    with pytest.raises(SourceError, match="does not decode whole") as told:
        decode(reel, dataclasses.replace(index, pts=pts), 15, 25, threads=1)
    assert told.value.frame == 21


def test_a_size_that_changes_midway(tmp_path: Path) -> None:
    parts = [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    for path, size, start in zip(parts, ((64, 48), (96, 64)), (0, 10), strict=True):
        how: dict[str, Any] = {"codec": "mjpeg", "pixel_format_name": "yuvj420p", "frames": 10}
        make_film(path, size=size, pts=range(start, start + 10), **how)
    both = tmp_path / "both.mkv"
    with av.open(str(both), "w") as out:
        stream = None
        for path in parts:
            with av.open(str(path)) as film:
                stream = stream or out.add_stream_from_template(film.streams.video[0])
                for packet in film.demux(film.streams.video[0]):
                    if packet.size:
                        packet.stream = stream
                        out.mux(packet)
    reel, index = read(both)
    assert len(index) == 20
    assert len(decode(reel, index, 0, 10, threads=1)) == 10
    with pytest.raises(SourceError, match="96x64 from here on, it was 64x48") as told:
        list(batches(reel, index, 0, 20, threads=1))
    assert told.value.frame == 10


# ---- the real ones


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not here")
@pytest.mark.parametrize("name", ["oldfilm/earthquake_1906.mkv", "nasa_13013.mp4"])
def test_real_films(name: str) -> None:
    reel, index = read(SHARED / name)

    def sequential() -> Iterator[tuple[int | None, str]]:
        with av.open(str(SHARED / name)) as film:
            for n, frame in enumerate(film.decode(film.streams[reel.stream])):
                if 31 <= n < 49:
                    assert isinstance(frame, av.VideoFrame)
                    yield frame.pts, hash_planes(planes_of(frame, reel.format), reel.format)
                if n == 49:
                    return

    found = decode(reel, index, 31, 49, threads=2)
    assert list(zip(found.pts, hashes(found), strict=True)) == list(sequential())
