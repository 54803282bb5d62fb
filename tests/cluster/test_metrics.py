"""The live side: figures for Prometheus, and events as JSON lines."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

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
    TileDone("b\nö", 0, 5, "ef" * 32, "node-2"),
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
        "reelmend_frames": {(("reel", "a"),): 44, (("reel", "b?\\xf6"),): 5},
        "reelmend_tiles": {(("reel", "a"),): 2, (("reel", "b?\\xf6"),): 1},
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


@pytest.mark.cluster
@pytest.mark.slow  # Ray's workers tell their figures every ten seconds
def test_prometheus_finds_a_runs_figures_on_the_node(run: Callable[..., Any], film: Path, tmp_path: Path) -> None:
    source = tmp_path / 'in/a "b" ü.mkv'
    source.parent.mkdir()
    source.write_bytes(film.read_bytes())
    result, events = run([source], tmp_path / "out", "tiles: {frames: 8}")
    assert [o.status for o in result.outcomes] == ["done"]
    Metrics()(TileRetried(source.stem, 0, "as if one had failed"))
    (node,) = [n for n in ray.nodes() if n["Alive"]]
    where = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    names = ("frames_total", "tiles_total", "tries_total", "reels_total", "queue_bytes", "queue_tiles")
    wanted = {f"ray_reelmend_{name}" for name in (*names, "device_busy_share")}
    until, found = time.monotonic() + 60, {}
    while not wanted <= {name for name, _ in found}:
        assert time.monotonic() < until, f"{where} has only {sorted(found)}"
        time.sleep(1)
        found = scraped(where)
    by_reel = ("reel", 'a "b" \\xfc')
    assert found["ray_reelmend_frames_total", by_reel] == 72
    assert found["ray_reelmend_tiles_total", by_reel] == 9
    assert found["ray_reelmend_tries_total", by_reel] == 1
    assert found["ray_reelmend_reels_total", ("status", "done")] >= 1
    loads = [e for e in events if isinstance(e, Load)]
    assert loads[-1].busy == pytest.approx(found["ray_reelmend_device_busy_share", None])
    assert loads[-1].in_flight_bytes == found["ray_reelmend_queue_bytes", None]
    assert loads[-1].in_flight_tiles == found["ray_reelmend_queue_tiles", None]


def scraped(where: str) -> dict[tuple[str, Any], float]:
    """(name, our label) → value of what a node's agent exports of ours, as Prometheus reads it."""
    with urllib.request.urlopen(where, timeout=10) as answer:
        text = answer.read().decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    ours = [s for s in samples if s.name.startswith("ray_reelmend_")]
    assert all(s.labels["NodeAddress"] for s in ours)
    return {(s.name, next((p for p in s.labels.items() if p[0] in ("reel", "status")), None)): s.value for s in ours}
