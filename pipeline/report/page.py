"""The page of one reel: a file that needs nothing but its own folder."""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from pipeline import tables
from pipeline.report import timeline
from pipeline.report.charts import CHARTS, FIGURES, Chart, charts_of, histogram
from pipeline.rules import words
from pipeline.types import Plan

_MOST_SHOTS = 400
"""Rows of the table of shots: the worst, should there be more."""
_TABLE_ROWS = 60
"""Rows of the figures as a table."""
_MOST_RUNS = 200
_SHOT_COLUMNS = (
    *("shot", "first", "last", "frames", "time_s", "flagged_frames", "changed_fraction", "psnr_min_db", "ssim"),
    *("sharpness_source", "sharpness_output", "noise_source", "noise_output", "flicker_source", "flicker_output"),
)


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame that the page shows."""

    frame: int
    flags: tuple[str, ...]
    files: Mapping[str, str]
    """Kind of picture (``tables.Kind``) → its file in ``frames/`` beside the page."""
    piece: tuple[int, int, int, int]
    """What the pieces at full size show: x, y, width, height in px of the frame."""


def write(
    plan: Plan,
    said: Mapping[str, Any],
    kept: Sequence[KeptFrame],
    *,
    software: Mapping[str, Any],
    frames: Path,
    shots: Path,
    to: Path,
) -> None:
    """Write the page.

    said: what ``reel.json`` says. software: the versions that ran, as the provenance has them. frames, shots: the
    reel's Parquet files, on this machine.
    """
    counts, parts = histogram(tables.stream_numbers(frames, FIGURES))
    buckets = timeline.gather(plan.first, plan.last, parts, FIGURES)
    to.write_text(
        _render(plan, said, kept, buckets, counts(), _shots(shots), _versions(software)),
        encoding="utf-8",
        errors="replace",
    )


def _versions(software: Mapping[str, Any]) -> list[tuple[str, str]]:
    libraries = software.get("libraries")
    named = {k: v for k, v in software.items() if k in ("reelmend", "engine_version", "python", "code_sha256")}
    return [(str(k), str(v)) for k, v in {**named, **(libraries if isinstance(libraries, dict) else {})}.items() if v]


def _shots(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The shots to list, in order of time, and how many there are."""
    columns = tables.read_columns(path, (*_SHOT_COLUMNS, "flags"))
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    worst = sorted(rows, key=lambda r: (-r["flagged_frames"], -r["changed_fraction"], r["shot"]))[:_MOST_SHOTS]
    return sorted(worst, key=lambda r: int(r["shot"])), len(rows)


def _render(
    plan: Plan,
    said: Mapping[str, Any],
    kept: Sequence[KeptFrame],
    buckets: timeline.Buckets,
    counts: Sequence[int],
    shots: tuple[Sequence[Mapping[str, Any]], int],
    versions: Sequence[tuple[str, str]],
) -> str:
    rate = plan.reel.rate
    style, script = asset("page.css"), asset("reel.js")
    lanes = [
        {**rule, "spans": timeline.spans([tuple(r) for r in rule["runs"]], buckets), "runs": rule["runs"][:_MOST_RUNS]}
        for rule in said["rules"]
    ]
    listed, total = shots
    return (
        environment()
        .get_template("reel.html.j2")
        .render(
            said=said,
            plan=plan,
            rate=float(rate),
            seconds=(plan.last - plan.first) / float(rate),
            kept=kept,
            versions=versions,
            lanes=lanes,
            charts=charts_of(buckets),
            counts=counts,
            most=max(counts, default=0) or 1,
            shots=listed,
            shot_count=total,
            shot_spans=timeline.spans([(int(s["first"]), int(s["last"])) for s in listed[::2]], buckets),
            rows=_rows(buckets),
            chart_list=CHARTS,
            width=timeline.WIDTH,
            height=timeline.HEIGHT,
            data=_data(plan, kept, buckets),
            spec=json.dumps(dict(plan.spec), indent=1, ensure_ascii=False),
            style=style,
            script=script,
            policy=policy(style, script),
            how_long=how_long,
        )
    )


def _data(plan: Plan, kept: Sequence[KeptFrame], buckets: timeline.Buckets) -> dict[str, Any]:
    """What the page's script shows on a click."""
    series = {name: [_short(v) for v in buckets.mean[name]] for name in FIGURES}
    return {
        "edges": buckets.edges,
        "rate": float(plan.reel.rate),
        "charts": [{"title": c.title, "unit": c.unit, "names": c.names} for c in CHARTS if c.has(buckets)],
        "series": {name: values for name, values in series.items() if any(v is not None for v in values)},
        "kept": [
            {"frame": k.frame, "files": k.files, "flags": [_title(f) for f in k.flags], "piece": k.piece} for k in kept
        ],
    }


def _short(value: float) -> float | None:
    """Four figures are what a person reads, and a file of half the size."""
    return None if math.isnan(value) else float(f"{value:.4g}")


def _rows(buckets: timeline.Buckets) -> list[dict[str, Any]]:
    """The timelines as a table of some rows, for those who cannot see them."""
    edges = np.unique(np.linspace(0, len(buckets), min(_TABLE_ROWS, len(buckets)) + 1).round().astype(int))
    found = []
    for a, b in itertools.pairwise(edges.tolist()):
        values: dict[str, float | None] = {}
        for name in FIGURES:
            part = buckets.mean[name][a:b]
            values[name] = float(np.nanmean(part)) if not np.isnan(part).all() else None
        found.append({"first": buckets.edges[a], "last": buckets.edges[b], "values": values})
    return found


def policy(style: str, script: str) -> str:
    """Content-Security-Policy of a page: nothing but these two texts runs or styles, pictures come from beside it."""

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src 'self' file: data:; style-src {source(style)}; script-src {source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


@functools.cache
def asset(name: str) -> str:
    """A text beside the templates."""
    return resources.files("pipeline.report").joinpath("templates", name).read_text("utf-8")


def how_long(seconds: float) -> str:
    """``1:02:03`` or ``2:03.4``."""
    whole, rest = divmod(seconds, 60)
    minutes = int(whole)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{int(rest):02d}"
    return f"{minutes}:{rest:04.1f}"


def _figure(value: float | None, digits: int = 3) -> str:
    """A number for people; nothing where there is none."""
    return "" if value is None or value != value else f"{value:.{digits}g}"


def _between(ends: Sequence[float], unit: str) -> str:
    """``0 to 14 dB``; shares as per cent."""
    scale, said = (100, " %") if unit == "share" else (1, "" if unit == "1" else f" {unit}")
    return " to ".join(_figure(scale * end) for end in ends) + said


def _in_table(value: float | None, unit: str) -> str:
    """A figure whose unit the head of its column says."""
    return _figure(100 * value if value is not None and unit == "share" else value)


def _moment(when: str) -> str:
    """ISO 8601 to the minute; what is none stays as it is."""
    try:
        return datetime.datetime.fromisoformat(when).astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return when


def _counted(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"


def _title(flag: str) -> str:
    return words(flag).title


def _size(value: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


@functools.cache
def environment() -> jinja2.Environment:
    """Everything is escaped; a name that a template lacks is an error."""
    found = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["figure"] = _figure
    found.filters["between"] = _between
    found.filters["in_table"] = _in_table
    found.filters["moment"] = _moment
    found.filters["counted"] = _counted
    found.filters["title_of"] = _title
    found.filters["size"] = _size
    return found


__all__ = ["Chart", "KeptFrame", "asset", "environment", "how_long", "policy", "write"]
