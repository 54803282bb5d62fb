"""The run loop: many reels through one pool of restorers. Plain Python over an Executor and a clock.

Reels go in order of submission. A reel's last tiles share the pool with the next reel's first ones, and the next reels
are probed and planned while this one is restored, so that the pool is never empty between two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.cluster.executor import Executor, Failure, PlanSummary, Success, Ticket, TileSummary
from pipeline.cluster.policy import Board, Budget, Limits, Record
from pipeline.cluster.progress import (
    Event,
    Listener,
    Load,
    ReelEnded,
    ReelPlanned,
    ReelPublishing,
    TileDone,
    TileRetried,
)
from pipeline.errors import PublishedError
from pipeline.types import OutcomeStatus, ReelOutcome

_LOAD_EVERY_S = 1.0
_PREPARING = 2
"""Reels that are probed and planned at once: reading tables costs storage, not pixels."""

Quarantine = Callable[[int, BaseException, int | None, int], None]
"""Writes a quarantine record: reel, error, tile, tries."""


@dataclass(slots=True)
class _Reel:
    number: int
    name: str
    uri: str
    began: float = 0.0
    plan: PlanSummary | None = None
    board: Board | None = None
    restored: int = 0
    prepare_record: Record = field(default_factory=Record)
    publish_record: Record = field(default_factory=Record)
    again_at: float = 0.0
    """Not before this time is the failed prepare or publish step tried again."""
    publishing: bool = False
    outcome: ReelOutcome | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    step: str
    reel: int
    tile: int = -1
    restorer: int = -1
    size: int = 0


class Loop:
    """Drives a job to its end. ``run`` returns one outcome a reel, in order of submission."""

    def __init__(
        self,
        reels: Sequence[tuple[str, str]],
        executor: Executor,
        listener: Listener,
        *,
        limits: Limits,
        budget: int,
        depth: int,
        quarantine: Quarantine,
        clock: Callable[[], float],
        stopping: Callable[[], bool],
    ):
        """reels: (uri, name) in order. budget: bytes in flight. depth: tiles that wait at or run on one restorer."""
        self._reels = [_Reel(n, name, uri) for n, (uri, name) in enumerate(reels)]
        self._executor = executor
        self._listener: Listener | None = listener
        self._limits = limits
        self._budget = Budget(budget)
        self._depth = depth
        self._quarantine = quarantine
        self._clock = clock
        self._stopping = stopping
        self._work: dict[Ticket, _Work] = {}
        self._at: dict[int, int] = {}
        """Restorer → tiles that it has."""
        self._next = 0
        self._busy_s = 0.0
        self._load_told = clock()

    def run(self) -> list[ReelOutcome]:
        """Until every reel has ended, or a stop is asked for."""
        while not self._stopping() and any(r.outcome is None for r in self._reels):
            self._start_what_can_start()
            for result in self._executor.wait(0.2):
                work = self._work.pop(result.ticket, None)
                if work is None:
                    continue  # of a reel that has ended meanwhile
                self._release(work)
                if isinstance(result, Success):
                    self._succeeded(work, result)
                else:
                    self._failed(work, result)
            self._tell_load()
        for reel in self._reels:
            if reel.outcome is None:
                self._end(reel, "stopped", "the run was stopped; the next run goes on from here")
        return [r.outcome for r in self._reels if r.outcome is not None]

    def _tell(self, event: Event) -> None:
        """A listener that fails (its terminal is gone, say) is heard no more; the run goes on."""
        if self._listener is None:
            return
        try:
            self._listener(event)
        except (Exception, SystemExit):  # noqa: BLE001 - rich ends the process where its pipe is closed
            self._listener = None

    # -- starting work

    def _start_what_can_start(self) -> None:
        now = self._clock()
        self._start_publishing(now)
        self._start_tiles(now)
        self._start_preparing(now)

    def _open(self) -> list[_Reel]:
        return [r for r in self._reels if r.outcome is None]

    def _start_preparing(self, now: float) -> None:
        preparing = sum(w.step == "prepare" for w in self._work.values())
        waiting = sum(r.board.todo for r in self._open() if r.board)
        enough = 2 * self._depth * max(1, len(self._at))
        for reel in self._open():
            if preparing >= _PREPARING or waiting >= enough:
                return
            if reel.plan is None and now >= reel.again_at and not self._under_way(reel.number, "prepare"):
                reel.began = reel.began or now
                self._work[self._executor.prepare(reel.number)] = _Work("prepare", reel.number)
                preparing += 1

    def _under_way(self, reel: int, step: str) -> bool:
        return any(w.reel == reel and w.step == step for w in self._work.values())

    def _start_tiles(self, now: float) -> None:
        alive = self._executor.restorers()
        self._at = {r: self._at.get(r, 0) for r in alive}
        for reel in self._open():
            board, plan = reel.board, reel.plan
            while board and plan and board.ready(now):
                free = [r for r in self._at if self._at[r] < self._depth]
                if not free or not self._budget.fits(plan.tile_bytes):
                    return  # in order of submission: a later reel's smaller tile does not overtake
                restorer = min(free, key=lambda r: self._at[r])
                tile = board.take(now)
                assert tile is not None  # it was ready
                ticket = self._executor.tile(reel.number, tile, restorer, board.tries(tile))
                self._work[ticket] = _Work("tile", reel.number, tile, restorer, plan.tile_bytes)
                self._at[restorer] += 1
                self._budget.take(plan.tile_bytes)

    def _start_publishing(self, now: float) -> None:
        for reel in self._open():
            if reel.board and reel.board.finished and not reel.publishing and now >= reel.again_at:
                reel.publishing = True
                self._tell(ReelPublishing(reel.name))
                self._work[self._executor.publish(reel.number)] = _Work("publish", reel.number)

    def _release(self, work: _Work) -> None:
        if work.step == "tile":
            self._budget.give(work.size)
            if work.restorer in self._at:
                self._at[work.restorer] -= 1

    # -- results

    def _succeeded(self, work: _Work, result: Success) -> None:
        reel = self._reels[work.reel]
        if work.step == "prepare":
            self._prepared(reel, result.value)
        elif work.step == "tile":
            self._tile_done(reel, work.tile, result.value)
        else:
            self._end(reel, "done", detail=result.value)

    def _prepared(self, reel: _Reel, plan: PlanSummary) -> None:
        reel.plan = plan
        frames = plan.tile_frames
        self._tell(ReelPlanned(reel.name, plan.frames, len(frames), sum(frames[t] for t in plan.done), len(plan.done)))
        if plan.published:
            self._end(reel, "already", "restored by an equal job already; nothing was touched")
        else:
            reel.board = Board(range(len(frames)), plan.done)

    def _tile_done(self, reel: _Reel, tile: int, summary: TileSummary) -> None:
        assert reel.plan is not None  # a tile comes from a plan
        assert reel.board is not None
        reel.board.done(tile)
        reel.restored += summary.ours
        self._busy_s += summary.restore_seconds
        self._tell(TileDone(reel.name, tile, reel.plan.tile_frames[tile]))

    def _failed(self, work: _Work, failure: Failure) -> None:
        reel, now = self._reels[work.reel], self._clock()
        if work.step == "tile":
            assert reel.board is not None  # a tile comes from a board
            verdict = reel.board.failed(work.tile, failure.kind, self._limits, now)
            tries = reel.board.tries(work.tile)
        else:
            record = reel.prepare_record if work.step == "prepare" else reel.publish_record
            verdict = record.judge(failure.kind, self._limits)
            tries = record.tries
            reel.again_at = now + verdict.wait_s
            if work.step == "publish":
                # From the ledger again: what publishing missed of it is restored anew.
                reel.plan, reel.board, reel.publishing = None, None, False
        tile = work.tile if work.step == "tile" else None
        if isinstance(failure.error, PublishedError):
            # Not broken: there is a good deliverable, and a quarantine record beside it would say otherwise.
            self._end(reel, "refused", str(failure.error))
        elif verdict.retry:
            self._tell(TileRetried(reel.name, work.tile, f"{work.step}: {failure.kind.value}: {failure.error}"))
        else:
            self._quarantine(reel.number, failure.error, tile, tries)
            self._end(reel, "quarantined", str(failure.error))

    def _end(self, reel: _Reel, status: OutcomeStatus, reason: str | None = None, detail: object = None) -> None:
        for ticket in [t for t, w in self._work.items() if w.reel == reel.number]:
            self._release(self._work.pop(ticket))
            self._executor.forget(ticket)
        frames = reel.plan.frames if reel.plan else 0
        reel.outcome = ReelOutcome(
            name=reel.name,
            uri=reel.uri,
            status=status,
            frames=frames,
            tiles=len(reel.plan.tile_frames) if reel.plan else 0,
            restored=reel.restored,
            seconds=self._clock() - reel.began if reel.began else 0.0,
            reason=reason,
            detail=detail if isinstance(detail, dict) else {},
        )
        self._executor.drop(reel.number)
        self._tell(ReelEnded(reel.outcome))

    def _tell_load(self) -> None:
        now = self._clock()
        past = now - self._load_told
        if past < _LOAD_EVERY_S:
            return
        restorers = max(1, len(self._at))
        tiles = sum(w.step == "tile" for w in self._work.values())
        self._tell(Load(min(1.0, self._busy_s / (past * restorers)), self._budget.used, tiles))
        self._busy_s, self._load_told = 0.0, now
