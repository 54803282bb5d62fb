"""What is next, what is tried again, what is quarantined. Plain Python: no Ray, no clock of its own, no I/O."""

from __future__ import annotations

import enum
import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


class Kind(enum.Enum):
    """Why a step failed: each is counted apart, because each says something else about the reel."""

    APPLICATION = "application"
    """Our code, or the reel, is wrong: trying again seldom helps."""
    TRANSIENT = "transient"
    """Storage or the network, after the step's own retries: wait, then try again."""
    CRASH = "crash"
    """A worker process died under the step (killed, out of memory, a fault in a library)."""
    NODE = "node"
    """A machine went away: says nothing about the reel, costs no try."""
    FINAL = "final"
    """The source itself cannot be read: trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many failures of each kind one step may have before its reel is quarantined."""

    application: int = 2
    crash: int = 4
    transient: int = 12
    """With the waits between them, and storage's own retries, an outage of a quarter of an hour."""
    backoff_s: float = 1.0
    """Wait before the first retry after a transient failure, in seconds; doubles each time, at most 60."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a failure."""

    retry: bool
    wait_s: float = 0.0


@dataclass(slots=True)
class Record:
    """The failures of one step so far."""

    failures: Counter[Kind] = field(default_factory=Counter)

    @property
    def tries(self) -> int:
        """Failures that count as tries; a lost node's do not."""
        return sum(n for k, n in self.failures.items() if k is not Kind.NODE)

    def judge(self, kind: Kind, limits: Limits) -> Verdict:
        """Note one more failure and say what follows."""
        self.failures[kind] += 1
        n = self.failures[kind]
        match kind:
            case Kind.FINAL:
                return Verdict(retry=False)
            case Kind.APPLICATION:
                return Verdict(retry=n < limits.application)
            case Kind.CRASH:
                return Verdict(retry=n < limits.crash, wait_s=limits.backoff_s)
            case Kind.TRANSIENT:
                return Verdict(retry=n < limits.transient, wait_s=min(60.0, limits.backoff_s * 2 ** (n - 1)))
            case Kind.NODE:
                # At once the first time; then slower, should the cluster be falling apart.
                return Verdict(retry=True, wait_s=min(30.0, limits.backoff_s * 2 ** (n - 2)) if n > 1 else 0.0)


class Board:
    """The tiles of one reel: to do, under way, done."""

    def __init__(self, tiles: Iterable[int], done: Iterable[int] = ()):
        finished = set(done)
        self._todo: list[tuple[float, int]] = [(0.0, t) for t in tiles if t not in finished]
        heapq.heapify(self._todo)
        self._running: set[int] = set()
        self._records: dict[int, Record] = {}

    @property
    def todo(self) -> int:
        return len(self._todo)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def finished(self) -> bool:
        return not self._todo and not self._running

    def ready(self, now: float) -> bool:
        """Whether ``take`` would give a tile."""
        return bool(self._todo) and self._todo[0][0] <= now

    def take(self, now: float) -> int | None:
        """The next tile in order that need not wait; it counts as under way."""
        if not self.ready(now):
            return None
        _, tile = heapq.heappop(self._todo)
        self._running.add(tile)
        return tile

    def done(self, tile: int) -> None:
        """A tile is in the ledger."""
        self._running.discard(tile)

    def failed(self, tile: int, kind: Kind, limits: Limits, now: float) -> Verdict:
        """A tile failed: it waits for another try, unless the verdict says that there is none."""
        self._running.discard(tile)
        verdict = self._records.setdefault(tile, Record()).judge(kind, limits)
        if verdict.retry:
            # Ready at once means first in line again: the reel's end waits for its oldest tile.
            heapq.heappush(self._todo, (now + verdict.wait_s if verdict.wait_s else 0.0, tile))
        return verdict

    def tries(self, tile: int) -> int:
        """Tries that a tile has used up."""
        record = self._records.get(tile)
        return record.tries if record else 0


class Budget:
    """Bytes of pictures under way in the cluster, bounded."""

    def __init__(self, limit: int):
        self.limit = limit
        self.used = 0

    def fits(self, size: int) -> bool:
        """A tile larger than the whole budget may still go, alone: else it never would."""
        return self.used == 0 or self.used + size <= self.limit

    def take(self, size: int) -> None:
        self.used += size

    def give(self, size: int) -> None:
        self.used -= size
