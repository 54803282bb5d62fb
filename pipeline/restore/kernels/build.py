"""Builds the kernels' library, once for a source, compiler and processor, into this machine's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from pipeline.errors import ReelmendError
from pipeline.restore.device import device_name
from pipeline.restore.weights import cache

_HERE = Path(__file__).parent
_SOURCES = tuple(_HERE / name for name in ("fused.cpp", "winograd.cpp"))
_HEADERS = (_HERE / "vectors.h",)
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
"""No contraction and no fast mathematics: sums keep the order that the source gives them."""
_PATIENCE_S = 300
_TODO = "Install a C++ compiler with OpenMP (Debian: apt install g++) on every worker, or say engine.kernels: torch"


@functools.cache
def library() -> ctypes.CDLL:
    """The library, built if it is not in the cache yet. Raises ReelmendError where it cannot be."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise ReelmendError(
            f"engine.kernels: compiled wants a C++ compiler, and there is none of {', '.join(_COMPILERS)}", todo=_TODO
        )
    source = b"\0".join(path.read_bytes() for path in (*_SOURCES, *_HEADERS))
    key = [compiler, _run([compiler, "--version"]), *_FLAGS, device_name("cpu")]
    name = hashlib.sha256(source + "\0".join(key).encode()).hexdigest()
    target = cache.folder() / "kernels" / f"fused-{name[:32]}.so"
    try:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = target.with_name(f".{uuid.uuid4().hex}.so")
            try:
                _run([compiler, *_FLAGS, *map(str, _SOURCES), "-o", str(part)])
                part.replace(target)  # several restorers may build at once: each puts a whole file
            finally:
                part.unlink(missing_ok=True)
        _ours(target.parent)
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise ReelmendError(
            f"the compiled kernels cannot be kept or loaded: {error}",
            where=str(target.parent),
            todo="Set REELMEND_CACHE to a folder that this user may write and run from",
        ) from None


def _ours(folder: Path) -> None:
    """What lies there is run: nobody else may put anything into it. Raises ReelmendError."""
    about = folder.stat()
    if about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise ReelmendError(
            "the folder of the compiled kernels belongs to, or can be written by, another user",
            where=str(folder),
            todo="Set REELMEND_CACHE to a folder of this user's own",
        )


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReelmendError(f"the C++ compiler {command[0]} does not run: {error}", todo=_TODO) from None
    if done.returncode:
        raise ReelmendError(
            f"the compiled kernels cannot be built with {command[0]}: {done.stderr.strip()[-300:]}", todo=_TODO
        )
    return done.stdout
