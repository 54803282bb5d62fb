"""The reports beside ``frames.parquet``, and reading any of them by column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StorageError
from pipeline.tables import files
from pipeline.tables.schema import FRAME_COLUMNS, SHOT_COLUMNS, TILE_COLUMNS, schema, step_columns
from pipeline.tables.summary import JoinSummary
from pipeline.types import TileRecord

_KNOWN = {
    kind: {c.name: c for c in columns}
    for kind, columns in (("frames", FRAME_COLUMNS), ("shots", SHOT_COLUMNS), ("tiles", TILE_COLUMNS))
}
_MAX_STEPS = 64


def write_shots(path: Path, summary: JoinSummary) -> None:
    """Write ``shots.parquet``: a row a shot, with the means of its frames' figures."""
    shots = summary.shots
    spans: dict[str, Any] = {
        "reel": [summary.reel] * len(shots),
        "shot": [s.number for s in shots],
        "first": [s.first for s in shots],
        "last": [s.last for s in shots],
        "frames": [s.last - s.first for s in shots],
    }
    values = [spans[c.name] if c.name in spans else _nullable(summary.by_shot[c.name]) for c in SHOT_COLUMNS]
    full = schema("shots", SHOT_COLUMNS)
    with files.writer(path, full, kept=True) as file:
        file.write_table(files.table(SHOT_COLUMNS, values, full))


def _nullable(values: NDArray[Any] | Sequence[Sequence[str]]) -> list[Any]:
    return [None if v != v else v for v in (values.tolist() if isinstance(values, np.ndarray) else values)]


def write_tiles(path: Path, records: Sequence[TileRecord], *, reel: str) -> None:
    """Write ``tiles.parquet``: a row a tile, in the order given, and a column ``<step>_s`` for every step timed.

    Raises StorageError where a record names steps that cannot be columns.
    """
    steps = sorted({s for r in records for s in r.seconds})
    if len(steps) > _MAX_STEPS:
        raise StorageError(f"the records name {len(steps)} steps, at most {_MAX_STEPS} are told", where=reel)
    try:
        timed = step_columns(steps)
    except ValueError as error:
        raise StorageError(f"a record names a step {str(error)!r}, which is no name", where=reel) from error
    rows = [
        [
            reel,
            r.number,
            r.tile_id,
            r.first,
            r.last,
            r.last - r.first,
            sum(s.bytes for s in r.segments),
            r.host,
            r.device,
            r.tries,
            r.peak_bytes,
            r.device_peak_bytes,
            r.finished,
            r.flags,
            *(r.seconds.get(s) for s in steps),
        ]
        for r in records
    ]
    columns = (*TILE_COLUMNS, *timed)
    full = schema("tiles", columns)
    with files.writer(path, full, kept=True) as file:
        file.write_table(files.table(columns, [[row[i] for row in rows] for i in range(len(columns))], full))


def read_columns(source: files.Source, columns: Sequence[str]) -> dict[str, list[Any]]:
    """The named columns of frames, shots or tiles.parquet, in the order asked; only their bytes are read.

    ``source``: a path or an open seekable binary file. Nulls are None, lists are tuples. Raises MissingError, or
    StorageError where the file is not one of ours or has no such column.
    """
    table = files.read_some(source, columns, _KNOWN)
    return {name: files.to_list(table.column(name)) for name in columns}


def stream_numbers(source: files.Source, columns: Sequence[str]) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Number columns of frames, shots or tiles.parquet, a row group at a time; null is NaN. Raises as ``read_columns``.

    However long a reel is, one row group is held.
    """
    for part in files.stream(source, columns, _KNOWN):
        yield {name: part.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in columns}
