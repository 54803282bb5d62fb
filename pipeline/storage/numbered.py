"""Folders of numbered images: what in a listing is one film, and what speaks against it. No I/O.

A folder is a film where images lie right in it whose names hold a number, and no film file lies beside them. The number
is the last run of digits of the name before its suffix.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import SourceError
from pipeline.storage.look import Stat
from pipeline.types import ImageSequence

IMAGE_SUFFIXES = frozenset({".dpx", ".tif", ".tiff", ".exr", ".png"})
MOST_IMAGES = 2_000_000
"""About 23 hours at 24 frames a second."""
MOST_BYTES = 2 << 30
"""Of one image: 16384 × 8192 px of RGBA in 16 bits is half of that."""
_NUMBERED = re.compile(r"(.*[^0-9])?([0-9]+)([^0-9]*)", re.DOTALL)
_MOST_DIGITS = 18
_MOST_BESIDE = 8


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a film in the order of its frames."""

    sequence: ImageSequence
    files: tuple[Stat, ...]
    identity: str
    """sha256 over every file's name, size and version."""

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.files)


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image that may be a frame."""
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and dot + suffix.lower() in IMAGE_SUFFIXES


def is_numbered(name: str) -> bool:
    """Whether a file's name is that of a numbered image."""
    return is_image(name) and not name.startswith(".") and _parts(name) is not None


def version(name: str, size: int, of_storage: str) -> int:
    """63 bits that change when a file does."""
    digest = hashlib.sha256(f"{name}\n{size}\n{of_storage}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sort_out(folder: str, listed: Iterable[Stat]) -> Listing:
    """The film of a folder. ``folder``: its URI as in the stats; what lies deeper, or starts with a dot, is left out.

    Raises SourceError, naming the file, where images are of two films, one is missing, there twice or empty.
    """
    root = folder.rstrip("/") + "/"
    images: dict[tuple[str, str], list[tuple[str, str, Stat]]] = {}
    beside: list[str] = []
    for stat in listed:
        name = stat.uri[len(root) :]
        if not stat.uri.startswith(root) or "/" in name or name.startswith("."):
            continue
        parts = _parts(name) if is_image(name) else None
        if parts is None:
            beside.append(name)
        else:
            prefix, digits, suffix = parts
            images.setdefault((prefix, suffix), []).append((digits, name, stat))
    if not images:
        raise SourceError("there are no numbered images in it", where=root, todo="Check the name")
    if len(images) > 1:
        (a, *_), (b, *_) = sorted(images.values(), key=len, reverse=True)[:2]
        raise SourceError(
            f"it belongs to another sequence than {a[1]}: a folder holds the images of one film, whose names differ in "
            "their number alone",
            where=b[2].uri,
            todo="Give each sequence a folder of its own",
        )
    ((prefix, suffix), found) = images.popitem()
    if len(found) > MOST_IMAGES:
        raise SourceError(f"the folder has {len(found)} images; at most {MOST_IMAGES} are read", where=root)
    found.sort(key=lambda f: (int(f[0]), f[1]))
    width = min(len(digits) for digits, _, _ in found)
    sequence = ImageSequence(prefix, width, suffix, int(found[0][0]), tuple(sorted(beside)[:_MOST_BESIDE]))
    _check(sequence, found)
    identity = hashlib.sha256(root.encode(errors="surrogateescape"))
    for _, name, stat in found:
        identity.update(f"{name}\n{stat.bytes}\n{stat.version}\n".encode(errors="surrogateescape"))
    return Listing(sequence, tuple(stat for _, _, stat in found), identity.hexdigest())


def _check(sequence: ImageSequence, found: Sequence[tuple[str, str, Stat]]) -> None:
    for frame in range(1, len(found)):
        (a, before, _), (b, _, stat) = found[frame - 1 : frame + 1]
        if int(a) == int(b):
            raise SourceError(
                f"the number {int(a)} is there twice, this file's and {before}",
                where=stat.uri,
                frame=frame,
                todo="Remove one of them",
            )
    for frame, (digits, name, stat) in enumerate(found):
        number = int(digits)
        if number != sequence.first + frame:
            before = found[frame - 1][1]
            count = number - sequence.first - frame
            missing = "1 image is" if count == 1 else f"{count} images are"
            raise SourceError(
                f"{missing} missing after {before}: the next is {name}, expected was {sequence.file(frame)}",
                where=stat.uri,
                frame=frame,
                todo="Put the missing images there; or give each part a folder of its own, and restore each as a film",
            )
        if name != sequence.file(frame):
            raise SourceError(
                f"its number is written with {len(digits)} digits, the others' with {sequence.digits}: expected was "
                f"{sequence.file(frame)}",
                where=stat.uri,
                frame=frame,
                todo="Rename it",
            )
        if stat.bytes == 0:
            raise SourceError(
                "the file is empty (0 bytes)", where=stat.uri, frame=frame, todo="Copy it again from its origin"
            )
        if stat.bytes > MOST_BYTES:
            raise SourceError(
                f"the image has {stat.bytes} bytes; at most {MOST_BYTES} are read", where=stat.uri, frame=frame
            )


def _parts(name: str) -> tuple[str, str, str] | None:
    """What stands before the number, its digits, and what stands after it with the file's suffix."""
    stem, dot, suffix = name.rpartition(".")
    match = _NUMBERED.fullmatch(stem)
    if match is None or len(match[2]) > _MOST_DIGITS:
        return None  # no number, or one of more digits than any counter has
    return match[1] or "", match[2], match[3] + dot + suffix
