"""Storage that does not answer, as the run loop meets it: on a clock of its own, without a cluster."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from pipeline.cluster.loop import Loop
from pipeline.cluster.policy import Kind, Limits, Outages, Record
from pipeline.cluster.progress import Event, StorageAnswers, StorageSilent, TileRetried
from pipeline.errors import SourceError, StorageError
from pipeline.types import ReelOutcome
from tests.cluster.fake import Call, FakeExecutor, summary

OUT = "s3://out/night"
PATIENCE_S = 30.0
"""What a step takes to give up on storage."""


class Run:
    """A run over films of some storages, whose output is in S3."""

    def __init__(self, executor: FakeExecutor, sources: Sequence[str] = ("s3://films/a.mkv",), budget: int = 1000):
        self.executor = executor
        self.events: list[Event] = []
        self._loop = Loop(
            [(uri, f"reel{n}") for n, uri in enumerate(sources)],
            executor,
            self.events.append,
            out=OUT,
            limits=Limits(),
            budget=budget,
            depth=2,
            clock=lambda: executor.now,
            stopping=lambda: False,
        )

    def go(self) -> list[ReelOutcome]:
        return self._loop.run()

    @property
    def quarantined(self) -> list[int]:
        return [reel for reel, *_ in self.executor.quarantined]

    def told(self, kind: type[Event]) -> list[Event]:
        return [e for e in self.events if isinstance(e, kind)]


def silent(
    executor: FakeExecutor, when: Callable[[Call], bool], where: str = f"{OUT}/x"
) -> Callable[[Call], tuple[Kind, BaseException] | None]:
    """Steps fail while ``when`` says so, after the patience that storage has."""

    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        if not when(call):
            return None
        executor.now += PATIENCE_S
        return Kind.TRANSIENT, StorageError("nobody answers", where=where, transient=True)

    return fail


def test_a_restored_tile_that_storage_does_not_take_is_encoded_again_and_not_restored_again() -> None:
    executor = FakeExecutor([summary(6, size=40)], holds=lambda call: True)
    executor.fail = silent(executor, lambda call: call.step in ("tile", "encode") and 0.3 < call.at < 200)
    run = Run(executor, budget=100)
    assert [o.status for o in run.go()] == ["done"]
    assert Counter(c.tile for c in executor.log if c.step == "tile") == Counter(range(6))
    again = [c for c in executor.log if c.step == "encode"]
    assert again
    assert {c.tries for c in again} >= {1, 2}
    assert executor.most_tiles == 2, "held pictures count as bytes in flight"
    assert not executor.held
    assert not run.quarantined


def test_during_an_outage_nothing_new_is_begun_and_a_quarter_of_an_hour_costs_no_reel() -> None:
    plans = [summary(200), summary(200), summary(200)]
    executor = FakeExecutor(plans, holds=lambda call: call.tile % 2 == 0)
    executor.fail = silent(executor, lambda call: 10 < executor.now < 10 + 14 * 60)
    run = Run(executor, ["s3://films/a.mkv", "s3://films/b.mkv", "s3://films/c.mkv"])
    assert [o.status for o in run.go()] == ["done"] * 3
    assert not run.quarantined
    # What was under way when it began, and then one try after another, a minute or two apart.
    begun = [c for c in executor.log if 10 + 2 * PATIENCE_S < c.at < 10 + 14 * 60]
    assert 5 < len(begun) < 20
    assert all(b.at - a.at > PATIENCE_S for a, b in itertools.pairwise(begun[3:]))
    assert not [e for e in run.events if isinstance(e, TileRetried)], "one line for all that waits"


def test_it_says_what_does_not_answer_since_when_and_when_it_tries_again() -> None:
    executor = FakeExecutor([summary(9)])
    executor.fail = silent(executor, lambda call: 1 < executor.now < 300)
    run = Run(executor)
    run.go()
    told = [e for e in run.events if isinstance(e, StorageSilent)]
    assert told[0] == StorageSilent("s3://out", 0.0, 5.0, "s3://out/night/x: nobody answers")
    assert [round(e.next_try_s) for e in told] == [5, 10, 20, 40, 60, 60][: len(told)]
    assert [e.seconds for e in told] == sorted(e.seconds for e in told)
    (answers,) = run.told(StorageAnswers)
    assert isinstance(answers, StorageAnswers)
    assert answers.storage == "s3://out"
    assert answers.seconds >= 200


def test_storage_that_stays_silent_ends_the_reels_and_the_run() -> None:
    executor = FakeExecutor([summary(50), summary(50), summary(50)], holds=lambda call: True)
    executor.fail = silent(executor, lambda call: executor.now > 2)
    run = Run(executor, [f"s3://films/{n}.mkv" for n in range(3)])
    assert [o.status for o in run.go()] == ["quarantined"] * 3
    assert 1800 < executor.now < 2400, "as long again for the records"
    assert not executor.held
    assert not executor.under_way


def test_a_source_whose_storage_is_silent_does_not_stop_the_others() -> None:
    executor = FakeExecutor([summary(500), summary(500), summary(3)])
    executor.fail = silent(executor, lambda call: call.reel == 0 and call.step != "quarantine", "s3://far/a.mkv")
    run = Run(executor, ["s3://far/a.mkv", "s3://near/b.mkv", "/disk/c.mkv"])
    assert [o.status for o in run.go()] == ["quarantined", "done", "done"]
    assert run.quarantined == [0]
    others = [c.at for c in executor.log if c.reel == 1 and c.step == "publish"]
    assert others[0] < 300


def test_a_tile_that_storage_alone_never_takes_ends_its_reel_though_all_else_goes_well() -> None:
    executor = FakeExecutor([summary(4000)], holds=lambda call: True)
    executor.fail = silent(executor, lambda call: call.tile == 1 and call.step != "quarantine")
    run = Run(executor)
    assert [o.status for o in run.go()] == ["quarantined"]
    assert 900 < executor.now < 1300
    assert sum(c.step == "tile" and c.tile == 1 for c in executor.log) == 1


def test_a_lost_node_takes_the_held_pictures_with_it() -> None:
    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        tries = [c for c in executor.log if c.tile == call.tile == 0]
        if call.tile == 0 and len(tries) < 3:
            kind = Kind.NODE if call.step == "encode" else Kind.TRANSIENT
            return kind, StorageError("no", where=OUT, transient=True)
        return None

    executor = FakeExecutor([summary(3)], fail=fail, holds=lambda call: True)
    run = Run(executor)
    assert [o.status for o in run.go()] == ["done"]
    assert [c.step for c in executor.log if c.tile == 0] == ["tile", "encode", "tile"]


def test_a_stop_lets_go_of_the_held_pictures() -> None:
    executor = FakeExecutor([summary(6)], holds=lambda call: True)
    executor.fail = silent(executor, lambda call: call.step != "prepare")
    run = Run(executor)
    run._loop._stopping = lambda: executor.now > 100
    assert [o.status for o in run.go()] == ["stopped"]
    assert not executor.held


def test_one_step_tries_at_a_time_and_later_and_later() -> None:
    limits = Limits()
    outages = Outages(limits)
    both = frozenset({"s3://in", "s3://out"})
    assert outages.failed("s3://out", 100.0) is not None
    assert outages.failed("s3://out", 101.0) is None, "of what began before it is no news"
    assert outages.hold(both, 104.9)
    assert not outages.hold({"s3://in"}, 104.9)
    assert not outages.hold(both, 105.0)
    outages.begun(both, 105.0)
    assert outages.hold(both, 106.0)
    again = outages.failed("s3://out", 136.0)
    assert again is not None
    assert (again.since, again.next_try) == (100.0, 146.0)
    # A try of which nothing is heard any more, because its reel ended meanwhile.
    outages.begun(both, 146.0)
    assert outages.hold(both, 200.0)
    assert not outages.hold(both, 206.0)
    assert [o.storage for o in outages.answered(both)] == ["s3://out"]
    assert not outages.hold(both, 206.0)
    assert outages.answered(both) == []


def test_an_outage_beyond_measure_holds_nothing_back() -> None:
    limits = Limits()
    outages = Outages(limits)
    outages.failed("s3://out", 0.0)
    outages.begun({"s3://out"}, limits.outage_s - 1)
    assert outages.hold({"s3://out"}, limits.outage_s - 0.5)
    assert not outages.lasts("s3://out", limits.outage_s - 0.5)
    assert outages.lasts("s3://out", limits.outage_s)
    assert not outages.hold({"s3://out"}, limits.outage_s)


@pytest.mark.parametrize(("failures", "seconds", "retry"), [(4, 5000.0, True), (5, 899.0, True), (5, 900.0, False)])
def test_transient_failures_end_a_reel_when_they_are_many_and_last(failures: int, seconds: float, retry: bool) -> None:
    record, limits = Record(), Limits()
    for n in range(failures - 1):
        record.judge(Kind.TRANSIENT, limits, float(n))
    assert record.judge(Kind.TRANSIENT, limits, seconds).retry is retry


def test_a_quarantine_record_is_tried_again_until_storage_takes_it_and_the_others_go_on() -> None:
    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        if call.reel == 0 and call.step == "prepare":
            return Kind.FINAL, SourceError("no film", where="/films/a.mkv")
        refused = call.step == "quarantine" and executor.now < 100
        return (Kind.TRANSIENT, StorageError("slow down", where="/elsewhere", transient=True)) if refused else None

    executor = FakeExecutor([summary(2), summary(2)], fail=fail)
    run = Run(executor, ["/films/a.mkv", "/films/b.mkv"])
    outcomes = run.go()
    assert [o.status for o in outcomes] == ["quarantined", "done"]
    assert outcomes[0].reason == "/films/a.mkv: no film"
    assert executor.quarantined == [(0, "/films/a.mkv: no film", None, 1)]
    assert executor.now > 100
    # The other reel did not wait for it.
    assert max(c.at for c in executor.log if c.reel == 1) < 10


@pytest.mark.parametrize(
    ("kind", "error", "within"),
    [
        (Kind.TRANSIENT, StorageError("nobody answers", where=OUT, transient=True), 2400),
        (Kind.APPLICATION, StorageError("it may not be written", where=OUT), 60),
    ],
)
def test_a_record_that_is_never_taken_is_told_in_full_and_ends_nothing_else(
    kind: Kind, error: StorageError, within: float
) -> None:
    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        if call.reel == 0 and call.step == "tile" and call.tile == 3:
            return Kind.APPLICATION, ValueError("bad tile")
        if call.reel == 0 and call.step == "quarantine":
            executor.now += PATIENCE_S if kind is Kind.TRANSIENT else 0
            return kind, error
        return None

    executor = FakeExecutor([summary(9), summary(9)], fail=fail)
    run = Run(executor, ["/films/a.mkv", "/films/b.mkv"])
    outcomes = run.go()
    assert [o.status for o in outcomes] == ["quarantined", "done"]
    for said in ("bad tile", "quarantine record could not be written", error.what, OUT):
        assert said in (outcomes[0].reason or "")
    assert executor.now < within


def test_a_stop_does_not_wait_for_a_quarantine_record() -> None:
    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        if call.step == "prepare":
            return Kind.FINAL, SourceError("no film")
        return Kind.TRANSIENT, StorageError("nobody answers", where=OUT, transient=True)

    executor = FakeExecutor([summary(2)], fail=fail)
    run = Run(executor)
    run._loop._stopping = lambda: executor.now > 20
    (outcome,) = run.go()
    assert outcome.status == "quarantined"
    assert "no film" in (outcome.reason or "")
    assert "could not be written" in (outcome.reason or "")
    assert executor.now < 25
    assert not executor.under_way
