"""The steps of a tile's way, as plain functions: what Ray's tasks call. Each can be run and tested without Ray."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import math
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pipeline
from pipeline import tables
from pipeline.cluster.executor import TileSummary
from pipeline.cluster.work import Decoded, Job, Picture, Prepared, ReelWork, Restored, SurveyWork, Unsurveyed
from pipeline.errors import MissingError, ReelmendError, ScratchFullError, StorageError
from pipeline.plan import cuts, make_plan, to_json
from pipeline.plan.curves import plan_curves, wants_survey
from pipeline.plan.estimate import Room, check_size
from pipeline.publish import bag, layout
from pipeline.publish.finish import tidy
from pipeline.publish.publication import Publication, WholeAlready
from pipeline.reel import residual
from pipeline.reel.damage import Finding
from pipeline.reel.decode import decode
from pipeline.reel.deliver import output_pts
from pipeline.reel.encode import check_encodable, encode_segment
from pipeline.reel.formats import hash_planes
from pipeline.reel.index import build
from pipeline.reel.probe import check_unchanged, probe
from pipeline.reel.still import jpeg
from pipeline.reel.timecode import timecode_at
from pipeline.spec import RESIDUAL, Output, Spec
from pipeline.storage import records, store
from pipeline.storage.ledger import Ledger
from pipeline.survey.spans import spans
from pipeline.types import (
    Curves,
    FrameFigures,
    FrameIndex,
    FrameRow,
    Md5,
    Plan,
    Reel,
    Segment,
    StillsFile,
    Survey,
    Tile,
    TileRecord,
)


@functools.cache
def code_digest() -> str:
    """sha256 over reelmend's own source files: equal on two machines where they run the same code."""
    root = Path(pipeline.__file__).parent
    h = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".cpp", ".h")):
        h.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return h.hexdigest()


def scratch_root(spec: Spec) -> Path:
    """The node's folder for everything passing. Raises ScratchFullError where it cannot be made."""
    root = _scratch_root(spec)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScratchFullError(
            f"the scratch folder cannot be made: {error.strerror}", where=str(root), todo="Set cluster.scratch"
        ) from None
    return root


def _scratch_root(spec: Spec) -> Path:
    return Path(spec.cluster.scratch or tempfile.gettempdir()) / "reelmend"


@contextmanager
def scratch(spec: Spec) -> Iterator[Path]:
    """A folder of this step's own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="step-", dir=scratch_root(spec), ignore_cleanup_errors=True) as path:
        yield Path(path)


def prepare(job: Job, number: int) -> Prepared | Unsurveyed:
    """Probe, index and plan a reel, and look up what of it is done. Unsurveyed where it must be looked at first.

    Raises what ``planned`` and ``check_fits`` do; PublishedError where the output holds another plan's deliverable and
    the job does not say ``overwrite``.
    """
    name = job.sources[number][1]
    found = planned(job, number, lambda reel: read_index(reel, job.out, job.spec), _survey_of(job))
    if isinstance(found, Unsurveyed):
        return found
    plan, index, curves = found
    try:
        Publication(job.out, plan, overwrite=job.overwrite).check()
    except WholeAlready:
        # A run that was killed after its manifest may have made no bag, and left its work behind.
        if job.bag:
            bag.make(job.out, name)
        tidy(plan, job.out)
        return Prepared(plan, index, frozenset(range(len(plan.tiles))), published=True)
    ledger = Ledger(layout.work_dir(job.out, name))
    recorded = ledger.done()
    done = frozenset(n for n, tile_id in enumerate(plan.tile_ids) if tile_id in recorded)
    doubts = check_fits(job, plan) if len(done) < len(plan.tiles) else ()
    ledger.keep_plan(plan.id, to_json(plan))
    return Prepared(plan, index, done, published=False, curves=curves, doubts=doubts)


def _survey_of(job: Job) -> Callable[[Reel, FrameIndex], Survey | None]:
    from pipeline.cluster import surveying  # it stands on this file

    def find(reel: Reel, index: FrameIndex) -> Survey | None:
        whole = surveying.kept(job.out, reel, index, job.spec)
        return whole if whole is not None else surveying.joined(job.out, reel, index, job.spec)

    return find


def planned(
    job: Job,
    number: int,
    index_of: Callable[[Reel], FrameIndex],
    survey_of: Callable[[Reel, FrameIndex], Survey | None],
) -> tuple[Plan, FrameIndex, Curves | None] | Unsurveyed:
    """Probe, index and plan a reel, for a run and for the dry run: what cannot be is told before the first tile.

    ``survey_of`` is asked where a pass of the chain wants a survey, and gives None where there is none yet.

    Raises SourceError where the film cannot be read or a deliverable cannot hold it, SpanError where frames are asked
    for that it has not, StorageError; TooLargeError (``check_fits``) before a survey.
    """
    uri, name = job.sources[number]
    outputs = job.spec.deliver.outputs
    reel = probe(uri, name, job.spec.source)
    check_encodable(reel, outputs)
    if job.spec.deliver.residual:
        check_encodable(residual.reel_of(reel), [RESIDUAL])
    index = index_of(reel)
    blind = make_plan(reel, index, job.spec, job.nets, job.frames)
    for output in outputs:
        output_pts(index, reel, blind.first, blind.last, output)
    if not wants_survey(blind.chain):
        return blind, index, None
    found = survey_of(reel, index)
    if found is None:
        check_fits(job, blind)  # before the first look, too
        from pipeline.cluster import surveying  # it stands on this file

        return Unsurveyed(reel, index, spans(len(index)), surveying.done(job.out, reel, index))
    curves = plan_curves(found, blind.chain, reel)
    return make_plan(reel, index, job.spec, job.nets, job.frames, curves), index, curves


def check_fits(job: Job, plan: Plan) -> tuple[str, ...]:
    """Sentences on deliverables that may be too large for their storage or this machine's scratch. Raises TooLargeError
    for one that surely is."""
    root = _scratch_root(job.spec)
    scratch = f"{root} on {socket.gethostname()}"
    room = Room(store.largest_file(job.out), store.disk_bytes(root), scratch)
    return check_size(plan, room, where=plan.reel.uri)


def read_index(reel: Reel, out: str, spec: Spec) -> FrameIndex:
    """The reel's index: as an earlier run kept it beside the work, else built now and kept."""
    kept = layout.source_index(out, reel.source_id, spec.source.rate)
    with scratch(spec) as folder:
        local = folder / "index.parquet"
        try:
            store.fetch(kept, local)
        except MissingError:
            index = build(reel)
        else:
            try:
                return tables.read_index(local)
            except StorageError:
                index = build(reel)  # a garbled one is only a copy of what the source says
        tables.write_index(local, index)
        store.put_file(local, kept)
    return index


