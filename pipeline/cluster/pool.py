"""The pool of restoring actors: started, checked, replaced when they die."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster import steps
from pipeline.cluster.capacity import Capacity
from pipeline.cluster.faults import classify
from pipeline.cluster.tasks import same_code
from pipeline.cluster.work import Decoded, Job, ReelWork, Restored
from pipeline.errors import CallError
from pipeline.plan.make import chain_of

if TYPE_CHECKING:
    from pipeline.cluster.restorer import TileRestorer

_FAILED_STARTS = 3
"""Restorers in a row that fail to start before a run is given up."""
_CRASHED_STARTS = 10
"""The same where their process died: with a lost node several die at once."""


class RestorerActor:
    """A TileRestorer behind Ray."""

    def __init__(self) -> None:
        self._restorer: TileRestorer | None = None

    def load(self, job: Job, device: str, code: str) -> str:
        """Load the nets; gives the device's model. Not at creation: what a method raises, Ray passes on whole."""
        # Here and not above: the driver, which imports this file too, computes nothing.
        from pipeline.cluster.restorer import TileRestorer

        same_code(code)
        self._restorer = TileRestorer(chain_of(job.spec, job.nets), job.spec, job.nets, device)
        return self._restorer.device

    def begin(self, work: ReelWork, decoded: Decoded) -> None:
        """The tile's first frames go up to the device while another tile is restored."""
        if self._restorer is not None:
            self._restorer.begin(work, decoded)

    def restore(self, work: ReelWork, decoded: Decoded) -> Restored:
        """The tile's core, restored; only after ``load``."""
        assert self._restorer is not None
        return self._restorer.restore(work, decoded)


_AHEAD = "ahead"
ACTORS: Mapping[str, Any] = {
    "cpu": ray.remote(max_restarts=0, max_task_retries=0)(RestorerActor),
    # With a thread of its own for what goes up beside the computing.
    "cuda": ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={_AHEAD: 1})(RestorerActor),
}
"""By kind of device."""


def begin(actor: Any, work: Any, decoded: Any) -> Any:
    """Have an actor send a tile's first frames up once they are decoded; nobody need wait for the ref."""
    return actor.begin.options(concurrency_group=_AHEAD).remote(work, decoded)


class Pool:
    """Restorers by number. A number is never used twice."""

    def __init__(self, job: Job, room: Capacity):
        self._job = ray.put(job)
        self._room = room
        self._next = 0
        self._failed_starts = 0
        self._starting: dict[Any, int] = {}
        """Ref of ``load()`` → restorer."""
        self._actors: dict[int, Any] = {}
        self._where: dict[int, str] = {}
        """Restorer → node, also of those that are gone."""
        self._ready: set[int] = set()
        self._retired: set[int] = set()
        self._places: Mapping[str, int] = {}
        self.device = room.device
        self.resize(room.places)

    def _start(self, node: str) -> None:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": there}
        if self._room.gpus_per_restorer:
            options["num_gpus"] = self._room.gpus_per_restorer
        device = "cuda:0" if self._room.device == "cuda" else "cpu"
        actor = ACTORS[self._room.device].options(**options).remote()
        self._actors[self._next] = actor
        self._where[self._next] = node
        self._starting[actor.load.remote(self._job, device, steps.code_digest())] = self._next
        self._next += 1

    @property
    def pending(self) -> list[Any]:
        """Refs to wait for besides the work's own: of restorers that start."""
        return list(self._starting)

    @property
    def ready(self) -> list[int]:
        return sorted(self._ready)

    def restore(self, number: int, work: Any, decoded: Any) -> Any:
        """A ref of the restored tile, of refs of its work and of its decoded frames."""
        actor = self._actors[number]
        if self._room.device == "cuda":
            begin(actor, work, decoded)
        return actor.restore.remote(work, decoded)

    def started(self, ref: Any) -> None:
        """A pending ref is there. Raises the error of a restorer that cannot start, after a few in a row."""
        number = self._starting.pop(ref)
        try:
            self.device = ray.get(ref)
        except ray.exceptions.RayError as error:
            self._kill(number)
            if isinstance(error, ray.exceptions.ActorUnschedulableError):
                return  # its node is gone, which the next look at the cluster will tell
            self._failed_starts += 1
            told_why = isinstance(error, ray.exceptions.RayTaskError)
            if self._failed_starts >= (_FAILED_STARTS if told_why else _CRASHED_STARTS):
                _, told = classify(error)
                raise CallError(
                    f"no restorer starts: {told}",
                    where="cluster",
                    todo="Check weights, memory and the reelmend version on every node",
                ) from None
            self.resize(self._places)
        else:
            self._failed_starts = 0
            self._ready.add(number)

    def died(self, number: int) -> None:
        """A restorer is gone: another takes its place, as long as its node is held to be alive."""
        if number in self._actors:
            self._kill(number)
            self.resize(self._places)

    def resize(self, places: Mapping[str, int]) -> None:
        """Start and stop restorers until every node has as many as it should; a node that is gone has none."""
        self._places = places
        starting = set(self._starting.values())
        for node in {*places, *(self._where[n] for n in self._actors)}:
            here = sorted((n for n in self._actors if self._where[n] == node), key=lambda n: (n in starting, n))
            for number in here[places.get(node, 0) :]:
                self._kill(number)
                self._retired.add(number)
            for _ in range(places.get(node, 0) - len(here)):
                self._start(node)

    def retired(self, number: int) -> bool:
        """Whether a restorer was stopped by ``resize``: what failed on it says nothing about its tile."""
        return number in self._retired

    def _kill(self, number: int) -> None:
        ray.kill(self._actors.pop(number), no_restart=True)
        self._ready.discard(number)
        self._starting = {ref: n for ref, n in self._starting.items() if n != number}

    def close(self) -> None:
        """Stop every restorer at once."""
        for actor in self._actors.values():
            ray.kill(actor, no_restart=True)
        self._actors.clear()
        self._ready.clear()
