"""Whole copies of files on local scratch."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import StorageError
from pipeline.storage import disk, remote
from pipeline.storage.faults import explain
from pipeline.storage.filesystems import place
from pipeline.storage.look import Stat, absolute, local_path, stat

_LOCK = "lock"
_RUN = "run-"
"""What the names of the marks begin with that say which runs use a folder's copies. A run that lives holds its own."""
_held: dict[Path, BinaryIO] = {}
_using = threading.Lock()


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


def stage(uri: str, scratch: Path, *, run: str) -> Path:
    """A local path with the file's bytes: its own where it is on a disk, else a copy below ``scratch``, one a node.

    The copy is keyed by URI and version. Processes that ask at the same time wait for the first one's copy. It is this
    run's, and that of every other run that asks for it, until ``unstage``, or until this process has ended.
    """
    about = stat(uri)
    path = local_path(uri)
    if path is not None:
        return path
    folder = _staged(uri, scratch)
    suffix = Path(about.uri).suffix
    suffix = suffix if suffix[1:].isalnum() and len(suffix) <= 8 else ""
    copy = folder / f"{hashlib.sha256(about.version.encode()).hexdigest()[:16]}{suffix}"
    with _here(copy), disk.lock(folder / _LOCK):
        _use(folder / f"{_RUN}{run}")
        if not (copy.is_file() and copy.stat().st_size == about.bytes):
            for left in folder.iterdir():
                if disk.is_part(left.name):
                    left.unlink()  # of a process that was killed: whoever copies holds the lock
            _fetch(uri, copy, about, keep=True)
    return copy


def unstage(uri: str, scratch: Path, *, run: str) -> None:
    """A run needs its copies of a URI no more: they go, unless another run uses them. None there is no error."""
    folder = _staged(uri, scratch)
    with _here(folder):
        if folder.exists():
            with disk.lock(folder / _LOCK):
                _remove(folder, run)


def sweep_staged(scratch: Path, *, run: str | None = None) -> None:
    """Remove the copies that nobody uses: of runs that were killed, and of ``run``, of which nobody works any more."""
    root = scratch / "staged"
    with _here(root):
        for folder in root.iterdir() if root.exists() else ():
            # Where it is locked somebody copies, or removes it already.
            with contextlib.suppress(BlockingIOError), disk.lock(folder / _LOCK, wait=False):
                _remove(folder, run)


def _remove(folder: Path, run: str | None) -> None:
    """Remove a folder of copies, whose lock is held, unless another run than this one uses them."""
    used = False
    for mark in folder.glob(f"{_RUN}*"):
        if mark.name != f"{_RUN}{run}" and _is_used(mark):
            used = True
        else:
            mark.unlink(missing_ok=True)
    if used:
        return
    for left in folder.iterdir():
        if left.name != _LOCK:
            left.unlink(missing_ok=True)
    (folder / _LOCK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # unless somebody who waited has begun to make it anew


def _use(mark: Path) -> None:
    """Say that this process's run uses a folder's copies. It holds for as long as the process lives."""
    with _using:
        held = _held.get(mark)
        if held is not None and disk.is_at(held, mark):
            return
        file = mark.open("ab")
        fcntl.flock(file, fcntl.LOCK_SH)
        _held[mark] = file
        if held is not None:
            held.close()


def _is_used(mark: Path) -> bool:
    """Whether a process that said ``_use`` is alive."""
    with mark.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _staged(uri: str, scratch: Path) -> Path:
    return scratch / "staged" / hashlib.sha256(absolute(uri).encode(errors="surrogateescape")).hexdigest()[:32]


@contextlib.contextmanager
def _here(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a local file, as an error that names it."""
    try:
        yield
    except OSError as error:
        raise explain(error, str(path), "write it") from error
