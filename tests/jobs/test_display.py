"""What a person sees of a run, by a clock that the test turns."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from jobs.display import Display
from pipeline.cluster.progress import (
    Event,
    Load,
    NightUnwritten,
    ReelEnded,
    ReelPlanned,
    ReelPublishing,
    RunStarted,
    StorageAnswers,
    StorageSilent,
    TileDone,
    TileRetried,
)
from pipeline.types import OutcomeStatus, ReelOutcome

IDLE = Load(0.0, 0, 0)


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Seen:
    """A display and what it has written so far."""

    def __init__(self, clock: Clock, **console: Any):
        self.file = io.StringIO()
        self.clock = clock
        self.display = Display(console=Console(file=self.file, color_system=None, **console), clock=clock)

    def tell(self, *events: Event) -> list[str]:
        """The lines that these events made."""
        start = len(self.file.getvalue())
        for event in events:
            self.display(event)
        return self.file.getvalue()[start:].splitlines()


def plain(clock: Clock) -> Seen:
    """Where there is no terminal: a file, a pipe, a job's log."""
    return Seen(clock)


def terminal(clock: Clock, width: int = 120, **more: Any) -> Seen:
    return Seen(clock, force_terminal=True, width=width, _environ={"TERM": "xterm"}, **more)


def drawn(seen: Seen) -> list[str]:
    """The bars as they were drawn last, from top to bottom."""
    text = re.sub(r"\x1b\[\?25[lh]", "", seen.file.getvalue())
    # A redrawing goes up line by line, clearing each, and then writes all of them.
    last = re.split(r"(?:\r\x1b\[2K)(?:\x1b\[1A\x1b\[2K)*", text)[-1]
    return [line.rstrip() for line in last.splitlines() if line.strip()]


def ended(
    name: str, status: OutcomeStatus, *, frames: int = 0, seconds: float = 0.0, reason: str | None = None
) -> Event:
    return ReelEnded(ReelOutcome(name, f"/{name}.mkv", status, frames, 1, 1, seconds, reason, {}))


def test_a_run_in_plain_lines(clock: Clock) -> None:
    seen = plain(clock)
    lines = seen.tell(
        RunStarted(2, 1, "NVIDIA H100"),
        ReelPlanned("a", 96, 4, 24, 1),
        ReelPlanned("b", 1, 1, 0, 0, ("It may be too large",)),
        TileDone("a", 1, 24),
        TileRetried("a", 2, "tile: crash: the worker died"),
        TileRetried("b", -1, "prepare: application: no answer"),
        ReelPublishing("a"),
        ended("a", "done", frames=96, seconds=36.0),
        ended("b", "quarantined", reason="b.mkv: no picture stream"),
        ended("c", "already", reason="nothing was touched"),
    )
    assert lines == [
        "2 reels, 1 restorer on NVIDIA H100",
        "a: 96 frames in 4 tiles, 1 already in the ledger",
        "b: 1 frame in 1 tile",
        "b: It may be too large",
        "a: tile 2 is tried again: tile: crash: the worker died",
        "b: reel is tried again: prepare: application: no answer",
        "a: all tiles done, assembling",
        # 72 frames in 36 s: the 24 of an earlier run were no work of this one.
        "a: done, 96 frames (24 of them earlier) in 36 s (2.0 frames/s)",
        "b: quarantined: b.mkv: no picture stream",
        "c: already: nothing was touched",
    ]


def test_an_outage_is_one_line_with_since_when_and_the_next_try(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: 3 * 3600 + 20 * 60.0)
    lines = plain(clock).tell(
        StorageSilent("s3://out", 125.0, 40.0, "s3://out/x: could not write it"), StorageAnswers("s3://out", 300.0)
    )
    assert lines == [
        "s3://out does not answer since 03:17:55 (2 min 05 s); what needs it waits, next try in 40 s: "
        "s3://out/x: could not write it",
        "s3://out answers again, after 5 min 00 s",
    ]


def test_a_page_that_was_not_written_is_said(clock: Clock) -> None:
    assert plain(clock).tell(NightUnwritten("out/index.html: no room")) == [
        "index.html does not tell of this run, the next one writes it: out/index.html: no room"
    ]


