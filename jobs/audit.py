"""``reelmend audit``: which shots to review first, over many reels, read straight from their reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from jobs.common import console, print_json, say
from pipeline import tables
from pipeline.errors import CallError, ReelmendError
from pipeline.publish import layout, quarantine
from pipeline.publish.documents import read_object
from pipeline.publish.reels import published, quarantined
from pipeline.rules import WORDS
from pipeline.storage import store
from pipeline.tables.query import Condition

_COLUMNS = (
    *("reel", "shot", "first", "last", "frames", "touched_frames", "flagged_frames", "flags"),
    *("psnr_min_db", "psnr_db", "ssim", "changed_fraction"),
    *("flicker_source", "flicker_output", "sharpness_source", "sharpness_output", "noise_source", "noise_output"),
)
_AT_ONCE = 16
_SUMMARY_BYTES = 16 << 20


@dataclass(slots=True)
class _Reel:
    """What was read of one reel."""

    out: str
    name: str
    shots: list[dict[str, Any]] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    """Flags that fired and whose rules are marked ``fail``."""
    problem: str | None = None


def show_audit(outs: Sequence[str], *, worst: int, as_json: bool, where: str | None = None) -> int:
    """Print the shots to review first, of all reels below the outputs; with ``where``, those that have such frames.

    Status 1 where a rule marked ``fail`` fired, or a report could not be read. Raises CallError for a condition that is
    none.
    """
    condition = Condition(where) if where is not None else None
    reels: list[_Reel] = []
    records: list[quarantine.Entry] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for out in outs:
            reels += [_Reel(out, r.name) for r in published(out, pool) if layout.SHOTS in r.report]
            records += quarantine.read_all(quarantined(out))
        list(pool.map(_read, reels))
        if condition is not None:
            asked = condition
            list(pool.map(lambda reel: _keep_matching(reel, asked), reels))
    problems = [r.problem for r in reels if r.problem]
    failing = {r.name: r.failing for r in reels if r.failing}
    shots = [shot | {"fails": bool(set(shot["flags"]) & set(r.failing))} for r in reels for shot in r.shots]
    shots.sort(key=_order)
    if as_json:
        print_json(
            {
                "reels": len(reels),
                "shots": shots[:worst],
                "flags": dict(Counter(f for s in shots for f in s["flags"])),
                "failing": failing,
                "quarantined": [{"reel": q.reel, "reason": q.message} for q in records],
                "problems": problems,
            }
        )
    else:
        _print(shots[:worst], len(reels), len(shots))
        for q in records:
            print(f"quarantined {q.reel}: {q.message}")
        for name, flags in failing.items():
            print(f"fails {name}: {', '.join(flags)}")
        for p in problems:
            say(p)
    return 1 if problems or failing else 0


def _order(shot: Mapping[str, Any]) -> tuple[Any, ...]:
    """What fails an audit, then what restoring did wrong, how much of the shot is flagged, and how much changed."""
    done = sum(1 for f in shot["flags"] if f not in WORDS or WORDS[f].about != "source")
    share = shot["flagged_frames"] / max(1, shot["frames"])
    changed = shot["changed_fraction"] or 0.0
    return not shot["fails"], -done, -share if done else 0.0, -changed, shot["psnr_min_db"], shot["reel"], shot["shot"]


def _read(reel: _Reel) -> None:
    try:
        with store.open_read(layout.published(reel.out, reel.name, layout.SHOTS)) as file:
            columns = tables.read_columns(file, _COLUMNS)
        uri = layout.published(reel.out, reel.name, layout.SUMMARY)
        said = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri).get("rules", [])
    except ReelmendError as error:
        reel.problem = str(error)
        return
    reel.shots = [
        {"out": reel.out, **dict(zip(_COLUMNS, values, strict=True))} for values in zip(*columns.values(), strict=True)
    ]
    rules = said if isinstance(said, list) else []
    marked = {str(r.get("flag")) for r in rules if isinstance(r, dict) and r.get("fail") is True}
    reel.failing = sorted(marked & {f for s in reel.shots for f in s["flags"]})


def _keep_matching(reel: _Reel, condition: Condition) -> None:
    if reel.problem:
        return
    try:
        with store.open_read(layout.published(reel.out, reel.name, layout.FRAMES)) as file:
            found = condition.shots(file)
    except CallError:
        raise
    except ReelmendError as error:
        reel.problem, reel.shots = str(error), []
        return
    reel.shots = [
        shot | {"matching_frames": found[shot["shot"]].frames, "first_match": found[shot["shot"]].first}
        for shot in reel.shots
        if shot["shot"] in found
    ]


def _print(shots: Sequence[Mapping[str, Any]], reels: int, total: int) -> None:
    matched = any("matching_frames" in s for s in shots)
    table = Table("reel", "shot", "frames", *(["matching"] if matched else []), "flags", "changed", "PSNR", "worst")
    for name in ("sharpness", "noise", "flicker"):
        table.add_column(name)
    for s in shots:
        table.add_row(
            Text(s["reel"]),
            str(s["shot"]),
            f"{s['first']}:{s['last']}",
            *([f"{s['matching_frames']} from {s['first_match']}"] if matched else []),
            Text(", ".join(s["flags"])),
            f"{s['changed_fraction']:.2%}",
            f"{s['psnr_db']:.1f}",
            f"{s['psnr_min_db']:.1f}",
            *(_pair(s[f"{name}_source"], s[f"{name}_output"]) for name in ("sharpness", "noise", "flicker")),
        )
    console().print(table)
    print(f"{_count(total, 'shot')} in {_count(reels, 'reel')}; the {len(shots)} to review first are listed")


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _pair(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{before:.2f} → {after:.2f}"
