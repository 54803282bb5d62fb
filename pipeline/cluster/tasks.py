"""What Ray's tasks run. torch is not imported here: a worker that only decodes and encodes starts sooner without it."""

from __future__ import annotations

from typing import Any

import ray

from pipeline.cluster import steps, surveying
from pipeline.cluster.executor import PlanSummary, SurveySummary, TileSummary
from pipeline.cluster.work import Decoded, Job, ReelWork, Restored, SurveyWork, Unsurveyed
from pipeline.errors import CallError, StorageError
from pipeline.plan.reads import bytes_to_read
from pipeline.publish.finish import finish
from pipeline.spec import Spec
from pipeline.storage import store
from pipeline.types import Curves, FrameIndex, Plan, Reel, Tile

_STAGE_ABOVE = 0.5
"""Share of a source that a node expects to read, above which it copies the whole once."""


def prepare(
    job: Job, number: int, nodes: int, code: str
) -> tuple[PlanSummary, ReelWork, Plan, FrameIndex, Curves | None] | tuple[SurveySummary, SurveyWork, FrameIndex]:
    """See ``Executor.prepare``; nodes: alive ones, over which the reading spreads."""
    same_code(code)
    prepared = steps.prepare(job, number)
    if isinstance(prepared, Unsurveyed):
        return _to_survey(job, prepared, nodes)
    plan = prepared.plan
    todo = [t for t in plan.tiles if t.number not in prepared.done]
    share = bytes_to_read(prepared.index, todo) / max(1, plan.reel.bytes) / nodes
    work = ReelWork(
        plan=steps.without_tiles(plan),
        out=job.out,
        spec=job.spec,
        stage=_stage(job, plan.reel, share),
        run=job.run,
    )
    summary = PlanSummary(
        plan_id=plan.id,
        frames=plan.last - plan.first,
        tile_frames=[t.last - t.first for t in plan.tiles],
        done=prepared.done,
        tile_bytes=plan.tile_bytes,
        published=prepared.published,
        doubts=prepared.doubts,
    )
    return summary, work, plan, prepared.index, prepared.curves


def _stage(job: Job, reel: Reel, share: float) -> bool:
    say = job.spec.cluster.stage
    # A tile of a folder of images reads its own files, and no other tile does: nothing to stage.
    remote = store.local_path(reel.uri) is None and reel.sequence is None
    return remote and (say == "always" or (say == "auto" and share > _STAGE_ABOVE))


def _to_survey(job: Job, found: Unsurveyed, nodes: int) -> tuple[SurveySummary, SurveyWork, FrameIndex]:
    # The tiles will read the film once more: a copy is worth more than for one reading.
    left = 1.0 - len(found.done) / max(1, len(found.spans))
    work = SurveyWork(found.reel, job.out, job.spec, _stage(job, found.reel, left / nodes), job.run)
    summary = SurveySummary(
        span_frames=[b - a for a, b in found.spans], done=found.done, span_bytes=surveying.bytes_held(found.reel)
    )
    return summary, work, found.index


def survey(work: SurveyWork, index: FrameIndex, span: int, code: str) -> None:
    """See ``surveying.look``."""
    same_code(code)
    surveying.look(work, index, span)


def decode(
    work: ReelWork, index: FrameIndex, tile: Tile, tile_id: str, code: str, curves: Curves | None = None
) -> Decoded:
    """See ``steps.decode_tile``."""
    same_code(code)
    return steps.decode_tile(work, index, tile, tile_id, curves)


def encode(
    work: ReelWork, restored: Restored, tries: int, code: str, decoded: Decoded | None = None
) -> TileSummary | StorageError:
    """See ``steps.encode_tile``. That storage does not answer is returned, not raised: what is raised may as well come
    from the steps before, and here it is known that the restored pictures are there for another try."""
    same_code(code)
    try:
        return steps.encode_tile(work, restored, tries, decoded)
    except StorageError as error:
        if not error.transient:
            raise
        return error


def unstage(work: ReelWork | SurveyWork) -> None:
    """See ``steps.unstage``."""
    steps.unstage(work)


def sweep(spec: Spec) -> None:
    """See ``steps.sweep``."""
    steps.sweep(spec)


def publish(work: ReelWork, plan: Plan, index: FrameIndex, job: Job, code: str) -> dict[str, Any]:
    """See ``finish``."""
    same_code(code)
    # Sound and all else is read once for each deliverable: from the copy, where this reel has copies.
    local = steps.staged(plan.reel, work.spec, stage=work.stage, run=work.run) if plan.reel.others else None
    with steps.scratch(job.spec) as folder:
        return finish(
            plan,
            index,
            job.out,
            scratch=folder,
            threads=steps.threads(job.spec),
            overwrite=job.overwrite,
            bag=job.bag,
            local=local,
            nets=job.nets,
            code_sha256=code,
        )


def same_code(code: str) -> None:
    """Raises CallError where this process runs other source files than the driver."""
    if steps.code_digest() != code:
        raise CallError(
            f"this node runs another reelmend ({steps.code_digest()[:12]}) than the driver ({code[:12]})",
            where=ray.util.get_node_ip_address(),
            todo="Install the same version on every node",
        )
