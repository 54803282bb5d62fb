from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cluster.loop import Loop
from pipeline.cluster.policy import Board, Kind, Limits, Record
from pipeline.cluster.progress import Event, Load, ReelEnded, ReelSurveying, TileDone, TileRetried
from pipeline.errors import PublishedError, RefusedError, SourceError, SpanError
from tests.cluster.fake import Call, FakeExecutor, summary


def run(
    executor: FakeExecutor,
    *,
    budget: int = 1000,
    depth: int = 2,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[list[Any], list[Event], list[tuple[int, str, int | None, int]]]:
    events: list[Event] = []
    loop = Loop(
        [(f"/films/{n}.mkv", f"reel{n}") for n in range(len(executor.plans))],
        executor,
        events.append,
        out="/out",
        limits=Limits(),
        budget=budget,
        depth=depth,
        clock=lambda: executor.now,
        stopping=stopping,
    )
    return loop.run(), events, executor.quarantined


def test_every_tile_of_every_reel_is_restored_once_and_published_after() -> None:
    executor = FakeExecutor([summary(5), summary(3), summary(1)])
    outcomes, events, quarantined = run(executor)
    assert [o.status for o in outcomes] == ["done"] * 3
    assert [o.restored for o in outcomes] == [5, 3, 1]
    tiles = Counter((c.reel, c.tile) for c in executor.log if c.step == "tile")
    assert tiles == Counter({(r, t): 1 for r, n in enumerate([5, 3, 1]) for t in range(n)})
    for reel in range(3):
        mine = [c.step for c in executor.log if c.reel == reel]
        assert mine[0] == "prepare"
        assert mine[-1] == "publish"
    assert sum(isinstance(e, TileDone) for e in events) == 9
    assert not quarantined
    assert sorted(executor.dropped) == [0, 1, 2]


def test_tiles_go_in_order_of_submission() -> None:
    executor = FakeExecutor([summary(6), summary(6)])
    run(executor)
    order = [(c.reel, c.tile) for c in executor.log if c.step == "tile"]
    assert order == sorted(order)


def test_the_next_reel_begins_before_the_last_one_ends() -> None:
    executor = FakeExecutor([summary(6), summary(6)])
    run(executor)
    steps = [(c.step, c.reel) for c in executor.log]
    assert steps.index(("tile", 1)) < steps.index(("publish", 0))


def test_bytes_in_flight_are_bounded_and_a_tile_larger_than_the_bound_still_goes() -> None:
    narrow = FakeExecutor([summary(8, size=40)])
    run(narrow, budget=100, depth=9)
    assert narrow.most_tiles == 2
    wide = FakeExecutor([summary(8, size=40)])
    run(wide, budget=10_000, depth=2)
    assert wide.most_tiles == 4  # two restorers, two tiles each
    huge = FakeExecutor([summary(3, size=4000)])
    assert [o.status for o in run(huge, budget=100)[0]] == ["done"]
    assert huge.most_tiles == 1


def test_tiles_in_the_ledger_are_not_done_again_and_a_published_reel_is_not_touched() -> None:
    executor = FakeExecutor([summary(4, done=[0, 2]), summary(2, published=True)])
    outcomes, *_ = run(executor)
    assert [(c.reel, c.tile) for c in executor.log if c.step == "tile"] == [(0, 1), (0, 3)]
    assert [o.status for o in outcomes] == ["done", "already"]
    assert outcomes[0].restored == 2
    assert not [c for c in executor.log if c.reel == 1 and c.step != "prepare"]


def test_an_application_error_twice_on_one_tile_quarantines_its_reel_and_no_other() -> None:
    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        bad = call.step == "tile" and (call.reel, call.tile) == (0, 1)
        return (Kind.APPLICATION, ValueError("bad tile")) if bad else None

    executor = FakeExecutor([summary(9), summary(2)], fail=fail)
    outcomes, events, quarantined = run(executor)
    assert [o.status for o in outcomes] == ["quarantined", "done"]
    assert quarantined == [(0, "bad tile", 1, 2)]
    assert [c.step for c in executor.log if c.reel == 0 and c.tile == 1] == ["tile", "tile", "quarantine"]
    assert sum(isinstance(e, TileRetried) for e in events) == 1
    assert not [c for c in executor.log if c.reel == 0 and c.step == "publish"]


def test_a_lost_node_costs_no_tries() -> None:
    lost = Counter[int]()

    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        if call.step == "tile" and lost[call.tile] < 20:
            lost[call.tile] += 1
            return Kind.NODE, OSError("node")
        return None

    executor = FakeExecutor([summary(2)], fail=fail)
    outcomes, *_ = run(executor)
    assert outcomes[0].status == "done"
    assert {c.tries for c in executor.log if c.step == "tile"} == {0}


def test_kinds_are_counted_apart() -> None:
    record, limits = Record(), Limits()
    assert record.judge(Kind.APPLICATION, limits, 0.0).retry
    assert record.judge(Kind.CRASH, limits, 0.0).retry
    assert record.judge(Kind.TRANSIENT, limits, 0.0).retry
    assert record.judge(Kind.NODE, limits, 0.0).retry
    assert record.tries == 3
    assert not record.judge(Kind.APPLICATION, limits, 0.0).retry


def test_transient_failures_wait_longer_each_time() -> None:
    record, limits = Record(), Limits()
    waits = []
    now = 0.0
    while (verdict := record.judge(Kind.TRANSIENT, limits, now)).retry:
        waits.append(verdict.wait_s)
        now += verdict.wait_s
    assert waits[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert set(waits[7:]) == {60.0}
    assert now >= limits.outage_s
    board = Board([0, 1])
    assert board.take(0.0) == 0
    board.failed(0, Kind.TRANSIENT, limits, now=10.0)
    assert board.take(10.5) == 1
    assert not board.ready(10.9)
    assert board.take(11.0) == 0


def test_a_source_that_cannot_be_read_is_not_tried_twice() -> None:
    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        return (Kind.FINAL, SourceError("no film", where="/x")) if call.reel == 1 and call.step == "prepare" else None

    executor = FakeExecutor([summary(2), summary(2), summary(2)], fail=fail)
    outcomes, _, quarantined = run(executor)
    assert [o.status for o in outcomes] == ["done", "quarantined", "done"]
    assert [c.step for c in executor.log if c.reel == 1] == ["prepare", "quarantine"]
    assert quarantined == [(1, "/x: no film", None, 1)]


@pytest.mark.parametrize("error", [PublishedError("other plan"), SpanError("frames 0:9, the reel has 0:5")])
def test_what_is_not_the_reels_fault_is_refused_without_a_quarantine_record(error: RefusedError) -> None:
    executor = FakeExecutor([summary(2)], fail=lambda call: (Kind.FINAL, error))
    outcomes, _, quarantined = run(executor)
    assert outcomes[0].status == "refused"
    assert not quarantined


@pytest.mark.parametrize("step", ["prepare", "publish"])
def test_the_other_steps_are_retried_too(step: str) -> None:
    failed: list[Call] = []

    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        if call.step == step and len(failed) < 3:
            failed.append(call)
            return Kind.TRANSIENT, OSError("slow down")
        return None

    executor = FakeExecutor([summary(1)], fail=fail)
    outcomes, *_ = run(executor)
    assert outcomes[0].status == "done"
    assert executor.now > 1 + 2 + 4


def test_a_publication_that_failed_starts_from_the_ledger_again() -> None:
    failed: list[Call] = []

    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        if call.step == "publish" and not failed:
            failed.append(call)
            executor.plans = [summary(3, done=[0, 2])]  # tile 1's segment was found broken
            return Kind.APPLICATION, OSError("a segment is gone")
        return None

    executor = FakeExecutor([summary(3)], fail=fail)
    outcomes, *_ = run(executor)
    assert outcomes[0].status == "done"
    assert [c.tile for c in executor.log if c.step == "tile"] == [0, 1, 2, 1]


def test_a_listener_that_fails_is_heard_no_more_and_the_run_goes_on() -> None:
    executor = FakeExecutor([summary(3)])

    def listener(event: Event) -> None:
        raise BrokenPipeError

    loop = Loop(
        [("/a", "a")],
        executor,
        listener,
        out="/out",
        limits=Limits(),
        budget=100,
        depth=2,
        clock=lambda: executor.now,
        stopping=lambda: False,
    )
    assert loop.run()[0].status == "done"


def test_a_stop_ends_what_is_open_and_says_so() -> None:
    executor = FakeExecutor([summary(50), summary(50)])
    outcomes, events, quarantined = run(executor, stopping=lambda: executor.now > 1.0)
    assert [o.status for o in outcomes] == ["stopped", "stopped"]
    assert not quarantined
    assert not executor.under_way
    assert sum(isinstance(e, ReelEnded) for e in events) == 2


def test_without_restorers_nothing_is_handed_out_and_a_new_one_gets_work() -> None:
    executor = FakeExecutor([summary(2)], alive=[])
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Load) and executor.now > 2:
            executor.alive = [7]

    loop = Loop(
        [("/a", "a")],
        executor,
        listen,
        out="/out",
        limits=Limits(),
        budget=100,
        depth=2,
        clock=lambda: executor.now,
        stopping=lambda: False,
    )
    assert loop.run()[0].status == "done"
    assert {c.restorer for c in executor.log if c.step == "tile"} == {7}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_fails_every_reel_ends_once_and_done_means_every_tile(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    kinds = st.sampled_from([None, None, None, *Kind])
    succeeded: set[tuple[int, int]] = set()

    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        kind = data.draw(kinds)
        if kind is not None:
            return kind, RuntimeError("drawn")
        succeeded.add((call.reel, call.tile))
        return None

    executor = FakeExecutor([summary(n) for n in sizes], fail=fail)
    outcomes, events, quarantined = run(executor, budget=25)
    assert [o.name for o in outcomes] == [f"reel{n}" for n in range(len(sizes))]
    assert sum(isinstance(e, ReelEnded) for e in events) == len(sizes)
    for n, outcome in enumerate(outcomes):
        if outcome.status == "done":
            assert {(n, t) for t in range(sizes[n])} <= succeeded
        else:
            assert outcome.status == "quarantined"
            told = "quarantine record could not be written" in (outcome.reason or "")
            assert told is (n not in [q[0] for q in quarantined])
    assert not executor.under_way


def test_a_reel_that_must_be_surveyed_is_looked_at_span_by_span_before_it_is_planned() -> None:
    executor = FakeExecutor([summary(3), summary(2)], spans={0: 4}, looked={0: {2}})
    outcomes, events, _ = run(executor)
    assert [o.status for o in outcomes] == ["done", "done"]
    assert sorted(c.tile for c in executor.log if c.step == "survey") == [0, 1, 3], "span 2 was kept by an earlier run"
    first = [c.step for c in executor.log if c.reel == 0 and c.step != "tile"]
    assert first == ["prepare", "survey", "survey", "survey", "prepare", "publish"]
    assert [(e.spans, e.done_spans) for e in events if isinstance(e, ReelSurveying)] == [(4, 1)]


def test_a_span_that_fails_is_tried_again_and_then_its_reel_is_quarantined_and_no_other() -> None:
    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        bad = call.step == "survey" and (call.reel, call.tile) == (0, 1)
        return (Kind.APPLICATION, ValueError("bad span")) if bad else None

    executor = FakeExecutor([summary(3), summary(2)], spans={0: 2, 1: 2}, fail=fail)
    outcomes, events, quarantined = run(executor)
    assert [o.status for o in outcomes] == ["quarantined", "done"]
    assert quarantined == [(0, "bad span", None, 2)]
    assert [e.tile for e in events if isinstance(e, TileRetried)] == [-1]


def test_a_lost_node_costs_a_span_no_try_and_a_survey_that_does_not_keep_ends_its_reel() -> None:
    lost = Counter[int]()

    def fail(call: Call) -> tuple[Kind, BaseException] | None:
        if call.step == "survey" and lost[call.tile] < 9:
            lost[call.tile] += 1
            return Kind.NODE, OSError("node")
        return None

    assert run(FakeExecutor([summary(1)], spans={0: 2}, fail=fail))[0][0].status == "done"

    class Forgets(FakeExecutor):
        def wait(self, timeout_s: float) -> Any:
            self.looked.clear()
            return super().wait(timeout_s)

    outcomes, _, quarantined = run(Forgets([summary(1)], spans={0: 3}))
    assert outcomes[0].status == "quarantined"
    assert "does not keep" in quarantined[0][1]