def test_a_line_every_30_s_where_there_is_no_terminal(clock: Clock) -> None:
    seen = plain(clock)
    seen.tell(RunStarted(1, 1, "cpu"), ReelPlanned("a", 2400, 100, 0, 0))
    told = []
    for second in range(1, 101):
        clock.now += 1
        told += [(second, line) for line in seen.tell(TileDone("a", second, 24), IDLE)]
    assert [second for second, _ in told] == [30, 60, 90]
    # 24 frames a second from the start on; the last line is of the last minute.
    assert told[0][1] == "a: 720/2400 frames   24.0 frames/s  tiles 30/100  1 min 10 s left  device 0%"
    assert told[2][1] == "a: 2160/2400 frames   24.0 frames/s  tiles 90/100  10 s left  device 0%"


def test_every_reel_under_way_has_its_line_and_none_that_has_ended(clock: Clock) -> None:
    seen = plain(clock)
    seen.tell(*(ReelPlanned(n, 24, 1, 0, 0) for n in "abc"), ended("b", "stopped"))
    clock.now += 31
    assert [line.split(":")[0] for line in seen.tell(IDLE)] == ["a", "c"]


def test_the_time_left_follows_the_last_minute(clock: Clock) -> None:
    seen = plain(clock)
    seen.tell(ReelPlanned("a", 10_000, 1000, 0, 0))
    for n in range(300):  # 10 frames/s for five minutes, then 1 frame/s for two
        clock.now += 1 if n < 180 else 10
        lines = seen.tell(TileDone("a", n, 10), IDLE)
    assert lines, "the last tile comes with a line"
    assert "   1.0 frames/s" in lines[0]
    assert "1 h 56 min left" in lines[0]


def test_a_pause_between_slow_tiles_is_no_standstill(clock: Clock) -> None:
    seen = plain(clock)
    seen.tell(ReelPlanned("a", 100, 10, 0, 0))
    clock.now += 100
    seen.tell(TileDone("a", 0, 10))
    clock.now += 90
    assert "   0.1 frames/s" in seen.tell(IDLE)[0]


def test_a_standstill_is_seen(clock: Clock) -> None:
    seen = plain(clock)
    seen.tell(ReelPlanned("a", 1000, 10, 0, 0))
    for n in range(5):
        clock.now += 2
        seen.tell(TileDone("a", n, 100))
    clock.now += 990
    assert "   0.5 frames/s" in seen.tell(IDLE)[0]


def test_before_the_first_tile_no_time_is_promised(clock: Clock) -> None:
    seen = plain(clock)
    seen.tell(ReelPlanned("a", 1000, 10, 0, 0))
    clock.now += 40
    assert seen.tell(IDLE) == ["a: 0/1000 frames    0.0 frames/s  tiles 0/10  …  device 0%"]


def test_the_load_settles_at_what_is_told(clock: Clock) -> None:
    seen = plain(clock)
    seen.tell(ReelPlanned("a", 1000, 10, 0, 0))
    for _ in range(29):
        clock.now += 1
        seen.tell(Load(0.8, 0, 0))
    clock.now += 1
    assert re.search(r"device 7[5-9]%|device 80%", seen.tell(Load(0.8, 0, 0))[0])


def test_a_long_line_is_not_broken(clock: Clock) -> None:
    name = "shelf/" + "a long name " * 30 + "end"
    assert plain(clock).tell(ReelPublishing(name)) == [f"{name}: all tiles done, assembling"]


def test_bars_on_a_terminal(clock: Clock) -> None:
    seen = terminal(clock)
    with seen.display:
        seen.tell(RunStarted(2, 1, "cpu"), ReelPlanned("a", 96, 4, 24, 1), ReelPlanned("b", 48, 2, 0, 0))
        clock.now += 12
        seen.tell(TileDone("a", 1, 24), IDLE)
    assert "1 already in the ledger" in seen.file.getvalue()
    a, b = drawn(seen)
    assert re.fullmatch(r"a ━+╸? +50%   2\.0 frames/s  tiles 2/4  24 s left  device 0%", a)
    assert re.fullmatch(r"b ━* +0%   0\.0 frames/s  tiles 0/2  …  device 0%", b)


