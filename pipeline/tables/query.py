"""SQL conditions over ``frames.parquet``: the one home of duckdb, which is an extra.

duckdb sees one table in memory, of the columns that the condition names, and nothing else: no file, no network, no
extension, no setting that could be changed back.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import CallError
from pipeline.tables import files, ranges
from pipeline.tables.schema import FRAME_COLUMNS, WORDS

_COLUMNS = {c.name: c for c in FRAME_COLUMNS}
_MOST_CHARACTERS = 4096
_ROWS_AT_ONCE = 1 << 18
_PATIENCE_S = 60.0
_LOCKS = (
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET memory_limit = '2GB'",
    "SET threads = 1",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_TODO = "Give a condition as in WHERE, e.g. --where \"changed_fraction > 0.2 and list_contains(flags, 'seam')\""


@dataclass(slots=True)
class Matched:
    """The frames of a shot that meet a condition."""

    frames: int
    first: int


class Condition:
    """A condition that was understood. Several threads may ask at once: files are read side by side."""

    def __init__(self, text: str):
        """Raises CallError where duckdb is not installed, or the text is no condition over frames' columns."""
        if len(text) > _MOST_CHARACTERS:
            raise CallError(f"{len(text)} characters; at most {_MOST_CHARACTERS} are taken", where="--where")
        words = set(re.findall(r"[a-z][a-z0-9_]*", text.lower()))
        self._text = text
        self._columns = list(dict.fromkeys(("frame", "shot", *(n for n in _COLUMNS if n in words))))
        self._connection = _connect()
        self._one_at_a_time = threading.Lock()
        self._rows(self._empty())  # an error in the condition is told before anything is read

    def _empty(self) -> pa.Table:
        return pa.schema([pa.field(n, _COLUMNS[n].type) for n in self._columns]).empty_table()

    def shots(self, source: files.Source) -> dict[int, Matched]:
        """Shot → its frames that meet the condition, of a ``frames.parquet``; only shots that have any.

        Of the file, only the columns that the condition names are read, and of those only the row groups that can hold
        such a frame. Raises as ``read_columns`` does, and CallError where the condition fails on a value.
        """
        found: dict[int, Matched] = {}
        held: list[pa.Table] = []
        for part in files.stream(
            source,
            self._columns,
            {"frames": _COLUMNS},
            ranged=lambda r: ranges.may_match(self._text, r),
        ):
            held.append(_plain(part, self._empty().schema))
            if sum(p.num_rows for p in held) >= _ROWS_AT_ONCE:
                self._count(pa.concat_tables(held), found)
                held = []
        if held:
            self._count(pa.concat_tables(held), found)
        return found

    def _count(self, table: pa.Table, found: dict[int, Matched]) -> None:
        with self._one_at_a_time:
            rows = self._rows(table)
        for shot, frames, first in rows:
            if shot in found:
                found[shot].frames += frames
            else:
                found[shot] = Matched(frames, first)

    def _rows(self, table: pa.Table) -> list[tuple[int, int, int]]:
        import duckdb

        timer = threading.Timer(_PATIENCE_S, self._connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            # As an expression, not as a piece of a statement: it cannot end one and begin another.
            met = self._connection.from_arrow(table).filter(f"({self._text})")
            grouped = met.aggregate("shot, count(*) AS frames, min(frame) AS first", "shot")
            rows: list[tuple[int, int, int]] = grouped.fetchall()
        except duckdb.Error as error:
            raise CallError(f"no condition: {str(error).splitlines()[0]}", where="--where", todo=_TODO) from None
        finally:
            timer.cancel()
        return rows


def _connect() -> Any:
    try:
        import duckdb
    except ImportError:
        raise CallError(
            "SQL conditions want duckdb, which is not installed",
            where="--where",
            todo='Install it: pip install "reelmend[audit]"',
        ) from None
    connection = duckdb.connect(":memory:")
    for lock in _LOCKS:
        connection.execute(lock)
    return connection


def _plain(part: pa.Table, schema: pa.Schema) -> pa.Table:
    """Words as words: read as dictionaries, which are kept from growing a small file into a large one."""
    columns = []
    for field in schema:
        column = part.column(field.name)
        if field.type == WORDS:
            parts = [pa.ListArray.from_arrays(c.offsets, c.values.cast(pa.string())) for c in column.chunks]
            columns.append(pa.chunked_array(parts, pa.list_(pa.string())))
        elif pa.types.is_dictionary(column.type):
            columns.append(column.cast(pa.string()))
        else:
            columns.append(column)
    return pa.table(columns, names=schema.names)
