"""Surveys in storage: which spans of a source have been looked at, looking at one, and all of them joined.

A span's file stands under a name that says its frames, whole or not at all, and depends on the source alone: a run that
was killed goes on with the spans that are missing, and two runs that look at one span write the same.
"""

from __future__ import annotations

import hashlib
from contextlib import closing

from pipeline import tables
from pipeline.cluster import steps
from pipeline.cluster.work import Job, Prepared, SurveyWork, Unsurveyed
from pipeline.errors import MissingError, StorageError
from pipeline.plan.document import canonical
from pipeline.publish import layout
from pipeline.reel.damage import Finding
from pipeline.reel.decode import batches
from pipeline.reel.probe import check_unchanged
from pipeline.spec import Spec
from pipeline.storage import store
from pipeline.survey.spans import HALO, VERSION, join, spans
from pipeline.types import FrameIndex, Reel, Survey

_AT_ONCE = 8
"""Frames that a look holds at a time."""


def key(reel: Reel, index: FrameIndex) -> str:
    """What a survey of a source depends on beside the source: how it is read, and this code's own version."""
    c = reel.colour
    said = [VERSION, index.digest, c.matrix_used, c.full_range_used, c.transfer_used]
    return f"{VERSION}-{hashlib.sha256(canonical(said).encode()).hexdigest()[:16]}"


def kept(out: str, reel: Reel, index: FrameIndex, spec: Spec) -> Survey | None:
    """The reel's survey as an earlier step kept it whole; None where there is none, or it is garbled."""
    with steps.scratch(spec) as folder:
        local = folder / "survey.parquet"
        try:
            store.fetch(layout.source_survey(out, reel.source_id, key(reel, index)), local)
            return tables.read_survey(local, 0, len(index))
        except MissingError:
            return None
        except StorageError as error:
            if error.transient:
                raise
            return None


def done(out: str, reel: Reel, index: FrameIndex) -> frozenset[int]:
    """Numbers of the spans whose file is there."""
    prefix = layout.survey_part(out, reel.source_id, key(reel, index), 0, 0).rpartition("/")[0]
    there = set(store.list_names(prefix))
    wanted = spans(len(index))
    names = (layout.survey_part(out, reel.source_id, key(reel, index), a, b).rpartition("/")[2] for a, b in wanted)
    return frozenset(n for n, name in enumerate(names) if name in there)


def joined(out: str, reel: Reel, index: FrameIndex, spec: Spec) -> Survey | None:
    """All spans as one, kept from now on in place of them; None where one is missing or garbled (it is removed)."""
    parts: list[Survey] = []
    for a, b in spans(len(index)):
        uri = layout.survey_part(out, reel.source_id, key(reel, index), a, b)
        with steps.scratch(spec) as folder:
            local = folder / "part.parquet"
            try:
                store.fetch(uri, local)
                parts.append(tables.read_survey(local, a, b))
            except MissingError:
                return kept(out, reel, index, spec)  # another run may have joined them meanwhile
            except StorageError as error:
                if error.transient:
                    raise
                store.delete(uri)
                return None
    whole = join(parts)
    with steps.scratch(spec) as folder:
        local = folder / "survey.parquet"
        tables.write_survey(local, whole)
        store.put_file(local, layout.source_survey(out, reel.source_id, key(reel, index)))
    for a, b in spans(len(index)):
        store.delete(layout.survey_part(out, reel.source_id, key(reel, index), a, b))
    return whole


def look(work: SurveyWork, index: FrameIndex, number: int) -> None:
    """Look at one span of the reel and keep what was found."""
    from pipeline.survey.signals import Look  # OpenCV comes with it, and other workers do without

    reel = work.reel
    first, last = spans(len(index))[number]
    local = steps.staged(reel, work.spec, stage=work.stage, run=work.run)
    whole = reel.sequence is None  # of a folder, every file that is read is checked by itself
    if whole:
        check_unchanged(reel)
    damage: dict[int, Finding] | None = {} if work.spec.source.damaged == "flag" else None
    seen = Look(first, last, reel.colour, reel.width)
    begin, end = max(0, first - HALO), min(len(index), last + HALO)
    run = batches(
        reel,
        index,
        begin,
        end,
        threads=steps.threads(work.spec),
        size=_AT_ONCE,
        local=local,
        damage=damage,
    )
    with closing(run):
        for frames in run:
            seen.see(frames)
    if whole:
        check_unchanged(reel)
    with steps.scratch(work.spec) as folder:
        path = folder / "part.parquet"
        tables.write_survey(path, seen.result())
        store.put_file(path, layout.survey_part(work.out, reel.source_id, key(reel, index), first, last))


def bytes_held(reel: Reel) -> int:
    """Upper bound of the bytes of pictures that one look holds."""
    return (_AT_ONCE + 2) * reel.format.frame_bytes(reel.width, reel.height)


def prepare_here(job: Job, number: int) -> Prepared:
    """Prepare a reel in this process, without a cluster: where it must be looked at first, that is done here."""
    found = steps.prepare(job, number)
    while isinstance(found, Unsurveyed):
        work = SurveyWork(found.reel, job.out, job.spec, stage=False, run=job.run)
        for span in range(len(found.spans)):
            if span not in found.done:
                look(work, found.index, span)
        found = steps.prepare(job, number)
    return found
