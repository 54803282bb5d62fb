"""Copies of sources on a node's scratch: gone when a run ends or is stopped, and after a kill with the next run."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.bench_reads import served
from pipeline.cluster.progress import Event
from pipeline.cluster.run import RunResult
from pipeline.storage import store
from tests.s3 import Server

pytestmark = pytest.mark.cluster
Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def source(film: Path, s3: Server, s3_folder: str) -> str:
    store.put_file(film, f"{s3_folder}/a.mkv")
    return f"{s3_folder}/a.mkv"


def copies(scratch: Path) -> list[Path]:
    return sorted((scratch / "reelmend" / "staged").rglob("*.mkv"))


def until(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.05)


def words(source: str, out: Path, scratch: Path, stage: str = "always") -> list[str]:
    said = (f"cluster.scratch={scratch}", f"cluster.stage={stage}", "tiles.frames=4", "chain=[]")
    return ["restore", source, "--out", str(out), *(w for s in said for w in ("--set", s))]


def test_a_stop_takes_its_copies_away(command: Command, source: str, tmp_path: Path) -> None:
    run = command(*words(source, tmp_path / "out", tmp_path / "scratch"))
    until(lambda: bool(copies(tmp_path / "scratch")))
    run.send_signal(signal.SIGTERM)
    assert run.wait(30) == 128 + signal.SIGTERM
    until(lambda: not copies(tmp_path / "scratch"), 10)


@pytest.mark.slow  # what is swept and what is not: tests/storage/test_staging.py
def test_what_a_kill_leaves_goes_with_the_next_run_though_it_stages_nothing(
    command: Command, source: str, film: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    run = command(*words(source, tmp_path / "out", scratch))
    until(lambda: bool(copies(scratch)))
    run.kill()
    run.wait()
    time.sleep(2)  # Ray ends the workers of a driver that is gone
    assert copies(scratch)
    run = command(*words(str(film), tmp_path / "other", scratch, "never"))
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert copies(scratch) == []
    # And a run's own end takes its own.
    run = command(*words(source, tmp_path / "out", scratch))
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert list((scratch / "reelmend" / "staged").iterdir()) == []


@pytest.mark.slow
def test_a_staged_master_is_fetched_once_a_node(
    run: Callable[..., tuple[RunResult, list[Event]]], film: Path, tmp_path: Path
) -> None:
    """Eighteen tiles, and the sound of two deliverables, are all read from the one copy."""
    text = f"""
chain: []
tiles: {{frames: 4}}
cluster: {{stage: always, scratch: {tmp_path / "scratch"}}}
deliver: {{outputs: [{{codec: ffv1}}, {{name: proxy, codec: h264}}]}}
"""
    with served(film) as server:
        result, _ = run([server.url], tmp_path / "out", text)
        assert [(o.status, o.tiles) for o in result.outcomes] == [("done", 18)]
        assert server.wholes == 1
        # Besides, as this film is shorter than a block: by probe and index, and for the headers of the hashes.
        assert server.sent <= 5 * film.stat().st_size
    assert copies(tmp_path / "scratch") == []
