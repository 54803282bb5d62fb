"""The Executor over Ray: tasks, the pool of actors, refs. The driver fetches small results only, never pixels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster import steps, tasks
from pipeline.cluster.capacity import Capacity, capacity
from pipeline.cluster.executor import Failure, PlanSummary, Step, Success, SurveySummary, Ticket
from pipeline.cluster.faults import classify
from pipeline.cluster.policy import Kind
from pipeline.cluster.pool import Pool
from pipeline.cluster.session import alive_nodes, answering
from pipeline.cluster.work import Job, ReelWork, SurveyWork
from pipeline.errors import CallError, StorageError
from pipeline.publish import quarantine
from pipeline.types import Curves, FrameIndex, Plan, Tile

_LOOK_S = 5.0
"""Seconds between two looks at which nodes are alive."""
_UNDECIDED_S = 30.0
"""A process that died may have died with its node, which a cluster takes seconds to notice: wait so long to know."""
_SURE_S = 3.0
"""Seconds after which a crash is one, where every node still answers: a dying machine's raylet may outlive a worker."""


@dataclass(slots=True)
class _Pending:
    ticket: Ticket
    step: Step
    refs: tuple[Any, ...]
    """The last one is waited for; the others are held for it."""
    reel: int
    restorer: int
    nodes: frozenset[str]
    """The nodes that were alive when it was handed out."""


@dataclass(slots=True)
class _Undecided:
    pending: _Pending
    error: BaseException
    since: float


@dataclass(slots=True)
class _Held:
    """Refs of a reel that is being worked on."""

    work: Any
    plan: Any
    index: Any
    tiles: Sequence[Tile]
    tile_ids: Sequence[str]
    staged: bool
    """Nodes may hold a copy of the source."""
    curves: Curves | None = None
    """Of the whole reel; each tile is given those of the frames it reads."""


@dataclass(slots=True)
class _Looked:
    """Refs of a reel that is being surveyed."""

    work: Any
    index: Any
    staged: bool


