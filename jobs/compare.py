"""``reelmend compare A B``: figures between two films, frame by frame."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from jobs.common import console, find_sources, print_json
from pipeline.errors import CallError
from pipeline.quality.compare import compare
from pipeline.reel.decode import batches
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.spec import Source
from pipeline.types import FrameIndex, Reel

_WORST = 5


def show_compare(a: str, b: str, *, as_json: bool) -> int:
    """Print the figures of B against A. Status 1 where the two do not have the same number of frames."""
    (reel_a, index_a), (reel_b, index_b) = _open(a), _open(b)
    frames = min(len(index_a), len(index_b))
    rows = list(_rows(reel_a, index_a, reel_b, index_b, frames))
    same = len(index_a) == len(index_b)
    if as_json:
        print_json({"a": a, "b": b, "frames_a": len(index_a), "frames_b": len(index_b), "rows": rows})
        return 0 if same else 1
    _print(rows)
    if not same:
        print(f"A has {len(index_a)} frames, B has {len(index_b)}: only the first {frames} were compared")
    return 0 if same else 1


def _open(uri: str) -> tuple[Reel, FrameIndex]:
    found = find_sources([uri])
    if len(found) != 1:
        raise CallError("names several films; compare takes two", where=uri)
    reel = probe(*found[0], Source(interlaced="per_field"))
    return reel, build(reel)


def _rows(a: Reel, index_a: FrameIndex, b: Reel, index_b: FrameIndex, frames: int) -> Iterator[dict[str, Any]]:
    pairs = zip(
        batches(a, index_a, 0, frames, threads=1),
        batches(b, index_b, 0, frames, threads=1),
        strict=True,
    )
    for of_a, of_b in pairs:
        yield from compare(of_a, of_b, a.colour, b.colour)


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("figure", "mean", "least", "at frame", "most", "at frame")
    for name in ("psnr_db", "psnr_y_db", "ssim", "touched_fraction"):
        values = [(r[name], r["frame"]) for r in rows if r[name] is not None]
        if not values:
            table.add_row(name, "—", "", "", "", "")
            continue
        low, high = min(values), max(values, key=lambda v: v[0])
        mean = statistics.fmean(v for v, _ in values)
        table.add_row(name, f"{mean:.4f}", f"{low[0]:.4f}", str(low[1]), f"{high[0]:.4f}", str(high[1]))
    console().print(table)
    worst = sorted(rows, key=lambda r: (r["psnr_y_db"], r["frame"]))[:_WORST]
    print(f"{len(rows)} frames; least alike: {', '.join(str(r['frame']) for r in worst)}")
