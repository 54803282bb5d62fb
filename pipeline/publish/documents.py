"""Small JSON documents and times, as they stand below OUT."""

from __future__ import annotations

import datetime
import json
from typing import Any

from pipeline.errors import StorageError
from pipeline.plan.document import plain, storable


def as_json(value: Any) -> str:
    """Indented JSON of records, fractions and plain values: for people to read, and the same for the same value."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return storable(text)


def read_object(data: bytes, *, where: str) -> dict[str, Any]:
    """A JSON object. Raises StorageError where the bytes are none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"not JSON: {error}", where=where, todo="Restore it from a copy, or delete it") from None
    if not isinstance(value, dict):
        raise StorageError(
            f"a JSON {type(value).__name__}, where an object was expected",
            where=where,
            todo="Restore it from a copy, or delete it",
        )
    return value


def iso(when: datetime.datetime) -> str:
    """ISO 8601 in UTC, to the millisecond: ``2026-01-31T23:59:59.123+00:00``."""
    return when.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def moment(text: str, *, where: str) -> datetime.datetime:
    """The moment that an ISO 8601 text says. Raises StorageError where it says none; without an offset it is UTC."""
    try:
        when = datetime.datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise StorageError(f"{text[:80]!r} is no ISO 8601 time", where=where) from None
