"""Opening and writing Parquet files: what they may be, how large, and errors in one line."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import MissingError, ScratchFullError, StorageError
from pipeline.tables import ranges
from pipeline.tables.ranges import Ranges
from pipeline.tables.schema import FORMAT_KEY, TEXT_PATHS, VERSION, WORDS, Column

Source = Path | BinaryIO
"""A local file, or an open seekable one, whose ranges are read as they are needed."""

MAX_FRAMES = 1 << 24
"""Frames of a reel that are read at all: 77 hours at 60 a second."""

_MAX_BYTES = 4 << 30
"""Uncompressed bytes of a file, as its footer says, that are read at all."""
_MAX_FOOTER = 64 << 20

# Strings are read as dictionaries: a small file cannot then name one long string a million times.
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def _as_read(type_: pa.DataType) -> pa.DataType:
    if type_ == WORDS:
        return pa.list_(pa.field("element", _DICTIONARY, nullable=False))
    return _DICTIONARY if type_ == pa.string() else type_


def table(columns: Sequence[Column], values: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """A table of one sequence or array of values a column."""
    arrays = [pa.array(v, c.type) for c, v in zip(columns, values, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


@contextmanager
def writer(path: Path, schema: pa.Schema, *, kept: bool) -> Iterator[pq.ParquetWriter]:
    """A Parquet file being written; equal tables give equal bytes. Raises ScratchFullError or StorageError.

    ``kept``: compressed, for a file that stays. Without it, a small file is written and read several times faster.
    """
    # A hash is another in every row: a dictionary of them would only be overhead.
    words = [f.name for f in schema if f.type == pa.string() and not f.name.endswith(("md5", "tile_id", "timecode"))]
    try:
        with pq.ParquetWriter(
            path,
            schema,
            compression="zstd" if kept else "none",
            use_dictionary=[*words, "flags.list.element"] if kept else False,
            write_statistics=kept,
            write_page_checksum=True,
        ) as file:
            yield file
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ScratchFullError(
                "no room to write it", where=str(path), todo="Free some, or name another folder as cluster.scratch"
            ) from error
        raise StorageError(f"cannot be written: {error.strerror or error}", where=str(path)) from error


@contextmanager
def reader(source: Source) -> Iterator[tuple[pq.ParquetFile, str]]:
    """An open file of ours, and its kind. Raises MissingError, or StorageError for whatever is wrong with it."""
    where = place(source)
    options: dict[str, Any] = {
        "pre_buffer": False,
        "page_checksum_verification": True,
        "thrift_string_size_limit": _MAX_FOOTER,
        "thrift_container_size_limit": _MAX_FOOTER,
        "arrow_extensions_enabled": False,
    }
    try:
        # Once for the footer, which says where the strings are, and once to read, without asking for it again.
        with pq.ParquetFile(source, **options) as file:
            footer = file.metadata
        paths = [footer.schema.column(i).path for i in range(footer.num_columns)]
        strings = [p for p in paths if p in TEXT_PATHS]
        with pq.ParquetFile(source, metadata=footer, read_dictionary=strings, **options) as file:
            yield file, _kind(file, where)
    except FileNotFoundError as error:
        raise MissingError("there is no such file", where=where) from error
    except (pa.ArrowException, OSError, ValueError, OverflowError, IndexError, MemoryError) as error:
        raise StorageError(f"not a Parquet file that can be read: {error}"[:500], where=where) from error


def place(source: Source) -> str | None:
    """How a source is called in errors."""
    return str(source) if isinstance(source, Path) else getattr(source, "full_name", None)


def _kind(file: pq.ParquetFile, where: str | None) -> str:
    said = (file.schema_arrow.metadata or {}).get(FORMAT_KEY, b"")
    kind: str
    kind, _, version = said[:64].decode("ascii", "replace").partition("/")
    if not kind:
        raise StorageError("this Parquet file was not written by reelmend", where=where)
    if version != str(VERSION):
        raise StorageError(
            f"the file's layout is version {version!r}, known is {VERSION}",
            where=where,
            todo="Read it with the reelmend that wrote it",
        )
    return kind


def read_all(source: Source, kind: str, columns: Sequence[Column], max_rows: int) -> pa.Table:
    """A whole file of a kind, whose schema must be exactly ``columns``. Raises as ``reader`` does."""
    where = place(source)
    with reader(source) as (file, found):
        if found != kind:
            raise StorageError(f"the file holds {found!r}, expected {kind!r}", where=where)
        expected = pa.schema([pa.field(c.name, _as_read(c.type), c.nullable) for c in columns])
        if not file.schema_arrow.remove_metadata().equals(expected):
            raise StorageError(_difference(file.schema_arrow, expected), where=where)
        return _read(file, expected.names, max_rows, where)


def read_some(source: Source, columns: Sequence[str], known: dict[str, dict[str, Column]]) -> pa.Table:
    """The named columns of a file of a known kind; nothing else is read. Raises as ``reader`` does."""
    where = place(source)
    with reader(source) as (file, kind):
        _check_columns(file, kind, columns, known, where)
        return _read(file, columns, MAX_FRAMES, where)


def stream(
    source: Source,
    columns: Sequence[str],
    known: dict[str, dict[str, Column]],
    *,
    ranged: Callable[[Ranges], bool] | None = None,
) -> Iterator[pa.Table]:
    """As ``read_some``, a row group at a time. ``ranged`` is asked with the ranges of a group's figures, where the file
    tells them: of groups that it denies nothing is read."""
    where = place(source)
    with reader(source) as (file, kind):
        _check_columns(file, kind, columns, known, where)
        _check_size(file, MAX_FRAMES, where)
        count = file.metadata.num_row_groups
        told = ranges.from_metadata(file.metadata.metadata, count) if ranged is not None else None
        for g in range(count):
            if told is None or ranged is None or ranged(told[g]):
                part = file.read_row_group(g, list(columns), use_threads=False)
                part.validate(full=True)
                yield part


def _check_columns(
    file: pq.ParquetFile, kind: str, columns: Sequence[str], known: dict[str, dict[str, Column]], where: str | None
) -> None:
    if kind not in known:
        raise StorageError(f"the file holds {kind!r}, expected one of {', '.join(known)}", where=where)
    types = {f.name: f.type for f in file.schema_arrow}
    for name in columns:
        if name not in types:
            raise StorageError(f"there is no column {name!r}; there are {', '.join(types)}"[:2000], where=where)
        # The one kind with columns of its own making is the tiles', with the times of steps.
        expected = _as_read(known[kind][name].type) if name in known[kind] else pa.float32()
        if types[name] != expected:
            raise StorageError(f"column {name!r} is {types[name]}, expected {expected}"[:500], where=where)


def _check_size(file: pq.ParquetFile, max_rows: int, where: str | None) -> int:
    """The rows that the footer says. Raises StorageError where that, or the bytes, cannot be or are too many."""
    if not 0 <= file.metadata.num_rows <= max_rows:
        raise StorageError(f"the file says {file.metadata.num_rows} rows, at most {max_rows} are read", where=where)
    total = rows = 0
    for g in range(file.metadata.num_row_groups):
        # Of the row group only: asking pyarrow about a column's chunk ends the process where its footer is garbled.
        group = file.metadata.row_group(g)
        rows += group.num_rows
        total += max(0, group.total_byte_size)
    if total > _MAX_BYTES or rows != file.metadata.num_rows:
        raise StorageError(f"the footer says {total} bytes in {rows} rows, which cannot be right", where=where)
    return rows


def _read(file: pq.ParquetFile, columns: Sequence[str], max_rows: int, where: str | None) -> pa.Table:
    rows = _check_size(file, max_rows, where)
    # Arrow cannot read lists of dictionary words over more than one row group at a time.
    groups = range(file.metadata.num_row_groups)
    parts = [file.read_row_group(g, list(columns), use_threads=False) for g in groups]
    found = pa.concat_tables(parts) if parts else file.schema_arrow.empty_table().select(list(columns))
    found.validate(full=True)
    if found.num_rows != rows:
        raise StorageError(f"the footer says {rows} rows, there are {found.num_rows}", where=where)
    return found


def _difference(found: pa.Schema, expected: pa.Schema) -> str:
    lacking = [n for n in expected.names if n not in found.names]
    extra = [n for n in found.names if n not in expected.names]
    if lacking or extra:
        return f"the columns are not as expected: lacking {lacking[:5]}, not known {extra[:5]}"[:500]
    for a, b in zip(found, expected, strict=True):
        if a.name != b.name or a.type != b.type or a.nullable != b.nullable:
            return f"the column {a} stands where {b} is expected"[:500]
    return "the columns are not as expected"


def to_list(column: pa.ChunkedArray) -> list[Any]:
    """A column's values for Python: strings are shared between rows, lists become tuples."""
    found: list[Any] = []
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            words = chunk.dictionary.to_pylist()
            found += [None if i is None else words[i] for i in chunk.indices.to_pylist()]
        elif pa.types.is_list(chunk.type):
            words = to_list(pa.chunked_array([chunk.values]))
            ends = chunk.offsets.to_pylist()
            found += [tuple(words[a:b]) for a, b in itertools.pairwise(ends)]
        else:
            found += chunk.to_pylist()
    return found
