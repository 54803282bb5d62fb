"""The generated parts of docs/reports.md: the columns, from the schema, and the flags, from the rules.

``python -m tests.report.reports_page`` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jobs.bench_report import table
from pipeline import tables
from pipeline.rules import WORDS, Flags, threshold
from pipeline.tables import Column

PAGE = Path(__file__).parents[2] / "docs" / "reports.md"
_ABOUT = {"change": "what restoring did", "run": "how it went", "source": "the film itself"}


def _columns(columns: Sequence[Column]) -> list[str]:
    rows = [(f"`{c.name}`", str(c.type), c.unit, c.meaning, "yes" if c.nullable else "") for c in columns]
    return table(("column", "type", "unit", "meaning", "may be null"), rows)


def _flags() -> list[str]:
    flags = Flags()
    rows = [(f"`{f}`", w.sentence, threshold(flags, f), _ABOUT[w.about]) for f, w in WORDS.items()]
    return table(("flag", "says", "threshold", "about"), rows)


def parts() -> dict[str, list[str]]:
    means = set(tables.FIGURES)
    return {
        "frames": _columns(tables.FRAME_COLUMNS),
        "shots": _columns([c for c in tables.SHOT_COLUMNS if c.name not in means]),
        "tiles": _columns(tables.TILE_COLUMNS),
        "flags": _flags(),
    }


def written(text: str) -> str:
    """The page's text with its generated parts as they should be."""
    for name, lines in parts().items():
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"docs/reports.md has no part {name!r}")
        body = "\n".join((begin, "", *lines, "", end))
        text = pattern.sub(lambda _, body=body: body, text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), encoding="utf-8")
