"""A tile's record as text: indented JSON for people, checked to the letter when it is read back."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import VerifyError
from pipeline.types import Segment, StillsFile, TileRecord

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}(/[A-Za-z0-9][A-Za-z0-9._-]{0,254})?")
ANEW = "Its tile is restored anew"
"""What becomes of a broken record, without anybody's help: publishing finds it, and forgets it."""
_MOST_FRAMES = 2**40
_MOST_SEGMENTS = 64


def is_sha256(text: object) -> bool:
    """Whether it is 64 lower-case hex digits."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def is_place(text: object) -> bool:
    """Whether it is a name that the ledger gives: a file, or a file in one folder, of plain characters, no way out."""
    return isinstance(text, str) and _PLACE.fullmatch(text) is not None


def stem(number: int, first: int, last: int) -> str:
    """What the names of a tile's record and files begin with: its number and frames ``[first, last)``."""
    return f"{number:06d}-{first:07d}-{last:07d}"


def is_named_for(record: TileRecord) -> bool:
    """Whether the files that a record names are, by their names, of its frames, its deliverables and its hashes.

    Their number is not looked at: of an excerpt the same tile has another.
    """
    files = [(s.name, s.deliverable, s.sha256) for s in record.segments]
    if record.stills is not None:
        files.append((record.stills.name, "stills", record.stills.sha256))
    frames = stem(0, record.first, record.last).partition("-")[2]
    return all(
        re.fullmatch(rf"segments/\d{{6,}}-{frames}-{re.escape(what)}-{sha256}(\.[A-Za-z0-9]+)?", name)
        for name, what, sha256 in [*files, (record.rows, "rows", record.rows_sha256)]
    )


def to_text(record: TileRecord) -> str:
    """Indented JSON with a newline at the end; the same record gives the same text."""
    return json.dumps(dataclasses.asdict(record), indent=2, ensure_ascii=False, default=dict) + "\n"


def from_bytes(data: bytes, uri: str) -> TileRecord:
    """Read a record back. VerifyError, naming the URI and the key, for what ``to_text`` would not have written.

    Keys that are not known are passed over: a later version may have added them.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _garbled(f"not JSON ({error})", uri) from None
    if not isinstance(found, dict):
        raise _garbled(f"a mapping was expected, found {type(found).__name__}", uri)
    take = _Taker(found, uri)
    segments = take("segments", _is_list_of(_is_mapping))
    if len(segments) > _MOST_SEGMENTS:
        raise _garbled(f"'segments' has {len(segments)} entries", uri)
    first = take("first", _is_count)
    return TileRecord(
        tile_id=take("tile_id", is_sha256),
        number=take("number", _is_count),
        first=first,
        last=take("last", lambda v: _is_count(v) and v > first),
        segments=tuple(_segment(s, uri) for s in segments),
        rows=take("rows", is_place),
        rows_sha256=take("rows_sha256", is_sha256),
        host=take("host", _is_text),
        device=take("device", _is_text),
        seconds={k: float(v) for k, v in take("seconds", _is_seconds).items()},
        tries=take("tries", _is_count),
        finished=take("finished", _is_text),
        flags=tuple(take("flags", _is_list_of(_is_text))),
        peak_bytes=take("peak_bytes", _is_count),
        device_peak_bytes=take("device_peak_bytes", _is_count),
        stills=_stills(take("stills", lambda v: v is None or _is_mapping(v)), uri),
    )


def _stills(found: Mapping[str, Any] | None, uri: str) -> StillsFile | None:
    if found is None:
        return None
    take = _Taker(found, uri)
    return StillsFile(
        name=take("name", is_place),
        sha256=take("sha256", is_sha256),
        bytes=take("bytes", _is_count),
        frames=tuple(take("frames", lambda v: _is_list_of(_is_count)(v) and v == sorted(set(v)))),
    )


def _segment(found: Mapping[str, Any], uri: str) -> Segment:
    take = _Taker(found, uri)
    return Segment(
        deliverable=take("deliverable", _is_text),
        name=take("name", is_place),
        sha256=take("sha256", is_sha256),
        bytes=take("bytes", _is_count),
        md5s=tuple(take("md5s", _is_list_of(_is_md5))) if "md5s" in found else (),
    )


class _Taker:
    """Gets a key's value if it is what it should be."""

    def __init__(self, found: Mapping[str, Any], uri: str):
        self._found = found
        self._uri = uri

    def __call__(self, key: str, right: Callable[[Any], bool]) -> Any:
        if key not in self._found:
            raise _garbled(f"{key!r} is missing", self._uri)
        value = self._found[key]
        if not right(value):
            raise _garbled(f"{key!r} is {str(value)[:80]!r}", self._uri)
        return value


def _garbled(what: str, uri: str) -> VerifyError:
    return VerifyError(f"this is no record of a tile: {what}", where=uri, todo=ANEW)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_FRAMES


def _is_md5(value: Any) -> bool:
    return isinstance(value, str) and _MD5.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 4096


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list_of(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(right(v) for v in value)


def _is_seconds(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and v >= 0 for v in value.values()
    )
