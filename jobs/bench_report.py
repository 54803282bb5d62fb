"""What a measurement says, as Markdown: every figure with what was expected, how it was taken, and on what machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PACKAGES = ("ray", "torch", "av", "numpy", "pyarrow")
_ABOUT = """\
# Performance

Written by `make bench`, which measures on the machine at hand. A figure without a goal is there to explain the others.
Nets have a page of their own, [nets-performance.md](nets-performance.md). Nothing has been measured on a GPU yet.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure."""

    what: str
    came: str
    expected: str = ""
    met: bool | None = None
    """None: there is no goal."""


@dataclass(frozen=True, slots=True)
class Part:
    """One measurement."""

    name: str
    title: str
    how: str
    """What was measured, and how: sentences of Markdown."""
    figures: Sequence[Figure]
    command: str | None = None
    """What follows ``reelmend``; None: ``bench --only`` and the name."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A part as it was run."""

    part: Part
    seconds: float
    load: float
    """Of the machine before it began: processes that wanted a core, over the last minute."""


def at_most(what: str, value: float, goal: float, show: Callable[[float], str]) -> Figure:
    """A figure with a goal that it is not to exceed."""
    return Figure(what, show(value), f"≤ {show(goal)}", value <= goal)


def machine() -> list[tuple[str, str]]:
    """What it was measured on."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    return [
        ("processor", f"{_processor()}, {cores()} cores"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"),
        ("system", f"{platform.system()} {platform.release().split('-')[0]}"),
        ("software", f"reelmend {metadata.version('reelmend')}, Python {platform.python_version()}, {versions}"),
    ]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def document(measured: Sequence[Measured], *, when: str) -> str:
    """The whole page."""
    lines = [_ABOUT, f"Measured {when} on:", "", *table(("", ""), machine()), ""]
    for m in measured:
        lines += [section(m), ""]
    return "\n".join(lines).rstrip() + "\n"


def section(measured: Measured) -> str:
    """One part of the page."""
    part = measured.part
    rows = [(f.what, f.came, f.expected, {None: "", True: "met", False: "**missed**"}[f.met]) for f in part.figures]
    return "\n".join(
        [
            f"## {part.title}",
            "",
            part.how,
            "",
            f"`reelmend {part.command or f'bench --only {part.name}'}`: {measured.seconds:.0f} s. "
            f"Load of the machine before: {measured.load:.1f}.",
            "",
            *table(("figure", "came", "goal", ""), rows),
        ]
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, its columns aligned for whoever reads the text."""
    cells = [tuple(c.replace("|", "\\|") for c in row) for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]
