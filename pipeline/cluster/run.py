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
from pipeline.cluster.progress import Event, Listener, NightUnwritten, RunStarted
from pipeline.cluster.ray_executor import RayExecutor
from pipeline.cluster.session import connected
from pipeline.cluster.work import Job
from pipeline.errors import CallError, StorageError
from pipeline.publish import night
from pipeline.storage import store
from pipeline.types import ReelOutcome

_CLEARING_S = 10.0
"""Seconds that the nodes may take at a run's end to remove what they hold on scratch."""
_STOP_CLEARING_S = 0.5
"""The same when the run is stopped, which is to take 3 s in all."""
_PAGE_S = 120.0
"""Seconds that writing the night's page may take: a storage that does not answer must not hold the run's end up."""
_STOP_PAGE_S = 1.0
"""The same when the run is stopped; the next run writes it then."""


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
            page = Page(job.out)
            executor.close(_CLEARING_S if stop.signal is None else _STOP_CLEARING_S)
            if why := page.missing(_PAGE_S if stop.signal is None else _STOP_PAGE_S):
                told(NightUnwritten(why))
    with contextlib.suppress(StorageError):
        # What a worker of this machine still held when it was told to let go.
        steps.sweep(job.spec, run=job.run)
    return RunResult(outcomes, stop.signal)


class Page:
    """The night's page, written beside whatever else a run's end takes."""

    def __init__(self, out: str):
        self._problem: str | None = None
        # A daemon: where it hangs, the process ends all the same; the page under its name is whole at every time.
        self._thread = threading.Thread(target=self._write, args=(out,), daemon=True)
        self._thread.start()

    def _write(self, out: str) -> None:
        try:
            night.write(out)
        except StorageError as error:
            self._problem = str(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the page, the reels are restored
            self._problem = f"{type(error).__name__}: {error}"

    def missing(self, patience_s: float) -> str | None:
        """Why it could not be written, after waiting so long at most; None where it was."""
        self._thread.join(patience_s)
        return f"it is not written after {patience_s:g} s" if self._thread.is_alive() else self._problem


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
