"""``reelmend status OUT``: done, left, rate, time, quarantined, from the ledger alone."""

from __future__ import annotations

from rich.table import Table

from jobs.common import console, human_time, print_json, say
from pipeline.publish.status import ReelStatus, status


def show_status(out: str, *, as_json: bool) -> int:
    """Print how the runs into OUT stand; status 1 where a reel is quarantined."""
    found = status(out)
    if as_json:
        print_json(found.record())
        return 1 if found.quarantined else 0
    if not found.reels and not found.quarantined:
        say(f"{out}: no reel has been begun here")
        return 0
    table = Table("reel", "stage", "tiles", "frames", "frames/s", "left")
    for r in found.reels:
        table.add_row(r.reel, r.problem or r.stage, *_numbers(r))
    console().print(table)
    for q in found.quarantined:
        print(f"quarantined {q.reel}: {q.message}")
    if found.frames_done < found.frames:
        left = human_time(found.eta_s) if found.eta_s is not None else "unknown"
        print(f"{found.frames_done} of {found.frames} frames done; time left at the last rate: {left}")
    return 1 if found.quarantined else 0


def _numbers(r: ReelStatus) -> tuple[str, str, str, str]:
    rate = f"{r.rate:.1f}" if r.rate else ""
    left = human_time(r.eta_s) if r.eta_s else ""
    return f"{r.tiles_done}/{r.tiles}", f"{r.frames_done}/{r.frames}", rate, left
