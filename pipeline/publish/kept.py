"""The stills of a reel: out of the tiles' files, those that its page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import tables
from pipeline.errors import StorageError
from pipeline.publish import layout
from pipeline.report.page import KeptFrame
from pipeline.report.stills import choose
from pipeline.spec import Stills
from pipeline.storage.ledger import Ledger
from pipeline.storage.records import ANEW
from pipeline.types import Plan, TileRecord

_MOST_BYTES = 64 << 20
"""Of one tile's file: a few pictures of a bounded size each."""


def watched(records: Sequence[TileRecord]) -> frozenset[int]:
    """Frames of which stills were kept."""
    return frozenset(n for r in records if r.stills is not None for n in r.stills.frames if r.first <= n < r.last)


def publish(
    plan: Plan,
    records: Sequence[TileRecord],
    severities: Mapping[int, Mapping[str, float]],
    ledger: Ledger,
    folder: Path,
) -> list[KeptFrame]:
    """Write the chosen frames' pictures below ``folder`` under their names as published; a few tiles' files are read.

    Raises VerifyError or StorageError where a tile's file is not what its record says.
    """
    wanted = set(choose(plan, Stills.model_validate(plan.spec["stills"]).most, severities))
    (folder / layout.STILLS).mkdir(parents=True, exist_ok=True)
    found: dict[int, list[tables.Still]] = {}
    for record in records:
        kept = record.stills
        if kept is None or not wanted.intersection(kept.frames):
            continue
        path = folder / "stills.parquet"
        if kept.bytes > _MOST_BYTES:
            raise StorageError(f"stills of {kept.bytes} bytes", where=f"{ledger.work}/{kept.name}", todo=ANEW)
        ledger.fetch(kept.name, kept.sha256, path)
        for still in tables.read_stills(path):
            if still.frame in wanted and record.first <= still.frame < record.last:
                found.setdefault(still.frame, []).append(still)
        path.unlink()
    return [_write(n, found[n], sorted(severities[n]), folder) for n in sorted(found)]


def _write(number: int, stills: Sequence[tables.Still], flags: Sequence[str], folder: Path) -> KeptFrame:
    files: dict[str, str] = {}
    boxes: dict[str, tuple[int, int, int, int]] = {}
    for still in stills:
        name = f"{number:07d}-{still.kind}.jpg"
        (folder / layout.STILLS / name).write_bytes(still.jpeg)
        files[still.kind], boxes[still.kind] = name, (still.x, still.y, still.width, still.height)
    return KeptFrame(number, tuple(flags), files, boxes.get("piece-after", (0, 0, 0, 0)))
