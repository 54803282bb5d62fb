"""How a job sits on a cluster: restorers, tasks, bytes. A pure function of the nodes and the spec."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import spec
from pipeline.errors import CallError

_STORE_SHARE = 0.4
"""Share of the object stores that pictures under way may fill; Ray spills to disk when they are full."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a job may use."""

    device: str
    """``cuda`` or ``cpu``."""
    places: Mapping[str, int]
    """Node id → restorers on it."""
    gpus_per_restorer: float
    task_cpus: float
    in_flight_bytes: int
    depth: int
    """Tiles that wait at, or run on, one restorer: enough for decoding to keep ahead of it."""

    @property
    def restorers(self) -> int:
        return sum(self.places.values())

    @property
    def nodes(self) -> int:
        return len(self.places)


def capacity(nodes: Mapping[str, Mapping[str, float]], say: spec.Cluster, engine: spec.Engine) -> Capacity:
    """nodes: node id → resources (``CPU``, ``GPU``, ``object_store_memory`` in bytes) of each node that is alive.

    Restorers are given to nodes here, and take no CPUs of Ray's accounts: a CPU restorer computes on cores that tasks
    use too, and the operating system shares them out, so that no core idles, and so that restorers, of this run or of
    another, never leave decoding without a CPU to start on. Raises CallError where the cluster has no CPU.
    """
    cpus = {n: r.get("CPU", 0.0) for n, r in nodes.items()}
    gpus = {n: r.get("GPU", 0.0) for n, r in nodes.items()}
    if not sum(cpus.values()):
        raise CallError("the cluster has no CPUs", where="--address", todo="Start nodes with at least one CPU")
    on_gpu = say.use_gpu == "auto" and max(gpus.values()) >= say.gpus_per_restorer
    if on_gpu:
        fit = {n: math.floor(g / say.gpus_per_restorer + 1e-9) for n, g in gpus.items()}
    else:
        fit = {n: int(c) // engine.cpu_threads for n, c in cpus.items()}
        if not any(fit.values()):  # fewer cores than threads: its threads share the cores
            fit[max(cpus, key=lambda n: cpus[n])] = 1
    places = _spread(fit, say.restorers)
    task_cpus = min(say.task_cpus, max(cpus.values()))
    slots = max(1, int(sum(cpus.values()) / task_cpus))
    stores = sum(r.get("object_store_memory", 0.0) for r in nodes.values())
    in_flight = say.in_flight_gib * 2**30 if say.in_flight_gib else stores * _STORE_SHARE
    return Capacity(
        device="cuda" if on_gpu else "cpu",
        places=places,
        gpus_per_restorer=say.gpus_per_restorer if on_gpu else 0.0,
        task_cpus=task_cpus,
        in_flight_bytes=max(1, int(in_flight)),
        depth=2 + math.ceil(slots / (2 * sum(places.values()))) if on_gpu else 2,
    )


def _spread(fit: Mapping[str, int], wanted: int | None) -> dict[str, int]:
    """Restorers by node: as many as fit, or as wanted, one more on the emptiest node at a time."""
    places = dict.fromkeys(fit, 0)
    for _ in range(min(wanted or sum(fit.values()), sum(fit.values()))):
        open_nodes = [n for n in fit if places[n] < fit[n]]
        places[min(open_nodes, key=lambda n: (places[n], n))] += 1
    return places
