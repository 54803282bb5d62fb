"""Why a reel was not restored, in a file that a person reads."""

from __future__ import annotations

import datetime
import json

import pytest

from pipeline.errors import SourceError, StorageError
from pipeline.publish import layout, quarantine
from pipeline.publish.state import look
from pipeline.storage import store

WHEN = datetime.datetime(2026, 3, 1, 23, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))


def test_a_record_says_file_frame_what_was_found_and_what_to_do(out: str) -> None:
    error = SourceError(
        "the picture is 320x240, 640x480 was expected", where="s3://films/a.mkv", frame=17, todo="Split it"
    )
    quarantine.put(out, quarantine.entry("a/b", "s3://films/a.mkv", error, tile=3, tries=2, when=WHEN))
    record = json.loads(store.read_bytes(layout.quarantine(out, "a/b")))
    assert record["uri"] == record["where"] == "s3://films/a.mkv"
    assert (record["frame"], record["tile"], record["tries"]) == (17, 3, 2)
    assert record["error"] == "SourceError"
    assert record["found"] == "the picture is 320x240, 640x480 was expected"
    assert record["todo"] == "Split it"
    assert record["message"] == str(error)
    assert record["when"] == "2026-03-01T22:30:00.000+00:00"
    assert quarantine.read_all(look(out)) == [quarantine.read(layout.quarantine(out, "a/b"), "a/b")]


def test_any_error_can_be_recorded_and_the_last_one_stands(out: str) -> None:
    quarantine.put(out, quarantine.entry("a", "/films/a.mkv", RuntimeError("first\nof all")))
    quarantine.put(out, quarantine.entry("a", "/films/a.mkv", MemoryError()))
    (entry,) = quarantine.read_all(look(out))
    assert entry.error == entry.found == "MemoryError"
    assert "/films/a.mkv" in entry.message
    assert "run the same job again" in entry.todo
    quarantine.delete(out, "a")
    quarantine.delete(out, "a")
    assert quarantine.read_all(look(out)) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"uri": 1}', "\xff", '{"frame": "x"}', "[" * 100_000])
def test_a_garbled_record_is_told_and_hides_no_other(out: str, text: str) -> None:
    quarantine.put(out, quarantine.entry("b", "/films/b.mkv", RuntimeError("no")))
    store.put_bytes(layout.quarantine(out, "a"), text.encode("latin-1"))
    first, second = quarantine.read_all(look(out))
    assert (first.reel, first.error) == ("a", "StorageError")
    assert "a.json" in first.message
    assert second.found == "no"
    with pytest.raises(StorageError):
        quarantine.read(layout.quarantine(out, "a"), "a")
