"""The live side: figures for Prometheus, and events as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.journal import Journal
from pipeline.cluster.metrics import Metrics
from pipeline.cluster.progress import Event, Load, ReelEnded, ReelPlanned, TileDone, TileRetried
from pipeline.errors import CallError
from pipeline.types import ReelOutcome

EVENTS: list[Event] = [
    ReelPlanned("a", 48, 2, 0, 0),
    TileDone("a", 0, 24, "ab" * 32, "node-1"),
    TileRetried("a", 1, "tile: crash: \n\x1b[31mdied"),
    TileDone("a", 1, 20, "cd" * 32, "node-2"),
    TileDone("b\n", 0, 5, "ef" * 32, "node-2"),
    Load(0.75, 1 << 20, 3),
    ReelEnded(ReelOutcome("a", "s3://films/a.mkv", "done", frames=44, detail={"large": 1})),
]


class Figure:
    """In place of Ray's counter and gauge."""

    def __init__(self) -> None:
        self.found: dict[Any, float] = {}

    def inc(self, value: float, tags: dict[str, str]) -> None:
        key = tuple(tags.items())
        self.found[key] = self.found.get(key, 0) + value

    def set(self, value: float) -> None:
        self.found = {(): value}


def test_events_become_figures() -> None:
    made: dict[str, Figure] = {}

    def make(name: str, description: str, *_tags: Any) -> Figure:
        assert description
        return made.setdefault(name, Figure())

    metrics = Metrics(make, make)
    for event in EVENTS:
        metrics(event)
    assert {name: figure.found for name, figure in made.items()} == {
        "reelmend_frames": {(("reel", "a"),): 44, (("reel", "b?"),): 5},
        "reelmend_tiles": {(("reel", "a"),): 2, (("reel", "b?"),): 1},
        "reelmend_tries": {(("reel", "a"),): 1},
        "reelmend_reels": {(("status", "done"),): 1},
        "reelmend_queue_bytes": {(): 1 << 20},
        "reelmend_queue_tiles": {(): 3},
        "reelmend_device_busy_share": {(): 0.75},
    }


def test_rays_own_take_them() -> None:
    metrics = Metrics()
    for event in EVENTS:
        metrics(event)


def test_the_journal_is_one_json_object_a_line_with_reel_and_tile(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text('{"event": "earlier"}\n')
    with Journal(str(path)) as journal:
        for event in EVENTS:
            journal(event)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 1 + len(EVENTS)
    done = lines[2]
    assert {k: done[k] for k in ("event", "reel", "tile", "tile_id", "host", "frames")} == {
        "event": "tile_done",
        "reel": "a",
        "tile": 0,
        "tile_id": "ab" * 32,
        "host": "node-1",
        "frames": 24,
    }
    assert done["time"].endswith("+00:00")
    assert (lines[-1]["event"], lines[-1]["reel"], lines[-1]["status"]) == ("reel_ended", "a", "done")
    assert "detail" not in lines[-1]


def test_a_journal_that_cannot_be_written_is_the_calls_fault(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="--log"):
        Journal(str(tmp_path / "no" / "run.log"))
