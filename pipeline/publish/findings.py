"""What ``verify`` found, for people and as JSON values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.plan.document import plain
from pipeline.types import Sha256

Kind = Literal[
    "changed",
    "missing",
    "extra",
    "unreadable",
    "manifest",
    "provenance",
    "frames",
    "pixels",
    "streams",
    "bag",
    "half",
    "quarantined",
    "empty",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was published."""

    out: str
    reel: str | None
    kind: Kind
    """``changed``, ``missing``, ``extra``, ``unreadable``: a file. ``manifest``, ``provenance``: what it says cannot
    be. ``frames``: counts or tables disagree. ``pixels``: a frame decodes to something else. ``streams``:
    sound, or another stream than the picture, is not as it was. ``bag``: a bag is not valid. ``half``: never finished.
    ``quarantined``: not restored. ``empty``: nothing is published there."""
    file: str | None
    """URI."""
    frame: int | None
    """Number of the first frame concerned, in the source's numbers, where it is about frames."""
    found: str
    todo: str

    def __str__(self) -> str:
        place = self.file or self.out
        place = f"{place} frame {self.frame}" if self.frame is not None else place
        line = " ".join(f"{place}: {self.found}. {self.todo}".split())
        return "".join(c if c.isprintable() else "�" for c in line)


@dataclass(frozen=True, slots=True)
class Checked:
    """A reel that was looked at."""

    out: str
    reel: str
    plan_id: Sha256 | None
    files: int
    bytes: int
    frames: int
    """Frames that were decoded."""
    ok: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What ``verify`` found."""

    reels: tuple[Checked, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.findings

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {"ok": self.ok, **plain(self)}