class RayExecutor:
    """See ``Executor``."""

    def __init__(self, job: Job):
        self._nodes = alive_nodes()
        self._looked = time.monotonic()
        self._asked = 0.0
        self._answered = answering(self._nodes)
        """Nodes that took a connection from here once; from outside a cluster's network none may."""
        self.room: Capacity = self._capacity(job)
        self._job = job
        self._job_ref = ray.put(job)
        self._code = steps.code_digest()
        self.pool = Pool(job, self.room)
        options = {"num_cpus": self.room.task_cpus, "max_retries": 0}
        self._prepare = ray.remote(tasks.prepare).options(**options)
        self._survey = ray.remote(tasks.survey).options(**options, scheduling_strategy="SPREAD")
        self._decode = ray.remote(tasks.decode).options(**options, scheduling_strategy="SPREAD")
        self._encode = ray.remote(tasks.encode).options(**options)
        self._publish = ray.remote(tasks.publish).options(**options)
        # No CPU: it waits for storage, and must not wait for what a full cluster does.
        self._record = ray.remote(num_cpus=0, max_retries=0)(quarantine.put)
        self._unstage = ray.remote(num_cpus=0, max_retries=0)(tasks.unstage)
        self._unstaging: list[Any] = []
        sweep = ray.remote(num_cpus=0, max_retries=0)(tasks.sweep)
        for node in self._nodes:
            sweep.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True)).remote(job.spec)
        self._tickets = 0
        self._pending: dict[Any, _Pending] = {}
        self._restored: dict[Ticket, _Pending] = {}
        """Tiles whose restored pictures are held for another try of encoding."""
        self._undecided: list[_Undecided] = []
        self._held: dict[int, _Held] = {}
        self._looked_at: dict[int, _Looked] = {}

    def _capacity(self, job: Job) -> Capacity:
        return capacity({i: n.resources for i, n in self._nodes.items()}, job.spec.cluster, job.spec.engine)

    def _places(self) -> Mapping[str, int]:
        """Where restorers can stand now. Nowhere, while the last node with CPUs (or GPUs) is gone: it may come back."""
        try:
            room = self._capacity(self._job)
        except CallError:
            return {}
        return room.places if room.device == self.room.device else {}

    # -- steps

    def prepare(self, reel: int) -> Ticket:
        return self._hand_out(
            "prepare", reel, (self._prepare.remote(self._job_ref, reel, self.room.nodes, self._code),)
        )

    def survey(self, reel: int, span: int) -> Ticket:
        looked = self._looked_at[reel]
        return self._hand_out("survey", reel, (self._survey.remote(looked.work, looked.index, span, self._code),))

    def tile(self, reel: int, tile: int, restorer: int, tries: int) -> Ticket:
        held, its = self._held[reel], self._held[reel].tiles[tile]
        curves = held.curves.span(its.read_first, its.read_last) if held.curves else None
        decoded = self._decode.remote(held.work, held.index, its, held.tile_ids[tile], self._code, curves)
        restored = self.pool.restore(restorer, held.work, decoded)
        # The restored pictures stay in the store until they are encoded in any case, so that a storage which does not
        # answer costs no more than that. A residual wants the source's too, as `tile_bytes` counts them; else their ref
        # is not kept, and they go as soon as the restorer has them.
        source = (decoded,) if self._job.spec.deliver.residual else ()
        encoded = self._encode.remote(held.work, restored, tries, self._code, *source)
        return self._hand_out("tile", reel, (restored, *source, encoded), restorer)

    def encode(self, ticket: Ticket, tries: int) -> Ticket:
        before = self._restored.pop(ticket)
        restored, *source = before.refs[:-1]
        encoded = self._encode.remote(self._held[before.reel].work, restored, tries, self._code, *source)
        return self._hand_out("tile", before.reel, (restored, *source, encoded))

    def publish(self, reel: int) -> Ticket:
        held = self._held[reel]
        return self._hand_out(
            "publish", reel, (self._publish.remote(held.work, held.plan, held.index, self._job_ref, self._code),)
        )

    def quarantine(self, reel: int, error: BaseException, tile: int | None, tries: int) -> Ticket:
        uri, name = self._job.sources[reel]
        entry = quarantine.entry(name, uri, error, tile=tile, tries=tries)
        return self._hand_out("quarantine", reel, (self._record.remote(self._job.out, entry),))

    def _hand_out(self, step: Step, reel: int, refs: tuple[Any, ...], restorer: int = -1) -> Ticket:
        self._tickets += 1
        self._pending[refs[-1]] = _Pending(self._tickets, step, refs, reel, restorer, frozenset(self._nodes))
        return self._tickets

    # -- results

    def restorers(self) -> Sequence[int]:
        return self.pool.ready

    def wait(self, timeout_s: float) -> list[Success | Failure]:
        results: list[Success | Failure] = []
        refs = [*self._pending, *self.pool.pending]
        if refs:
            first, _ = ray.wait(refs, num_returns=1, timeout=timeout_s, fetch_local=False)
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False) if first else ([], [])
            for ref in ready:
                if ref in self._pending:
                    results += self._ended(self._pending.pop(ref))
                else:
                    self.pool.started(ref)
        else:
            time.sleep(timeout_s)
        self._look()
        return results + self._decide()

    def _ended(self, pending: _Pending) -> list[Success | Failure]:
        try:
            value = ray.get(pending.refs[-1])
        except Exception as error:  # noqa: BLE001 - whatever a step raised is sorted by kind and told
            return self._broke(pending, error)
        if isinstance(value, StorageError):
            self._restored[pending.ticket] = pending
            return [Failure(pending.ticket, Kind.TRANSIENT, value, held=True)]
        if pending.step == "prepare":
            value = self._keep(pending.reel, value)
        return [Success(pending.ticket, value)]

    def _keep(self, reel: int, value: Any) -> PlanSummary | SurveySummary:
        """Hold a prepared reel here: what stayed on the node that prepared it would be lost with that node."""
        if isinstance(value[0], SurveySummary):
            to_look: tuple[SurveySummary, SurveyWork, FrameIndex] = value
            asked, there, index = to_look
            self._looked_at[reel] = _Looked(ray.put(there), ray.put(index), staged=there.stage)
            return asked
        prepared: tuple[PlanSummary, ReelWork, Plan, FrameIndex, Curves | None] = value
        summary, work, plan, index, curves = prepared
        self._held[reel] = _Held(
            ray.put(work), ray.put(plan), ray.put(index), plan.tiles, plan.tile_ids, work.stage, curves
        )
        return summary

    def _broke(self, pending: _Pending, error: BaseException) -> list[Success | Failure]:
        kind, told = classify(error)
        if isinstance(error, ray.exceptions.RayActorError):
            self.pool.died(pending.restorer)
            self._looked = 0.0
            kind = Kind.NODE if self.pool.retired(pending.restorer) else kind
        if pending.step == "prepare" and kind is Kind.APPLICATION and steps.is_final(told):
            kind = Kind.FINAL
        if kind is Kind.CRASH and len(pending.nodes) > 1:
            self._undecided.append(_Undecided(pending, told, time.monotonic()))
            return []
        return [Failure(pending.ticket, kind, told)]

    def _decide(self) -> list[Success | Failure]:
        """Crashes of which it is known by now whether a node went with them."""
        if not self._undecided or time.monotonic() - self._asked < 1.0:
            return []
        self._asked = time.monotonic()
        now, alive = time.monotonic(), frozenset(self._nodes)
        silent = self._answered - answering({n: self._nodes[n] for n in self._answered & alive})
        decided: list[Success | Failure] = []
        still = []
        for u in self._undecided:
            sure = now - u.since >= (_SURE_S if u.pending.nodes <= self._answered else _UNDECIDED_S)
            if u.pending.nodes - alive or u.pending.nodes & silent:
                decided.append(Failure(u.pending.ticket, Kind.NODE, u.error))
            elif sure:
                decided.append(Failure(u.pending.ticket, Kind.CRASH, u.error))
            else:
                still.append(u)
        self._undecided = still
        return decided

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < (1.0 if self._undecided else _LOOK_S):
            return
        self._looked = now
        nodes = alive_nodes()
        if nodes and nodes.keys() != self._nodes.keys():
            self._answered |= answering({n: node for n, node in nodes.items() if n not in self._nodes})
            self._nodes = nodes
            self.pool.resize(self._places())
        self._nodes = nodes or self._nodes

    def forget(self, ticket: Ticket) -> None:
        for ref, pending in list(self._pending.items()):
            if pending.ticket == ticket:
                del self._pending[ref]
                if pending.step != "tile":  # a tile's chain ends on an actor: what runs there is short, let it
                    ray.cancel(ref, force=False)
        self._undecided = [u for u in self._undecided if u.pending.ticket != ticket]
        self._restored.pop(ticket, None)

    def drop(self, reel: int) -> None:
        held, looked = self._held.pop(reel, None), self._looked_at.pop(reel, None)
        work = held.work if held and held.staged else looked.work if looked and looked.staged else None
        if work is not None:
            for node in self._nodes:
                # Every node may have copied the source. Soft: where the node is gone, so is its copy.
                there = NodeAffinitySchedulingStrategy(node, soft=True)
                self._unstaging.append(self._unstage.options(scheduling_strategy=there).remote(work))

    def close(self, patience_s: float) -> None:
        """Stop the restorers, and wait so long for scratch to be cleared; tasks under way end with the connection."""
        self.pool.close()
        if self._unstaging:
            ray.wait(self._unstaging, num_returns=len(self._unstaging), timeout=patience_s, fetch_local=False)
