"""A whole job without Ray: the same steps in one process, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs.restore import make_job
from pipeline.cluster import steps
from pipeline.cluster.restorer import TileRestorer
from pipeline.cluster.surveying import prepare_here
from pipeline.cluster.work import Job, ReelWork
from pipeline.publish.finish import finish

NET = "chain=[{pass: net}]"
"""A net alone: what most tests are about, without the survey that other passes of the preset want."""


def restore(source: str | Path, out: str | Path, *overrides: str, restorer: TileRestorer | None = None) -> Job:
    """Restore and publish one film, with a net alone unless told otherwise.

    ``restorer`` may be kept from film to film (``restorer_of``).
    """
    job = make_job([str(source)], str(out), config="archive", overrides=[NET, *overrides])
    prepared = prepare_here(job, 0)
    plan = prepared.plan
    work = ReelWork(plan, job.out, job.spec, stage=False)
    built = restorer or TileRestorer(plan.chain, job.spec, job.nets, "cpu")
    for tile, tile_id in zip(plan.tiles, plan.tile_ids, strict=True):
        decoded = steps.decode_tile(work, prepared.index, tile, tile_id, prepared.curves)
        steps.encode_tile(work, built.restore(work, decoded), 0, decoded)
    finish(plan, prepared.index, job.out, scratch=steps.scratch_root(job.spec), nets=job.nets)
    return job


def restorer_of(source: str | Path, overrides: Sequence[str]) -> TileRestorer:
    """The restorer of a job's chain, which is the same for every film."""
    job = make_job([str(source)], "unused", config="archive", overrides=[NET, *overrides])
    plan = prepare_here(job, 0).plan
    return TileRestorer(plan.chain, job.spec, job.nets, "cpu")
