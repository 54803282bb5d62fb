"""``reelmend bench``: what Reelmend costs on this machine, printed and written down."""

from __future__ import annotations

import datetime
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jobs.bench_audit import audit
from jobs.bench_figures import figures
from jobs.bench_memory import memory
from jobs.bench_net import actors, net_part
from jobs.bench_orchestration import orchestration
from jobs.bench_planning import planning
from jobs.bench_reads import reads
from jobs.bench_report import Measured, Part, document, machine, section, table
from jobs.bench_start import first_tile, restorer_idle, task_cores
from jobs.bench_training import training
from pipeline.errors import CallError

PARTS: Mapping[str, Callable[[Path], Part]] = {
    "planning": planning,
    "first-tile": first_tile,
    "restorer-idle": restorer_idle,
    "task-cores": task_cores,
    "reads": reads,
    "memory": memory,
    "orchestration": orchestration,
    "actors": actors,
    "figures": figures,
    "audit": audit,
    "training": training,
}
"""Part → measures it, in an empty folder that is removed afterwards."""
QUICK: Mapping[str, Callable[[Path], Part]] = {
    "audit-quick": partial(audit, reels=5, frames=6_000, name="audit-quick"),
    "memory-quick": partial(memory, frames=120, times=4, name="memory-quick"),
    "orchestration-quick": partial(
        orchestration, frames=240, width=160, height=120, samples=4, name="orchestration-quick"
    ),
}
"""Smaller forms of the long ones, for a first look; not run unless they are asked for."""

_LONGEST_SIZE = 12


def run_bench(out: Path | None, only: Sequence[str] | None) -> int:
    """Measure ``only`` these parts, or all; print each as it is done, and write all of them to ``out``.

    A goal that is missed is said, and is no failure of the command. Raises CallError for a part that there is not.
    """
    every = {**PARTS, **QUICK}
    chosen = list(dict.fromkeys(only or PARTS))
    for name in chosen:
        if name not in every:
            raise CallError(f"there is no part {name!r}", where="--only", todo=f"Known are {', '.join(every)}")
    if out is not None and not out.absolute().parent.is_dir():
        raise CallError("there is no such folder", where=str(out.parent), todo="Make it, or give another --out")
    print("\n".join(table(("measured on", ""), machine())), flush=True)
    measured = [_measure(every[name]) for name in chosen]
    if out is not None:
        out.write_text(document(measured, when=datetime.date.today().isoformat()), encoding="utf-8")
    return 0


def run_bench_net(out: Path | None, size: str, nets: Sequence[str], **said: Any) -> int:
    """Measure nets; print each as it is done, and write all of them to ``out``. Raises CallError, ReelmendError."""
    width, sign, height = size.partition("x")
    if not (sign and width.isdecimal() and height.isdecimal() and len(size) < _LONGEST_SIZE):
        raise CallError(f"a size is WIDTHxHEIGHT in px, got {size[:40]!r}", where="--size")
    print("\n".join(table(("measured on", ""), machine())), flush=True)

    def part(net: str) -> Callable[[Path], Part]:
        return lambda _: net_part(net, width=int(width), height=int(height), **said)

    measured = [_measure(part(net)) for net in nets]
    if out is not None:
        out.write_text(document(measured, when=datetime.date.today().isoformat()), encoding="utf-8")
    return 0


def _measure(part: Callable[[Path], Part]) -> Measured:
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reelmend-bench-", ignore_cleanup_errors=True) as folder:
        found = part(Path(folder))
    measured = Measured(found, time.monotonic() - began, load)
    print(f"\n{section(measured)}", flush=True)
    return measured
