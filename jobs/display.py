"""What a person sees while a run goes: bars on a terminal, plain lines elsewhere. On stderr, always."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from jobs.common import human_time
from pipeline.cluster.progress import (
    Event,
    Load,
    NightUnwritten,
    ReelEnded,
    ReelPlanned,
    ReelPublishing,
    ReelSurveying,
    RunStarted,
    StorageAnswers,
    StorageSilent,
    TileDone,
    TileRetried,
)

_LINE_EVERY_S = 30.0
_WIDE = 110
_FIGURES_COLUMNS = 64
"""What stands beside name and bar on a terminal's line: were a name not cut, the figures would be."""
_RATE_OVER_S = 60.0
"""A rate is that of the last minute: what a reel does now, not what it did at its start."""


class _Rate:
    """Frames a second over the last minute, or over the last two tiles where those took longer."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)])
        self.done = 0

    def add(self, frames: int) -> None:
        self.done += frames
        now = self._clock()
        self._seen.append((now, self.done))
        while len(self._seen) > 2 and self._seen[0][0] < now - _RATE_OVER_S:
            self._seen.popleft()

    @property
    def fps(self) -> float:
        (t0, n0), (t1, n1) = self._seen[0], self._seen[-1]
        # Tiles come one by one, so a pause is usual; one that is longer than all that is looked at is a standstill.
        silence = self._clock() - t1
        seconds = t1 - t0 + (silence if silence > max(t1 - t0, _RATE_OVER_S) else 0.0)
        return (n1 - n0) / seconds if seconds > 0 else 0.0


class _ReelState:
    def __init__(self, planned: ReelPlanned, clock: Callable[[], float]):
        self.frames, self.tiles = planned.frames, planned.tiles
        self.before = planned.done_frames
        self.tiles_done = planned.done_tiles
        self.rate = _Rate(clock)

    @property
    def done(self) -> int:
        return self.before + self.rate.done

    def words(self, load: float) -> str:
        fps, to_do = self.rate.fps, self.frames - self.done
        left = f"{human_time(to_do / fps)} left" if fps else "…" if to_do else "0 s left"
        return f"{fps:5.1f} frames/s  tiles {self.tiles_done}/{self.tiles}  {left}  device {load:.0%}"


class Display:
    """A listener of a run's events; a context, so that the bars are put away whatever happens."""

    def __init__(self, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._reels: dict[str, _ReelState] = {}
        self._tasks: dict[str, TaskID] = {}
        self._load = 0.0
        self._told = clock()
        self._bars: Progress | None = None
        # Not `is_terminal`: a dumb one cannot move the cursor, and would get every redrawing as new lines.
        if self._console.is_interactive:
            bar = 20 if self._console.width >= _WIDE else 6
            self._name_columns = max(8, self._console.width - bar - _FIGURES_COLUMNS)
            self._bars = Progress(
                # As it is: "[red]" in a reel's name is no colour.
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=bar),
                TextColumn("{task.percentage:3.0f}%"),
                TextColumn("{task.fields[words]}", markup=False),
                console=self._console,
            )

    def __enter__(self) -> Display:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._line(f"{_count(event.reels, 'reel')}, {_count(event.restorers, 'restorer')} on {event.device}")
            case ReelSurveying():
                left = event.spans - event.done_spans
                self._line(f"{event.reel}: {event.frames} frames are surveyed first, {_count(left, 'span')} to look at")
            case ReelPlanned():
                self._planned(event)
            case TileDone():
                reel = self._reels[event.reel]
                reel.rate.add(event.frames)
                reel.tiles_done += 1
                self._bar(event.reel)
            case TileRetried():
                where = f"tile {event.tile}" if event.tile >= 0 else "reel"
                self._line(f"{event.reel}: {where} is tried again: {event.reason}")
            case StorageSilent():
                since = time.strftime("%H:%M:%S", time.localtime(time.time() - event.seconds))
                silent, wait = human_time(event.seconds), human_time(event.next_try_s)
                self._line(
                    f"{event.storage} does not answer since {since} ({silent}); what needs it waits, "
                    f"next try in {wait}: {event.reason}"
                )
            case StorageAnswers():
                self._line(f"{event.storage} answers again, after {human_time(event.seconds)}")
            case NightUnwritten():
                self._line(f"index.html does not tell of this run, the next one writes it: {event.reason}")
            case ReelPublishing():
                self._line(f"{event.reel}: all tiles done, assembling")
            case ReelEnded():
                self._ended(event)
            case Load():
                self._load += (event.busy - self._load) * 0.1
                self._tick()

    def _planned(self, event: ReelPlanned) -> None:
        self._reels[event.reel] = _ReelState(event, self._clock)
        kept = f", {event.done_tiles} already in the ledger" if event.done_tiles else ""
        self._line(f"{event.reel}: {_count(event.frames, 'frame')} in {_count(event.tiles, 'tile')}{kept}")
        for sentence in event.doubts:
            self._line(f"{event.reel}: {sentence}")
        if self._bars:
            if event.reel in self._tasks:  # planned again, after a publication that failed
                self._bars.remove_task(self._tasks.pop(event.reel))
            self._tasks[event.reel] = self._bars.add_task(
                _cut(_printable(event.reel), self._name_columns),
                total=event.frames,
                completed=event.done_frames,
                words="",
            )

    def _bar(self, name: str) -> None:
        if self._bars and name in self._tasks:
            reel = self._reels[name]
            self._bars.update(self._tasks[name], completed=reel.done, words=reel.words(self._load))

    def _ended(self, event: ReelEnded) -> None:
        o = event.outcome
        if self._bars and o.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(o.name))
        reel = self._reels.pop(o.name, None)
        if o.status == "done":
            before = reel.before if reel else 0
            # What an earlier run did cost this one nothing.
            rate = (o.frames - before) / o.seconds if o.seconds else 0.0
            kept = f" ({before} of them earlier)" if before else ""
            self._line(
                f"{o.name}: done, {_count(o.frames, 'frame')}{kept} in {human_time(o.seconds)} ({rate:.1f} frames/s)"
            )
            for deliverable in o.detail.get("deliverables", ()):
                for sentence in deliverable["held"]["left_out"]:
                    self._line(f"{o.name}: {deliverable['file']}: {sentence}")
        else:
            self._line(f"{o.name}: {o.status}{f': {o.reason}' if o.reason else ''}")

    def _tick(self) -> None:
        if self._bars:
            for name in self._tasks:
                self._bar(name)
        elif self._clock() - self._told >= _LINE_EVERY_S:
            self._told = self._clock()
            for name, reel in self._reels.items():
                self._line(f"{name}: {reel.done}/{reel.frames} frames  {reel.words(self._load)}")

    def _line(self, text: str) -> None:
        self._console.print(Text(_printable(text)), highlight=False, soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cut(name: str, columns: int) -> str:
    """A name in so many columns of a terminal. Its end is kept: reels of one folder differ there."""
    if cell_len(name) <= columns:
        return name
    while cell_len(name) > columns - 1:
        name = name[1:]
    return f"…{name}"


def _printable(text: str) -> str:
    """One line, without what a terminal would obey: names and a library's words come from outside."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "�" for c in text)
