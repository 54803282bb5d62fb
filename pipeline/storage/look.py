"""Where a file is, whether it is there, and what lies below a folder."""

from __future__ import annotations

import os
import stat as modes
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import MissingError, StorageError
from pipeline.storage import disk, remote
from pipeline.storage.filesystems import place
from pipeline.storage.retry import retrying


@dataclass(frozen=True, slots=True)
class Stat:
    """What a storage says of one file."""

    uri: str
    bytes: int
    version: str
    """Changes when the file does: ETag on S3, mtime in ns on a disk."""


def absolute(uri: str) -> str:
    """The same place as every process understands it: an absolute path, or a URI without a slash at the end."""
    where = place(uri)
    return where.root + where.path


def join(base: str, *parts: str) -> str:
    """A name below ``base``. Parts may hold slashes; StorageError where one would lead out of ``base``."""
    below = [name for part in parts for name in part.split("/") if name]
    if ".." in below or "." in below:
        raise StorageError(f"{'/'.join(parts)!r} is no name below a folder", where=base)
    return "/".join([base.rstrip("/"), *below])


def local_path(uri: str) -> Path | None:
    """The path, absolute, where the file is on a disk of this machine; else None."""
    return place(uri).local


def storage_of(uri: str) -> str:
    """What a file's being there hangs on: ``s3://bucket``, ``the disk``… Where that is silent, so are all its files."""
    where = place(uri)
    return "the disk" if where.local is not None else f"{where.root}{where.bucket}"


def stat(uri: str) -> Stat:
    """Size and version of a file. MissingError where there is none, or a folder."""
    where = place(uri)
    if where.local is not None:
        info = retrying(where.local.stat, uri, "look at it")
        if not modes.S_ISREG(info.st_mode):
            what = "a folder" if modes.S_ISDIR(info.st_mode) else "no plain file"
            raise MissingError(f"a file was expected, this is {what}", where=uri, todo="Check the name")
        return Stat(where.path, info.st_size, str(info.st_mtime_ns))
    found = retrying(lambda: remote.info(where), uri, "look at it")
    return Stat(where.root + where.path, int(found["size"]), remote.version(found))


def exists(uri: str) -> bool:
    """Whether there is such a file; a folder or prefix is none. A bucket that is not there is an error."""
    try:
        stat(uri)
    except MissingError:
        return False
    return True


def list_files(uri_prefix: str) -> list[Stat]:
    """Every file below a folder, at any depth, sorted by URI; empty where nothing is there.

    Files that are still being written on a disk are left out.
    """
    where = place(uri_prefix)
    if where.local is not None:
        path = where.local
        found = retrying(lambda: list(disk.files_below(path)), uri_prefix, "list it")
        files = [Stat(str(p), s.st_size, str(s.st_mtime_ns)) for p, s in found]
    else:
        below = retrying(lambda: remote.files_below(where), uri_prefix, "list it")
        files = [Stat(where.root + a["name"], int(a["size"]), remote.version(a)) for a in below]
    return sorted(files, key=lambda s: s.uri)


def list_names(uri_dir: str) -> list[str]:
    """Base names of the files and folders right below a folder, sorted; empty where nothing is there."""
    where = place(uri_dir)
    if where.local is not None:
        path = where.local
        try:
            names = retrying(lambda: os.listdir(path), uri_dir, "list it")  # noqa: PTH208 - names are all that is wanted
        except MissingError:
            return []
        return sorted(name for name in names if not disk.is_part(name))
    return sorted(retrying(lambda: remote.names_in(where), uri_dir, "list it"))


def list_level(uri_dir: str) -> tuple[list[Stat], list[str]]:
    """What lies right below a folder: its files, and the base names of the folders in it, both sorted; one listing.

    Empty where nothing is there. Files that are still being written on a disk are left out.
    """
    where = place(uri_dir)
    if where.local is not None:
        path = where.local
        found, folders = retrying(lambda: disk.level(path), uri_dir, "list it")
        files = [Stat(str(p), s.st_size, str(s.st_mtime_ns)) for p, s in found]
    else:
        below = [(n, a) for n, a in retrying(lambda: remote.level(where), uri_dir, "list it") if n]
        folders = [name for name, about in below if about["type"] == "directory"]
        files = [
            Stat(where.root + str(a["name"]).lstrip("/"), int(a["size"]), remote.version(a))
            for _, a in below
            if a["type"] != "directory"
        ]
    return sorted(files, key=lambda s: s.uri), sorted(folders)
