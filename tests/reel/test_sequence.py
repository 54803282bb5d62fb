"""Folders of numbered images as reels: read exactly, from disk and S3, and refused in one line where not whole."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.plan import make_plan, to_json
from pipeline.plan.document import from_json
from pipeline.publish.verify import verify
from pipeline.reel import decode, exr, image_writing, index, probe
from pipeline.reel.formats import hash_planes, pixel_format
from pipeline.spec import Source
from pipeline.storage import sources, store
from pipeline.types import Colour, FrameIndex, Reel
from tests.cluster.alone import restore
from tests.reel import judge, sequences
from tests.reel.test_corrupt import mutated


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


def test_what_an_image_holds_beside_its_picture_is_said(tmp_path: Path) -> None:
    folder = sequences.make_exr(tmp_path / "exr", frames=2)
    reel, _ = opened(folder)
    assert reel.sequence is not None
    assert reel.sequence.left_out == ()
    for file in sequences.files(folder):
        data = file.read_bytes()
        at = data.index(b"channels\0chlist\0") + len(b"channels\0chlist\0")
        size = int.from_bytes(data[at : at + 4], "little")
        more = b"Z\0" + data[at + 4 + 2 : at + 4 + 2 + 16]  # a fourth channel in the list alone
        listed = data[at + 4 : at + 4 + size - 1] + more + b"\0"
        window = struct.pack("<4i", -8, 0, 63, 47)
        cut_off = data[:at] + len(listed).to_bytes(4, "little") + listed + data[at + 4 + size :]
        place = cut_off.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
        said = exr.passed_over(cut_off[:place] + window + cut_off[place + 16 :])
        assert said == (
            "The EXR channels Z are not carried",
            "The EXR images hold pixels beyond their display window, which are not carried",
        )
    assert exr.passed_over(b"") == exr.passed_over(b"v/1\x01" + b"\xff" * 600)[1:] == ()

    folder = sequences.make(tmp_path / "dpx", frames=2)
    for file in sequences.files(folder):
        sequences.put(file, 32, "I", 512)
    reel, _ = opened(folder)
    assert reel.sequence is not None
    assert reel.sequence.left_out == ("The 512 bytes of user data in the DPX headers are not carried",)


def test_interlaced_images_want_to_be_asked_for(tmp_path: Path) -> None:
    folder = sequences.with_all_headers(sequences.make(tmp_path))
    assert opened(folder)[0].field_order == "progressive"
    for file in sequences.files(folder):
        sequences.put(file, 1928, "B", 1)
    with pytest.raises(SourceError, match="its header says interlaced"):
        opened(folder)
    assert opened(folder, interlaced="per_field")[0].interlaced


def test_a_clock_that_stands_still_is_no_timecode(tmp_path: Path) -> None:
    folder = sequences.with_all_headers(sequences.make(tmp_path))
    for moves in (0, 1):
        for n, file in enumerate(sequences.files(folder)):
            sequences.put(file, 1920, "I", 0x10595810 + moves * n)
        assert opened(folder)[0].timecode == ("10:59:58:10" if moves else None)
    assert not any("do not run on" in text for text in opened(folder, rate=25)[0].colour.assumed)
    sequences.put(folder / "scan_0001008.dpx", 1920, "I", 0x11000000)
    assert any("do not run on" in text for text in opened(folder, rate=25)[0].colour.assumed)
    sequences.put(folder / "scan_0001001.dpx", 1920, "I", 0x10596124)  # 61 seconds
    assert opened(folder)[0].timecode is None


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


@pytest.mark.parametrize("case", sequences.BAD)
def test_a_folder_that_is_not_whole_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    bad = sequences.BAD[case]
    folder = tmp_path / "in"
    if bad.codec == "exr":
        sequences.make_exr(folder)
    else:
        sequences.make(folder, bad.codec, "gbrp10be" if bad.codec == "dpx" else "rgb24")
    bad.spoil(folder)
    with pytest.raises(SourceError) as told:
        read(folder)
    line = str(told.value)
    assert line.startswith(f"{folder}/{bad.file}{'' if case == 'two films' else ' frame'}"), line
    assert bad.what in line
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


@pytest.mark.parametrize("share", [0.95, 0.6, 0.25, 0.05])
@pytest.mark.parametrize("compression", ["none", "rle", "zip1", "zip16"])
def test_exr_that_is_cut_short_is_told(tmp_path: Path, compression: str, share: float) -> None:
    """FFmpeg itself gives what lines there are, and black."""
    fmt = pixel_format("gbrpf32le")
    planes = tuple(sequences.light("gbrpf32le", 0))
    reel = replace(opened(sequences.make_exr(tmp_path, frames=1))[0], colour=Colour(*["unknown"] * 5, "rgb", True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_writing, "_OPTIONS", {"exr": {"compression": compression}})
        data = image_writing.encode_image(planes, fmt, reel, spec.Output(codec="exr"))
    assert exr.damage(data) is None
    told = exr.damage(data[: int(len(data) * share)])
    assert told is not None
    assert "cut short" in told


MUTATED = {"dpx": "gbrp10be", "tiff": "rgb48le", "png": "rgb24", "exr": "gbrpf32le"}


@pytest.mark.parametrize("codec", MUTATED)
@pytest.mark.parametrize("count", [40, pytest.param(400, marks=[pytest.mark.fuzz, pytest.mark.slow])])
def test_mutated_images_are_refused_or_read_in_bounds(tmp_path: Path, codec: str, count: int) -> None:
    """An error of ours, or a picture of a size that was bounded before: never a crash, a hang or memory without end."""
    folder = (
        sequences.make_exr(tmp_path, frames=2) if codec == "exr" else sequences.make(tmp_path, codec, MUTATED[codec])
    )
    path = sequences.files(folder)[1]
    whole = path.read_bytes()
    draw = random.Random(f"{codec} 1895")
    said: list[str] = []
    for _ in range(count):
        path.write_bytes(mutated(whole, draw))
        try:
            reel, about = opened(folder)
            run = decode.decode(reel, about, 0, 2, threads=1)
        except SourceError as error:
            said.append(str(error))
        else:
            assert run.planes[0].shape[:3] == (2, 48, 64)
    assert said
    assert all(line.startswith(str(folder)) and "\n" not in line for line in said)
