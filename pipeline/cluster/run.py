"""One call of ``restore``, from a job to its outcomes."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from pipeline.cluster import steps
from pipeline.cluster.loop import Loop
from pipeline.cluster.metrics import Metrics
from pipeline.cluster.policy import Limits
from pipeline.cluster.progress import Event, Listener, RunStarted
from pipeline.cluster.ray_executor import RayExecutor
from pipeline.cluster.session import connected
from pipeline.cluster.work import Job
from pipeline.errors import CallError, StorageError
from pipeline.storage import store
from pipeline.types import ReelOutcome

_CLEARING_S = 10.0
"""Seconds that the nodes may take at a run's end to remove what they hold on scratch."""
_STOP_CLEARING_S = 0.5
"""The same when the run is stopped, which is to take 3 s in all."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    outcomes: Sequence[ReelOutcome]
    signal: int | None
    """The signal that stopped it, or None."""


def run_job(job: Job, listener: Listener, *, address: str = "local") -> RunResult:
    """Restore every reel of a job. Raises CallError where nothing could be begun: no cluster, no output, no restorer.

    SIGTERM and SIGINT stop it within 3 s; what the ledger holds by then is kept.
    """
    try:
        store.list_names(job.out)
    except StorageError as error:
        raise CallError(error.what, where=error.where, todo=error.todo) from None
    # Inside: Ray, too, takes SIGTERM for itself when it connects.
    with connected(address, cpus=job.spec.cluster.local_cpus), _signals() as stop:
        executor = RayExecutor(job)
        told = _both(listener, Metrics())
        told(RunStarted(len(job.sources), executor.room.restorers, executor.room.device))
        try:
            loop = Loop(
                job.sources,
                executor,
                told,
                out=job.out,
                limits=Limits(application=job.spec.cluster.tries, crash=job.spec.cluster.crashes),
                budget=executor.room.in_flight_bytes,
                depth=executor.room.depth,
                clock=time.monotonic,
                stopping=lambda: stop.signal is not None,
            )
            outcomes = loop.run()
        finally:
            executor.close(_CLEARING_S if stop.signal is None else _STOP_CLEARING_S)
    with contextlib.suppress(StorageError):
        # What a worker of this machine still held when it was told to let go.
        steps.sweep(job.spec, run=job.run)
    return RunResult(outcomes, stop.signal)


def _both(listener: Listener, metrics: Listener) -> Listener:
    """The run's listener, and the figures for Prometheus: what goes wrong with those is no concern of the run."""

    def tell(event: Event) -> None:
        with contextlib.suppress(Exception):
            metrics(event)
        listener(event)

    return tell


class _Stop:
    signal: int | None = None


@contextmanager
def _signals() -> Iterator[_Stop]:
    """SIGTERM and SIGINT set a flag that the loop looks at five times a second."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(number: int, _frame: FrameType | None) -> None:
        stop.signal = stop.signal or number

    before = {s: signal.signal(s, handler) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
