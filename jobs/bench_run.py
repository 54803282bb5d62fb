"""One ``reelmend restore`` in a process of its own, looked at from outside."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.bench_processes import Cpu, Role, Watch
from pipeline.errors import ReelmendError
from pipeline.publish import layout
from pipeline.storage.ledger import Ledger
from pipeline.types import TileRecord

_LONGEST_S = 3600.0
"""A run that takes longer is broken."""
_STOP_S = 20.0
"""A run stops within 3 s of being told to; this is for a machine that has much else to do."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen of a run that ended well. Times are ``time.time()``."""

    began: float
    ended: float
    lines: Sequence[tuple[float, str]]
    """What it told on stderr, with the times of arrival."""
    watch: Watch
    records: Sequence[TileRecord]
    """The ledger's, in the order of the tiles."""

    def line(self, words: str) -> float:
        """When a line with these words came. Raises ReelmendError where none did."""
        for when, text in self.lines:
            if words in text:
                return when
        raise ReelmendError(f"the run never said {words!r}, but: {self.lines[-1:]}", where="bench")

    @property
    def planned(self) -> float:
        return self.line(" frames in ")

    @property
    def done(self) -> float:
        return self.line(": done, ")

    @property
    def handed_out(self) -> float:
        """When the first tile could be: the plan was there, and a restorer with its nets."""
        ready = [s.ready for s in self.watch.of("restorer") if s.ready is not None]
        if not ready:
            raise ReelmendError("no restorer was seen to be ready", where="bench")
        return max(self.planned, min(ready))

    def cpu_between(self, first: float, last: float) -> tuple[dict[Role, float], float]:
        """CPU seconds that each role, and all else on the machine, used between two times."""
        a, b = _nearest(self.watch.cpu, first), _nearest(self.watch.cpu, last)
        roles = {role: used - a.by_role.get(role, 0.0) for role, used in b.by_role.items()}
        return roles, max(0.0, b.machine - a.machine - sum(roles.values()))

    @property
    def idle_share(self) -> float:
        """Share of the restorers' time, each from its first tile's start to its last one's end, that none computed."""
        # Each end is seen half a look late or early.
        spans = [s.working[1] - s.working[0] + self.watch.every_s for s in self.watch.of("restorer") if s.working]
        computed = sum(r.seconds["restore"] for r in self.records)
        return max(0.0, 1 - computed / sum(spans)) if sum(spans) else 0.0


def _nearest(seen: Sequence[Cpu], when: float) -> Cpu:
    return min(seen, key=lambda c: abs(c.when - when))


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say on stderr what is being measured, and how long it took."""
    print(f"bench: {what} …", file=sys.stderr, flush=True)
    began = time.monotonic()
    yield
    print(f"bench: {what}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def restore(source: Path | str, out: Path, *words: str, every_s: float = 0.05) -> Run:
    """Restore one film into a new folder and keep its ledger. Raises ReelmendError where it does not end well."""
    command = [sys.executable, "-m", "jobs.cli", "restore", str(source), "--out", str(out), "--set", "keep_work=true"]
    lines: list[tuple[float, str]] = []
    name = Path(source)
    with told(f"restore {name.name} {' '.join(words)}".strip()):
        began = time.time()
        process = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own command
        watch = Watch(process.pid, every_s).start()
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True, name="bench-lines")
        reader.start()
        try:
            status = process.wait(_LONGEST_S)
        finally:
            if process.poll() is None:
                process.terminate()  # so that it takes its Ray down
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
            watch.stop()
        ended = time.time()
        reader.join(5.0)
    if status:
        said = " / ".join(text for _, text in lines[-3:])
        raise ReelmendError(f"a run to be measured ended with status {status}: {said}", where=str(source))
    ledger = Ledger(layout.work_dir(str(out), name.stem))
    records = sorted(ledger.read(sorted(ledger.done())), key=lambda r: r.number)
    return Run(began, ended, lines, watch, records)


def _read(process: subprocess.Popen[str], lines: list[tuple[float, str]]) -> None:
    assert process.stderr is not None  # it is a pipe
    for line in process.stderr:
        lines.append((time.time(), line.rstrip()))
