"""Deliverables of numbered images: what they hold, what lies beside them, how they are verified, what is refused."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.publish import layout
from pipeline.publish.verify import verify
from pipeline.reel import dpx
from pipeline.reel.convert import image_planes
from pipeline.reel.deliver import deliver_format
from pipeline.reel.formats import pixel_format
from pipeline.spec import Output
from pipeline.storage import store
from tests.cluster.alone import restore
from tests.reel import judge, sequences
from tests.reel.films import make_film, picture

COPY = ("chain=[]", "tiles.frames=3", "source.rate=24")


def outputs(*codecs: str) -> str:
    return f"deliver.outputs=[{', '.join(f'{{name: {c}, codec: {c}}}' for c in codecs)}]"


def manifest(folder: Path) -> dict[str, str]:
    lines = (folder / "manifest-sha256.txt").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


@pytest.mark.parametrize(
    ("source", "name", "out"),
    [
        ("dpx", "gbrp10be", "dpx"),
        ("dpx", "gbrp12be", "dpx"),
        ("dpx", "rgb48be", "dpx"),
        ("dpx", "gray16be", "tiff"),
        ("tiff", "rgb24", "dpx"),
        ("tiff", "rgba64le", "png"),
        ("png", "gray", "dpx"),
        ("png", "rgb48be", "tiff"),
    ],
)
def test_images_hold_the_sources_own_values_under_its_own_numbers(
    tmp_path: Path, source: str, name: str, out: str
) -> None:
    folder = sequences.make(tmp_path / "in" / "a", source, name)
    restore(folder, tmp_path / "out", *COPY, outputs(out))
    published = tmp_path / "out" / "a"
    made = published / f"a{sequences.SUFFIX[out]}"
    assert [f.stem for f in sequences.files(made)] == [f"scan_{n:07d}" for n in range(1001, 1009)]
    held = sequences.framemd5(made)
    assert (published / "output.framemd5").read_text() == held.text
    pixels = judge.run(*_raw(made, name))[0]
    assert pixels == judge.run(*_raw(folder, name))[0]
    report = verify([str(tmp_path / "out")])
    assert report.ok, report.findings
    assert report.reels[0].frames == 8
    assert {n for n in manifest(published) if n.startswith(f"a{sequences.SUFFIX[out]}/")} == {
        f"{made.name}/{f.name}" for f in sequences.files(made)
    }


def _raw(folder: Path, name: str) -> list[str]:
    suffix = sequences.files(folder)[0].suffix
    call = ["-v", "error", "-start_number", "1001", "-i", str(folder / f"scan_%07d{suffix}")]
    return [*call, "-pix_fmt", name, "-f", "rawvideo", "-"]


@pytest.mark.parametrize("name", ["gbrp10be", "gbrp10le"])
def test_what_a_dpx_header_says_is_carried_frame_by_frame(tmp_path: Path, name: str) -> None:
    folder = sequences.with_all_headers(sequences.make(tmp_path / "in" / "a", "dpx", name))
    for n, file in enumerate(sequences.files(folder)):
        sequences.put(file, 1664, "2s2s2s6s4s", b"KK", b"01", b"12", b"654321", f"{n:04d}".encode())
        sequences.put(file, 1724, "f", 18.0)
        sequences.put(file, 1920, "I", 0x01020300 + n)
        sequences.put(file, 260, "200s", "Projekt Ü".encode())
        sequences.put(file, 1948, "f", 1.7)
        sequences.put(file, 780 + 21, "BB", 1, 1)
    restore(folder, tmp_path / "out", "chain=[]", "tiles.frames=3", outputs("dpx", "ffv1"))
    published = tmp_path / "out" / "a"
    for a, b in zip(sequences.files(folder), sequences.files(published / "a.dpx"), strict=True):
        before, after = a.read_bytes()[:2048], b.read_bytes()[:2048]
        assert after[36:136].rstrip(b"\0") == b.name.encode()
        assert (before[:4], after[:4]) == (b"SDPX" if name == "gbrp10be" else b"XPDS", b"SDPX")
        assert dpx.parse(after).words == dpx.parse(before).words
        if name == "gbrp10le":
            continue
        for first, last in ((136, 660), (768, 770), (780 + 21, 780 + 23), (1408, 1636), (1664, 1864), (1920, 1972)):
            assert after[first:last] == before[first:last], (first, last)
    said = json.loads((published / "provenance.json").read_text())
    tags = dict(said["source"]["tags"])
    assert tags["dpx_keycode"] == "KK 01 654321 0000+12"
    assert tags["dpx_project"] == "Projekt Ü"
    assert tags["dpx_transfer"] == "printing density"
    assert (said["source"]["timecode"], said["source"]["rate"]) == ("01:02:03:00", "18/1")
    assert any("printing density" in text for text in said["assumed"])
    _, told = judge.run("-v", "info", "-i", str(published / "a.ffv1.mkv"), "-f", "null", "-")
    assert "KK 01 654321 0000+12" in told
    assert "01:02:03:00" in told
    assert verify([str(tmp_path / "out")]).ok


def test_what_a_film_holds_beside_its_pictures_lies_beside_the_images(tmp_path: Path) -> None:
    film = tmp_path / "a.mkv"
    make_film(film, pixel_format_name="gbrp10le", frames=7, audio="pcm_s16le", tags={"timecode": "01:00:00:00"})
    restore(film, tmp_path / "out", *COPY, outputs("dpx", "tiff"))
    published = tmp_path / "out" / "a"
    assert [f.name for f in sequences.files(published / "a.dpx")] == [f"{n:08d}.dpx" for n in range(7)]
    assert [f.name for f in sequences.files(published / "a.tiff.tif")] == [f"{n:08d}.tif" for n in range(7)]
    assert judge.stream_hash(published / "a.mka", "a") == judge.stream_hash(film, "a")
    assert judge.run(*_wide(published / "a.tiff.tif" / "%08d.tif"))[0] == judge.run(*_wide(film))[0]
    last = (published / "a.dpx" / "00000006.dpx").read_bytes()
    assert struct.unpack_from(">f", last, 1940) == (24.0,)
    assert struct.unpack_from(">I", last, 1920) == (0x01000006,)
    said = json.loads((published / "provenance.json").read_text())
    assert any("a.mka holds what" in text for text in said["not_carried"])
    objects = [o["objectIdentifier"]["objectIdentifierValue"] for o in said["objects"]]
    assert objects[1:] == ["a.dpx/", "a.tiff.tif/", "a.mka"]
    made_of = {
        link["linkingObjectIdentifierValue"]: e["eventType"]
        for e in said["events"]
        for link in e["linkingObjectIdentifier"]
        if link["linkingObjectRole"] == "outcome"
    }
    assert made_of["a.mka"] == "extraction"
    assert verify([str(tmp_path / "out")]).ok


def _wide(source: Path) -> list[str]:
    """Ten bits as sixteen, by swscale, which for planar RGB only shifts: so compared by its upper ten bits."""
    return ["-v", "error", "-i", str(source), "-pix_fmt", "gbrp10le", "-f", "rawvideo", "-"]


@pytest.mark.parametrize("depth", [9, 10, 12, 14])
def test_every_code_that_is_stretched_to_16_bits_can_be_told_again(depth: int) -> None:
    a, b = pixel_format(f"gbrp{depth}le"), pixel_format("rgb48be")
    codes = np.arange(1 << depth, dtype=np.uint16).reshape(-1, 16)
    (wide,) = image_planes((codes, codes, codes), a, b)
    assert (wide[..., 0] == wide[..., 2]).all()
    assert wide.min() == 0
    assert wide.max() == 65535
    assert (np.rint(wide[..., 1] / 65535 * ((1 << depth) - 1)).astype(np.uint16) == codes).all()


def test_a_damaged_or_missing_image_is_named_with_its_frame(tmp_path: Path) -> None:
    folder = sequences.make(tmp_path / "in" / "a")
    restore(folder, tmp_path / "out", *COPY, outputs("dpx"))
    made = tmp_path / "out" / "a" / "a.dpx"
    path = made / "scan_0001005.dpx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"\0\1\2" + whole[-6:])
    found = verify([str(tmp_path / "out")]).findings
    assert {(f.kind, f.frame) for f in found} == {("changed", None), ("pixels", 4)}
    path.unlink()
    found = verify([str(tmp_path / "out")]).findings
    assert "missing" in {f.kind for f in found}
    assert any(f.frame == 4 and "1 image is missing after scan_0001004.dpx" in f.found for f in found)
    path.write_bytes(whole)
    (made / "scan_0001009.dpx").write_bytes(whole)
    assert {f.kind for f in verify([str(tmp_path / "out")]).findings} >= {"extra", "frames"}


def test_a_publication_that_was_killed_halfway_is_finished(tmp_path: Path) -> None:
    folder = sequences.make(tmp_path / "in" / "a")
    words = ("keep_work=true", *COPY, outputs("dpx", "png"))
    restore(folder, tmp_path / "out", *words)
    published = tmp_path / "out" / "a"
    whole = manifest(published)
    (published / "manifest-sha256.txt").unlink()
    (published / "a.dpx" / "scan_0001007.dpx").unlink()
    (published / "a.png.png" / "scan_0001001.png").write_bytes(b"half of it")
    (published / "a.dpx" / "scan_0001009.dpx").write_bytes(b"of nobody")
    (published / "a.dpx" / "notes.txt").write_bytes(b"of somebody")
    restore(folder, tmp_path / "out", *words)
    assert manifest(published) == whole
    assert not (published / "a.dpx" / "scan_0001009.dpx").exists()
    assert [f.kind for f in verify([str(tmp_path / "out")]).findings] == ["extra"]
    (published / "a.dpx" / "notes.txt").unlink()
    assert verify([str(tmp_path / "out")]).ok


def test_on_s3_and_again_and_over_another_plan(tmp_path: Path, s3_folder: str) -> None:
    folder = sequences.make(tmp_path / "a")
    out = f"{s3_folder}/out"
    restore(folder, out, *COPY, outputs("dpx"))
    before = {f.uri: f.version for f in store.list_files(f"{out}/a")}
    assert sum(".dpx/" in uri for uri in before) == 8
    assert verify([out]).ok
    job = restore(folder, out, *COPY, outputs("dpx"))
    assert {f.uri: f.version for f in store.list_files(f"{out}/a")} == before
    assert all(layout.is_ours("a", uri.removeprefix(f"{out}/a/")) for uri in before)
    assert job.out == out


def test_equal_runs_give_equal_images_whatever_the_tiles(tmp_path: Path) -> None:
    folder = sequences.make(tmp_path / "in" / "a", "png", "rgb48be")
    found = []
    for tiles in (2, 5):
        out = tmp_path / f"out{tiles}"
        restore(folder, out, "chain=[]", f"tiles.frames={tiles}", outputs("png", "tiff", "dpx"))
        found.append(
            [
                hashlib.sha256(f.read_bytes()).hexdigest()
                for name in ("a.png", "a.tiff.tif", "a.dpx.dpx")
                for f in sequences.files(out / "a" / name)
            ]
        )
    assert found[0] == found[1]
    assert len(found[0]) == 24


@pytest.mark.parametrize(
    ("name", "codec", "what"),
    [
        ("yuv422p10le", "dpx", "dpx does not hold the values of yuv422p10le"),
        ("yuv420p", "tiff", "tiff does not hold the values of yuv420p"),
        ("gbrp10le", "exr", "exr does not hold the values of gbrp10le"),
    ],
)
def test_what_images_do_not_hold_is_refused_before_the_first_tile(
    tmp_path: Path, name: str, codec: str, what: str
) -> None:
    make_film(tmp_path / "a.mkv", pixel_format_name=name, frames=2)
    with pytest.raises(SourceError, match=what) as told:
        restore(tmp_path / "a.mkv", tmp_path / "out", *COPY, outputs(codec))
    assert told.value.todo


def test_a_film_without_a_constant_rate_is_refused(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mkv", pixel_format_name="gray", frames=4, pts=[0, 1, 4, 9], time_base=None)
    with pytest.raises(SourceError, match="times of their own"):
        restore(tmp_path / "a.mkv", tmp_path / "out", "chain=[]", outputs("dpx"))


def test_the_own_format_comes_first() -> None:
    for codec, names in sequences.FORMATS.items():
        for name in names:
            fmt = pixel_format(name)
            if fmt.model != "yuv":
                made = deliver_format(fmt, Output(codec=codec))  # type: ignore[arg-type]
                assert (made.depth, made.model) == (fmt.depth, fmt.model)
    assert picture(pixel_format("gray"), 8, 8, 0)


EXR = [(n, k) for n in ("gbrpf32le", "gbrapf32le", "grayf32le") for k in ("float", "half")]


@pytest.mark.parametrize(("name", "kind"), EXR)
def test_exr_keeps_every_bit_below_black_and_beyond_white(tmp_path: Path, name: str, kind: str) -> None:
    folder = sequences.make_exr(tmp_path / "in" / "a", name, kind)
    restore(folder, tmp_path / "out", *COPY, outputs("exr"))
    published = tmp_path / "out" / "a"
    told = sequences.framemd5(folder)
    assert (published / "source.framemd5").read_text() == told.text
    held = sequences.framemd5(published / "a.exr")
    assert (published / "output.framemd5").read_text() == held.text
    assert held.md5s == told.md5s
    own = [[w for w in _raw(f, name) if w not in ("-pix_fmt", name)] for f in (folder, published / "a.exr")]
    before, raw = (judge.run(*call)[0] for call in own)
    assert raw == before
    sample = "<f4" if kind == "float" else "<f2"
    # On the way to an EXR with alpha the judge multiplies colours by it.
    assert "gbrap" in name or raw == b"".join(
        p.astype(sample).tobytes() for n in range(8) for p in sequences.light(name, n)
    )
    said = json.loads((published / "provenance.json").read_text())
    assert said["source"]["colour"]["transfer_used"] == "linear"
    assert any("floats are taken for light" in text for text in said["assumed"])
    assert verify([str(tmp_path / "out")]).ok


@pytest.mark.parametrize("codec", ["ffv1", "prores", "h264", "dpx", "tiff", "png"])
def test_what_holds_no_floats_is_refused_with_the_way_out(tmp_path: Path, codec: str) -> None:
    folder = sequences.make_exr(tmp_path / "a", frames=2)
    with pytest.raises(SourceError, match="exr") as told:
        restore(folder, tmp_path / "out", *COPY, outputs(codec))
    assert "gbrpf32le" in told.value.what
