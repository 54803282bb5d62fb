"""Folders of numbered images as reels: read exactly, from disk and S3, and refused in one line where not whole."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.plan import make_plan, to_json
from pipeline.plan.document import from_json
from pipeline.publish.verify import verify
from pipeline.reel import decode, index, probe
from pipeline.reel.formats import hash_planes
from pipeline.spec import Source
from pipeline.storage import sources, store
from pipeline.types import FrameIndex, Reel
from tests.cluster.alone import restore
from tests.reel import judge, sequences


def opened(folder: Path | str, **say: object) -> tuple[Reel, FrameIndex]:
    reel = probe.probe(f"{str(folder).rstrip('/')}/", "reel", Source.model_validate(say))
    return reel, index.build(reel)


def hashes(reel: Reel, about: FrameIndex, first: int, last: int) -> list[str]:
    run = decode.decode(reel, about, first, last, threads=1)
    return [hash_planes(run.frame(n), run.format) for n in range(first, last)]


def read(folder: Path) -> None:
    """As a job does: probe, index, decode."""
    reel, about = opened(folder)
    hashes(reel, about, 0, len(about))


@pytest.mark.parametrize(("codec", "name"), [(c, n) for c, names in sequences.FORMATS.items() for n in names])
def test_every_format_is_read_as_ffmpeg_reads_it(tmp_path: Path, codec: str, name: str) -> None:
    told = sequences.framemd5(sequences.make(tmp_path, codec, name, frames=3))
    reel, about = opened(tmp_path)
    assert hashes(reel, about, 1, 3) == told.md5s[1:]
    assert (reel.codec, len(about), about.rate, about.constant) == (codec, 3, 24, True)


def test_a_folder_of_dpx_becomes_a_verified_master(tmp_path: Path) -> None:
    folder = sequences.make(tmp_path / "night" / "reel.01")
    (folder / "notes.txt").write_text("shot 12")
    restore(f"{tmp_path}/night", tmp_path / "out", "chain=[]", "tiles.frames=3", "source.rate=18")
    published = tmp_path / "out" / "reel.01"
    told = sequences.framemd5(folder, rate="18")
    assert (published / "source.framemd5").read_text() == told.text
    master = judge.plain_framemd5(published / "reel.01.mkv")
    assert master.md5s == told.md5s
    assert (published / "output.framemd5").read_text() == master.text
    assert verify([str(tmp_path / "out")]).ok
    assert "notes.txt beside the images" in (published / "provenance.json").read_text()


def test_a_prefix_on_s3_is_a_reel_and_a_tile_reads_its_own_files(tmp_path: Path, s3_folder: str) -> None:
    folder = sequences.make(tmp_path / "in")
    for file in sequences.files(folder):
        store.put_file(file, f"{s3_folder}/in/a/{file.name}")
    [(uri, name)] = sources.expand([f"{s3_folder}/in"])
    assert (uri, name) == (f"{s3_folder}/in/a/", "a")
    restore(f"{s3_folder}/in", f"{s3_folder}/out", "chain=[]", "tiles.frames=3")
    said = store.read_bytes(f"{s3_folder}/out/a/source.framemd5").decode()
    assert said == sequences.framemd5(folder).text
    assert verify([f"{s3_folder}/out"]).ok


def test_the_plan_comes_back_from_its_text(tmp_path: Path) -> None:
    reel, about = opened(sequences.make(tmp_path))
    plan = make_plan(reel, about, spec.Spec(chain=()), {})
    assert from_json(to_json(plan)) == plan


def test_what_says_the_rate(tmp_path: Path) -> None:
    folder = sequences.with_all_headers(sequences.make(tmp_path))
    reel, _ = opened(folder)
    assert reel.rate == 24
    assert any("no header names a frame rate" in text for text in reel.colour.assumed)
    for file in sequences.files(folder):
        sequences.put(file, 1940, "f", 23.976)
    reel, _ = opened(folder)
    assert reel.rate == Fraction(24000, 1001)
    assert not any("frame rate" in text for text in reel.colour.assumed)
    for file in sequences.files(folder):
        sequences.put(file, 1724, "f", 16.0)
    assert opened(folder)[0].rate == 16, "the film header goes before the television header"
    assert opened(folder, rate="18")[0].rate == 18


def resized(folder: Path) -> None:
    made = sequences.make(folder.parent / "other", size=(80, 48))
    (folder / "scan_0001005.dpx").write_bytes((made / "scan_0001005.dpx").read_bytes())


def grown(folder: Path) -> None:
    """Another size of picture in a codec that compresses: only decoding tells."""
    made = sequences.make(folder.parent / "other", "png", "rgb24", size=(80, 48))
    (folder / "scan_0001005.png").write_bytes((made / "scan_0001005.png").read_bytes())


def cut(name: str, share: float) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / name
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def huge(folder: Path) -> None:
    for file in sequences.files(folder):
        sequences.put(file, 772, "I", 1_000_000_000)


def flipped(folder: Path) -> None:
    path = folder / "scan_0001004.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


BAD: dict[str, tuple[str, Callable[[Path], None], str, str]] = {
    "gap": ("dpx", lambda f: (f / "scan_0001004.dpx").unlink(), "scan_0001005.dpx", "1 images are missing after"),
    "empty": ("dpx", lambda f: (f / "scan_0001003.dpx").write_bytes(b""), "scan_0001003.dpx", "empty (0 bytes)"),
    "other size": ("dpx", resized, "scan_0001005.dpx", "width was 64, is 80"),
    "other size, found by its pixels": ("png", grown, "scan_0001005.png", "the image is 80x48, the first one 64x48"),
    "other header": (
        "dpx",
        lambda f: sequences.put(f / "scan_0001006.dpx", 780 + 21, "B", 1),
        "scan_0001006.dpx",
        "transfer was 4, is 1",
    ),
    "cut short": ("dpx", cut("scan_0001006.dpx", 0.9), "scan_0001006.dpx", "cut short"),
    "cut png": ("png", cut("scan_0001006.png", 0.9), "scan_0001006.png", ""),
    "cut tiff": ("tiff", cut("scan_0001006.tif", 0.6), "scan_0001006.tif", ""),
    "flipped png": ("png", flipped, "scan_0001004.png", "CRC"),
    "text": (
        "dpx",
        lambda f: [p.write_text("this is a text " * 600) for p in sequences.files(f)],
        "scan_0001001.dpx",
        "this is no DPX file: it begins with 74 68 69 73",
    ),
    "a text among pictures": (
        "dpx",
        lambda f: (f / "scan_0001006.dpx").write_text("text " * 3000),
        "scan_0001006.dpx",
        "this is no DPX file",
    ),
    "a header of 10^9 px": ("dpx", huge, "scan_0001001.dpx", "no picture can be decoded"),
    "twice": (
        "dpx",
        lambda f: (f / "scan_1003.dpx").write_bytes((f / "scan_0001003.dpx").read_bytes()),
        "scan_1003.dpx",
        "the number 1003 is there twice",
    ),
    "two films": (
        "dpx",
        lambda f: (f / "scan_0001003.dpx").rename(f / "take_0001003.dpx"),
        "take_0001003.dpx",
        "another sequence than",
    ),
    "digits": (
        "dpx",
        lambda f: (f / "scan_0001008.dpx").rename(f / "scan_01008.dpx"),
        "scan_0001001.dpx",
        "written with 7 digits",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_is_not_whole_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    codec, spoil, name, what = BAD[case]
    folder = sequences.make(tmp_path / "in", codec, "gbrp10be" if codec == "dpx" else "rgb24")
    spoil(folder)
    with pytest.raises(SourceError) as told:
        read(folder)
    line = str(told.value)
    assert line.startswith(f"{folder}/{name}{'' if case == 'two films' else ' frame'}"), line
    assert what in line
    assert "\n" not in line
    assert told.value.todo


def test_a_file_that_changes_after_the_look_is_refused(tmp_path: Path) -> None:
    folder = sequences.make(tmp_path)
    reel, about = opened(folder)
    path = folder / "scan_0001004.dpx"
    path.write_bytes(path.read_bytes())  # the same bytes, written at another time
    hashes(reel, about, 0, 3)
    with pytest.raises(SourceError, match="frame 3: the file changed since the folder was probed"):
        hashes(reel, about, 0, 8)
    with pytest.raises(SourceError, match="images changed since it was probed"):
        probe.check_unchanged(reel)
    path.write_bytes(path.read_bytes() * 3)
    with pytest.raises(SourceError, match="frame 3: the file changed"):
        hashes(reel, about, 3, 4)
    path.unlink()
    with pytest.raises(SourceError, match="frame 3: the file is gone"):
        hashes(reel, about, 3, 4)


def test_damaged_images_are_flagged_where_the_spec_goes_on(tmp_path: Path) -> None:
    folder = sequences.make(tmp_path, "png", "rgb24")
    told = sequences.framemd5(folder)
    path = folder / "scan_0001004.png"
    data = bytearray(path.read_bytes())
    data[data.rfind(b"IEND") - 5] ^= 1  # in the checksum of the last picture data
    path.write_bytes(bytes(data))
    reel, about = opened(folder)
    found: dict[int, object] = {}
    run = decode.decode(reel, about, 0, 8, threads=1, damage=found)  # type: ignore[arg-type]
    assert set(found) == {3}
    assert [hash_planes(run.frame(n), run.format) for n in range(8)] == told.md5s
