"""A real storage that goes away and comes back while a run goes on."""

from __future__ import annotations

import dataclasses
import socket
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from jobs.restore import make_job
from pipeline.cluster import steps, tasks
from pipeline.cluster.progress import Event, StorageAnswers, StorageSilent, TileDone, TileRetried
from pipeline.cluster.ray_executor import RayExecutor
from pipeline.cluster.restorer import TileRestorer
from pipeline.cluster.run import run_job
from pipeline.cluster.work import ReelWork
from pipeline.errors import StorageError
from pipeline.publish import layout
from pipeline.publish.verify import verify
from pipeline.storage import retry
from pipeline.storage.ledger import Ledger
from tests.cluster.alone import NET
from tests.s3 import Server

pytestmark = pytest.mark.cluster


def test_that_storage_does_not_take_a_tile_is_said_with_its_pictures_still_there(
    film: Path, s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job([str(film)], str(tmp_path / "out"), config="archive", overrides=["chain=[]", "tiles.frames=8"])
    made = steps.prepare(job, 0)
    work = ReelWork(steps.without_tiles(made.plan), s3.uri("out", uuid.uuid4().hex), job.spec, stage=False)
    decoded = steps.decode_tile(work, made.index, made.plan.tiles[0], made.plan.tile_ids[0])
    restored = TileRestorer((), job.spec, {}, "cpu").restore(work, decoded)
    monkeypatch.setattr(retry, "PATIENCE_S", 0.5)
    with socket.socket() as taken, monkeypatch.context() as patch:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        found = tasks.encode(work, restored, 0, steps.code_digest())
    assert isinstance(found, StorageError)
    assert found.transient
    # Other failures are raised, as those of the steps before are.
    with pytest.raises(StorageError, match="no such bucket"):
        tasks.encode(dataclasses.replace(work, out="s3://no-such-bucket/x"), restored, 0, steps.code_digest())
    tasks.encode(work, restored, 1, steps.code_digest())
    (record,) = Ledger(layout.work_dir(work.out, "a")).read([made.plan.tile_ids[0]])
    assert record.tries == 2


@pytest.mark.slow
def test_an_outage_of_the_output_costs_no_restored_tile(
    cluster: Cluster, film: Path, s3: Server, s3_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: Counter[int] = Counter()
    encoded: Counter[int] = Counter()
    tile, encode = RayExecutor.tile, RayExecutor.encode

    def count_tile(self: RayExecutor, reel: int, number: int, *rest: Any) -> int:
        begun[number] += 1
        return tile(self, reel, number, *rest)

    def count_encode(self: RayExecutor, ticket: int, tries: int) -> int:
        encoded[tries] += 1
        return encode(self, ticket, tries)

    monkeypatch.setattr(RayExecutor, "tile", count_tile)
    monkeypatch.setattr(RayExecutor, "encode", count_encode)
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, TileDone) and sum(isinstance(e, TileDone) for e in events) == 2:
            s3.kill()
        elif isinstance(event, StorageSilent):
            s3.start()

    job = make_job([str(film)], s3_folder, config="archive", overrides=[NET, "tiles.frames=4"])
    result = run_job(job, listen)
    assert [(o.status, o.reason) for o in result.outcomes] == [("done", None)]
    assert begun == Counter(range(18)), "no tile was decoded or restored twice"
    assert set(encoded) == {1}
    assert [type(e) for e in events if isinstance(e, StorageSilent | StorageAnswers | TileRetried)] == [
        StorageSilent,
        StorageAnswers,
    ]
    assert verify([s3_folder]).ok