def without_tiles(plan: Plan) -> Plan:
    """The plan, small enough to go with every tile."""
    return dataclasses.replace(plan, tiles=(), tile_ids=())


def threads(spec: Spec) -> int:
    """FFmpeg threads of one task."""
    return max(1, math.ceil(spec.cluster.task_cpus))


def decode_tile(work: ReelWork, index: FrameIndex, tile: Tile, tile_id: str, curves: Curves | None = None) -> Decoded:
    """The tile's frames with overlap and halo, its cuts, and the source's hashes.

    ``curves``: of the frames that the tile reads, or of more; the tile's own go with it.
    """
    began = time.perf_counter()
    reel = work.plan.reel
    local = staged(reel, work.spec, stage=work.stage, run=work.run)
    whole = reel.sequence is None  # of a folder, every file that is read is checked by itself
    if whole:
        check_unchanged(reel)
    damage: dict[int, Finding] | None = {} if work.spec.source.damaged == "flag" else None
    frames = decode(
        reel, index, tile.read_first, tile.read_last, threads=threads(work.spec), local=local, damage=damage
    )
    if whole:
        check_unchanged(reel)
    decoded = time.perf_counter()
    found = cuts.find(cuts.signature(frames))
    core = range(tile.first, tile.last)
    md5 = tuple(hash_planes(frames.frame(n), frames.format) for n in core)
    times = tuple(float(index.time(n)) for n in core)
    its = curves.span(tile.read_first, tile.read_last) if curves else None
    seconds = {"decode": decoded - began, "source_hash": time.perf_counter() - decoded}
    return Decoded(tile, tile_id, frames, found, md5, times, frozenset(damage or ()), seconds, its)


def staged(reel: Reel, spec: Spec, *, stage: bool, run: str) -> Path | None:
    """This node's copy of the source, made where it is not there yet; None where the source itself is to be read."""
    if not stage:
        return None
    try:
        return store.stage(reel.uri, scratch_root(spec), run=run)
    except ScratchFullError:
        if spec.cluster.stage == "always":
            raise
        return None  # `auto`: range reads do as well, only slower


def unstage(work: ReelWork | SurveyWork) -> None:
    """This run needs this node's copy of the source no more."""
    if work.stage:
        reel = work.plan.reel if isinstance(work, ReelWork) else work.reel
        store.unstage(reel.uri, scratch_root(work.spec), run=work.run)


def sweep(spec: Spec, *, run: str | None = None) -> None:
    """Remove the copies of sources that nobody uses on this node: of runs that were killed, and of ``run``."""
    store.sweep_staged(scratch_root(spec), run=run)


