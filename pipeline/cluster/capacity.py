"""How a job sits on a cluster: restorers, tasks, bytes. A pure function of the nodes and the spec."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline import spec
from pipeline.errors import CallError

_ACTOR_SHARE = 0.5
"""CPUs that Ray counts for each thread of a CPU restorer. It computes on a whole core; counting half leaves Ray the
room to start decode and encode tasks beside it, and the operating system shares the cores out: none idles, and nothing
deadlocks on one core."""
_STORE_SHARE = 0.4
"""Share of the object stores that pictures under way may fill; Ray spills to disk when they are full."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a job may use."""

    device: str
    """``cuda`` or ``cpu``."""
    restorers: int
    cpus_per_restorer: float
    gpus_per_restorer: float
    task_cpus: float
    in_flight_bytes: int
    depth: int
    """Tiles that wait at, or run on, one restorer: enough for decoding to keep ahead of it."""
    nodes: int


def capacity(nodes: Sequence[Mapping[str, float]], say: spec.Cluster, engine: spec.Engine) -> Capacity:
    """nodes: the resources (``CPU``, ``GPU``, ``object_store_memory`` in bytes) of each node that is alive.

    Raises CallError where the cluster has no CPU.
    """
    cpus = [n.get("CPU", 0.0) for n in nodes]
    gpus = [n.get("GPU", 0.0) for n in nodes]
    if not sum(cpus):
        raise CallError("the cluster has no CPUs", where="--address", todo="Start nodes with at least one CPU")
    on_gpu = say.use_gpu == "auto" and sum(gpus) >= say.gpus_per_restorer
    if on_gpu:
        each_cpu, each_gpu = _ACTOR_SHARE, say.gpus_per_restorer
        fit = sum(math.floor(g / each_gpu + 1e-9) for g in gpus)
    else:
        each_cpu, each_gpu = _ACTOR_SHARE * engine.cpu_threads, 0.0
        fit = sum(int(c) // engine.cpu_threads for c in cpus)
        if not fit:  # fewer cores than threads: one restorer on the largest node, its threads share the cores
            fit, each_cpu = 1, _ACTOR_SHARE * max(cpus)
    restorers = min(say.restorers or max(1, fit), max(1, fit))
    task_cpus = min(say.task_cpus, _ACTOR_SHARE * max(cpus))
    slots = max(1, int((sum(cpus) - restorers * each_cpu) / task_cpus))
    stores = sum(n.get("object_store_memory", 0.0) for n in nodes)
    in_flight = say.in_flight_gib * 2**30 if say.in_flight_gib else stores * _STORE_SHARE
    return Capacity(
        device="cuda" if on_gpu else "cpu",
        restorers=restorers,
        cpus_per_restorer=each_cpu,
        gpus_per_restorer=each_gpu,
        task_cpus=task_cpus,
        in_flight_bytes=max(1, int(in_flight)),
        depth=2 + math.ceil(slots / (2 * restorers)) if on_gpu else 2,
        nodes=len(nodes),
    )
