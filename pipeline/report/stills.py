"""Which frames are kept as stills: of a tile while it is restored, and of those for the reel's page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from pipeline.plan.memory import STILLS_A_TILE
from pipeline.report.judge import Measured, own_flags
from pipeline.rules import WORDS
from pipeline.spec import Spec
from pipeline.types import Plan, Tile

_SHOWS = frozenset(name for name, words in WORDS.items() if words.about != "source") | {"damaged"}
"""Flags of which a still says something: what the source suffers from by itself is not looked at twice."""


def sample(plan: Plan, most: int) -> range:
    """The even sample: every so many frames of the reel, half of ``most`` at most; none where ``most`` is 0."""
    half = most - most // 2
    if half == 0:
        return range(0)
    step = -(-(plan.last - plan.first) // half)
    return range(plan.first + step // 2, plan.last, step)


def of_tile(
    plan: Plan, spec: Spec, tile: Tile, figures: Sequence[Measured], raised: Sequence[Sequence[str]]
) -> list[int]:
    """Frames of a tile's core to keep, rising: the sample's, and the worst of each flag, ``STILLS_A_TILE`` at most.

    figures, raised: a frame's figures, and the flags that the chain raised.
    """
    if not spec.stills.most:
        return []
    even = sample(plan, spec.stills.most)
    kept = [n for n in range(tile.first, tile.last) if n in even][:STILLS_A_TILE]
    worst: dict[str, tuple[float, int]] = {}
    for n, frame, flags in zip(range(tile.first, tile.last), figures, raised, strict=True):
        for flag, severity in (dict.fromkeys(flags, 1.0) | own_flags(frame, spec.flags)).items():
            if flag in WORDS and flag not in _SHOWS:
                continue
            if flag not in worst or severity > worst[flag][0]:
                worst[flag] = (severity, n)
    for flag in sorted(worst, key=lambda f: (_rank(f), f)):
        if len(kept) < STILLS_A_TILE and worst[flag][1] not in kept:
            kept.append(worst[flag][1])
    return sorted(kept)


def choose(plan: Plan, most: int, severities: Mapping[int, Mapping[str, float]]) -> list[int]:
    """Of the frames that were kept, those to publish, rising: the even sample, then the worst of each flag in turn.

    severities: kept frame → its flags and how bad each is.
    """
    chosen = [n for n in sample(plan, most) if n in severities][:most]
    by_flag: dict[str, list[tuple[float, int]]] = {}
    for n, flags in severities.items():
        for flag, severity in flags.items():
            if flag in _SHOWS or flag not in WORDS:
                by_flag.setdefault(flag, []).append((-severity, n))
    lines = [sorted(by_flag[f]) for f in sorted(by_flag, key=lambda f: (_rank(f), f))]
    seen = set(chosen)
    for row in zip_longest(*lines):
        for entry in row:
            if entry is not None and entry[1] not in seen and len(chosen) < most:
                chosen.append(entry[1])
                seen.add(entry[1])
    return sorted(chosen)


def _rank(flag: str) -> int:
    order = list(WORDS)
    return order.index(flag) if flag in order else len(order)
