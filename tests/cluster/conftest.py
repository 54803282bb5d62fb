"""One Ray cluster for the whole test session, and films small enough to restore in a second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.cluster_utils import Cluster

from jobs.common import find_nets
from pipeline.cluster.progress import Event
from pipeline.cluster.run import RunResult, run_job
from pipeline.cluster.work import Job
from pipeline.spec import parse
from pipeline.storage import sources, store
from tests.reel.films import ARCHIVE, make_film
from tests.s3 import Server

STORE_BYTES = 200 << 20


@pytest.fixture(scope="session")
def cluster(s3_server: Server) -> Iterator[Cluster]:
    """A one-node cluster whose workers may use the S3 server. Tests of lost nodes add a second node to it."""
    before = dict(os.environ)
    os.environ.update(s3_server.env())
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "object_store_memory": STORE_BYTES, "include_dashboard": False},
    )
    ray.init(address=made.address, log_to_driver=False, namespace="reelmend", logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run(cluster: Cluster) -> Callable[..., tuple[RunResult, list[Event]]]:
    """Runs a job on the cluster: ``run(sources, out, config text, …)`` gives the result and the events."""

    def go(given: Sequence[str | Path], out: str | Path, text: str = "", **kind: Any) -> tuple[RunResult, list[Event]]:
        spec = parse(text)
        events: list[Event] = []
        found = tuple(sources.expand([str(g) for g in given]))
        job = Job(found, str(out), spec, find_nets(spec), **kind)
        return run_job(job, events.append), events

    return go


@pytest.fixture
def command(cluster: Cluster, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``reelmend`` in a process of its own, on the cluster."""

    def start(*words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", *words, "--address", cluster.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    return start


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 frames of 64×48 with PCM sound."""
    path = tmp_path_factory.mktemp("films") / "a.mkv"
    make_film(path, pixel_format_name="gray", frames=72, audio="pcm_s16le", options=ARCHIVE)
    return path


@pytest.fixture
def s3_film(film: Path, cluster: Cluster, s3_folder: str) -> str:
    """The same film in object storage, below the test's own folder."""
    uri = f"{s3_folder}/in/a.mkv"
    store.put_file(film, uri)
    return uri


@pytest.fixture
def s3_out(cluster: Cluster, s3_folder: str) -> str:
    """An output in object storage."""
    return f"{s3_folder}/out"


def framemd5(out: str | Path, reel: str, name: str = "output.framemd5") -> list[str]:
    """The rows of a reel's output.framemd5, from a disk or from object storage."""
    text = store.read_bytes(f"{out}/{reel}/{name}").decode()
    return [line for line in text.splitlines() if not line.startswith("#")]
