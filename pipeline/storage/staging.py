"""Whole copies of files on local scratch."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import StorageError
from pipeline.storage import disk, remote
from pipeline.storage.faults import explain
from pipeline.storage.filesystems import place
from pipeline.storage.look import Stat, absolute, local_path, stat


def fetch(uri: str, local: Path) -> None:
    """Copy a whole file to a local name, which holds nothing until it is there whole.

    ScratchFullError where it does not fit, before anything is read; StorageError where it changes meanwhile.
    """
    _fetch(uri, local, stat(uri), keep=False)


def _fetch(uri: str, local: Path, about: Stat, *, keep: bool) -> None:
    where = place(uri)
    with _here(local), disk.part_of(local) as part:
        disk.want_room(local.parent, about.bytes)
        with part.open("xb") as file:
            if where.local is not None:
                disk.copy_into(where.local)(file)
            else:
                remote.download(where, about.bytes, file)
            if keep:
                disk.flush(file)
        now = stat(uri)
        if (now.bytes, now.version) != (about.bytes, about.version):
            raise StorageError(
                "it was changed while it was being read", where=uri, todo="Run again when nothing writes to it any more"
            )
        part.replace(local)


def stage(uri: str, scratch: Path) -> Path:
    """A local path with the file's bytes: its own where it is on a disk, else a copy below ``scratch``, one a node.

    The copy is keyed by URI and version. Processes that ask at the same time wait for the first one's copy.
    """
    about = stat(uri)
    path = local_path(uri)
    if path is not None:
        return path
    folder = _staged(uri, scratch)
    suffix = Path(about.uri).suffix
    suffix = suffix if suffix[1:].isalnum() and len(suffix) <= 8 else ""
    copy = folder / f"{hashlib.sha256(about.version.encode()).hexdigest()[:16]}{suffix}"
    with _here(copy):
        folder.mkdir(parents=True, exist_ok=True)
        with disk.lock(folder / "lock"):
            if not (copy.is_file() and copy.stat().st_size == about.bytes):
                for left in folder.iterdir():
                    if disk.is_part(left.name):
                        left.unlink()  # of a process that was killed: whoever copies holds the lock
                _fetch(uri, copy, about, keep=True)
    return copy


def unstage(uri: str, scratch: Path) -> None:
    """Remove the copies that ``stage`` made of a URI. Whoever has one open reads on; none there is no error."""
    folder = _staged(uri, scratch)
    with _here(folder):
        disk.remove_tree(folder)


def _staged(uri: str, scratch: Path) -> Path:
    return scratch / "staged" / hashlib.sha256(absolute(uri).encode(errors="surrogateescape")).hexdigest()[:32]


@contextlib.contextmanager
def _here(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a local file, as an error that names it."""
    try:
        yield
    except OSError as error:
        raise explain(error, str(path), "write it") from error
