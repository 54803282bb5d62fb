"""``reelmend audit``: which shots were changed most, over many reels, read straight from their reports."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.table import Table

from jobs.common import console, print_json, say
from pipeline import tables
from pipeline.errors import ReelmendError
from pipeline.publish import layout, quarantine
from pipeline.publish.state import look
from pipeline.storage import store

_COLUMNS = (
    "reel",
    "shot",
    "first",
    "last",
    "frames",
    "touched_frames",
    "flagged_frames",
    "psnr_min_db",
    "psnr_db",
    "ssim",
    "changed_fraction",
    "flicker_source",
    "flicker_output",
    "sharpness_source",
    "sharpness_output",
    "noise_source",
    "noise_output",
)
_AT_ONCE = 16


def show_audit(outs: Sequence[str], *, worst: int, as_json: bool) -> int:
    """Print the most changed shots of all reels below the outputs; status 1 where a report could not be read."""
    reports: list[tuple[str, str]] = []
    quarantined: list[quarantine.Entry] = []
    for out in outs:
        files = look(out)
        reports += [
            (out, reel)
            for reel, names in sorted(files.reels.items())
            if layout.SHOTS in names and layout.MANIFEST in names
        ]
        quarantined += quarantine.read_all(files)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = list(pool.map(_read, reports))
    problems = [p for p in read if isinstance(p, str)]
    shots = [shot for part in read if not isinstance(part, str) for shot in part]
    # The most changed first: the share of the picture that moved, then how far the worst frame went.
    shots.sort(key=lambda s: (-(s["changed_fraction"] or 0.0), s["psnr_min_db"], s["reel"], s["shot"]))
    if as_json:
        print_json(
            {
                "reels": len(reports),
                "shots": shots[:worst],
                "quarantined": [{"reel": q.reel, "reason": q.message} for q in quarantined],
                "problems": problems,
            }
        )
    else:
        _print(shots[:worst], len(reports), len(shots))
        for q in quarantined:
            print(f"quarantined {q.reel}: {q.message}")
        for p in problems:
            say(p)
    return 1 if problems else 0


def _read(report: tuple[str, str]) -> list[dict[str, Any]] | str:
    out, reel = report
    uri = layout.published(out, reel, layout.SHOTS)
    try:
        with store.open_read(uri) as file:
            columns = tables.read_columns(file, _COLUMNS)
    except ReelmendError as error:
        return str(error)
    rows = [dict(zip(_COLUMNS, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{"out": out, **row} for row in rows]


def _print(shots: Sequence[dict[str, Any]], reels: int, total: int) -> None:
    table = Table("reel", "shot", "frames", "changed", "PSNR", "worst", "sharpness", "noise", "flicker")
    for s in shots:
        table.add_row(
            s["reel"],
            str(s["shot"]),
            f"{s['first']}:{s['last']}",
            f"{s['changed_fraction']:.2%}",
            f"{s['psnr_db']:.1f}",
            f"{s['psnr_min_db']:.1f}",
            *(_pair(s[f"{name}_source"], s[f"{name}_output"]) for name in ("sharpness", "noise", "flicker")),
        )
    console().print(table)
    print(f"{total} shots in {reels} reels; the {len(shots)} most changed are listed")


def _pair(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{before:.2f} → {after:.2f}"
