"""Names below OUT, and whose a file is."""

from __future__ import annotations

import pytest

from pipeline.errors import StorageError
from pipeline.publish import layout
from pipeline.spec import Output
from pipeline.storage.store import Stat


def listing(*names: str) -> list[tuple[str, Stat]]:
    return [(n, Stat(f"s3://out/x/{n}", 1, "v")) for n in names]


def test_names_below_out() -> None:
    assert layout.reel_dir("s3://out/x", "a/b") == "s3://out/x/a/b"
    assert layout.published("s3://out/x", "a/b", layout.FRAMES) == "s3://out/x/a/b/report/frames.parquet"
    assert layout.work_dir("s3://out/x", "a/b") == "s3://out/x/.work/a/b"
    assert layout.source_index("/o", "5" * 64, None) == f"/o/.work/source-{'5' * 64}/index-2.parquet"
    said = layout.source_index("/o", "5" * 64, "24000/1001")
    assert said == f"/o/.work/source-{'5' * 64}/index-2-rate-24000_1001.parquet"
    assert layout.bag_dir("s3://out/x", "a/b.c") == "s3://out/x/bags/a/b.c.bag"
    assert layout.quarantine("/o", "a/b.c") == "/o/quarantine/a/b.c.json"


def test_a_name_that_leads_out_is_refused() -> None:
    with pytest.raises(StorageError):
        layout.reel_dir("s3://out/x", "a/../..")


def test_deliverables_are_named_by_reel_and_from_the_second_on_by_themselves() -> None:
    outputs = [Output(), Output(name="proxy", codec="h264"), Output(name="edit", codec="prores")]
    assert layout.deliverables("reel 1.2", outputs) == {
        "master": "reel 1.2.mkv",
        "proxy": "reel 1.2.proxy.mp4",
        "edit": "reel 1.2.edit.mov",
    }
    assert layout.suffix(Output(codec="h264")) == ".mp4"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("provenance.json", True),
        ("manifest-sha256.txt", True),
        ("report/frames/0001.jpg", True),
        ("b.mkv", True),
        ("b.proxy.mp4", True),
        ("source.streamhash", True),
        ("b.proxy.framemd5", True),
        ("b.03-audio.mka", True),
        ("b.12-attachment.note.v2.txt", True),
        ("b.3-audio.mka", False),
        ("b.03-audio.", False),
        ("b.framemd5", False),
        ("notes.txt", False),
        ("b.notes.txt", False),
        ("b.Proxy.mp4", False),
        ("b/b.mkv", False),
        ("bb.mkv", False),
        ("reports/x", False),
    ],
)
def test_only_what_a_job_publishes_counts_as_ours(name: str, ours: bool) -> None:
    assert layout.is_ours("a/b", name) is ours


def test_a_listing_is_sorted_into_reels_work_and_quarantine() -> None:
    plan, tile = "a" * 64, "b" * 64
    found = layout.sort_out(
        listing(
            f".work/r/x/plan-{plan}.json",
            f".work/r/x/tiles/000003-0000024-0000048-{tile}.json",
            ".work/r/x/tiles/what.json",
            ".work/r/x/segments/s.mkv",
            ".work/source-5/index.parquet",
            "quarantine/r/y.json",
            "bags/r/x.bag/bagit.txt",
            "bags/r/x.bag/data/provenance.json",
            "bags/r/x.bag/data/report/reel.json",
            "bags/notes.txt",
            "notes.txt",
            "r/x/provenance.json",
            "r/x/x.mkv",
            "r/x/inner/report/reel.json",
            "r/x/inner/inner.mkv",
        )
    )
    assert list(found.work) == ["r/x"]
    assert found.work["r/x"].plans == [plan]
    assert found.work["r/x"].tiles[tile][:3] == (3, 24, 48)
    assert list(found.quarantined) == ["r/y"]
    assert {reel: sorted(files) for reel, files in found.bags.items()} == {
        "r/x": ["bagit.txt", "data/provenance.json", "data/report/reel.json"]
    }
    assert {reel: sorted(files) for reel, files in found.reels.items()} == {
        "r/x": ["provenance.json", "x.mkv"],
        "r/x/inner": ["inner.mkv", "report/reel.json"],
    }


def test_a_reel_inside_anothers_folder_is_not_its_own() -> None:
    files = listing("a.mkv", "report/reel.json", "b/provenance.json", "b/b.mkv", "quarantine/x.json", "c/d.txt")
    assert sorted(layout.own_files(files)) == ["a.mkv", "c/d.txt", "quarantine/x.json", "report/reel.json"]
