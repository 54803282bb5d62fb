"""Fetched weights on this machine, one file a hash: ``$REELMEND_CACHE``, else ``$XDG_CACHE_HOME/reelmend``, else
``~/.cache/reelmend``. What stands there under a hash is whole and has that hash when it is handed out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import WeightsError
from pipeline.storage import store

MAX_BYTES = 2 << 30
"""The largest file that is taken for weights; the largest released one of the two families has 464 MB."""

_CHUNK = 1 << 20


def fetch(uri: str, sha256: str) -> Path:
    """Bring a weights file from any URI or path into the cache, unless it is there; its path.

    Raises WeightsError where its hash is another one or it is too large (nothing is kept then), StorageError where it
    cannot be read.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise WeightsError(f"a sha256 has 64 hex digits in lower case, got {sha256[:80]!r}", where=uri)
    found = cached(sha256)
    if found is not None:
        return found
    size = store.stat(uri).bytes
    if size > MAX_BYTES:
        raise WeightsError(f"it has {size} bytes; weights of up to {MAX_BYTES} are taken", where=uri)
    target = _place(sha256)
    with _writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{sha256[:16]}-{uuid.uuid4().hex}.part")
    try:
        store.fetch(uri, part)
        require(part, sha256, uri)
        with _writing(target):
            part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def cached(sha256: str) -> Path | None:
    """The cached file of that hash, read through to see that it still has it; None where there is none."""
    path = _place(sha256)
    try:
        return path if path.is_file() and digest(path) == sha256 else None
    except OSError:
        return None


def require(path: Path, sha256: str | None, where: str) -> str:
    """The hash of a local file, which must be ``sha256`` where that is given. Raises WeightsError."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe or a device might never end
            raise WeightsError("a file was expected, this is none", where=where, todo="Check the name")
        if about.st_size > MAX_BYTES:
            raise WeightsError(f"it has {about.st_size} bytes; weights of up to {MAX_BYTES} are taken", where=where)
        found = digest(path)
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror or error})", where=where, todo="Check the name") from None
    if sha256 is not None and found != sha256:
        raise WeightsError(
            f"its sha256 is {found}, expected was {sha256}",
            where=where,
            todo="Get the file again, or state the hash of the file that you mean",
        )
    return found


def digest(path: Path) -> str:
    """sha256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place(sha256: str) -> Path:
    return folder() / "weights" / sha256


def folder() -> Path:
    """Where this machine keeps what it fetched or built."""
    said = os.environ.get("REELMEND_CACHE")
    if said:
        return Path(said)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base, "reelmend")
    try:
        return Path.home() / ".cache" / "reelmend"
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir(), f"reelmend-{os.getuid()}")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"the cache cannot be written ({error.strerror or error})",
            where=str(path),
            todo="Set REELMEND_CACHE to a folder that can",
        ) from None
