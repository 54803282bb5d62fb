"""``reelmend restore``: restore reels, from and to any storage, on Ray."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Sequence
from pathlib import Path

from jobs.common import check_shots, find_nets, find_sources, find_span, load_spec, print_json, take_shard
from jobs.display import Display
from jobs.journal import Journal
from pipeline.cluster.progress import Event, Listener
from pipeline.cluster.run import RunResult, run_job
from pipeline.cluster.work import Job
from pipeline.storage import store


def make_job(
    sources: Sequence[str],
    out: str,
    *,
    config: str,
    overrides: Sequence[str] = (),
    frames: str | None = None,
    overwrite: bool = False,
    shard: str | None = None,
    bag: bool = False,
) -> Job:
    """A call's words as a job. Raises CallError or ConfigError before any work."""
    spec = load_spec(config, overrides)
    local = store.local_path(out)
    reels = find_sources(sources, out=out)
    check_shots(spec, [name for _, name in reels])
    return Job(
        sources=take_shard(reels, shard),
        # Workers have folders of their own: a relative path would mean another place to each.
        out=str(Path(local).resolve()) if local is not None else out,
        spec=spec,
        nets=find_nets(spec),
        frames=find_span(frames),
        overwrite=overwrite,
        bag=bag,
    )


def restore(job: Job, *, address: str, as_json: bool, log: str | None = None) -> int:
    """Run a job; the exit status: 0 all done, 1 some reel not, 128 + n where signal n stopped it.

    log: a file to which the run's events are appended as JSON lines; ``-``: stderr, in place of what people read.
    """
    with contextlib.ExitStack() as stack:
        listeners: list[Listener] = []
        if log is not None:
            listeners.append(stack.enter_context(Journal(log)))
        if log != "-":
            listeners.append(stack.enter_context(Display()))

        def listen(event: Event) -> None:
            for listener in listeners:
                listener(event)

        result = run_job(job, listen, address=address)
    if as_json:
        print_json({"out": job.out, "reels": [dataclasses.asdict(o) for o in result.outcomes]})
    return exit_status(result)


def exit_status(result: RunResult) -> int:
    """The exit status that a run's outcomes ask for."""
    if result.signal is not None:
        return 128 + signal.Signals(result.signal).value
    return 0 if all(o.status in ("done", "already") for o in result.outcomes) else 1
