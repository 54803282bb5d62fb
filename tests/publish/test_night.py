"""The page of a night: what it costs to write, and what it must not miss."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StorageError
from pipeline.publish import layout, night, quarantine
from pipeline.storage import store

SAID = {
    "rate": "24/1",
    "frames": 48,
    "shots": 2,
    "flagged_frames": 0,
    "means": {"changed_fraction": 0.1},
    "psnr_min_db": 40.0,
    "restored": {"finished": "2026-03-01T22:00:00+00:00"},
    "rules": [],
}


def publish(out: Path, reel: str, *, images: int = 0, stills: int = 3, **said: Any) -> None:
    """What a published reel's folder looks like, without what the page does not ask for."""
    folder = out / reel
    (folder / layout.STILLS).mkdir(parents=True)
    (folder / layout.SUMMARY).write_text(json.dumps(SAID | said))
    for name in (layout.PAGE, layout.MANIFEST, f"{folder.name}.mkv"):
        (folder / name).write_text("x")
    for n in range(stills):
        (folder / layout.STILLS / f"{n}.jpg").write_text("x")
    for n in range(images):
        (folder / f"{folder.name}.dpx").mkdir(exist_ok=True)
        (folder / f"{folder.name}.dpx" / f"{n:07d}.dpx").write_text("x")


def listed(out: Path) -> str:
    night.write(str(out))
    return (out / layout.NIGHT).read_text()


def counted(monkeypatch: pytest.MonkeyPatch, out: Path) -> dict[str, Counter[str]]:
    """Function of the store → what it is asked about, below OUT → how often."""
    asked: dict[str, Counter[str]] = {}

    def count(name: str) -> None:
        real: Callable[..., Any] = getattr(store, name)

        def call(uri: str, *more: Any, **words: Any) -> Any:
            asked.setdefault(name, Counter())[uri.removeprefix(str(out)).strip("/")] += 1
            return real(uri, *more, **words)

        monkeypatch.setattr(store, name, call)

    for name in ("list_level", "list_files", "list_names", "read_bytes", "stat", "open_read", "put_bytes"):
        count(name)
    return asked


def test_it_reads_summaries_and_lists_no_images_no_stills_and_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reel, images in (("a", 40), ("a/b c", 0), ("box 7/c", 40)):
        publish(tmp_path, reel, images=images)
    for n in range(30):
        path = tmp_path / f".work/d/tiles/{n:06d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "bags/a.bag/data").mkdir(parents=True)
    quarantine.put(str(tmp_path), quarantine.entry("lost", "in/lost.mkv", StorageError("is truncated")))
    asked = counted(monkeypatch, tmp_path)
    text = listed(tmp_path)
    assert "3 reels restored" in text
    assert "is truncated" in text
    # Twice: before the page is written, and to see whether anything changed meanwhile.
    folders = ["", "a", "a/b c", "a/b c/report", "a/report", "box 7", "box 7/c", "box 7/c/report"]
    assert asked["list_level"] == dict.fromkeys(folders, 2)
    assert asked["list_files"] == {"quarantine": 2}
    summaries = dict.fromkeys((f"{reel}/{layout.SUMMARY}" for reel in ("a", "a/b c", "box 7/c")), 1)
    assert asked["read_bytes"] == summaries | {layout.NIGHT: 1, "quarantine/lost.json": 1}
    assert asked["put_bytes"] == {layout.NIGHT: 1}
    assert asked.keys() == {"list_level", "list_files", "read_bytes", "put_bytes"}


def test_twice_as_many_images_cost_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for images in (5, 50):
        out = tmp_path / str(images)
        publish(out, "r", images=images, stills=images)
        with monkeypatch.context() as patch:
            asked = counted(patch, out)
            listed(out)
            costs.append({name: dict(calls) for name, calls in asked.items()})
    assert costs[0] == costs[1]


def test_a_run_that_changes_nothing_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, "a")
    text = listed(tmp_path)
    asked = counted(monkeypatch, tmp_path)
    assert listed(tmp_path) == text
    assert "put_bytes" not in asked


def test_what_a_killed_run_published_is_told_by_the_next(tmp_path: Path) -> None:
    publish(tmp_path, "a")
    assert "1 reel restored" in listed(tmp_path)
    publish(tmp_path, "b/c")  # and killed before it could write
    publish(tmp_path, "d")
    (tmp_path / "d" / layout.MANIFEST).unlink()  # killed while publishing
    assert "2 reels restored" in listed(tmp_path)


def test_where_nothing_is_there_no_page_is_written(tmp_path: Path) -> None:
    night.write(str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    publish(tmp_path, "a")
    listed(tmp_path)
    (tmp_path / "a" / layout.MANIFEST).unlink()
    assert "0 reels restored" in listed(tmp_path)
    # A reel's own folder is no night.
    publish(tmp_path, "x")
    night.write(str(tmp_path / "x"))
    assert not (tmp_path / "x" / layout.NIGHT).exists()


def test_a_link_that_leads_back_ends(tmp_path: Path) -> None:
    publish(tmp_path, "a")
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "again").symlink_to(tmp_path / "shelf")
    assert "1 reel restored" in listed(tmp_path)


def test_a_page_that_cannot_be_written_holds_no_run_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.cluster.run import Page

    never = threading.Event()
    monkeypatch.setattr(night, "write", lambda out: never.wait(30))
    page = Page("out")
    assert page.missing(0.01) == "it is not written after 0.01 s"
    never.set()
    assert page.missing(30) is None

    def fail(out: str) -> None:
        raise StorageError("the disk is full", where=out)

    monkeypatch.setattr(night, "write", fail)
    assert Page("out").missing(30) == "out: the disk is full"
