"""How far a night is, told from storage alone."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.publish import layout, quarantine
from pipeline.publish.finish import finish
from pipeline.publish.status import status
from pipeline.storage import store
from tests.publish import night


def test_nothing_there(out: str) -> None:
    found = status(out)
    assert (found.reels, found.frames, found.rate, found.eta_s) == ((), 0, None, 0.0)


def test_a_reel_from_planned_to_published(source: str, out: str, scratch: Path) -> None:
    plan, index = night.planned(source, "a/r", night.spec(tile=5))
    assert [t.last - t.first for t in plan.tiles] == [5, 5, 5, 5]
    night.restore(plan, index, out, scratch, tiles=[])
    (reel,) = status(out).reels
    assert (reel.reel, reel.stage, reel.tiles, reel.tiles_done, reel.rate, reel.eta_s) == (
        "a/r",
        "waiting",
        4,
        0,
        None,
        None,
    )
    assert reel.plan_id == plan.id

    night.restore(plan, index, out, scratch, tiles=[0, 1, 2], seconds=2.0)
    found = status(out, now=night.START)
    (reel,) = found.reels
    assert (reel.stage, reel.tiles_done, reel.frames, reel.frames_done) == ("restoring", 3, 20, 15)
    # Two tiles of five frames in the four seconds after the first record.
    assert reel.rate == found.rate == pytest.approx(2.5)
    assert reel.eta_s == found.eta_s == pytest.approx(2.0)
    assert reel.last_record == "2026-03-01T22:00:06.000+00:00"
    assert found.when == "2026-03-01T22:00:00.000+00:00"

    night.restore(plan, index, out, scratch, tiles=[3])
    (reel,) = status(out).reels
    assert (reel.stage, reel.frames_done, reel.eta_s) == ("publishing", 20, 0.0)

    finish(plan, index, out, scratch=scratch)
    found = status(out)
    (reel,) = found.reels
    assert (reel.stage, reel.frames, reel.frames_done, reel.tiles_done) == ("done", 20, 20, 4)
    assert (found.rate, found.eta_s) == (None, 0.0)
    assert json.loads(json.dumps(found.record()))["reels"][0]["stage"] == "done"


def test_a_pause_does_not_count(source: str, out: str, scratch: Path) -> None:
    plan, index = night.planned(source, "r", night.spec(tile=2))
    night.restore(plan, index, out, scratch, tiles=[0, 1, 2], seconds=1.0)
    # A night later: tiles 3 to 8, a second each, from the clock of 3,600 s a tile on.
    ledger = night.restore(plan, index, out, scratch, tiles=[], seconds=1.0)
    for n in range(3, 9):
        night.restore(plan, index, out, scratch, tiles=[n], seconds=1.0)
        uri = next(s.uri for s in store.list_files(ledger.work + "/tiles") if f"/{n:06d}-" in s.uri)
        record = json.loads(store.read_bytes(uri))
        when = datetime.datetime.fromisoformat(record["finished"]) + datetime.timedelta(hours=8)
        store.put_bytes(uri, json.dumps({**record, "finished": when.isoformat()}).encode())
    (reel,) = status(out).reels
    assert reel.rate == pytest.approx(2.0)


def test_reels_of_a_night_are_added_up(source: str, out: str, scratch: Path) -> None:
    night.publish(source, "done", out, scratch)
    for name in ("r1", "r2"):
        plan, index = night.planned(source, name, night.spec(tile=5))
        night.restore(plan, index, out, scratch, tiles=[0, 1], seconds=1.0)
    quarantine.put(out, quarantine.entry("bad", "/films/bad.mkv", SourceError("zero bytes", where="/films/bad.mkv")))
    found = status(out)
    assert [(r.reel, r.stage) for r in found.reels] == [("done", "done"), ("r1", "restoring"), ("r2", "restoring")]
    assert (found.frames, found.frames_done) == (60, 40)
    # Records of both at second 1 and 2, five frames each: one of the four only starts the clock.
    assert found.rate == pytest.approx(15.0)
    assert [e.reel for e in found.quarantined] == ["bad"]


def test_of_several_plans_the_one_at_work_is_told(source: str, out: str, scratch: Path) -> None:
    old, index = night.planned(source, "r", night.spec(tile=5))
    night.restore(old, index, out, scratch, tiles=[0, 1, 2], seconds=1.0)
    new, _ = night.planned(source, "r", night.spec(tile=4))
    night.restore(new, index, out, scratch, tiles=[0, 1, 2, 3], seconds=1.0)
    (reel,) = status(out).reels
    assert (reel.plan_id, reel.tiles, reel.tiles_done, reel.other_plans) == (new.id, len(new.tiles), 4, 1)


def test_an_overwriting_run_shows_beside_what_is_published(source: str, out: str, scratch: Path) -> None:
    night.publish(source, "r", out, scratch, night.spec(keep_work=True))
    assert [r.stage for r in status(out).reels] == ["done"]
    plan, index = night.planned(source, "r", night.spec(tile=5))
    ledger = night.restore(plan, index, out, scratch, tiles=[0])
    (reel,) = status(out).reels
    assert (reel.stage, reel.plan_id) == ("restoring", plan.id)
    assert reel.tiles_done == len(ledger.done().intersection(plan.tile_ids)) < reel.tiles


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff\xfe", b'{"version": 1}'])
def test_one_garbled_reel_hides_no_other(source: str, out: str, scratch: Path, text: bytes) -> None:
    night.publish(source, "b", out, scratch)
    store.put_bytes(f"{layout.work_dir(out, 'a')}/plan-{'0' * 64}.json", text)
    store.put_bytes(layout.published(out, "b", layout.SUMMARY), text)
    store.put_bytes(layout.published(out, "c", layout.PROVENANCE), text)
    plan, index = night.planned(source, "d", night.spec())
    ledger = night.restore(plan, index, out, scratch)
    for record in store.list_files(f"{ledger.work}/tiles"):
        store.put_bytes(record.uri, text)
    a, b, c, d = status(out).reels
    assert (a.stage, b.stage, c.stage, d.stage) == ("unknown", "unknown", "unknown", "unknown")
    assert "tiles/" in (d.problem or "")
    assert "plan-" in (a.problem or "")
    assert "reel.json" in (b.problem or "")
    assert c.problem


def test_from_object_storage(source: str, s3_folder: str, scratch: Path) -> None:
    night.publish(source, "a/done", s3_folder, scratch)
    plan, index = night.planned(source, "a/r", night.spec(tile=5))
    night.restore(plan, index, s3_folder, scratch, tiles=[0, 1])
    assert [(r.reel, r.stage, r.frames_done) for r in status(s3_folder).reels] == [
        ("a/done", "done", 20),
        ("a/r", "restoring", 10),
    ]
