"""fsspec lives here: which filesystem serves a URI, made fresh in every process and whenever credentials change."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import fsspec
from s3fs import S3FileSystem

from pipeline.errors import StorageError
from pipeline.storage.faults import LIBRARY_ERRORS, code_of, is_transient
from pipeline.storage.retry import waits

_CONNECT_S = 5
_READ_S = 20
_CONNECTIONS = 32
_KEPT = 8

LOCAL = "file"
WEB = ("http", "https")
"""Protocols that fsspec wants named in every path; such a server can be read, not written."""


@dataclass(frozen=True, slots=True)
class Place:
    """A URI taken apart. No character of a name is special: nothing is unquoted, expanded or chained."""

    uri: str
    protocol: str
    """``file``, ``s3``, ``memory``…"""
    path: str
    """Without protocol and without a slash at the end: ``bucket/key``, or an absolute path on a local disk. Of a web
    address the whole."""

    @property
    def local(self) -> Path | None:
        return Path(self.path) if self.protocol == LOCAL else None

    @property
    def bucket(self) -> str:
        return self.path.partition("/")[0]

    @property
    def key(self) -> str:
        return self.path.partition("/")[2]

    @property
    def root(self) -> str:
        """What stands before every path of this filesystem in a URI."""
        return "" if self.protocol in (LOCAL, *WEB) else f"{self.protocol}://"


def place(uri: str) -> Place:
    """Take a URI or a path apart. StorageError where no storage can have such a name."""
    if not uri:
        raise StorageError("an empty name", todo="Give a path or a URI such as s3://bucket/key")
    if "\0" in uri:
        raise StorageError("a name with a NUL character, which no storage can hold", where=uri, todo="Rename it")
    head, sign, rest = uri.partition("://")
    if not sign or "/" in head:
        return Place(uri, LOCAL, _absolute(uri))
    protocol = head.lower()
    if protocol in ("file", "local"):
        if not rest.startswith("/"):
            # By the book the first part would be a host's name, to fsspec it is a folder here: ask rather than guess.
            raise StorageError("a file URI needs an absolute path", where=uri, todo="Write it as file:///folder/name")
        return Place(uri, LOCAL, _absolute(rest))
    if protocol in WEB:
        return Place(uri, protocol, f"{protocol}://{rest}")
    path = rest.strip("/") if protocol == "memory" else rest.rstrip("/")
    if protocol in ("s3", "s3a"):
        protocol = "s3"
        if not path.partition("/")[0]:
            raise StorageError("a URI without a bucket", where=uri, todo="Write it as s3://bucket/key")
        if "?versionId=" in path:
            # s3fs cuts a key there and would read, or overwrite, another object.
            raise StorageError(
                "a key with '?versionId=' in it cannot be told from a version", where=uri, todo="Rename it"
            )
    return Place(uri, protocol, path)


def filesystem(where: Place) -> Any:
    """The fsspec filesystem of a URI: one a process and a set of credentials, none of it shared across a fork.

    Credentials and endpoint come from the environment (``AWS_*``, ``FSSPEC_*``) as it is now.
    """
    settings = "\n".join(sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(("AWS_", "FSSPEC_"))))
    key = (os.getpid(), where.protocol, hashlib.sha256(settings.encode(errors="surrogateescape")).hexdigest())
    with _lock:
        if key not in _made:
            _made[key] = _make(where)
            for old in [k for k in _made if k[:2] == key[:2]][:-_KEPT]:
                del _made[old]
        return _made[key]


def _make(where: Place) -> Any:
    if where.protocol == "s3":
        return _S3(
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": _CONNECT_S,
                "read_timeout": _READ_S,
                "max_pool_connections": _CONNECTIONS,
                # One layer repeats, and it knows what it repeats and when to stop.
                "retries": {"total_max_attempts": 1},
            },
        )
    options: dict[str, Any] = {}
    if where.protocol in WEB:
        # A large file may take as long as it likes, as long as bytes come. Proxies are those of the environment.
        patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
        options = {"client_kwargs": {"timeout": patience, "trust_env": True}}
    try:
        return fsspec.filesystem(where.protocol, skip_instance_cache=True, use_listings_cache=False, **options)
    except ValueError:
        raise StorageError(
            f"{where.protocol}:// is no kind of storage that is known here", where=where.uri, todo="Use s3:// or a path"
        ) from None
    except ImportError as error:
        raise StorageError(
            f"the library for {where.protocol}:// is not installed here: {error}",
            where=where.uri,
            todo="Install it on the driver and on every worker",
        ) from None


class _S3(S3FileSystem):  # type: ignore[misc]
    """s3fs with its blind repeats off: ``store`` repeats calls; here only parts of a large upload are sent again."""

    retries = 1

    async def _info(self, path: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._info(path, *args, **kwargs)
        except PermissionError as error:
            if code_of(error) == "403":
                # The answer to a HEAD has no body, so it cannot say why; the answer to a GET does.
                await self._cat_file(path, start=0, end=1)
            raise

    async def _call_s3(self, method: str, *args: Any, **kwargs: Any) -> Any:
        call = super()._call_s3
        if method != "upload_part":
            return await call(method, *args, **kwargs)
        pauses = None
        while True:
            try:
                return await call(method, *args, **kwargs)
            except LIBRARY_ERRORS as error:
                # A part that went missing on the way must not cost the whole of a file of many GB.
                pauses = pauses or waits()
                wait = next(pauses, None)
                if wait is None or not is_transient(error):
                    raise
            await asyncio.sleep(wait)


def _absolute(path: str) -> str:
    """An absolute path, ``..`` kept as it is (it may lead through a link)."""
    return str(Path(path).absolute())


def _after_fork() -> None:
    """A child starts without its parent's lock (another thread may have held it); the parent's entries are never met,
    because the process id is part of their key, and are kept so that nothing closes the parent's connections."""
    global _lock
    _lock = threading.Lock()


_made: dict[tuple[int, str, str], Any] = {}
_lock = threading.Lock()
os.register_at_fork(after_in_child=_after_fork)
