"""The way back: from what is published to the source's frames, bit for bit, or to the frame that is lost."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from jobs.undo import show_undo
from pipeline.errors import CallError, StorageError, VerifyError
from pipeline.publish import layout
from pipeline.publish.undo import undo
from pipeline.publish.verify import verify
from pipeline.reel.framemd5 import decoded_hashes
from pipeline.storage import store
from pipeline.types import Plan
from tests.publish import night
from tests.publish.test_verify import sign
from tests.reel.films import ARCHIVE, damage, packet_spans
from tests.reel.rich import packets

RESIDUAL = "r.residual.mkv"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, Path]:
    """A reel of 20 frames with master, proxy and residual, as it was published, and its source."""
    here = tmp_path_factory.mktemp("kept")
    (here / "scratch").mkdir()
    source = night.film(here / "r.mkv", options=ARCHIVE, tags={"title": "A film"})
    said = night.spec([night.MASTER, night.PROXY], residual=True)
    plan, _ = night.publish(str(source), "r", str(here / "out"), here / "scratch", said)
    return plan, here / "out", source


@pytest.fixture
def folder(kept: tuple[Plan, Path, Path], out: str) -> Path:
    shutil.copytree(kept[1], out)
    return Path(out) / "r"


def test_every_frame_of_the_source_comes_back(kept: tuple[Plan, Path, Path], folder: Path, tmp_path: Path) -> None:
    found = undo(str(folder))
    assert (found.frames, found.first, found.faults, found.written) == (20, 0, (), None)
    back = tmp_path / "back.mkv"
    assert undo(str(folder), to=str(back)).written == str(back)
    source = kept[2]
    theirs = list(decoded_hashes(str(source)))
    assert list(decoded_hashes(str(folder / "r.mkv"))) != theirs, "the restoration did something"
    assert list(decoded_hashes(str(back))) == theirs, "times and code values"
    assert packets(back, "audio") == packets(source, "audio")
    with pytest.raises(CallError, match="a file already"):
        undo(str(folder), to=str(back))


def test_the_residual_is_published_like_a_deliverable(kept: tuple[Plan, Path, Path], folder: Path) -> None:
    assert RESIDUAL in night.contents(str(folder))
    said = night.provenance_of(str(kept[1]), "r")
    assert [(d["name"], d["file"]) for d in said["deliverables"]] == [
        ("master", "r.mkv"),
        ("proxy", "r.proxy.mp4"),
        ("residual", RESIDUAL),
    ]
    assert len(packets(folder / RESIDUAL, "video")) == 20
    summary = json.loads((folder / layout.SUMMARY).read_text())
    assert summary["deliverables"][2]["held"]["streams"] == []
    assert verify([str(kept[1])]).ok


def test_an_excerpt_is_numbered_as_in_the_source(source: str, out: str, scratch: Path) -> None:
    night.publish(source, "a", out, scratch, night.spec(residual=True), frames=(4, 18))
    found = undo(f"{out}/a")
    assert (found.frames, found.first, found.faults) == (14, 4, ())
    path = Path(out) / "a" / "a.residual.mkv"
    position, size = packet_spans(path)[6]
    damage(path, position + size // 2)
    (fault,) = undo(f"{out}/a").faults
    assert fault.frame == 10
    assert "source.framemd5 says" in fault.found


def test_a_damaged_residual_is_told_by_frame(folder: Path, out: str, tmp_path: Path) -> None:
    path = folder / RESIDUAL
    spans = packet_spans(path)
    for n in (6, 9):
        damage(path, spans[n][0] + spans[n][1] // 2)
    assert [(f.frame, f.file) for f in undo(str(folder)).faults] == [(6, str(path)), (9, str(path))]
    with pytest.raises(VerifyError, match=r"residual\.mkv frame 6: .*gives"):
        undo(str(folder), to=str(tmp_path / "back.mkv"))
    assert not (tmp_path / "back.mkv").exists()
    found = verify([out]).findings
    assert [(f.kind, f.file) for f in found] == [("changed", str(path)), ("pixels", str(path))]
    sign(folder, RESIDUAL)
    (found_,) = verify([out]).findings
    assert (found_.kind, found_.frame) == ("pixels", 6)
    assert "2 of 20 frames differ" in found_.found


def test_a_damaged_deliverable_is_not_the_residual_s_fault(folder: Path, out: str) -> None:
    path = folder / "r.mkv"
    position, size = packet_spans(path)[3]
    damage(path, position + size // 2)
    (fault,) = undo(str(folder)).faults
    assert (fault.frame, fault.file) == (3, str(path))
    sign(folder, "r.mkv")
    (found,) = verify([out]).findings
    assert (found.kind, found.file, found.frame) == ("pixels", str(path), 3)


def test_a_residual_cut_short_or_gone_is_told(folder: Path, out: str) -> None:
    path = folder / RESIDUAL
    data = path.read_bytes()
    path.write_bytes(data[: sum(packet_spans(path)[14]) + 12])
    faults = undo(str(folder)).faults
    assert [f.frame for f in faults] == [15, 16, 17, 18, 19]
    assert {f.found for f in faults} == {"has no such frame"}
    sign(folder, RESIDUAL)
    (found,) = verify([out]).findings
    assert (found.kind, found.frame, found.found) == ("pixels", 15, "it has no such frame")
    path.unlink()
    assert [(f.kind, f.file) for f in verify([out]).findings] == [("missing", str(path))]
    with pytest.raises(Exception, match="no such file"):
        undo(str(folder))


def test_what_cannot_be_undone_says_so(source: str, out: str, scratch: Path) -> None:
    night.publish(source, "a", out, scratch)
    with pytest.raises(CallError, match="without a residual"):
        undo(f"{out}/a")
    with pytest.raises(CallError, match="no restored reel"):
        undo(out)
    (Path(out) / "a" / layout.PROVENANCE).write_text("{}")
    with pytest.raises(StorageError, match="provenance"):
        undo(f"{out}/a")


@pytest.mark.parametrize("name", ["gbrp10le", "bgr0", "yuva444p10le", "gray16le"])
def test_other_formats_and_no_constant_rate(name: str, tmp_path: Path, out: str, scratch: Path) -> None:
    film = tmp_path / "f.mkv"
    pts = [0, 41, 90, 300, 317, 1000, 1041, 1083, 1125, 1200]
    night.film(film, 10, pixel_format_name=name, audio=None, pts=pts, time_base=Fraction(1, 1000), rate=Fraction(24))
    night.publish(str(film), "f", out, scratch, night.spec(residual=True, tile=4))
    back = tmp_path / "back.mkv"
    undo(f"{out}/f", to=str(back))
    assert list(decoded_hashes(str(back))) == list(decoded_hashes(str(film)))
    assert verify([out]).ok


def test_in_object_storage_and_by_the_command(
    source: str, s3_folder: str, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night.publish(source, "a", s3_folder, scratch, night.spec(residual=True))
    assert show_undo(f"{s3_folder}/a", to=f"{s3_folder}/back.mkv", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["frames"], told["written"]) == (True, 20, f"{s3_folder}/back.mkv")
    assert list(decoded_hashes(f"{s3_folder}/back.mkv")) == list(decoded_hashes(source))
    store.delete(f"{s3_folder}/a/a.residual.mkv")
    path = scratch / "short.mkv"
    store.fetch(f"{s3_folder}/back.mkv", path)
    store.put_file(path, f"{s3_folder}/a/a.residual.mkv")
    assert show_undo(f"{s3_folder}/a", to=None, as_json=False) == 1
    assert "0 of 20 frames came back" in capsys.readouterr().out
