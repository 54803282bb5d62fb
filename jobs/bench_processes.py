"""What a process and its descendants take, read off Linux's /proc while they run."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.errors import CallError

Role = Literal["driver", "restorer", "task worker", "Ray"]
"""What a process is to a run. ``Ray``: its own servers and agents."""

_PROC = Path("/proc")
_STARTING_S = 20.0
"""Seconds in which most of a run's processes come to be."""
_TREE_S = (0.1, 1.0)
"""Seconds between two looks for new descendants, in that time and after it: they cost milliseconds."""
_RESTORER = "RestorerActor"
_RESTORING = "RestorerActor.restore"
_LOADING = "RestorerActor.load"


@dataclass(slots=True)
class Seen:
    """What was seen of one process. Times are ``time.time()``."""

    role: Role
    first: float
    loading: bool = False
    """A restorer that was seen to load its nets."""
    ready: float | None = None
    """A restorer's: when it had its nets."""
    working: tuple[float, float] | None = None
    """A restorer's: when it was first and last seen at a tile."""
    private_peak: int = 0
    """Bytes: resident less shared, the highest seen."""
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds that were used up to a time."""

    when: float
    by_role: dict[Role, float]
    machine: float
    """Of all processes of the machine."""


@dataclass(slots=True)
class Watch:
    """Looks at a process tree until ``stop``, from a thread of its own."""

    root: int
    every_s: float = 0.05
    seen: dict[int, Seen] = field(default_factory=dict)
    cpu: list[Cpu] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> Watch:
        """Raises CallError where there is no /proc to read."""
        if not (_PROC / str(self.root) / "statm").exists():
            raise CallError(
                "there is no /proc of Linux here", where="bench", todo="Measure `--only planning`, or on Linux"
            )
        self._thread = threading.Thread(target=self._look, daemon=True, name="bench-watch")
        self._thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def of(self, role: Role) -> list[Seen]:
        """The processes of a role, in order of appearance."""
        return [s for s in self.seen.values() if s.role == role]

    def _look(self) -> None:
        began, looked = time.time(), 0.0
        while not self._over.wait(self.every_s):
            now = time.time()
            if now - looked >= _TREE_S[now - began > _STARTING_S]:
                looked = now
                pids = [self.root, *descendants(self.root)]
            for pid in pids:
                self._see(pid, now)
            used: dict[Role, float] = {}
            for s in self.seen.values():
                used[s.role] = used.get(s.role, 0.0) + s.cpu_s
            self.cpu.append(Cpu(now, used, machine_cpu_s()))

    def _see(self, pid: int, now: float) -> None:
        title, private, cpu_s = _title(pid), private_bytes(pid), _cpu_s(pid)
        if title is None or private is None or cpu_s is None:
            return  # it has ended
        seen = self.seen.setdefault(pid, Seen(_role(title, pid == self.root), now))
        seen.private_peak, seen.cpu_s = max(seen.private_peak, private), cpu_s
        if _RESTORER in title:
            # Workers are named when they are given something to do.
            seen.role = "restorer"
            if _LOADING in title:
                seen.loading = True
            elif seen.loading:
                seen.ready = seen.ready or now
            if _RESTORING in title:
                seen.working = (seen.working[0] if seen.working else now, now)
        elif title.startswith("ray::") and seen.role != "restorer":
            seen.role = "task worker"


def _role(title: str, is_root: bool) -> Role:
    if is_root:
        return "driver"
    return "task worker" if title.startswith("ray::") else "Ray"


def descendants(root: int) -> list[int]:
    """Children of a process, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):  # noqa: PTH208 - often
        if entry.isdecimal():
            fields = _stat(int(entry))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, open_ = [], [root]
    while open_:
        below = children.get(open_.pop(), [])
        found += below
        open_ += below
    return found


def private_bytes(pid: int) -> int | None:
    """Resident bytes less shared ones: without libraries' files and Ray's object store. None where it has ended."""
    text = _read(pid, "statm")
    if not text:
        return None
    _, resident, shared, *_ = text.split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def machine_cpu_s() -> float:
    """CPU seconds that all processes of the machine have used since it started."""
    user, nice, system, _idle, _wait, irq, soft, *_ = (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(map(int, (user, nice, system, irq, soft))) / os.sysconf("SC_CLK_TCK")


def _cpu_s(pid: int) -> float | None:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else None


def _title(pid: int) -> str | None:
    text = _read(pid, "cmdline")
    return text.replace("\0", " ") if text else None


def _stat(pid: int) -> list[str]:
    """The fields from the third on: a program's name, the second, may hold anything."""
    text = _read(pid, "stat")
    return text.rpartition(")")[2].split() if text else []


def _read(pid: int, name: str) -> str | None:
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return None