def encode_tile(work: ReelWork, restored: Restored, tries: int, decoded: Decoded | None = None) -> TileSummary:
    """Encode the core for every deliverable, decode it again, upload segments and rows, and put the tile's record.

    ``decoded``: wanted where the spec says ``residual``.
    """
    tile, plan, spec = restored.tile, work.plan, work.spec
    ledger = Ledger(layout.work_dir(work.out, plan.reel.name))
    stem = records.stem(tile.number, tile.first, tile.last)
    began = time.perf_counter()
    with scratch(spec) as folder:
        segments: list[Segment] = []
        hashes: list[str] = []
        encoded_s = 0.0
        for output in spec.deliver.written:
            at = time.perf_counter()
            path = folder / f"{output.name}{layout.suffix(output)}"
            found = _encode(work, output, restored, decoded, path)
            encoded_s += time.perf_counter() - at
            hashes = hashes or found  # of the first deliverable
            name, sha256, size = ledger.put(path, f"{stem}-{output.name}")
            # The first one's stand in the rows, and a residual's nobody asks for.
            own = tuple(found) if segments and output != RESIDUAL else ()
            segments.append(Segment(output.name, name, sha256, size, own))
            path.unlink()
        rows = folder / "rows.parquet"
        tables.write_rows(rows, _rows(plan, restored, hashes), restored.edges)
        rows_name, rows_sha256, _ = ledger.put(rows, f"{stem}-rows")
        stills = _put_stills(restored.pictures, ledger, folder, stem)
    uploaded_s = time.perf_counter() - began - encoded_s
    record = TileRecord(
        tile_id=restored.tile_id,
        number=tile.number,
        first=tile.first,
        last=tile.last,
        segments=tuple(segments),
        rows=rows_name,
        rows_sha256=rows_sha256,
        host=socket.gethostname(),
        device=restored.device,
        seconds={**restored.seconds, "encode": encoded_s, "upload": uploaded_s},
        tries=tries + 1,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        flags=tuple(sorted({f for flags in restored.flags for f in flags})),
        peak_bytes=restored.peak_bytes,
        device_peak_bytes=restored.device_peak_bytes,
        stills=stills,
    )
    stands = ledger.record(record)
    return TileSummary(
        restore_seconds=restored.seconds["restore"], ours=stands == record, tile_id=record.tile_id, host=record.host
    )


def _put_stills(pictures: Sequence[Picture], ledger: Ledger, folder: Path, stem: str) -> StillsFile | None:
    if not pictures:
        return None
    path = folder / "stills.parquet"
    tables.write_stills(
        path, [tables.Still(p.frame, p.kind, *p.box, jpeg(p.rgb, tables.MAX_JPEG // 4)) for p in pictures]
    )
    return StillsFile(*ledger.put(path, f"{stem}-stills"), frames=tuple(sorted({p.frame for p in pictures})))


def _encode(work: ReelWork, output: Output, restored: Restored, decoded: Decoded | None, path: Path) -> list[Md5]:
    reel, n = work.plan.reel, threads(work.spec)
    if output != RESIDUAL:
        return encode_segment([restored.frames], reel, output, path, threads=n)
    assert decoded is not None  # the executor hands it over with such a spec
    return residual.encode_residual(decoded.frames, restored.frames, reel, restored.source_md5, path, threads=n)


def _rows(plan: Plan, restored: Restored, output_md5: Sequence[str]) -> list[FrameRow]:
    reel, tile = plan.reel, restored.tile
    nets = [p for p in plan.chain if p.weights_sha256]
    each = restored.seconds["restore"] / max(1, tile.last - tile.restore_first)
    return [
        FrameRow(
            reel=reel.name,
            frame=n,
            pts=int(restored.frames.pts[i]),
            time_s=restored.time_s[i],
            timecode=timecode_at(reel.timecode, n, reel.rate),
            shot=0,
            tile=tile.number,
            cut=restored.cuts[i],
            source_md5=restored.source_md5[i],
            output_md5=output_md5[i],
            net="+".join(str(p.settings["net"]) for p in nets) or None,
            weights_sha256="+".join(p.weights_sha256 or "" for p in nets) or None,
            device=restored.device,
            seconds=each,
            flags=restored.flags[i],
            **_measured(restored.figures[i], restored.found[i]),
        )
        for i, n in enumerate(range(tile.first, tile.last))
    ]


def _measured(figures: FrameFigures, found: Mapping[str, float]) -> dict[str, Any]:
    """A row's figures. What a pass found comes before what was measured of the same; a count is a whole number. A frame
    that no pass moved was moved by nothing."""
    # Not ``asdict``, which copies each signal by itself.
    told = {f.name: getattr(figures, f.name) for f in dataclasses.fields(figures)}
    return {
        "shift_x_px": 0.0,
        "shift_y_px": 0.0,
        "gain_stops": 0.0,
        **told,
        **{k: round(v) if k == "scratch_columns" else v for k, v in found.items()},
    }


def is_final(error: BaseException) -> bool:
    """Whether a prepare step that failed so would fail the same way again."""
    return isinstance(error, ReelmendError) and not getattr(error, "transient", False)
