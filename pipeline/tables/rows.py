"""The rows of one tile, and their join into ``frames.parquet``."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.errors import VerifyError
from pipeline.tables import files
from pipeline.tables.schema import CUT_COLUMN, FRAME_COLUMNS, Column, schema
from pipeline.tables.summary import JoinSummary, Summariser
from pipeline.types import FrameRow

ROW_GROUP = 1_024
"""Frames in one row group of ``frames.parquet``: a reader skips by them, and a join holds no more rows at once."""

_MAX_TILE_ROWS = 10_000
"""As many frames as the spec allows a tile."""

_ROW_COLUMNS: tuple[Column, ...] = (*FRAME_COLUMNS, CUT_COLUMN)
_ROW_SCHEMA = schema("rows", _ROW_COLUMNS)
_FRAME_SCHEMA = schema("frames", FRAME_COLUMNS)


def write_rows(path: Path, rows: Sequence[FrameRow]) -> None:
    """Write a tile's rows, ``cut`` included. Figures are kept as float32. Equal rows give equal bytes."""
    with files.writer(path, _ROW_SCHEMA, kept=False) as file:
        file.write_table(files.table(_ROW_COLUMNS, _values(rows, _ROW_COLUMNS), _ROW_SCHEMA))


def read_rows(source: files.Source) -> list[FrameRow]:
    """Read what ``write_rows`` wrote. Raises MissingError, or StorageError where the file is anything else."""
    table = files.read_all(source, "rows", _ROW_COLUMNS, _MAX_TILE_ROWS)
    # pyarrow's footer and schema hold each other: 100 KiB that would wait for thousands of tiles, being few objects.
    gc.collect(1)
    names = [c.name for c in _ROW_COLUMNS]
    return [
        FrameRow(**dict(zip(names, values, strict=True)))
        for values in zip(*(files.to_list(c) for c in table.columns), strict=True)
    ]


def join_rows(path: Path, tiles: Iterable[Sequence[FrameRow]]) -> JoinSummary:
    """Write ``frames.parquet`` from the tiles' rows, in order of frames, and sum it up.

    Shots are numbered here, from 0, by ``cut`` (the first row starts a shot whatever it says). At most one row group
    and one tile are held at a time; the bytes depend on the rows alone, not on the tiles that they come in. Raises
    VerifyError where a frame is missing, repeated or of another reel, or where there is none.
    """
    summary = Summariser()
    with files.writer(path, _FRAME_SCHEMA, kept=True) as file:
        for rows in _groups(_in_order(tiles)):
            shots = summary.add(rows)
            values = _values(rows, FRAME_COLUMNS)
            values[[c.name for c in FRAME_COLUMNS].index("shot")] = shots
            file.write_table(files.table(FRAME_COLUMNS, values, _FRAME_SCHEMA), row_group_size=ROW_GROUP)
    return summary.result()


def _values(rows: Sequence[FrameRow], columns: Sequence[Column]) -> list[object]:
    return [[getattr(r, c.name) for r in rows] for c in columns]


def _in_order(tiles: Iterable[Sequence[FrameRow]]) -> Iterator[FrameRow]:
    previous: FrameRow | None = None
    for rows in tiles:
        for row in rows:
            if previous is not None:
                if row.reel != previous.reel:
                    raise VerifyError(f"its row is of the reel {row.reel!r}", where=previous.reel, frame=row.frame)
                if row.frame != previous.frame + 1:
                    raise VerifyError(
                        f"its row comes after that of frame {previous.frame}; every frame has one row, in order",
                        where=row.reel,
                        frame=row.frame,
                    )
            yield row
            previous = row
    if previous is None:
        raise VerifyError("there are no rows to join")


def _groups(rows: Iterator[FrameRow]) -> Iterator[list[FrameRow]]:
    while group := list(itertools.islice(rows, ROW_GROUP)):
        yield group
