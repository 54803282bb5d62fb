"""``reelmend probe`` and ``reelmend plan``: what a reel is, and what restoring it would take. Neither writes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from jobs.common import console, find_sources, human_bytes, human_time, print_json, say
from pipeline import tables
from pipeline.cluster import steps, surveying
from pipeline.cluster.work import Job, Unsurveyed
from pipeline.errors import CallError, ReelmendError, StorageError
from pipeline.plan import make_plan
from pipeline.plan.curves import wants_survey
from pipeline.plan.document import plain
from pipeline.plan.estimate import Estimate, estimate
from pipeline.plan.make import chain_of, parameters_at
from pipeline.publish import layout
from pipeline.publish.state import state
from pipeline.reel.formats import pixel_format
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.restore.chain import Restorer
from pipeline.spec import Source
from pipeline.storage import store
from pipeline.storage.ledger import Ledger
from pipeline.types import Colour, FrameIndex, Frames, Plan, Reel, Tile

_TRIAL = (192, 256)
"""Height and width in px of the picture that the dry run times the chain on."""


def show_probe(source: str, *, as_json: bool) -> int:
    """Print what a source is. Raises SourceError where it is no film."""
    [(uri, name)] = find_sources([source])[:1]
    reel = probe(uri, name, Source(interlaced="per_field"))
    index = build(reel)
    if as_json:
        print_json({**plain(reel), "frames": len(index), "constant_rate": index.constant, "index": index.found_by})
        return 0
    table = Table(show_header=False, box=None)
    for key, value in _told(reel, index):
        table.add_row(key, value)
    console().print(table)
    return 0


def _told(reel: Reel, index: FrameIndex) -> list[tuple[str, str]]:
    c = reel.colour
    seconds = float(index.time(len(index) - 1) - index.time(0) + 1 / reel.rate)
    rows = [
        ("source", reel.uri),
        ("size", human_bytes(reel.bytes)),
        ("picture", f"{reel.codec} in {reel.container}, {reel.width}×{reel.height} {reel.format.name}"),
        ("pixel aspect", str(reel.sample_aspect or "unknown")),
        ("fields", reel.field_order),
        ("frames", f"{len(index)}, {int(index.key.sum())} of them key frames ({human_time(seconds)})"),
        ("rate", f"{reel.rate} frames/s, {'constant' if index.constant else 'variable'}"),
        ("first pts", f"{int(index.pts[0])} × {index.time_base} s"),
        ("colour", f"matrix {c.matrix}, range {c.range}, primaries {c.primaries}, transfer {c.transfer}"),
        ("used as", f"{c.matrix_used}, {'full' if c.full_range_used else 'limited'} range, {c.transfer_used}"),
        *[("assumed", a) for a in c.assumed],
        ("timecode", reel.timecode or "none"),
    ]
    rows += [("carried over", f"#{o.index} {o.kind} {o.detail} {o.language or ''}".strip()) for o in reel.others]
    return rows


def show_plan(job: Job, *, as_json: bool, fps: float | None) -> int:
    """The dry run of a job. fps: frames a second of one restorer; None times the chain on this machine.

    Status 1 where a reel could not be planned.
    """
    found: list[dict[str, Any]] = []
    speed: Callable[[int], float] = (lambda _px: fps) if fps else _timed(job)
    bad = 0
    for number, (uri, name) in enumerate(job.sources):
        try:
            found.append(_plan_one(job, number, speed))
        except CallError:
            raise
        except ReelmendError as error:
            bad += 1
            found.append({"reel": name, "uri": uri, "error": str(error)})
    if as_json:
        print_json({"out": job.out, "reels": found})
    else:
        _print(found)
    return 1 if bad else 0


def _plan_one(job: Job, number: int, speed: Callable[[int], float]) -> dict[str, Any]:
    uri, name = job.sources[number]
    found = steps.planned(
        job,
        number,
        lambda reel: _kept_index(job.out, reel, job.spec.source.rate) or build(reel),
        lambda reel, index: surveying.kept(job.out, reel, index, job.spec),
    )
    looked = not isinstance(found, Unsurveyed)
    if isinstance(found, Unsurveyed):
        # Tiles, memory and reading are the same; what cannot be told yet is which tiles of this plan are done.
        index, plan = found.index, make_plan(found.reel, found.index, job.spec, job.nets, job.frames)
    else:
        plan, index, _ = found
    reel = plan.reel
    published = state(job.out, name)
    recorded = Ledger(layout.work_dir(job.out, name)).done()
    whole = published.plan_id == plan.id and published.whole
    done = [n for n, i in enumerate(plan.tile_ids) if whole or i in recorded]
    doubts = steps.check_fits(job, plan) if len(done) < len(plan.tiles) else ()
    e = estimate(plan, index, done, restorer_fps=speed(reel.width * reel.height))
    return {
        "reel": name,
        "uri": uri,
        "plan": plan.id,
        "published": whole,
        "other_plan_published": published.plan_id if published.plan_id not in (None, plan.id) else None,
        "published_problem": published.problem,
        "frames": plan.last - plan.first,
        "tiles": len(plan.tiles),
        "tiles_done": len(done),
        "tile_bytes": plan.tile_bytes,
        "worker_bytes": plan.worker_bytes,
        "assumed": list(reel.colour.assumed),
        "doubts": list(doubts),
        "survey": None if not wants_survey(plan.chain) else "kept" if looked else "needed",
        "left": asdict(e),
        **_shape(plan, e),
    }


def _shape(plan: Plan, e: Estimate) -> dict[str, Any]:
    return {"passes": [p.name for p in plan.chain], "skipped_spans": len([o for o in plan.overrides if o.skip])} | (
        {} if e.tiles else {"nothing_left": True}
    )


def _kept_index(out: str, reel: Reel, rate: str | None) -> FrameIndex | None:
    with tempfile.TemporaryDirectory(prefix="reelmend-") as folder:
        local = Path(folder) / "index.parquet"
        try:
            store.fetch(layout.source_index(out, reel.source_id, rate), local)
            return tables.read_index(local)
        except StorageError:
            return None  # not there, or garbled: it is built again


def _timed(job: Job) -> Callable[[int], float]:
    """Frames a second of one restorer for a picture of some pixels, from one small picture timed here."""
    chain = chain_of(job.spec, job.nets)
    if not chain:
        return lambda px: 30e6 / px  # a copy: what tasks do beside it costs more than this
    restorer = Restorer(chain, job.spec.engine, job.nets, "cpu")
    reach = sum(p.radius for p in chain)
    n = 2 * reach + 2
    fmt = pixel_format("gray")
    rng = np.random.default_rng(0)
    frames = Frames((rng.integers(0, 256, (n, *_TRIAL), dtype=np.uint8),), fmt, 0, np.arange(n))
    colour = Colour("unknown", "unknown", "unknown", "unknown", "unknown", "gray", True)
    tile = Tile(number=0, first=reach, last=reach + 2, overlap=0, head=reach, tail=reach)
    best = float("inf")
    for _ in range(2):  # the first call also allocates
        began = time.perf_counter()
        restorer.run(
            frames, tile, np.zeros(n, np.bool_), lambda k: parameters_at(k, chain, ()), colour, lambda *_: None
        )
        best = min(best, (time.perf_counter() - began) / 2)
    say(f"timed the chain on this machine: {1 / best:.1f} frames/s at {_TRIAL[1]}×{_TRIAL[0]} on one restorer")
    return lambda px: _TRIAL[0] * _TRIAL[1] / px / best


def _print(found: Sequence[dict[str, Any]]) -> None:
    table = Table(
        "reel", "frames", "tiles", "left", "memory/worker", "bytes/tile", "read", "written ≤", "restorer time"
    )
    for r in found:
        if "error" in r:
            continue
        e = r["left"]
        table.add_row(
            r["reel"],
            str(r["frames"]),
            str(r["tiles"]),
            "published" if r["published"] else f"{e['tiles']} tiles",
            human_bytes(r["worker_bytes"]),
            human_bytes(r["tile_bytes"]),
            human_bytes(e["read_bytes"]),
            human_bytes(e["write_bytes"]),
            human_time(e["restore_s"]),
        )
    console().print(table)
    for r in found:
        if "error" in r:
            say(f"{r['reel']}: {r['error']}")
            continue
        e = r["left"]
        if e["tiles"]:
            say(
                f"{r['reel']}: one restorer at this rate wants {e['decode_cores_per_restorer']:.1f} cores of decoding, "
                f"{e['encode_cores_per_restorer']:.1f} of encoding and {e['gb_s_per_restorer']:.3f} GB/s each way"
            )
        if r["survey"] == "needed":
            say(
                f"{r['reel']}: its chain wants a survey, which is not there yet: restore decodes its {r['frames']} "
                "frames once more first, and which tiles are done already is only known then"
            )
        for sentence in (*r["assumed"], *r["doubts"]):
            say(f"{r['reel']}: {sentence}")
        if r["published_problem"]:
            say(f"{r['reel']}: it cannot be told what the output holds of it: {r['published_problem']}")
        elif r["other_plan_published"]:
            say(f"{r['reel']}: the output holds another plan's deliverable; restore will want --overwrite")
