"""The rows of one tile, and their join into ``frames.parquet``."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import VerifyError
from pipeline.tables import files, ranges
from pipeline.tables.edges import from_metadata, to_metadata
from pipeline.tables.schema import CUT_COLUMN, FRAME_COLUMNS, Column, schema
from pipeline.tables.summary import JoinSummary, Summariser
from pipeline.types import SIGNALS, Edges, FrameRow

ROW_GROUP = 4_096
"""Frames in one row group of ``frames.parquet``: a reader skips by them, and a join holds no more rows at once."""

_AT_ONCE = 256
"""Rows that a join holds as objects."""

_MAX_TILE_ROWS = 10_000
"""As many frames as the spec allows a tile."""

_STREAMS = ("source", "output")
_IN_SIGNALS = frozenset(f"{name}_{stream}" for name in SIGNALS for stream in _STREAMS)
"""Columns that a row keeps together, in its ``signals_source`` and ``signals_output``."""

_ROW_COLUMNS: tuple[Column, ...] = (*FRAME_COLUMNS, CUT_COLUMN)
# What the columns mean is said in what is published: here it would be most of the file.
_ROW_SCHEMA = pa.schema(
    [f.remove_metadata() for f in schema("rows", _ROW_COLUMNS)], schema("rows", _ROW_COLUMNS).metadata
)
_FRAME_SCHEMA = schema("frames", FRAME_COLUMNS)


def write_rows(path: Path, rows: Sequence[FrameRow], edges: Edges | None = None) -> None:
    """Write a tile's rows, ``cut`` and its edges included. Figures are kept as float32. Equal rows give equal bytes."""
    full = _ROW_SCHEMA.with_metadata({**_ROW_SCHEMA.metadata, **to_metadata(edges)})
    with files.writer(path, full, kept=False) as file:
        file.write_table(files.table(_ROW_COLUMNS, _values(rows, _ROW_COLUMNS), full))


def read_rows(source: files.Source) -> list[FrameRow]:
    """Read what ``write_rows`` wrote. Raises MissingError, or StorageError where the file is anything else."""
    return read_tile(source)[0]


def read_tile(source: files.Source) -> tuple[list[FrameRow], Edges | None]:
    """The rows and the edges that ``write_rows`` wrote. Raises as ``read_rows``."""
    table = files.read_all(source, "rows", _ROW_COLUMNS, _MAX_TILE_ROWS)
    edges = from_metadata(table.schema.metadata, files.place(source))
    # pyarrow's footer and schema hold each other: 100 KiB that would wait for thousands of tiles, being few objects.
    gc.collect(1)
    plain = [(c.name, files.to_list(table.column(c.name))) for c in _ROW_COLUMNS if c.name not in _IN_SIGNALS]
    streams = {
        stream: list(zip(*(files.to_list(table.column(f"{s}_{stream}")) for s in SIGNALS), strict=True))
        for stream in _STREAMS
    }
    names = [*(name for name, _ in plain), *(f"signals_{stream}" for stream in streams)]
    columns = [*(values for _, values in plain), *streams.values()]
    return [FrameRow(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)], edges


def join_rows(path: Path, tiles: Iterable[Sequence[FrameRow]]) -> JoinSummary:
    """Write ``frames.parquet`` from the tiles' rows, in order of frames, and sum it up.

    Shots are numbered here, from 0, by ``cut`` (the first row starts a shot whatever it says). At most one row group,
    as columns, and one tile are held at a time; the bytes depend on the rows alone, not on the tiles that they come in.
    Raises VerifyError where a frame is missing, repeated or of another reel, or where there is none.
    """
    summary = Summariser()
    told: list[ranges.Ranges] = []
    names = [c.name for c in FRAME_COLUMNS]
    ordered = _in_order(tiles)
    with files.writer(path, _FRAME_SCHEMA, kept=True) as file:
        # A row as an object takes ten times what it takes in Arrow's columns: few are held so.
        while parts := list(_tables(itertools.islice(ordered, ROW_GROUP), names, summary)):
            file.write_table(pa.concat_tables(part for part, _ in parts), row_group_size=ROW_GROUP)
            told.append(ranges.merged([seen for _, seen in parts]))
        file.add_key_value_metadata(ranges.to_metadata(told))
    return summary.result()


def _tables(
    rows: Iterator[FrameRow], names: Sequence[str], summary: Summariser
) -> Iterator[tuple[pa.Table, ranges.Ranges]]:
    """Some rows at a time as a table, with the ranges of its figures; ``summary`` numbers the shots."""
    while some := list(itertools.islice(rows, _AT_ONCE)):
        shots = summary.add(some)
        values = _values(some, FRAME_COLUMNS)
        values[names.index("shot")] = shots
        yield files.table(FRAME_COLUMNS, values, _FRAME_SCHEMA), ranges.of_group(names, values)


def _values(rows: Sequence[FrameRow], columns: Sequence[Column]) -> list[Any]:
    streams = {
        f"{name}_{stream}": values
        for stream in _STREAMS
        for name, values in zip(
            SIGNALS, zip(*(getattr(r, f"signals_{stream}") for r in rows), strict=True), strict=False
        )
    }
    # Without a row there is nothing to turn round.
    return [streams.get(c.name, ()) if c.name in _IN_SIGNALS else [getattr(r, c.name) for r in rows] for c in columns]


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
