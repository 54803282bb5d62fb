"""Objects behind fsspec: whole puts, range reads, listings. One try each; ``store`` tries again and explains."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from fsspec.asyn import AsyncFileSystem
from s3fs.errors import translate_boto_error

from pipeline.errors import StorageError
from pipeline.storage.faults import code_of
from pipeline.storage.filesystems import WEB, Place, filesystem
from pipeline.storage.retry import retrying

PART_BYTES = 16 << 20
"""A larger file goes up in parts of this size, so that a fault costs one part; four at a time bound the memory."""
_PARTS_AT_ONCE = 4
_MOST_PARTS = 10_000
BLOCK_BYTES = 4 << 20
"""A range read fetches whole blocks of this size and keeps the last eight."""
_BLOCKS_KEPT = 8
_GET_BYTES = 8 << 20
_GETS_AT_ONCE = 4
_STREAM_BYTES = 1 << 20
_KEYS_A_DELETE = 1000
_MARK = "reelmend-put"


def info(where: Place) -> dict[str, Any]:
    """What fsspec knows of an object; FileNotFoundError for a folder."""
    try:
        found: dict[str, Any] = filesystem(where).info(where.path)
    except FileNotFoundError as error:
        # Of a web server fsspec says this whatever the matter is.
        if isinstance(error.__cause__, aiohttp.ClientError | TimeoutError) and code_of(error) != "404":
            raise error.__cause__ from None
        raise
    if found.get("type") != "file":
        raise FileNotFoundError(where.uri)
    if found.get("size") is None:
        raise StorageError(
            "the server does not say how large it is", where=where.uri, todo="Download it, and give the file's path"
        )
    return found


def version(found: dict[str, Any]) -> str:
    """What changes when an object does: its ETag, or the nearest thing that the storage has."""
    for key in ("ETag", "etag", "md5Hash", "mtime", "modified", "LastModified", "created"):
        value = found.get(key)
        if value:
            return str(value.timestamp() if isinstance(value, datetime) else value).strip('"')
    return str(found.get("size", 0))


def get(where: Place, first: int, last: int) -> bytes:
    """The bytes ``[first, last)``, or fewer where the object ends before; one request."""
    try:
        data: bytes = filesystem(where).cat_file(where.path, start=first, end=last)
    except OSError as error:
        if code_of(error) == "InvalidRange":
            return b""  # the object has no byte at ``first``: it is empty
        raise
    return data


def put_bytes(where: Place, data: bytes, *, mark: str | None = None) -> None:
    """One whole object, new or in place of an older one.

    With a ``mark`` only where nothing has the name, else an error that ``is_there_already`` knows; ``has_mark`` then
    tells whether it was this very call that put it.
    """
    fs, mode = filesystem(where), _mode(where, mark)
    fs.pipe_file(where.path, data, **mode, **_in_parts(where, len(data)))


def put_file(where: Place, local: Path, *, mark: str | None = None) -> None:
    """As ``put_bytes``, from a file. In parts, the condition holds for the commit of the whole."""
    fs, mode, size = filesystem(where), _mode(where, mark), local.stat().st_size
    if isinstance(fs, AsyncFileSystem):
        fs.put_file(str(local), where.path, **mode, **_in_parts(where, size))
    else:
        fs.pipe_file(where.path, local.read_bytes(), **mode)


def copy(where: Place, to: Place) -> None:
    """An object under another name, by the storage itself; large ones in parts, seen when the last is there."""
    _mode(to, None)
    filesystem(where).cp_file(where.path, to.path)


def has_mark(where: Place, mark: str) -> bool:
    """Whether the object that stands there was put with this mark (S3; elsewhere it cannot be told, so no)."""
    if where.protocol != "s3":
        return False
    try:
        found = filesystem(where).call_s3("head_object", Bucket=where.bucket, Key=where.key)
    except FileNotFoundError:
        return False
    return bool(found.get("Metadata", {}).get(_MARK) == mark)


def download(where: Place, size: int, file: BinaryIO) -> None:
    """All bytes into an open file, ranges at a time; each is tried again by itself. Raises StorageError."""
    if where.protocol in WEB:
        retrying(lambda: _stream(where, size, file), where.uri, "read it")
        return
    spans = list(_spans(size))
    for at in range(0, len(spans), _GETS_AT_ONCE):
        some = spans[at : at + _GETS_AT_ONCE]
        for (first, last), data in zip(some, _get_many(where, some), strict=True):
            if len(data) != last - first:
                raise StorageError(
                    f"it had {size} bytes, now {first + len(data)}: it was changed while it was being read",
                    where=where.uri,
                    todo="Run again when nothing writes to it any more",
                )
            file.write(data)


def _stream(where: Place, size: int, file: BinaryIO) -> None:
    """In one request, from the start: not every web server gives ranges."""
    file.seek(0)
    file.truncate()
    got = 0
    with filesystem(where).open(where.path, "rb", block_size=0, size=size) as source:
        while got <= size and (data := source.read(_STREAM_BYTES)):
            got += len(data)
            file.write(data[: max(0, size + 1 - file.tell())])
    if got != size:
        raise StorageError(
            f"it was to have {size} bytes, {'more' if got > size else got} came",
            where=where.uri,
            todo="Run again; it was changed while it was being read, or the server is at fault",
        )


def _get_many(where: Place, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    starts, ends = [a for a, _ in spans], [b for _, b in spans]

    def ask() -> list[bytes]:
        found: list[bytes] = []
        for data in filesystem(where).cat_ranges([where.path] * len(spans), starts, ends, on_error="return"):
            if isinstance(data, BaseException):
                raise data
            found.append(data)
        return found

    return retrying(ask, where.uri, "read it")


def files_below(where: Place) -> list[dict[str, Any]]:
    """Every object below a folder, with its name."""
    try:
        found = filesystem(where).find(where.path, detail=True)
    except FileNotFoundError as error:
        if code_of(error) == "NoSuchBucket":
            raise
        return []
    below = where.path.rstrip("/") + "/"
    return [
        {**about, "name": name}
        for name, about in ((str(n).lstrip("/"), a) for n, a in found.items())
        # A key that ends in a slash is how some tools draw a folder.
        if name.startswith(below) and not name.endswith("/")
    ]


def level(where: Place) -> list[tuple[str, dict[str, Any]]]:
    """What lies right below a folder, objects and folders (``type`` says which), with base names. One listing where
    there is anything."""
    try:
        found = filesystem(where).ls(where.path, detail=True)
    except FileNotFoundError as error:
        if code_of(error) == "NoSuchBucket":
            raise
        return []
    below = where.path.rstrip("/") + "/"
    names = ((str(about["name"]).lstrip("/").rstrip("/"), about) for about in found)
    return [(name[len(below) :], about) for name, about in names if name.startswith(below)]


def names_in(where: Place) -> list[str]:
    """Base names of what lies right below a folder: objects and folders. One listing where there is anything."""
    return [name for name, _ in level(where)]


def delete(where: Place) -> None:
    """Remove one object; none there is no error."""
    try:
        filesystem(where).rm_file(where.path)
    except FileNotFoundError as error:
        if code_of(error) == "NoSuchBucket":
            raise


def delete_below(where: Place) -> None:
    """Remove every object below a folder. Not fsspec's ``rm``: that takes ``*`` and ``[`` in a name for a pattern, and
    is silent about objects that S3 would not remove."""
    names = [found["name"] for found in files_below(where)]
    fs = filesystem(where)
    if where.protocol != "s3":
        for name in names:
            fs.rm_file(name)
        return
    keys = [{"Key": name.partition("/")[2]} for name in names]
    for at in range(0, len(keys), _KEYS_A_DELETE):
        what = {"Objects": keys[at : at + _KEYS_A_DELETE], "Quiet": True}
        for error in fs.call_s3("delete_objects", Bucket=where.bucket, Delete=what).get("Errors", []):
            raise translate_boto_error(ClientError({"Error": error}, "DeleteObjects"))


class Reader(io.RawIOBase):
    """A seekable object for reading. The version of the start is read, or an error says that it changed."""

    def __init__(self, where: Place):
        self._uri = where.uri
        self._file = retrying(lambda: self._open(where), where.uri, "read it")

    @staticmethod
    def _open(where: Place) -> Any:
        # s3fs's default cache reads 50 MiB ahead; whole blocks, a few of them kept, suit an index and single frames.
        return filesystem(where).open(
            where.path,
            "rb",
            block_size=BLOCK_BYTES,
            cache_type="blockcache",
            cache_options={"maxblocks": _BLOCKS_KEPT},
        )

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        try:
            data = retrying(lambda: self._file.read(len(buffer)), self._uri, "read it")
        except ValueError as error:
            raise StorageError(
                f"the server does not give parts of a file ({' '.join(str(error).split())[:200]})",
                where=self._uri,
                todo="Copy it to a disk or an object store",
            ) from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _mode(where: Place, mark: str | None) -> dict[str, Any]:
    """How to say overwrite or put-if-absent, where whole objects can be put at all."""
    fs = filesystem(where)
    whole = where.protocol == "memory" or (
        where.protocol not in WEB  # a PUT there promises nothing
        and isinstance(fs, AsyncFileSystem)
        and "mode" in inspect.signature(fs._pipe_file).parameters
    )
    if not whole:
        raise StorageError(
            f"{where.protocol}:// can be read here but not written: it has no way to put a whole object at once",
            where=where.uri,
            todo="Write to s3:// or to a path",
        )
    if mark is None:
        return {"mode": "overwrite"}
    return {"mode": "create", **({"Metadata": {_MARK: mark}} if where.protocol == "s3" else {})}


def _in_parts(where: Place, size: int) -> dict[str, int]:
    if where.protocol != "s3":
        return {}
    return {"chunksize": max(PART_BYTES, math.ceil(size / _MOST_PARTS)), "max_concurrency": _PARTS_AT_ONCE}


def _spans(size: int) -> Iterator[tuple[int, int]]:
    for first in range(0, size, _GET_BYTES):
        yield first, min(first + _GET_BYTES, size)
