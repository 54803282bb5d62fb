"""How far a night is, from what lies below OUT alone: while it runs, after it was killed, and from any machine."""

from __future__ import annotations

import datetime
import itertools
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import MissingError, StorageError, VerifyError
from pipeline.plan import from_json
from pipeline.plan.document import plain
from pipeline.publish import layout, quarantine
from pipeline.publish.documents import iso, moment, read_object
from pipeline.publish.state import State, look, state
from pipeline.storage import store
from pipeline.storage.ledger import Ledger
from pipeline.types import Plan, Sha256

RECENT = 64
"""Records, of the tiles with the highest numbers, over which a reel's rate is taken."""
_AT_ONCE = 16
_SUMMARY_BYTES = 16 << 20
_PAUSE_S = 60.0
"""A gap between two records that is longer, and ten times the usual one, is a pause: the rate is that since then."""

Stage = Literal["done", "publishing", "restoring", "waiting", "unknown"]
_Done = list[tuple[datetime.datetime, int]]


@dataclass(frozen=True, slots=True)
class ReelStatus:
    """One reel of OUT."""

    reel: str
    stage: Stage
    """``done``: published whole. ``publishing``: every tile is there. ``waiting``: planned, and no tile is done yet.
    ``unknown``: what is there cannot be read; ``problem`` says why."""
    plan_id: Sha256 | None
    tiles: int = 0
    tiles_done: int = 0
    frames: int = 0
    frames_done: int = 0
    rate: float | None = None
    """Frames a second over the recent records; None where there are fewer than two."""
    last_record: str | None = None
    """When the newest of them was made, ISO 8601, UTC."""
    eta_s: float | None = None
    """Seconds until the reel's frames are restored at that rate; 0 where none is left."""
    other_plans: int = 0
    """Further plans of this reel that have work lying there: of jobs that said something else and were not finished."""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """All of OUT."""

    out: str
    when: str
    reels: tuple[ReelStatus, ...]
    quarantined: tuple[quarantine.Entry, ...]
    tiles: int
    tiles_done: int
    frames: int
    frames_done: int
    rate: float | None
    """Frames a second, of all reels under way together."""
    eta_s: float | None
    """Seconds until all planned frames are restored at that rate; None where there is none, 0 where none is left."""

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        found: dict[str, Any] = plain(self)
        return found


def status(out: str, *, now: datetime.datetime | None = None) -> Status:
    """Look at OUT. Raises StorageError where it cannot be listed; what is wrong with one reel is told in its entry."""
    files = look(out)
    names = sorted(set(files.reels) | {name for name, work in files.work.items() if work.plans})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        each = list(pool.map(lambda name: _reel(out, name, files), names))
    reels = tuple(r for r, _ in each)
    newest = sorted((d for _, done in each for d in done), reverse=True)[:RECENT]
    rate = _rate(newest)
    left = sum(r.frames - r.frames_done for r in reels)
    return Status(
        out=out,
        when=iso(now or datetime.datetime.now(datetime.UTC)),
        reels=reels,
        quarantined=tuple(quarantine.read_all(files)),
        tiles=sum(r.tiles for r in reels),
        tiles_done=sum(r.tiles_done for r in reels),
        frames=sum(r.frames for r in reels),
        frames_done=sum(r.frames_done for r in reels),
        rate=rate,
        eta_s=_eta(left, rate),
    )


def _reel(out: str, name: str, files: layout.Sorted) -> tuple[ReelStatus, _Done]:
    try:
        published = state(out, name) if name in files.reels else State("absent")
        work = files.work.get(name, layout.Work())
        if published.whole:
            begun = [p for p in work.plans if p != published.plan_id]
            again = _under_way(out, name, work, begun, published) if begun else None
            # Beside a whole publication, a finished plan was kept by `keep_work`; an unfinished one is to overwrite.
            return again if again and again[0].frames_done < again[0].frames else (_whole(out, name, published), [])
        return _under_way(out, name, work, work.plans, published)
    except (StorageError, VerifyError) as error:
        return ReelStatus(name, "unknown", None, problem=str(error)), []


def _whole(out: str, name: str, published: State) -> ReelStatus:
    uri = layout.published(out, name, layout.SUMMARY)
    try:
        said = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri)
        tiles, frames = int(said["tiles"]), int(said["frames"])
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"not a reel's summary ({type(error).__name__}: {error})", where=uri) from None
    return ReelStatus(name, "done", published.plan_id, tiles, tiles, frames, frames, eta_s=0.0)


def _under_way(
    out: str, name: str, work: layout.Work, plans: Sequence[Sha256], published: State
) -> tuple[ReelStatus, _Done]:
    """The reel by the plan that is being worked on: the one that is being published, else the one with the newest tile.

    Where that tile is of several plans, the one with more left is taken: it is the later job's.
    """
    ledger = Ledger(layout.work_dir(out, name))
    found: list[tuple[tuple[bool, str, int], Plan, list[int], _Done]] = []
    for plan_id in plans:
        try:
            plan = from_json(ledger.read_plan(plan_id), where=f"{ledger.work}/plan-{plan_id}.json")
        except MissingError:
            continue  # published and cleared away since the listing
        tiles = [n for n, tile_id in enumerate(plan.tile_ids) if tile_id in work.tiles]
        done = _finished(ledger, plan, tiles[-RECENT:])
        newest = iso(max(done)[0]) if done else ""
        left = len(plan.tiles) - len(tiles)
        found.append(((plan_id == published.plan_id, newest, left), plan, tiles, done))
    if not found:
        what = "an unfinished publication without the plan and tiles to finish it from"
        return ReelStatus(name, "unknown", published.plan_id, problem=what), []
    (_, newest, left), plan, tiles, done = max(found, key=lambda f: f[0])
    frames, frames_done = plan.last - plan.first, sum(plan.tiles[n].last - plan.tiles[n].first for n in tiles)
    rate = _rate(done)
    return ReelStatus(
        reel=name,
        stage="publishing" if not left else "restoring" if tiles else "waiting",
        plan_id=plan.id,
        tiles=len(plan.tiles),
        tiles_done=len(tiles),
        frames=frames,
        frames_done=frames_done,
        rate=rate,
        last_record=newest or None,
        eta_s=_eta(frames - frames_done, rate),
        other_plans=len(found) - 1,
    ), done


def _finished(ledger: Ledger, plan: Plan, tiles: Sequence[int]) -> _Done:
    """When each of these tiles was recorded, and its frames."""
    try:
        records = ledger.read([plan.tile_ids[n] for n in tiles])
    except MissingError:
        return []  # published and cleared away since the listing
    return [(moment(r.finished, where=f"{ledger.work}: tile {r.number}"), r.last - r.first) for r in records]


def _rate(done: _Done) -> float | None:
    """Frames a second, from the newest record back to the last pause."""
    order = sorted(done)
    gaps = [(b - a).total_seconds() for (a, _), (b, _) in itertools.pairwise(order)]
    if not gaps:
        return None
    pause = max(_PAUSE_S, 10 * statistics.median(gaps))
    begin = max((n + 1 for n, gap in enumerate(gaps) if gap > pause), default=0)
    seconds = (order[-1][0] - order[begin][0]).total_seconds()
    # The first record only says when the counting starts.
    return sum(frames for _, frames in order[begin + 1 :]) / seconds if seconds > 0 else None


def _eta(left: int, rate: float | None) -> float | None:
    if not left:
        return 0.0
    return left / rate if rate else None
