"""Killed drivers, workers and nodes: the next run ends where an undisturbed one would have.

Source and output lie in object storage, on a real server: that is where a night's work is lost or kept.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from pipeline.cluster.progress import TileDone
from pipeline.errors import SourceError
from pipeline.publish import quarantine
from pipeline.publish.verify import verify
from pipeline.storage import store
from tests.cluster.alone import NET
from tests.cluster.conftest import STORE_BYTES, framemd5

pytestmark = pytest.mark.cluster
Run = Callable[..., Any]
TILES = "tiles: {frames: 6}"
WORDS = ("--set", "tiles.frames=6", "-c", "archive", "--set", NET)


def records(out: str) -> list[str]:
    """URIs of the ledger's records of the reel."""
    folder = f"{out}/.work/a/tiles"
    return [f"{folder}/{name}" for name in store.list_names(folder) if name.endswith(".json")]


def contents(out: str) -> dict[str, bytes]:
    """The records; one that was put a second time would tell of another hour."""
    return {uri: store.read_bytes(uri) for uri in records(out)}


def until(done: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, film: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    from jobs.restore import make_job
    from pipeline.cluster.run import run_job

    out = tmp_path_factory.mktemp("undisturbed")
    run_job(make_job([str(film)], str(out), config="archive", overrides=["tiles.frames=6", NET]), lambda _: None)
    return framemd5(out, "a")


@pytest.mark.parametrize("after", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_kill_9_of_the_driver(
    command: Callable[..., subprocess.Popen[str]], s3_film: str, s3_out: str, after: int, undisturbed: list[str]
) -> None:
    out = s3_out
    first = command("restore", s3_film, "--out", out, *WORDS)
    until(lambda: len(records(out)) >= after)
    first.kill()
    first.wait()
    time.sleep(1.0)  # encode tasks under way may still record a tile; then nothing moves
    kept = contents(out)
    assert len(kept) >= after
    second = command("restore", s3_film, "--out", out, *WORDS, "--json", "--set", "keep_work=true")
    stdout, stderr = second.communicate(timeout=120)
    assert second.returncode == 0, stderr
    (reel,) = json.loads(stdout)["reels"]
    assert reel["status"] == "done"
    assert reel["restored"] == reel["tiles"] - len(kept)
    assert contents(out).items() >= kept.items()
    assert framemd5(out, "a") == undisturbed
    assert verify([out]).ok


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_stops_within_3_s_and_keeps_what_is_done(
    command: Callable[..., subprocess.Popen[str]], s3_film: str, s3_out: str, number: int
) -> None:
    out = s3_out
    quarantine.put(out, quarantine.entry("of last night", "s3://x/y.mkv", SourceError("is truncated")))
    process = command("restore", s3_film, "--out", out, *WORDS)
    until(lambda: len(records(out)) >= 2)
    process.send_signal(number)
    began = time.monotonic()
    process.wait(timeout=30)
    # The promise is 3 s; a loaded test machine is given as much again.
    assert time.monotonic() - began < 6
    assert process.returncode == 128 + number
    assert "stopped" in process.stderr.read()  # type: ignore[union-attr]
    assert len(records(out)) >= 2
    assert store.list_names(f"{out}/quarantine") == ["of last night.json"]
    assert b"of last night" in store.read_bytes(f"{out}/index.html")


def workers(cluster: Cluster, word: str) -> list[psutil.Process]:
    """The cluster's worker processes that run something of that name now."""
    (raylet,) = cluster.head_node.all_processes["raylet"]
    found = []
    for p in psutil.Process(raylet.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(p.cmdline())
            if line.startswith("ray::") and word in line:
                found.append(p)
    return found


@pytest.mark.parametrize(
    "word", ["RestorerActor", *(pytest.param(w, marks=pytest.mark.slow) for w in ("decode", "encode"))]
)
def test_kill_9_of_workers_costs_nothing_but_time(
    run: Run, cluster: Cluster, s3_film: str, s3_out: str, word: str, undisturbed: list[str]
) -> None:
    out = s3_out
    killed: list[int] = []
    over = threading.Event()

    def killer() -> None:
        until(lambda: len(records(out)) >= 2 or over.is_set())
        while not over.is_set() and len(killed) < 2:
            for p in workers(cluster, word)[:1]:
                p.kill()
                killed.append(p.pid)
                time.sleep(1.5)
            time.sleep(0.005)

    thread = threading.Thread(target=killer, daemon=True)
    thread.start()
    try:
        result, events = run([s3_film], out, TILES)
    finally:
        over.set()
        thread.join()
    assert killed
    assert [o.status for o in result.outcomes] == ["done"]
    assert max(Counter(e.tile for e in events if isinstance(e, TileDone)).values()) == 1
    assert framemd5(out, "a") == undisturbed


@pytest.fixture
def second_node(cluster: Cluster) -> Iterator[Any]:
    node = cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
    until(lambda: sum(n["Alive"] for n in ray.nodes()) == 2)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node, allow_graceful=False)


@pytest.mark.parametrize("after", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_lost_node_costs_no_tries(
    run: Run, cluster: Cluster, second_node: Any, s3_film: str, s3_out: str, after: int, undisturbed: list[str]
) -> None:
    out = s3_out

    def killer() -> None:
        until(lambda: len(records(out)) >= after)
        cluster.remove_node(second_node, allow_graceful=False)

    thread = threading.Thread(target=killer, daemon=True)
    thread.start()
    # One application error or crash would be one too many.
    result, _ = run([s3_film], out, TILES + "\nkeep_work: true\ncluster: {tries: 1, crashes: 1}")
    thread.join()
    assert [o.status for o in result.outcomes] == ["done"]
    assert {json.loads(text)["tries"] for text in contents(out).values()} == {1}
    assert framemd5(out, "a") == undisturbed


def test_two_runs_of_one_job_at_once_give_one_result(
    command: Callable[..., subprocess.Popen[str]], s3_film: str, s3_out: str, undisturbed: list[str]
) -> None:
    both = [command("restore", s3_film, "--out", s3_out, *WORDS) for _ in range(2)]
    ended = [p.communicate(timeout=170) for p in both]
    assert [p.returncode for p in both] == [0, 0], ended
    assert framemd5(s3_out, "a") == undisturbed
    assert verify([s3_out]).ok
