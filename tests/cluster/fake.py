"""An Executor without a cluster: steps end when the test says, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.cluster.executor import Failure, PlanSummary, Success, SurveySummary, TileSummary
from pipeline.cluster.policy import Kind


@dataclass
class Call:
    step: str
    reel: int
    tile: int = -1
    restorer: int = -1
    tries: int = 0
    at: float = 0.0
    """When it was handed out."""
    error: str = ""
    """What the quarantine record tells."""


@dataclass
class FakeExecutor:
    """Ends the oldest step at every ``wait``; ``fail`` says which steps fail, and how."""

    plans: Sequence[PlanSummary]
    alive: list[int] = field(default_factory=lambda: [0, 1])
    fail: Callable[[Call], tuple[Kind, BaseException] | None] = lambda call: None
    holds: Callable[[Call], bool] = lambda call: call.step == "encode"
    """Whether a tile that fails does so after its restoration."""
    now: float = 0.0
    log: list[Call] = field(default_factory=list)
    under_way: dict[int, Call] = field(default_factory=dict)
    held: dict[int, Call] = field(default_factory=dict)
    """Tickets of tiles whose restored pictures are kept."""
    most_tiles: int = 0
    """The most tiles that had pictures at one time."""
    forgotten: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    spans: dict[int, int] = field(default_factory=dict)
    """Reel → spans that must be looked at before it can be planned."""
    looked: dict[int, set[int]] = field(default_factory=dict)
    """Reel → its spans that storage holds."""
    quarantined: list[tuple[int, str, int | None, int]] = field(default_factory=list)
    """The quarantine records that were written: reel, error, tile, tries."""

    def _hand_out(self, call: Call) -> int:
        call.at = self.now
        self.log.append(call)
        ticket = len(self.log)
        self.under_way[ticket] = call
        tiles = sum(c.step in ("tile", "encode") for c in self.under_way.values()) + len(self.held)
        self.most_tiles = max(self.most_tiles, tiles)
        return ticket

    def prepare(self, reel: int) -> int:
        return self._hand_out(Call("prepare", reel))

    def survey(self, reel: int, span: int) -> int:
        return self._hand_out(Call("survey", reel, span))

    def tile(self, reel: int, tile: int, restorer: int, tries: int) -> int:
        assert restorer in self.alive
        return self._hand_out(Call("tile", reel, tile, restorer, tries))

    def encode(self, ticket: int, tries: int) -> int:
        before = self.held.pop(ticket)
        return self._hand_out(Call("encode", before.reel, before.tile, tries=tries))

    def publish(self, reel: int) -> int:
        return self._hand_out(Call("publish", reel))

    def quarantine(self, reel: int, error: BaseException, tile: int | None, tries: int) -> int:
        return self._hand_out(Call("quarantine", reel, -1 if tile is None else tile, tries=tries, error=str(error)))

    def restorers(self) -> Sequence[int]:
        return self.alive

    def wait(self, timeout_s: float) -> list[Success | Failure]:
        self.now += 0.1
        if not self.under_way:
            self.now += timeout_s
            return []
        ticket = min(self.under_way)
        call = self.under_way.pop(ticket)
        failed = self.fail(call)
        if failed:
            kind, error = failed
            held = kind is Kind.TRANSIENT and call.step in ("tile", "encode") and self.holds(call)
            if held:
                self.held[ticket] = call
            return [Failure(ticket, kind, error, held)]
        if call.step == "quarantine":
            tile = None if call.tile < 0 else call.tile
            self.quarantined.append((call.reel, call.error, tile, call.tries))
        value = {
            "quarantine": lambda: None,
            "prepare": lambda: self._prepared(call.reel),
            "survey": lambda: self.looked.setdefault(call.reel, set()).add(call.tile),
            "tile": lambda: TileSummary(restore_seconds=0.1, ours=True),
            "encode": lambda: TileSummary(restore_seconds=0.1, ours=True),
            "publish": lambda: {"frames": 1},
        }[call.step]()
        return [Success(ticket, value)]

    def _prepared(self, reel: int) -> PlanSummary | SurveySummary:
        spans = self.spans.get(reel, 0)
        seen = self.looked.get(reel, set())
        if len(seen) == spans:
            return self.plans[reel]
        return SurveySummary([24] * spans, frozenset(seen), 10)

    def forget(self, ticket: int) -> None:
        self.forgotten.append(ticket)
        self.under_way.pop(ticket, None)
        self.held.pop(ticket, None)

    def drop(self, reel: int) -> None:
        self.dropped.append(reel)


def summary(tiles: int, *, done: Sequence[int] = (), size: int = 10, published: bool = False) -> PlanSummary:
    return PlanSummary("p", 24 * tiles, [24] * tiles, frozenset(done), size, published)