def test_no_line_every_30_s_beside_bars(clock: Clock) -> None:
    seen = terminal(clock)
    with seen.display:
        seen.tell(ReelPlanned("a", 96, 4, 0, 0))
        clock.now += 100
        seen.tell(IDLE)
    assert "0/96" not in seen.file.getvalue()


def test_the_bar_of_a_reel_goes_with_it(clock: Clock) -> None:
    seen = terminal(clock)
    with seen.display:
        seen.tell(*(ReelPlanned(n, 24, 1, 0, 0) for n in "ab"))
        seen.tell(TileDone("a", 0, 24), ended("a", "done", frames=24, seconds=2))
    assert "a: done, 24 frames in 2 s" in seen.file.getvalue()
    assert [line[0] for line in drawn(seen)] == ["b"]


def test_the_bars_are_put_away_when_the_run_breaks(clock: Clock) -> None:
    seen = terminal(clock)
    with pytest.raises(KeyError), seen.display:
        seen.tell(TileDone("a reel that nobody has planned", 0, 24))
    # The cursor was hidden, and is shown again.
    assert seen.file.getvalue().rindex("\x1b[?25h") > seen.file.getvalue().rindex("\x1b[?25l")


def test_a_dumb_terminal_gets_plain_lines(clock: Clock) -> None:
    seen = Seen(clock, force_terminal=True, _environ={"TERM": "dumb"})
    with seen.display:
        seen.tell(ReelPlanned("a", 96, 4, 0, 0))
        clock.now += 31
        lines = seen.tell(IDLE)
    assert lines[0].startswith("a: 0/96 frames")
    assert "\x1b" not in seen.file.getvalue()


LONG = {"short": "0007", "long": "a shelf/" + "of a long name/" * 20 + "reel 0007", "wide": "棚" * 90 + "0007"}


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("name", LONG)
def test_a_long_name_leaves_the_figures_their_place(clock: Clock, width: int, name: str) -> None:
    seen = terminal(clock, width)
    with seen.display:
        seen.tell(ReelPlanned(LONG[name], 9600, 400, 0, 0))
        clock.now += 1
        seen.tell(TileDone(LONG[name], 0, 24), IDLE)
    (line,) = drawn(seen)
    assert re.fullmatch(r".*0007 +0%  24\.0 frames/s  tiles 1/400  6 min 39 s left  device 0%", line)
    assert cell_len(line) <= width
    assert line.startswith("…") == (name != "short")


HOSTILE = ["[red]x", "[/]", "[/red]", "[link=http://a]b", ":smile:", "{task.id}", "a\\", "[bold", "%s", "[x]\\[/x]"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("make", [plain, terminal])
def test_names_are_shown_as_they_are(clock: Clock, make: Callable[[Clock], Seen], name: str) -> None:
    seen = make(clock)
    with seen.display:
        seen.tell(ReelPlanned(name, 24, 1, 0, 0), TileRetried(name, 0, f"odd: {name}"), ReelPublishing(name))
        clock.now += 31
        seen.tell(IDLE)
    text = seen.file.getvalue()
    assert f"{name}: 24 frames in 1 tile" in text
    assert f"{name}: tile 0 is tried again: odd: {name}" in text
    if make is terminal:
        assert drawn(seen)[0].startswith(f"{name} ")
    else:
        assert f"{name}: 0/24 frames" in text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.text(max_size=60))
def test_whatever_it_is_called_it_is_one_line_without_commands(name: str, reason: str) -> None:
    seen = plain(Clock())
    (line,) = seen.tell(TileRetried(name, 3, reason))
    assert line.isprintable()
    assert "tile 3 is tried again" in line


def test_what_a_container_could_not_hold_is_named() -> None:
    text = io.StringIO()
    held = {"left_out": ["stream 1 (flac) was left out: mov holds no such sound"]}
    detail = {"deliverables": [{"file": "a.mov", "held": held}]}
    outcome = ReelOutcome("a", "/a.mkv", "done", frames=4, tiles=1, restored=1, seconds=2.0, detail=detail)
    with Display(console=Console(file=text, width=200)) as display:
        display(ReelEnded(outcome))
    assert "a: a.mov: stream 1 (flac) was left out" in text.getvalue()
