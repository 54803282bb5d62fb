"""Stills of a tile on their way to the reel's page: JPEG pictures in one small Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline.errors import StorageError
from pipeline.tables import files
from pipeline.tables.schema import Column, schema

Kind = Literal["before", "after", "piece-before", "piece-after"]
KINDS: tuple[Kind, ...] = ("before", "after", "piece-before", "piece-after")
"""The whole frame made smaller, and a piece of it at full size."""
MAX_JPEG = 1 << 20
"""Bytes of one picture."""

_MAX_STILLS = 64
_COLUMNS = (
    Column("frame", pa.int64(), "frame", "number of the frame"),
    Column("kind", pa.int64(), "", "place in before, after, piece-before, piece-after"),
    Column("x", pa.int64(), "px", "left edge in the frame"),
    Column("y", pa.int64(), "px", "upper edge in the frame"),
    Column("width", pa.int64(), "px", "width of what it shows, in pixels of the frame"),
    Column("height", pa.int64(), "px", "height of what it shows, in pixels of the frame"),
    Column("jpeg", pa.binary(), "", "the picture"),
)
_SCHEMA = schema("stills", _COLUMNS)


@dataclass(frozen=True, slots=True)
class Still:
    """One picture."""

    frame: int
    kind: Kind
    x: int
    y: int
    width: int
    height: int
    """What it shows, in pixels of the frame."""
    jpeg: bytes


def write_stills(path: Path, stills: Sequence[Still]) -> None:
    """Write a tile's stills. Equal stills give equal bytes."""
    rows = [(s.frame, KINDS.index(s.kind), s.x, s.y, s.width, s.height, s.jpeg) for s in stills]
    with files.writer(path, _SCHEMA, kept=False) as file:
        file.write_table(files.table(_COLUMNS, [[r[i] for r in rows] for i in range(len(_COLUMNS))], _SCHEMA))


def read_stills(path: Path) -> list[Still]:
    """What ``write_stills`` wrote. Raises MissingError, or StorageError where the file is anything else."""
    table = files.read_all(path, "stills", _COLUMNS, _MAX_STILLS)
    found = []
    for *numbers, jpeg in zip(*(files.to_list(c) for c in table.columns), strict=True):
        frame, kind, x, y, width, height = numbers
        if not 0 <= kind < len(KINDS) or len(jpeg) > MAX_JPEG or jpeg[:3] != b"\xff\xd8\xff":
            raise StorageError("a still in it is none", where=str(path))
        found.append(Still(frame, KINDS[kind], x, y, width, height, jpeg))
    return found
