"""What is next, what is tried again, what is quarantined. Plain Python: no Ray, no clock of its own, no I/O."""

from __future__ import annotations

import enum
import heapq
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

_LONGEST_WAIT_S = 60.0
"""Longest wait before another try. A try itself takes half a minute to fail: storage has a patience of its own."""
_FIRST_PAUSE_S = 5.0
"""First wait of all that needs a storage which does not answer, in seconds; doubles with every try that fails."""


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
    transient: int = 5
    """Transient failures count once they are so many and ``outage_s`` lies between the first and the last of them."""
    outage_s: float = 900.0
    """Seconds for which storage may be silent before what needs it is given up."""
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
    silent_since: float | None = None
    """When the first transient failure was noted."""

    @property
    def tries(self) -> int:
        """Failures that count as tries; a lost node's do not."""
        return sum(n for k, n in self.failures.items() if k is not Kind.NODE)

    def judge(self, kind: Kind, limits: Limits, now: float) -> Verdict:
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
                self.silent_since = now if self.silent_since is None else self.silent_since
                patient = n < limits.transient or now - self.silent_since < limits.outage_s
                return Verdict(retry=patient, wait_s=min(_LONGEST_WAIT_S, limits.backoff_s * 2 ** min(n - 1, 20)))
            case Kind.NODE:
                # At once the first time; then slower, should the cluster be falling apart.
                return Verdict(retry=True, wait_s=min(30.0, limits.backoff_s * 2 ** min(n - 2, 20)) if n > 1 else 0.0)


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

    def failed(self, tile: int, kind: Kind, limits: Limits, now: float, *, held: bool = False) -> Verdict:
        """A tile failed: it waits for another try, unless the verdict says that there is none.

        held: its restored pictures are kept, so that it stays under way; the further tries are the caller's to begin.
        """
        verdict = self._records.setdefault(tile, Record()).judge(kind, limits, now)
        if not held or not verdict.retry:
            self._running.discard(tile)
        if verdict.retry and not held:
            # Ready at once means first in line again: the reel's end waits for its oldest tile.
            heapq.heappush(self._todo, (now + verdict.wait_s if verdict.wait_s else 0.0, tile))
        return verdict

    def tries(self, tile: int) -> int:
        """Tries that a tile has used up."""
        record = self._records.get(tile)
        return record.tries if record else 0


@dataclass(slots=True)
class Outage:
    """A storage that does not answer."""

    storage: str
    since: float
    """When the first step gave up on it."""
    next_try: float
    wait_s: float = _FIRST_PAUSE_S
    trying: bool = False
    """A step that needs it was let begin since the last failure."""


class Outages:
    """The storages that do not answer.

    What needs one of them is not begun, for it would fail too; only now and then one step may try. Whoever succeeds
    ends the outage. One that lasts longer than ``Limits.outage_s`` holds nothing back any more: what needs the storage
    is to fail then, and to end.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._out: dict[str, Outage] = {}

    def hold(self, needs: Collection[str], now: float) -> bool:
        """Whether a step that needs these storages has to wait."""
        return any(now < o.next_try and not self.lasts(o.storage, now) for o in self._of(needs))

    def lasts(self, storage: str, now: float) -> bool:
        """Whether a storage has been silent for so long that waiting is no use."""
        return storage in self._out and now - self._out[storage].since >= self._limits.outage_s

    def begun(self, needs: Collection[str], now: float) -> None:
        """A step that needs these storages has begun: where one of them is silent, that was the one try for now."""
        for o in self._of(needs):
            o.trying, o.next_try = True, now + _LONGEST_WAIT_S

    def failed(self, storage: str, now: float) -> Outage | None:
        """A step gave up on a storage. Gives the outage where there is news of it, None where it is known."""
        found = self._out.get(storage)
        if found is None:
            found = self._out[storage] = Outage(storage, now, now + _FIRST_PAUSE_S)
            return found
        if not found.trying:
            return None  # it began before the outage
        found.wait_s = min(_LONGEST_WAIT_S, 2 * found.wait_s)
        found.trying, found.next_try = False, now + found.wait_s
        return found

    def answered(self, storages: Collection[str]) -> list[Outage]:
        """A step that needed these storages succeeded. Gives the outages that this ends."""
        return [self._out.pop(s) for s in storages if s in self._out]

    def _of(self, needs: Collection[str]) -> list[Outage]:
        return [self._out[s] for s in needs if s in self._out]


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
