"""The pool of restoring actors: started, checked, replaced when they die."""

from __future__ import annotations

from typing import Any

import ray

from pipeline.cluster import steps
from pipeline.cluster.capacity import Capacity
from pipeline.cluster.restorer import TileRestorer
from pipeline.cluster.work import Decoded, Job, ReelWork, Restored
from pipeline.errors import CallError, ReelmendError
from pipeline.plan.make import chain_of

_FAILED_STARTS = 3
"""Restorers in a row that fail to start before a run is given up."""


class RestorerActor:
    """A TileRestorer behind Ray."""

    def __init__(self, job: Job, device: str, code: str):
        if steps.code_digest() != code:
            raise CallError(
                f"this worker runs another reelmend ({steps.code_digest()[:12]}) than the driver ({code[:12]})",
                where=ray.util.get_node_ip_address(),
                todo="Install the same version on every node",
            )
        self._restorer = TileRestorer(chain_of(job.spec, job.nets), job.spec, job.nets, device)

    def device(self) -> str:
        """Model of the device: answers as soon as the nets are loaded."""
        return self._restorer.device

    def restore(self, work: ReelWork, decoded: Decoded) -> Restored:
        return self._restorer.restore(work, decoded)


_ACTOR: Any = ray.remote(max_restarts=0, max_task_retries=0)(RestorerActor)


class Pool:
    """Restorers by number. A number is never used twice."""

    def __init__(self, job: Job, room: Capacity):
        self._job = ray.put(job)
        self._room = room
        self._next = 0
        self._failed_starts = 0
        self._starting: dict[Any, int] = {}
        """Ref of ``device()`` → restorer."""
        self._actors: dict[int, Any] = {}
        self._ready: set[int] = set()
        self.device = room.device
        for _ in range(room.restorers):
            self._start()

    def _start(self) -> None:
        options: dict[str, Any] = {"num_cpus": self._room.cpus_per_restorer, "scheduling_strategy": "SPREAD"}
        if self._room.gpus_per_restorer:
            options["num_gpus"] = self._room.gpus_per_restorer
        device = "cuda:0" if self._room.device == "cuda" else "cpu"
        actor = _ACTOR.options(**options).remote(self._job, device, steps.code_digest())
        self._actors[self._next] = actor
        self._starting[actor.device.remote()] = self._next
        self._next += 1

    @property
    def pending(self) -> list[Any]:
        """Refs to wait for besides the work's own: of restorers that start."""
        return list(self._starting)

    @property
    def ready(self) -> list[int]:
        return sorted(self._ready)

    def actor(self, number: int) -> Any:
        return self._actors[number]

    def started(self, ref: Any) -> None:
        """A pending ref is there. Raises the error of a restorer that cannot start, after a few in a row."""
        number = self._starting.pop(ref)
        try:
            self.device = ray.get(ref)
        except ray.exceptions.RayError as error:
            self._actors.pop(number, None)
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS:
                cause = getattr(error, "cause", None)
                found = cause if isinstance(cause, ReelmendError) else error
                raise CallError(
                    f"no restorer starts: {' '.join(str(found).split())[-500:]}",
                    where="cluster",
                    todo="Check weights, device memory and the reelmend version on every node",
                ) from None
            self._start()
        else:
            self._failed_starts = 0
            self._ready.add(number)

    def died(self, number: int) -> None:
        """A restorer is gone: another takes its place as soon as the cluster has room."""
        if number in self._actors:
            ray.kill(self._actors.pop(number), no_restart=True)
            self._ready.discard(number)
            self._start()

    def grow(self, restorers: int) -> None:
        """Start more where the cluster has grown."""
        for _ in range(restorers - len(self._actors)):
            self._start()

    def close(self) -> None:
        """Stop every restorer at once."""
        for actor in self._actors.values():
            ray.kill(actor, no_restart=True)
        self._actors.clear()
        self._ready.clear()
