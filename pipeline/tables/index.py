"""The frame index as Parquet: kept beside the work, so that a source is gone through once."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StorageError
from pipeline.tables import files
from pipeline.tables.schema import INDEX_COLUMNS, schema
from pipeline.types import FrameIndex

_KEY = b"reelmend.index"
_FRACTION = re.compile(r"[1-9]\d{0,17}/[1-9]\d{0,17}")


def write_index(path: Path, index: FrameIndex) -> None:
    """Write an index. Equal indexes give equal bytes."""
    about = {
        "time_base": f"{index.time_base.numerator}/{index.time_base.denominator}",
        "rate": f"{index.rate.numerator}/{index.rate.denominator}",
        "constant": index.constant,
        "found_by": index.found_by,
    }
    plain = schema("index", INDEX_COLUMNS)
    full = plain.with_metadata({**plain.metadata, _KEY: json.dumps(about).encode()})
    with files.writer(path, full, kept=True) as file:
        version = np.zeros(len(index), np.int64) if index.version is None else index.version
        values = [version if c.name == "version" else getattr(index, c.name) for c in INDEX_COLUMNS]
        file.write_table(files.table(INDEX_COLUMNS, values, full))


def read_index(source: files.Source) -> FrameIndex:
    """Read what ``write_index`` wrote.

    Raises MissingError, or StorageError where the file is anything else or its entries cannot be those of a film.
    """
    table = files.read_all(source, "index", INDEX_COLUMNS, files.MAX_FRAMES)
    where = files.place(source)
    pts, key, position, size, version = (table.column(c.name).to_numpy() for c in INDEX_COLUMNS)
    wrong = None
    if not len(pts):
        wrong = "it has no frames"
    elif not (pts[1:] > pts[:-1]).all():  # differences could overflow
        wrong = "its presentation times do not rise"
    elif (position < -1).any() or (size < 0).any():
        wrong = "it has packets at impossible places"
    if wrong:
        raise StorageError(f"this is no frame index: {wrong}", where=where, todo="Delete it; it will be made again")
    about = _about((table.schema.metadata or {}).get(_KEY, b""), where)
    of_files = {"version": version} if about["found_by"] == "listing" else {}
    return FrameIndex(pts, key, position, size, **about, **of_files)


def _about(said: bytes, where: str | None) -> dict[str, Any]:
    try:
        about = json.loads(said[:1024])
        found = {
            "time_base": _fraction(about["time_base"]),
            "rate": _fraction(about["rate"]),
            "constant": about["constant"],
            "found_by": about["found_by"],
        }
        if not isinstance(found["constant"], bool) or found["found_by"] not in ("table", "cues", "demux", "listing"):
            raise ValueError("constant or found_by")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(
            f"this is no frame index: its description is garbled ({error})"[:300],
            where=where,
            todo="Delete it; it will be made again",
        ) from error
    return found


def _fraction(text: Any) -> Fraction:
    if not isinstance(text, str) or not _FRACTION.fullmatch(text):
        raise ValueError(f"{str(text)[:40]!r} is no fraction")
    return Fraction(text)
