"""The run loop: many reels through one pool of restorers. Plain Python over an Executor and a clock.

Reels go in order of submission. A reel's last tiles share the pool with the next reel's first ones, and the next reels
are probed and planned while this one is restored, so that the pool is never empty between two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.cluster.executor import Executor, Failure, PlanSummary, Success, SurveySummary, Ticket, TileSummary
from pipeline.cluster.policy import Board, Budget, Kind, Limits, Outages
from pipeline.cluster.progress import (
    Listener,
    ReelEnded,
    ReelPlanned,
    ReelPublishing,
    ReelSurveying,
    StorageAnswers,
    StorageSilent,
    Teller,
    TileDone,
    TileRetried,
)
from pipeline.cluster.reels import Lost, ReelRun, Restored, Work
from pipeline.errors import RefusedError, StorageError
from pipeline.storage import store
from pipeline.types import OutcomeStatus, ReelOutcome

_PREPARING = 2
"""Reels that are probed and planned at once: reading tables costs storage, not pixels."""


_SURVEYS = 3
"""Times that a reel's survey is begun; files that come out garbled each time are the storage's doing."""


class Loop:
    """Drives a job to its end. ``run`` returns one outcome a reel, in order of submission."""

    def __init__(
        self,
        reels: Sequence[tuple[str, str]],
        executor: Executor,
        listener: Listener,
        *,
        out: str,
        limits: Limits,
        budget: int,
        depth: int,
        clock: Callable[[], float],
        stopping: Callable[[], bool],
    ):
        """reels: (uri, name) in order. out: the job's output. budget: bytes in flight. depth: tiles that wait at or run
        on one restorer."""
        self._out = frozenset({store.storage_of(out)})
        self._reels = [
            ReelRun(n, name, uri, self._out | {store.storage_of(uri)}) for n, (uri, name) in enumerate(reels)
        ]
        self._executor = executor
        self._tell = Teller(listener, clock())
        self._limits = limits
        self._outages = Outages(limits)
        self._restored: list[Restored] = []
        self._budget = Budget(budget)
        self._depth = depth
        self._clock = clock
        self._stopping = stopping
        self._work: dict[Ticket, Work] = {}
        self._at: dict[int, int] = {}
        """Restorer → tiles that it has."""

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
            tiles = sum(w.step == "tile" for w in self._work.values())
            self._tell.load(self._clock(), restorers=len(self._at), in_flight=self._budget.used, tiles=tiles)
        for reel in self._reels:
            if reel.lost is not None:
                self._end_unrecorded(reel, "the run was stopped")
            elif reel.outcome is None:
                self._end(reel, "stopped", "the run was stopped; the next run goes on from here")
        return [r.outcome for r in self._reels if r.outcome is not None]

    # -- starting work

    def _start_what_can_start(self) -> None:
        now = self._clock()
        self._start_quarantining(now)
        self._start_encoding(now)
        self._start_publishing(now)
        self._start_tiles(now)
        self._start_looking(now)
        self._start_preparing(now)

    def _begin(self, ticket: Ticket, work: Work, now: float) -> None:
        self._work[ticket] = work
        self._outages.begun(work.needs, now)

    def _open(self) -> list[ReelRun]:
        return [r for r in self._reels if r.outcome is None and r.lost is None]

    def _start_preparing(self, now: float) -> None:
        preparing = sum(w.step == "prepare" for w in self._work.values())
        looking = sum(r.looking is not None and not self._outages.hold(r.needs, now) for r in self._open())
        waiting = sum(r.board.todo for r in self._open() if r.board and not self._outages.hold(r.needs, now))
        enough = 2 * self._depth * max(1, len(self._at))
        for reel in self._open():
            if preparing + looking >= _PREPARING or waiting >= enough:
                return
            due = reel.plan is None and reel.looking is None and now >= reel.again_at
            due = due and not self._under_way(reel.number, "prepare")
            if due and not self._outages.hold(reel.needs, now):
                reel.began = reel.began or now
                self._begin(self._executor.prepare(reel.number), Work("prepare", reel.number, reel.needs), now)
                preparing += 1

    def _start_looking(self, now: float) -> None:
        """Spans of surveys, at most as many at once as restorers have tiles: what they are for comes first."""
        under_way = sum(w.step == "survey" for w in self._work.values())
        for reel in self._open():
            board, survey = reel.looking, reel.survey
            while board and survey and board.ready(now) and not self._outages.hold(reel.needs, now):
                if under_way >= self._depth * max(1, len(self._at)) or not self._budget.fits(survey.span_bytes):
                    return
                span = board.take(now)
                assert span is not None  # it was ready
                ticket = self._executor.survey(reel.number, span)
                self._begin(ticket, Work("survey", reel.number, reel.needs, span, size=survey.span_bytes), now)
                self._budget.take(survey.span_bytes)
                under_way += 1

    def _start_quarantining(self, now: float) -> None:
        for reel in self._reels:
            lost = reel.lost
            if lost is None or now < reel.again_at or self._under_way(reel.number, "quarantine"):
                continue
            if not self._outages.hold(self._out, now):
                ticket = self._executor.quarantine(reel.number, lost.error, lost.tile, lost.tries)
                self._begin(ticket, Work("quarantine", reel.number, self._out), now)

    def _under_way(self, reel: int, step: str) -> bool:
        return any(w.reel == reel and w.step == step for w in self._work.values())

    def _start_encoding(self, now: float) -> None:
        """What is restored already goes first: it takes up room, and a short outage costs it nothing."""
        for restored in [r for r in self._restored if now >= r.again_at]:
            if self._outages.hold(restored.work.needs, now):
                continue
            self._restored.remove(restored)
            board = self._reels[restored.work.reel].board
            assert board is not None  # a tile comes from a board
            self._begin(self._executor.encode(restored.ticket, board.tries(restored.work.tile)), restored.work, now)

    def _start_tiles(self, now: float) -> None:
        alive = self._executor.restorers()
        self._at = {r: self._at.get(r, 0) for r in alive}
        for reel in self._open():
            board, plan = reel.board, reel.plan
            while board and plan and board.ready(now) and not self._outages.hold(reel.needs, now):
                free = [r for r in self._at if self._at[r] < self._depth]
                if not free or not self._budget.fits(plan.tile_bytes):
                    return  # in order of submission: a later reel's smaller tile does not overtake
                restorer = min(free, key=lambda r: self._at[r])
                tile = board.take(now)
                assert tile is not None  # it was ready
                ticket = self._executor.tile(reel.number, tile, restorer, board.tries(tile))
                self._begin(ticket, Work("tile", reel.number, reel.needs, tile, restorer, plan.tile_bytes), now)
                self._at[restorer] += 1
                self._budget.take(plan.tile_bytes)

    def _start_publishing(self, now: float) -> None:
        for reel in self._open():
            due = reel.board and reel.board.finished and not reel.publishing and now >= reel.again_at
            if due and not self._outages.hold(reel.needs, now):
                reel.publishing = True
                self._tell(ReelPublishing(reel.name))
                self._begin(self._executor.publish(reel.number), Work("publish", reel.number, reel.needs), now)

    def _release(self, work: Work) -> None:
        if work.step in ("tile", "survey"):
            self._budget.give(work.size)
            if work.restorer in self._at:
                self._at[work.restorer] -= 1

    # -- results

    def _succeeded(self, work: Work, result: Success) -> None:
        reel = self._reels[work.reel]
        for ended in self._outages.answered(work.needs):
            self._tell(StorageAnswers(ended.storage, self._clock() - ended.since))
        if work.step == "prepare":
            self._prepared(reel, result.value)
        elif work.step == "survey":
            assert reel.looking is not None  # a span comes from a board
            reel.looking.done(work.tile)
            if reel.looking.finished:
                reel.looking = None  # now it can be planned
        elif work.step == "tile":
            self._tile_done(reel, work.tile, result.value)
        elif work.step == "publish":
            self._end(reel, "done", detail=result.value)
        else:
            assert reel.lost is not None  # else there is no record to write
            self._end(reel, "quarantined", str(reel.lost.error))

    def _prepared(self, reel: ReelRun, plan: PlanSummary | SurveySummary) -> None:
        if isinstance(plan, SurveySummary):
            self._to_survey(reel, plan)
            return
        reel.plan = plan
        frames = plan.tile_frames
        done = sum(frames[t] for t in plan.done)
        self._tell(ReelPlanned(reel.name, plan.frames, len(frames), done, len(plan.done), plan.doubts))
        if plan.published:
            self._end(reel, "already", "restored by an equal job already; nothing was touched")
        else:
            reel.board = Board(range(len(frames)), plan.done)

    def _to_survey(self, reel: ReelRun, survey: SurveySummary) -> None:
        reel.surveys += 1
        if reel.surveys > _SURVEYS:
            error = StorageError("its survey does not keep in storage: spans that were looked at are gone again")
            self._let_go(reel)
            reel.lost, reel.again_at = Lost(error, None, reel.surveys), self._clock()
            return
        frames = survey.span_frames
        self._tell(ReelSurveying(reel.name, sum(frames), len(frames), len(survey.done)))
        reel.survey, reel.looking = survey, Board(range(len(frames)), survey.done)
        if reel.looking.finished:
            reel.looking = None  # another run looked meanwhile

    def _tile_done(self, reel: ReelRun, tile: int, summary: TileSummary) -> None:
        assert reel.plan is not None  # a tile comes from a plan
        assert reel.board is not None
        reel.board.done(tile)
        reel.restored += summary.ours
        self._tell.computed(summary.restore_seconds)
        self._tell(TileDone(reel.name, tile, reel.plan.tile_frames[tile], summary.tile_id, summary.host))

    def _failed(self, work: Work, failure: Failure) -> None:
        reel, now = self._reels[work.reel], self._clock()
        silent = self._silent(work, failure, now)
        if work.step == "quarantine":
            self._not_recorded(reel, failure, now, told=silent is not None)
            return
        # Waiting has been of no use for a quarter of an hour.
        kind = Kind.FINAL if silent is not None and self._outages.lasts(silent, now) else failure.kind
        if work.step == "tile":
            assert reel.board is not None  # a tile comes from a board
            verdict = reel.board.failed(work.tile, kind, self._limits, now, held=failure.held)
            tries = reel.board.tries(work.tile)
            if failure.held:
                self._hold(Restored(replace(work, restorer=-1, needs=self._out), failure.ticket, now + verdict.wait_s))
        elif work.step == "survey":
            assert reel.looking is not None  # a span comes from a board
            verdict = reel.looking.failed(work.tile, kind, self._limits, now)
            tries = reel.looking.tries(work.tile)
        else:
            record = reel.prepare_record if work.step == "prepare" else reel.publish_record
            verdict = record.judge(kind, self._limits, now)
            tries = record.tries
            reel.again_at = now + verdict.wait_s
            if work.step == "publish":
                # From the ledger again: what publishing missed of it is restored anew.
                reel.plan, reel.board, reel.publishing = None, None, False
        tile = work.tile if work.step == "tile" else None
        if isinstance(failure.error, RefusedError):
            # Not broken: there may be a good deliverable, and a quarantine record beside it would say otherwise.
            self._end(reel, "refused", str(failure.error))
        elif verdict.retry:
            if silent is None:  # else the outage is told, once for all that it hinders
                told = work.tile if work.step == "tile" else -1
                self._tell(TileRetried(reel.name, told, f"{work.step}: {failure.kind.value}: {failure.error}"))
        else:
            self._let_go(reel)
            reel.lost, reel.again_at = Lost(failure.error, tile, tries), now

    def _not_recorded(self, reel: ReelRun, failure: Failure, now: float, *, told: bool) -> None:
        """Its own record alone decides: a reel whose storage has long been silent is told of for as long again."""
        verdict = reel.quarantine_record.judge(failure.kind, self._limits, now)
        reel.again_at = now + verdict.wait_s
        if not verdict.retry:
            self._end_unrecorded(reel, str(failure.error))
        elif not told:
            self._tell(TileRetried(reel.name, -1, f"quarantine: {failure.kind.value}: {failure.error}"))

    def _end_unrecorded(self, reel: ReelRun, why: str) -> None:
        assert reel.lost is not None
        self._end(reel, "quarantined", f"{reel.lost.error} | its quarantine record could not be written: {why}")

    def _silent(self, work: Work, failure: Failure, now: float) -> str | None:
        """The storage that did not answer a step, where that is why it failed; it is noted, and told."""
        error = failure.error
        if failure.kind is not Kind.TRANSIENT or not isinstance(error, StorageError) or error.where is None:
            return None
        storage = store.storage_of(error.where)
        if storage not in work.needs:
            return None
        if news := self._outages.failed(storage, now):
            self._tell(StorageSilent(storage, now - news.since, news.next_try - now, f"{error.where}: {error.what}"))
        return storage

    def _hold(self, restored: Restored) -> None:
        self._restored.append(restored)
        self._budget.take(restored.work.size)

    def _let_go(self, reel: ReelRun) -> None:
        """Of all that is under way for a reel."""
        for ticket in [t for t, w in self._work.items() if w.reel == reel.number]:
            self._release(self._work.pop(ticket))
            self._executor.forget(ticket)
        for held in [r for r in self._restored if r.work.reel == reel.number]:
            self._restored.remove(held)
            self._budget.give(held.work.size)
            self._executor.forget(held.ticket)

    def _end(self, reel: ReelRun, status: OutcomeStatus, reason: str | None = None, detail: object = None) -> None:
        self._let_go(reel)
        reel.lost = None
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
