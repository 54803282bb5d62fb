"""A restorer that is sent the next tile's first frames while it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from jobs.restore import make_job
from pipeline.cluster import steps
from pipeline.cluster.pool import ACTORS, begin
from pipeline.cluster.restorer import TileRestorer
from pipeline.cluster.surveying import prepare_here
from pipeline.cluster.work import ReelWork
from tests.cluster.alone import NET
from tests.reel.films import ARCHIVE, make_film

pytestmark = pytest.mark.cluster


def test_a_gpu_s_restorer_is_sent_the_next_tile_beside_the_one_it_restores(cluster: Cluster, tmp_path: Path) -> None:
    """The actor's threads, as a GPU's restorer has them; there is none here, so its net runs on the CPU."""
    film = tmp_path / "film.mkv"
    make_film(film, pixel_format_name="gray", frames=40, size=(128, 96), options=ARCHIVE)
    job = make_job([str(film)], str(tmp_path / "out"), config="archive", overrides=[NET, "tiles.frames=8"])
    prepared = prepare_here(job, 0)
    plan = prepared.plan
    work = ReelWork(plan, job.out, job.spec, stage=False)
    tiles = [
        steps.decode_tile(work, prepared.index, tile, tile_id, prepared.curves)
        for tile, tile_id in zip(plan.tiles, plan.tile_ids, strict=True)
    ]
    assert len(tiles) == 5
    actor = ACTORS["cuda"].options(num_cpus=0).remote()
    try:
        ray.get(actor.load.remote(job, "cpu", steps.code_digest()))
        refs = [actor.restore.remote(work, tiles[0])]
        sent = begin(actor, work, tiles[1])
        refs.append(actor.restore.remote(work, tiles[1]))
        ready, _ = ray.wait([refs[0], sent], num_returns=1)
        assert ready == [sent]
        # More than are sent up at once: those wait, and what is computed does not wait for them.
        last = [begin(actor, work, decoded) for decoded in tiles[2:]]
        refs += [actor.restore.remote(work, decoded) for decoded in tiles[2:]]
        here = TileRestorer(plan.chain, job.spec, job.nets, "cpu")
        for ref, decoded in zip(refs, tiles, strict=True):
            found, wanted = ray.get(ref).frames, here.restore(work, decoded).frames
            assert all(np.array_equal(a, b) for a, b in zip(found.planes, wanted.planes, strict=True))
        ray.get(last)
    finally:
        ray.kill(actor)
