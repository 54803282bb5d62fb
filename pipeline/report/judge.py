"""Flags from figures: pure functions of rows in order."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Protocol

from pipeline.rules import Flags, Rule
from pipeline.types import SIGNALS, FrameRow, Signals

_U, _V = SIGNALS.index("uavg"), SIGNALS.index("vavg")
_MOST_RUNS = 2_000
"""Runs of frames that are named of one flag; the rows name every frame."""
_MOST_FREEZE = 100_000
"""Frames that a freeze is looked for over, at most."""


class Measured(Protocol):
    """What a frame's own figures are read from: ``FrameFigures`` or ``FrameRow``."""

    @property
    def changed_fraction(self) -> float: ...
    @property
    def unsupported_fraction(self) -> float | None: ...
    @property
    def sharpness_source(self) -> float: ...
    @property
    def sharpness_output(self) -> float: ...
    @property
    def noise_source(self) -> float: ...
    @property
    def noise_output(self) -> float: ...
    @property
    def flicker_source(self) -> float | None: ...
    @property
    def flicker_output(self) -> float | None: ...
    @property
    def signals_source(self) -> Signals: ...
    @property
    def signals_output(self) -> Signals: ...
    @property
    def seam_space(self) -> float | None: ...
    @property
    def black_fraction(self) -> float | None: ...


def own_flags(frame: Measured, flags: Flags) -> dict[str, float]:
    """Flags that a frame earns by its own figures, each with its severity: how far beyond its threshold, from 1."""
    found: dict[str, float] = {}

    def above(name: str, rule: Rule, value: float | None, limit: float) -> None:
        if rule.use and value is not None and value > limit:
            found[name] = value / limit if limit else 1.0 + value

    def below(name: str, rule: Rule, value: float, reference: float, share: float, least: float) -> None:
        if rule.use and reference >= least and value < share * reference:
            found[name] = share * reference / value if value > 0 else 1e6

    f = flags
    above("heavy-change", f.heavy_change, frame.changed_fraction, f.heavy_change.above)
    above("possible-invention", f.possible_invention, frame.unsupported_fraction, f.possible_invention.above)
    sharp, grain = f.lost_sharpness, f.grain_gone
    below("lost-sharpness", sharp, frame.sharpness_output, frame.sharpness_source, sharp.below, sharp.least)
    below("grain-gone", grain, frame.noise_output, frame.noise_source, grain.below, grain.least)
    if frame.flicker_source is not None and frame.flicker_output is not None:
        above("flicker-added", f.flicker_added, frame.flicker_output - frame.flicker_source, f.flicker_added.above)
    above("colour-shift", f.colour_shift, _colour_moved(frame), f.colour_shift.above)
    above("seam", f.seam, frame.seam_space, f.seam.above)
    above("black", f.black, frame.black_fraction, f.black.above)
    return found


def _colour_moved(frame: Measured) -> float | None:
    moved = [
        abs(after - before)
        for i in (_U, _V)
        if (before := frame.signals_source[i]) is not None and (after := frame.signals_output[i]) is not None
    ]
    return max(moved, default=None)


@dataclasses.dataclass(slots=True)
class Fired:
    """Where a rule fired."""

    frames: int = 0
    runs: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """Half-open spans of frames, the first ``_MOST_RUNS`` of them."""


class Judge:
    """Flags the rows of a reel, which come in order. What fired stands in ``fired`` afterwards."""

    def __init__(self, flags: Flags, rate: Fraction, *, watched: Collection[int] = ()):
        """watched: frames whose severities are remembered, in ``severities``: those of which stills were kept."""
        self._flags = flags
        self._freeze = min(_MOST_FREEZE, max(1, round(flags.freeze.seconds * rate)))
        self._watched = frozenset(watched)
        self.fired: dict[str, Fired] = defaultdict(Fired)
        self.severities: dict[int, Mapping[str, float]] = {}

    def rows(self, tiles: Iterable[Sequence[FrameRow]]) -> Iterator[list[FrameRow]]:
        """The same rows with their flags, some at a time. Rows of a freeze are held until it is one."""
        before: FrameRow | None = None
        still: list[tuple[FrameRow, dict[str, float]]] = []
        frozen = False
        for rows in tiles:
            out: list[FrameRow] = []
            for row in rows:
                found = self._judge(row, before)
                before = row
                stands = row.ydif_source is not None and row.ydif_source <= self._flags.freeze.below
                if self._flags.freeze.use and stands:
                    still.append((row, found))
                    frozen = frozen or len(still) >= self._freeze
                    if frozen:
                        out += self._give(still, {"freeze": 1.0})
                        still = []
                    continue
                out += self._give(still, {})
                still, frozen = [], False
                out.append(self._told(row, found))
            if out:
                yield out
        if still:
            yield self._give(still, {})

    def _give(self, held: Sequence[tuple[FrameRow, dict[str, float]]], more: dict[str, float]) -> list[FrameRow]:
        return [self._told(row, found | more) for row, found in held]

    def _judge(self, row: FrameRow, before: FrameRow | None) -> dict[str, float]:
        # What the chain itself raised comes first, and stays.
        found = dict.fromkeys(row.flags, 1.0) | own_flags(row, self._flags)
        f = self._flags
        if f.memory_ladder.use and any(flag.startswith("memory-") for flag in row.flags):
            found["memory-ladder"] = 1.0
        if f.seam.use and row.seam_time is not None and row.seam_time > f.seam.above:
            found["seam"] = max(found.get("seam", 0.0), row.seam_time / f.seam.above if f.seam.above else 1.0)
        if f.duplicate.use and before is not None and row.source_md5 == before.source_md5:
            found["duplicate"] = 1.0
        return found

    def _told(self, row: FrameRow, found: Mapping[str, float]) -> FrameRow:
        for flag in found:
            fired = self.fired[flag]
            fired.frames += 1
            if fired.runs and fired.runs[-1][1] == row.frame:
                fired.runs[-1] = (fired.runs[-1][0], row.frame + 1)
            elif len(fired.runs) < _MOST_RUNS:
                fired.runs.append((row.frame, row.frame + 1))
        if row.frame in self._watched:
            self.severities[row.frame] = found
        flags = tuple(sorted(found))
        return row if flags == row.flags else dataclasses.replace(row, flags=flags)
