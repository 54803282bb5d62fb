"""Reading and writing by URI (``s3://``, ``file://``, ``memory://``, any other of fsspec's) or path.

Names are taken as they are: ``*``, ``[``, ``#``, ``?`` and ``%`` mean nothing here. Every function raises StorageError,
or its kinds MissingError and ScratchFullError, with the URI and what to do; what is transient has been tried again with
back-off by then. Nothing is ever streamed into a final name: it holds a whole file or none.
"""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import StorageError
from pipeline.storage import disk, remote
from pipeline.storage.faults import LIBRARY_ERRORS, is_there_already, is_transient
from pipeline.storage.filesystems import Place, place
from pipeline.storage.look import (
    Stat,
    absolute,
    exists,
    join,
    list_files,
    list_level,
    list_names,
    local_path,
    stat,
    storage_of,
)
from pipeline.storage.retry import retrying
from pipeline.storage.staging import fetch, stage, sweep_staged, unstage

__all__ = [
    "Stat",
    "absolute",
    "copy",
    "delete",
    "delete_tree",
    "disk_bytes",
    "exists",
    "fetch",
    "is_transient",
    "join",
    "largest_file",
    "list_files",
    "list_level",
    "list_names",
    "local_path",
    "open_read",
    "put_bytes",
    "put_bytes_once",
    "put_file",
    "put_file_once",
    "read_bytes",
    "read_head",
    "stage",
    "stat",
    "storage_of",
    "sweep_staged",
    "unstage",
]

_READ_LIMIT = 64 << 20
_BUFFER_BYTES = 256 << 10
_S3_OBJECT_BYTES = 5 * 10**12


def read_bytes(uri: str, *, limit: int = _READ_LIMIT) -> bytes:
    """The whole of a file that has at most ``limit`` bytes, else StorageError; one request."""
    where = place(uri)
    if where.local is not None:
        path = where.local

        def read() -> bytes:
            with path.open("rb") as file:
                return file.read(limit + 1)

        data = retrying(read, uri, "read it")
    else:
        data = retrying(lambda: remote.get(where, 0, limit + 1), uri, "read it")
    if len(data) > limit:
        raise StorageError(f"it has more than the {limit} bytes that such a file may have", where=uri)
    return data


def largest_file(uri: str) -> int | None:
    """Bytes of the largest file that a storage takes; None where no bound is known."""
    return _S3_OBJECT_BYTES if place(uri).protocol == "s3" else None


def disk_bytes(folder: Path) -> int:
    """Size of the disk that a local folder lies on, or would lie on."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return retrying(lambda: shutil.disk_usage(there).total, str(folder), "look at it")


def read_head(uri: str, size: int) -> bytes:
    """The first ``size`` bytes of a file, or all where it has fewer; one request."""
    where = place(uri)
    if where.local is None:
        return retrying(lambda: remote.get(where, 0, size), uri, "read it")
    path = where.local

    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(size)

    return retrying(read, uri, "read it")


def open_read(uri: str) -> io.BufferedReader:
    """A file for reading, seekable. Of a remote one only the 4 MiB blocks that are touched travel, and the last eight
    are kept (32 MiB); reads are tried again, and stop with an error where the object is changed meanwhile.

    For one thread at a time. Close it.
    """
    where = place(uri)
    if where.local is not None:
        return retrying(lambda: where.local.open("rb"), uri, "read it")  # type: ignore[union-attr]
    return io.BufferedReader(remote.Reader(where), _BUFFER_BYTES)


def put_bytes(uri: str, data: bytes) -> None:
    """Make these bytes the whole of a file, new or in place of an older one."""
    where = place(uri)
    if where.local is not None:
        path = where.local
        retrying(lambda: disk.put(path, _writer(data), once=False), uri, "write it")
    else:
        retrying(lambda: remote.put_bytes(where, data), uri, "write it")


def put_file(local: Path, uri: str) -> None:
    """Copy a local file there whole, new or in place of an older one. Large ones go up to S3 in parts."""
    where, _ = place(uri), stat(str(local))
    if where.local is not None:
        path = where.local
        retrying(lambda: disk.put(path, disk.copy_into(local), once=False), uri, "write it")
    else:
        retrying(lambda: remote.put_file(where, local), uri, "write it")


def copy(uri: str, to: str) -> None:
    """Make a file of a storage the whole of another one there, new or in place of an older one. It does not come by
    here: an object store copies it by itself; on a disk both names are one file's, where the disk can do that, so
    neither may ever be written into.
    """
    source, target = place(uri), place(to)
    if source.protocol != target.protocol:
        raise StorageError("it can only be copied within one storage", where=uri, todo=f"Fetch it, then put it at {to}")
    if source.local is not None and target.local is not None:
        here, there = source.local, target.local
        retrying(lambda: disk.link(here, there), to, "write it")
    else:
        retrying(lambda: remote.copy(source, target), to, "write it")


def put_bytes_once(uri: str, data: bytes) -> bool:
    """Put-if-absent: True where the file is ours, False where another stood there and stands still.

    Of any number of writers exactly one gets True, though answers be lost on the way and the same bytes be sent twice.
    """
    where = place(uri)
    if where.local is not None:
        path = where.local
        return retrying(lambda: disk.put(path, _writer(data), once=True), uri, "write it")
    return _once(where, lambda mark: remote.put_bytes(where, data, mark=mark))


def put_file_once(local: Path, uri: str) -> bool:
    """As ``put_bytes_once``, from a local file. In parts, the condition is checked when the whole is committed."""
    where, _ = place(uri), stat(str(local))
    if where.local is not None:
        path = where.local
        return retrying(lambda: disk.put(path, disk.copy_into(local), once=True), uri, "write it")
    return _once(where, lambda mark: remote.put_file(where, local, mark=mark))


def _once(where: Place, send: Callable[[str], None]) -> bool:
    # A server may commit and its answer be lost; the repeat (ours, or one that the HTTP library makes of a PUT without
    # a word) is then told that the object is there. The mark says whose it is.
    mark = uuid.uuid4().hex

    def attempt() -> bool:
        try:
            send(mark)
        except LIBRARY_ERRORS as error:
            if is_there_already(error):
                return remote.has_mark(where, mark)
            raise
        return True

    return retrying(attempt, where.uri, "write it")


def delete(uri: str) -> None:
    """Remove a file; none there is no error."""
    where = place(uri)
    if where.local is not None:
        path = where.local
        retrying(lambda: path.unlink(missing_ok=True), uri, "remove it")
    else:
        retrying(lambda: remote.delete(where), uri, "remove it")


def delete_tree(uri: str) -> None:
    """Remove everything below a folder, and the folder; none there is no error. Refuses a bucket and a disk's root."""
    where = place(uri)
    if not (where.path.strip("/") if where.protocol != "s3" else where.key):
        raise StorageError("a whole bucket or disk is never removed", where=uri, todo="Name a folder in it")
    if where.local is None:
        retrying(lambda: remote.delete_below(where), uri, "remove it")
        return
    path = where.local
    retrying(lambda: disk.remove_tree(path), uri, "remove it")


def _writer(data: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(data)

    return write
