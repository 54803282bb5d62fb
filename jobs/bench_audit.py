"""How long an audit of many long reels takes, over reports that are made up."""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jobs.audit import show_audit
from jobs.bench_report import Figure, Part, at_most
from jobs.bench_run import told
from pipeline import tables
from pipeline.publish import layout
from pipeline.publish.documents import as_json
from pipeline.types import SIGNALS, FrameRow

_SHOT, _TILE = 120, 48
_GOAL_S = 10.0
_TIMES = 3
_CONDITIONS = (
    "changed_fraction > 0.5",
    "sharpness_output < 0.6 * sharpness_source",
    "list_contains(flags, 'seam')",
)


def audit(folder: Path, *, reels: int = 100, frames: int = 150_000, name: str = "audit") -> Part:
    """The goal of a hundred reels under 10 s, without a condition and with three."""
    with told(f"make {reels} reports of {frames} frames"):
        size = _make(folder, reels, frames)
    figures = [
        at_most("the shots to review first", _seconds(folder, None), _GOAL_S, _show),
        *(at_most(f'`--where "{c}"`', _seconds(folder, c), _GOAL_S, _show) for c in _CONDITIONS),
        Figure("one `frames.parquet`", f"{size / 2**20:.0f} MiB"),
    ]
    return Part(
        name,
        "Audit",
        f"`reelmend audit` of {reels} made-up reels of {frames} frames and {-(-frames // _SHOT)} shots each on the "
        f"local disk, in this process: median of {_TIMES}. The reels are one report under many names, so the disk's "
        "cache is warm.",
        figures,
    )


def _show(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _seconds(folder: Path, where: str | None) -> float:
    taken = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            show_audit([str(folder)], worst=20, as_json=True, where=where)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _make(folder: Path, reels: int, frames: int) -> int:
    """The reels' folders; gives the bytes of one ``frames.parquet``."""
    first = folder / "reel-0000"
    (first / "report").mkdir(parents=True)
    rows = _rows(frames)
    summary = tables.join_rows(first / layout.FRAMES, iter(lambda: list(_take(rows)), []))
    tables.write_shots(first / layout.SHOTS, summary)
    (first / layout.SUMMARY).write_text(as_json({"rules": []}))
    (first / layout.MANIFEST).write_text("made up\n")
    for n in range(1, reels):
        other = folder / f"reel-{n:04d}"
        (other / "report").mkdir(parents=True)
        for file in (layout.FRAMES, layout.SHOTS, layout.SUMMARY, layout.MANIFEST):
            os.link(first / file, other / file)
    return (first / layout.FRAMES).stat().st_size


def _take(rows: Iterator[FrameRow]) -> Iterator[FrameRow]:
    for _ in range(_TILE):
        row = next(rows, None)
        if row is None:
            return
        yield row


def _rows(frames: int) -> Iterator[FrameRow]:
    """Figures as they are of a film that went well, but for a bad stretch at its end."""
    r = np.random.default_rng(0)
    said: dict[str, Any] = {"reel": "made-up", "timecode": None, "shot": 0, "device": "cpu", "net": "nafnet-film"}
    said |= {"weights_sha256": "ab" * 32, "seconds": 0.1}
    for n in range(frames):
        bad = frames * 0.96 < n < frames * 0.97
        values = r.random(len(_EACH), np.float32)
        figures: dict[str, Any] = dict(zip(_EACH, values.tolist(), strict=True))
        figures["changed_fraction"] = 0.8 if bad else 0.1 * figures["changed_fraction"]
        signals = tuple((values[:1] + _SPREAD).tolist())
        yield FrameRow(
            **said,
            **figures,
            frame=n,
            pts=n,
            time_s=n / 24,
            tile=n // _TILE,
            cut=n % _SHOT == 0,
            source_md5=f"{n * 7919:032x}",
            output_md5=f"{n * 104729:032x}",
            sharpness_source=0.2,
            sharpness_output=0.1 if bad else 0.2,
            signals_source=signals,
            signals_output=signals,
            flags=("seam",) if bad else (),
        )


_EACH = (
    *("psnr_db", "ssim", "touched_fraction", "changed_fraction", "luma_source", "luma_output", "flicker_source"),
    *("flicker_output", "ydif_source", "ydif_output", "noise_source", "noise_output"),
)
_SPREAD = np.arange(len(SIGNALS), dtype=np.float32)
