"""``manifest-sha256.txt``: every published file and its hash, in the form of a BagIt manifest (RFC 8493, 2.1.3).

A line is 64 hex digits, two spaces and the path below the reel's folder; line feed, carriage return and per cent in a
path are per-cent-encoded. ``sha256sum -c`` reads it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.errors import VerifyError
from pipeline.publish.layout import MANIFEST
from pipeline.types import Sha256

MAX_BYTES = 256 << 20
"""Of the images of four deliverables, with names of some 250 bytes."""
_MAX_PATH = 4096
_LINE = re.compile(r"([0-9a-f]{64})  (.+)", re.DOTALL)
_CODED = {"%": "%25", "\n": "%0A", "\r": "%0D"}
_PLAIN = {code: char for char, code in _CODED.items()}
_TODO = "Restore the file from a copy, or delete the reel's folder and run its job again"


def write(hashes: Mapping[str, Sha256], *, may_name_itself: bool = False) -> str:
    """The manifest's text, paths in order, so that equal files give equal bytes. ``hashes``: path → sha256.

    ``may_name_itself``: as a bag's tag manifest does, which is another file.
    """
    lines = []
    for path in sorted(hashes):
        if (fault := _fault(path)) is not None and not (may_name_itself and path == MANIFEST):
            raise VerifyError(f"a name that no manifest can hold: {fault}", where=path, todo="Rename the reel")
        lines.append(f"{hashes[path]}  {''.join(_CODED.get(c, c) for c in path)}\n")
    return "".join(lines)


def parse(data: bytes, *, where: str, may_name_itself: bool = False) -> dict[str, Sha256]:
    """Path → sha256, as ``write`` had it. Raises VerifyError naming the line where the text is no manifest.

    No path that is given back leads out of the folder or, unless ``may_name_itself``, names the manifest itself.
    """
    if len(data) > MAX_BYTES:
        raise VerifyError(f"a manifest of {len(data)} bytes; at most {MAX_BYTES} are read", where=where, todo=_TODO)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise VerifyError(f"not UTF-8 at byte {error.start}", where=where, todo=_TODO) from None
    if not text.endswith("\n"):
        raise VerifyError("empty or cut off: its last line has no end", where=where, todo=_TODO)
    found: dict[str, Sha256] = {}
    for number, line in enumerate(text[:-1].split("\n"), 1):
        match = _LINE.fullmatch(line)
        path = _decode(match[2]) if match else None
        if match is None or path is None:
            raise VerifyError(f"line {number} is not a sha256 and a path: {line[:120]!r}", where=where, todo=_TODO)
        if (fault := _fault(path)) is not None and not (may_name_itself and path == MANIFEST):
            raise VerifyError(f"line {number} names a path that is {fault}: {path[:120]!r}", where=where, todo=_TODO)
        if path in found:
            raise VerifyError(f"line {number} names {path[:120]!r} a second time", where=where, todo=_TODO)
        found[path] = match[1]
    return found


def _decode(path: str) -> str | None:
    plain = re.sub("%(25|0[AaDd])", lambda m: _PLAIN[m[0].upper()], path)
    return None if re.search("%(?!25|0[AaDd])", path) else plain


def _fault(path: str) -> str | None:
    """What is wrong with a path, or None."""
    if len(path) > _MAX_PATH:
        return f"longer than {_MAX_PATH} characters"
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        return "not below the reel's folder"
    if "\0" in path or any("\ud800" <= c <= "\udfff" for c in path):
        return "not text"
    return "the manifest itself" if path == MANIFEST else None
