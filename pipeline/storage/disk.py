"""Files on a local or mounted disk: whole or not there, and on the disk before they are said to be."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import ScratchFullError, StorageError

_PART = ".reelmend-part-"
_COPY_BYTES = 1 << 20
"""Two such pieces are held while copying."""
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def is_part(name: str) -> bool:
    """Whether this is the name of a file that is still being written, or was when its writer was killed."""
    return name.startswith(_PART)


@contextlib.contextmanager
def part_of(final: Path) -> Iterator[Path]:
    """A name beside ``final`` to write to; whatever is left under it afterwards is removed. Makes the folder."""
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.parent / f"{_PART}{uuid.uuid4().hex}"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def put(final: Path, write: Callable[[BinaryIO], None], *, once: bool) -> bool:
    """Write a whole file beside ``final``, flush it to the disk, then give it the name.

    ``once``: only where nothing has the name yet; False where something has.
    """
    with part_of(final) as part:
        with part.open("xb") as file:
            write(file)
            flush(file)
        if once:
            try:
                os.link(part, final)
            except FileExistsError:
                # Over NFS a link may be made and the answer lost; the repeat then finds our own file there.
                if not part.samefile(final):
                    return False
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise StorageError(
                        f"this disk has no hard links ({error.strerror}), so nothing can be put there once only",
                        where=str(final),
                        todo="Put the output on another disk or into object storage",
                    ) from error
                raise
        else:
            part.replace(final)
    _flush_folder(final.parent)
    return True


def link(source: Path, final: Path) -> None:
    """Give a file a second name, in place of what has it; where the disk has no links, a copy."""
    with part_of(final) as part:
        try:
            os.link(source, part)
        except OSError as error:
            if error.errno not in _NO_LINKS | {errno.EXDEV}:
                raise
            put(final, copy_into(source), once=False)
            return
        part.replace(final)
    _flush_folder(final.parent)


def flush(file: BinaryIO) -> None:
    """To the disk, not only to the system."""
    file.flush()
    os.fsync(file.fileno())


def copy_into(source: Path) -> Callable[[BinaryIO], None]:
    """A writer for ``put``: the bytes of another file."""

    def write(file: BinaryIO) -> None:
        with source.open("rb") as there:
            shutil.copyfileobj(there, file, _COPY_BYTES)

    return write


def files_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every plain file below a folder, through links too, each folder once. Nothing where there is no such folder."""
    seen: set[tuple[int, int]] = set()
    todo = [folder]
    while todo:
        here = todo.pop()
        try:
            about = here.stat()
            if (about.st_dev, about.st_ino) in seen or not stat.S_ISDIR(about.st_mode):
                continue
        except (FileNotFoundError, NotADirectoryError):
            continue  # never there, or gone since its parent was listed
        seen.add((about.st_dev, about.st_ino))
        files, folders = level(here)
        todo += [here / name for name in folders]
        yield from files


def level(folder: Path) -> tuple[list[tuple[Path, os.stat_result]], list[str]]:
    """The plain files right below a folder, and the names of the folders in it; none where there is no such folder."""
    files, folders = [], []
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    for entry in entries:
        try:
            info = entry.stat()
        except FileNotFoundError:
            continue  # a link to nowhere, or gone meanwhile
        if stat.S_ISDIR(info.st_mode):
            folders.append(entry.name)
        elif stat.S_ISREG(info.st_mode) and not is_part(entry.name):
            files.append((Path(entry.path), info))
    return files, folders


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it; what is not there, or is removed meanwhile, is no error."""

    def failed(_call: object, _path: str, info: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            raise info[1]

    shutil.rmtree(folder, onerror=failed)


def want_room(folder: Path, size: int) -> None:
    """Raise ScratchFullError, before anything is written, where ``size`` bytes do not fit on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ScratchFullError(
            f"{size / 2**20:.1f} MiB are wanted here, {free / 2**20:.1f} MiB are free",
            where=str(folder),
            todo="Free some, or name another scratch folder",
        )


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock between processes and threads of one machine. It goes with its holder, however that ends.

    The file and its folder are made where they are not there; the holder may remove them, and whoever waited then makes
    them anew. Without ``wait``, BlockingIOError where another holds it.
    """
    with _lock(path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
        yield


def _lock(path: Path, how: int) -> BinaryIO:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:
            continue  # the folder has just been removed
        try:
            fcntl.flock(file, how)
        except OSError:
            file.close()
            raise
        if is_at(file, path):
            return file
        file.close()


def is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one that has this name."""
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _flush_folder(folder: Path) -> None:
    """A new name is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
