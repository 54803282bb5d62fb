"""Whatever is not as it was published is found and named: the file, and the frame where it is about one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from pipeline.errors import SourceError
from pipeline.publish import layout, manifest, quarantine
from pipeline.publish.findings import Finding, Report
from pipeline.publish.verify import verify
from pipeline.reel import framemd5
from pipeline.storage import store
from pipeline.types import Plan
from tests.publish import night
from tests.reel.films import ARCHIVE, damage, packet_spans


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """An excerpt, [4, 18) of 20 frames, as it was published; to be copied."""
    here = tmp_path_factory.mktemp("kept")
    (here / "scratch").mkdir()
    source = night.film(here / "r.mkv", options=ARCHIVE, audio="aac")
    said = night.spec([night.MASTER, night.PROXY])
    plan, _ = night.publish(str(source), "a/r", str(here / "out"), here / "scratch", said, frames=(4, 18))
    return plan, here / "out"


@pytest.fixture
def folder(kept: tuple[Plan, Path], out: str) -> Path:
    shutil.copytree(kept[1], out)
    return Path(out) / "a/r"


def sign(folder: Path, *names: str) -> None:
    """Make the manifest agree with files that were changed: only their contents can then tell."""
    path = folder / layout.MANIFEST
    said = manifest.parse(path.read_bytes(), where="m")
    found = night.contents(str(folder))
    path.write_text(manifest.write({**said, **{n: found[n] for n in names}}))


def only(report: Report, kind: str) -> Finding:
    (found,) = report.findings
    assert found.kind == kind
    assert not report.ok
    return found


def test_what_is_as_it_was_is_told_so(kept: tuple[Plan, Path]) -> None:
    plan, out = kept
    told: list[tuple[str, int, int]] = []
    report = verify([str(out)], notify=lambda *step: told.append(step))
    assert report.ok
    (reel,) = report.reels
    assert (reel.reel, reel.plan_id, reel.frames, reel.files, reel.ok) == ("a/r", plan.id, 28, 15, True)
    assert told == [(f"{out}/a/r", 0, 1)]
    record = json.loads(json.dumps(report.record()))
    assert (record["ok"], record["findings"], record["reels"][0]["reel"]) == (True, [], "a/r")


def test_the_folder_of_one_reel_will_do(kept: tuple[Plan, Path]) -> None:
    report = verify([f"{kept[1]}/a/r", f"{kept[1]}/a"])
    assert report.ok
    assert [r.reel for r in report.reels] == ["", "r"]


def test_a_byte_turned_over_in_any_file_is_found_and_named(folder: Path, out: str) -> None:
    names = sorted(night.contents(str(folder)))
    assert len(names) == 15
    for name in names:
        path = folder / name
        good = path.read_bytes()
        for at in (0, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            report = verify([out])
            assert not report.ok, (name, at)
            if name == layout.MANIFEST:
                # A wrong hash or name in it shows at the file that it is about, or it cannot be read.
                assert {f.kind for f in report.findings} <= {"manifest", "changed", "missing", "extra", "half"}
            else:
                assert ("changed", str(path)) in [(f.kind, f.file) for f in report.findings], (name, at)
            assert all("\n" not in str(f) for f in report.findings)
        path.write_bytes(good)
    assert verify([out]).ok


def test_the_first_frame_that_differs_is_named(folder: Path, out: str) -> None:
    film = folder / "r.mkv"
    spans = packet_spans(film)
    for n in (6, 9):
        position, size = spans[n]
        damage(film, position + size // 2)
    found = {f.kind: f for f in verify([out]).findings}
    assert set(found) == {"changed", "pixels"}
    # Frame 6 of the excerpt that begins with the source's frame 4.
    assert found["pixels"].frame == 10
    assert str(film) in str(found["pixels"])
    assert "frame 10" in str(found["pixels"])
    assert "2 of 14 frames differ" in found["pixels"].found
    # Someone who signs it again does not hide it.
    sign(folder, "r.mkv")
    assert only(verify([out]), "pixels").frame == 10


def test_a_film_that_cannot_be_decoded_is_named(folder: Path, out: str) -> None:
    film = folder / "r.mkv"
    film.write_bytes(film.read_bytes()[:-3000])
    sign(folder, "r.mkv")
    assert {f.kind for f in verify([out]).findings} <= {"frames", "pixels", "streams"}
    assert not verify([out]).ok
    film.write_bytes(b"no film")
    sign(folder, "r.mkv")
    found = only(verify([out]), "pixels")
    assert found.file == str(film)


def test_a_decoders_own_complaint_names_the_sources_frame(
    folder: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complain(uri: str, _threads: int) -> Iterator[tuple[int, str]]:
        raise SourceError("the picture has no time", where=uri, frame=2)
        yield 0, ""

    monkeypatch.setattr(framemd5, "decoded_hashes", complain)
    found = verify([out]).findings
    names = ("r.mkv", "r.proxy.mp4")
    assert [(f.kind, f.frame, f.file) for f in found] == [("pixels", 6, str(folder / name)) for name in names]


def test_frame_tables_that_disagree_are_named_with_the_frame(folder: Path, out: str) -> None:
    path = folder / layout.OUTPUT_MD5
    film = framemd5.parse(path.read_text())
    wrong = list(film.md5s)
    wrong[3] = "0" * 32
    lines = path.read_text().replace(film.md5s[3], "0" * 32)
    path.write_text(lines)
    sign(folder, layout.OUTPUT_MD5)
    report = verify([out])
    assert [(f.kind, f.file, f.frame) for f in report.findings] == [
        ("frames", str(path), 7),
        ("pixels", str(folder / "r.mkv"), 7),
    ]


def test_a_frame_too_few_is_counted(folder: Path, out: str) -> None:
    path = folder / layout.SOURCE_MD5
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    sign(folder, layout.SOURCE_MD5)
    found = only(verify([out]), "frames")
    assert "it has 13 frames, the provenance says 14" in found.found


def test_another_reels_table_is_found(folder: Path, out: str, source: str, scratch: Path) -> None:
    night.publish(source, "b", out, scratch)
    shutil.copy(Path(out) / "b" / layout.FRAMES, folder / layout.FRAMES)
    sign(folder, layout.FRAMES)
    kinds = {(f.kind, f.file) for f in verify([out]).findings}
    assert ("frames", str(folder / layout.FRAMES)) in kinds
    (folder / layout.FRAMES).write_bytes(b"no table")
    sign(folder, layout.FRAMES)
    assert "Parquet" in only(verify([out]), "frames").found


def test_missing_and_extra_files_are_named(folder: Path, out: str) -> None:
    (folder / layout.SHOTS).unlink()
    (folder / "extra.txt").write_text("x")
    (folder / "report/more").mkdir()
    (folder / "report/more/x.png").write_text("x")
    found = [(f.kind, f.file) for f in verify([out]).findings]
    assert found == [
        ("missing", str(folder / layout.SHOTS)),
        ("extra", str(folder / "extra.txt")),
        ("extra", str(folder / "report/more/x.png")),
    ]


@pytest.mark.parametrize(
    "name", ["r.mkv", "r.proxy.mp4", layout.FRAMES, layout.OUTPUT_MD5, layout.SUMMARY, layout.PROVENANCE]
)
def test_a_missing_file_is_told_once(folder: Path, out: str, name: str) -> None:
    (folder / name).unlink()
    report = verify([out])
    assert [f.kind for f in report.findings if f.file == str(folder / name)] == ["missing"]


def test_a_manifest_that_leaves_things_out_is_found(folder: Path, out: str) -> None:
    path = folder / layout.MANIFEST
    said = manifest.parse(path.read_bytes(), where="m")
    path.write_text(manifest.write({n: h for n, h in said.items() if n not in ("r.mkv", layout.PROVENANCE)}))
    kinds = [(f.kind, Path(f.file or "").name) for f in verify([out]).findings]
    assert ("extra", "r.mkv") in kinds
    assert ("manifest", "provenance.json") in kinds
    assert ("manifest", "manifest-sha256.txt") in kinds


def test_a_manifest_that_leads_out_is_not_followed(folder: Path, out: str) -> None:
    (Path(out) / "secret").write_text("x")
    (folder / layout.MANIFEST).write_text(f"{'0' * 64}  ../../secret\n")
    assert "not below" in only(verify([out]), "manifest").found


def test_a_provenance_of_another_plan_is_found(folder: Path, out: str) -> None:
    path = folder / layout.PROVENANCE
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "plan_id": "0" * 64}))
    sign(folder, layout.PROVENANCE)
    found = only(verify([out]), "provenance")
    assert found.file == str(folder / layout.SUMMARY)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": None},
        {"frames": [18, 4]},
        {"frames": [1]},
        {"deliverables": []},
        {"deliverables": [{}]},
        {"deliverables": [{"file": "../../secret"}]},
        {"version": 9},
        {"plan_id": "x"},
    ],
)
def test_a_provenance_that_says_nonsense_is_found(folder: Path, out: str, change: dict[str, object]) -> None:
    path = folder / layout.PROVENANCE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    sign(folder, layout.PROVENANCE)
    assert only(verify([out]), "manifest" if change.get("deliverables") == [{"file": "../../secret"}] else "provenance")


def test_half_published_and_quarantined_reels_are_told(folder: Path, out: str) -> None:
    (folder / layout.MANIFEST).unlink()
    error = SourceError("cut short", where="s3://films/b.mkv", frame=12, todo="Scan it again")
    quarantine.put(out, quarantine.entry("b", "s3://films/b.mkv", error))
    half, bad = verify([out]).findings
    assert (half.kind, half.reel) == ("half", "a/r")
    assert "finishes what it began" in half.todo
    assert (bad.kind, bad.reel, bad.frame, bad.todo) == ("quarantined", "b", 12, "Scan it again")
    (folder / layout.PROVENANCE).unlink()
    assert verify([out]).findings[0].kind == "half"


def test_an_output_with_nothing_in_it_is_no_success(out: str) -> None:
    assert only(verify([out]), "empty").file is None


def test_in_object_storage(source: str, s3_folder: str, scratch: Path) -> None:
    night.publish(source, "a/reel one", s3_folder, scratch)
    night.publish(source, "c", s3_folder, scratch)
    assert verify([s3_folder]).ok
    uri = f"{s3_folder}/a/reel one/reel one.mkv"
    film = scratch / "film.mkv"
    store.fetch(uri, film)
    position, size = packet_spans(film)[2]
    damage(film, position + size // 2)
    store.put_file(film, uri)
    store.put_bytes(f"{s3_folder}/c/report/extra", b"x")
    assert [(f.kind, f.file, f.frame) for f in verify([s3_folder]).findings] == [
        ("changed", uri, None),
        ("pixels", uri, 2),
        ("extra", f"{s3_folder}/c/report/extra", None),
    ]


def test_a_frame_of_a_further_deliverable_is_named_too(folder: Path, out: str) -> None:
    proxy = folder / "r.proxy.mp4"
    position, size = packet_spans(proxy)[0]
    damage(proxy, position + size // 2, 4)
    sign(folder, "r.proxy.mp4")
    found = verify([out]).findings
    assert {(f.kind, f.file) for f in found} == {("pixels", str(proxy))}
    assert found[0].frame is not None
    assert found[0].frame >= 4
    assert verify([out]).reels[0].frames <= 28


@pytest.mark.parametrize(("name", "hashes"), [("r.mkv", "output.streamhash"), ("r.proxy.mp4", "r.proxy.streamhash")])
def test_sound_that_is_not_what_it_was_is_named(folder: Path, out: str, name: str, hashes: str) -> None:
    path = folder / name
    with av.open(str(path)) as film:
        packet = next(p for p in film.demux(film.streams.audio[0]) if p.size > 20)
        position = packet.pos or 0
    damage(path, position + packet.size // 2)
    sign(folder, name)
    found = only(verify([out]), "streams")
    assert found.file == str(path)
    assert f"{hashes} says" in found.found
    assert "stream 1 (a)" in found.found


def test_hashes_of_sound_that_cannot_be_read_are_named(folder: Path, out: str) -> None:
    (folder / layout.OUTPUT_STREAMS).write_text("1,a,SHA256=xyz\n")
    sign(folder, layout.OUTPUT_STREAMS)
    assert "line 1 is no row of a stream" in only(verify([out]), "streams").found
