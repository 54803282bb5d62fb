"""Quarantine records: why a reel could not be restored, at which file and frame, and what to do about it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from pipeline.errors import MissingError, ReelmendError, StorageError
from pipeline.publish import layout
from pipeline.publish.documents import as_json, iso, read_object
from pipeline.storage import store

_MAX_BYTES = 1 << 20
_TODO = "Mend or replace the source, then run the same job again: quarantined reels are tried again"


@dataclass(frozen=True, slots=True)
class Entry:
    """One quarantined reel, as its record says."""

    reel: str
    uri: str
    """The source."""
    error: str
    """Kind of error, e.g. ``SourceError``."""
    message: str
    """The whole of it in one line."""
    found: str
    """What was found, and what was expected."""
    where: str | None
    """The file or the field of the config that it was found in."""
    frame: int | None
    """Frame number, where one is known."""
    tile: int | None
    """Number of the tile that failed, where one did."""
    tries: int
    when: str
    """ISO 8601, UTC."""
    todo: str


def entry(
    reel: str,
    uri: str,
    error: BaseException,
    *,
    tile: int | None = None,
    tries: int = 1,
    when: datetime.datetime | None = None,
) -> Entry:
    """What there is to say of a reel. The frame and the advice are the error's own."""
    told = error if isinstance(error, ReelmendError) else None
    plain = " ".join(str(error).split()) or type(error).__name__
    return Entry(
        reel=reel,
        uri=uri,
        error=type(error).__name__,
        message=str(error) if told else f"{uri}: {type(error).__name__}: {plain}",
        found=told.what if told else plain,
        where=told.where if told else None,
        frame=told.frame if told else None,
        tile=tile,
        tries=tries,
        when=iso(when or datetime.datetime.now(datetime.UTC)),
        todo=(told.todo if told else None) or _TODO,
    )


def put(out: str, entry: Entry) -> None:
    """Write a reel's record, in place of an earlier one."""
    store.put_bytes(layout.quarantine(out, entry.reel), as_json(entry).encode())


def read(uri: str, reel: str) -> Entry:
    """The record at a URI. Raises StorageError where it is not one."""
    data = read_object(store.read_bytes(uri, limit=_MAX_BYTES), where=uri)
    try:
        return Entry(
            reel=reel,
            uri=str(data["uri"]),
            error=str(data["error"]),
            message=str(data["message"]),
            found=str(data["found"]),
            where=_text(data["where"]),
            frame=_number(data["frame"]),
            tile=_number(data["tile"]),
            tries=int(data["tries"]),
            when=str(data["when"]),
            todo=str(data["todo"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"not a quarantine record ({type(error).__name__}: {error})",
            where=uri,
            todo="Delete it and run the job again",
        ) from None


def read_all(files: layout.Sorted) -> list[Entry]:
    """Every record of a listing of OUT, by reel. One that went away meanwhile is left out; a garbled one says so."""
    entries = []
    for reel, stat in sorted(files.quarantined.items()):
        try:
            entries.append(read(stat.uri, reel))
        except MissingError:
            continue
        except StorageError as error:
            entries.append(Entry(reel, "", "StorageError", str(error), error.what, stat.uri, None, None, 0, "", _TODO))
    return entries


def delete(out: str, reel: str) -> None:
    """The reel is restored after all."""
    store.delete(layout.quarantine(out, reel))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
