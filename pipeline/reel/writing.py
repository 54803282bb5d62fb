"""What every file that we write with FFmpeg has in common."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import av

from pipeline.errors import ScratchFullError, StorageError, VerifyError

CONTAINER_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        # No version, no random id, no date of its own: two runs give the same bytes.
        "fflags": "+bitexact",
        # FFmpeg would move everything so that nothing starts below 0; our times are meant as they are.
        "avoid_negative_ts": "disabled",
    }
)

T = TypeVar("T")

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class ReadingError(Exception):
    """FFmpeg could not read something while something else was being written."""

    def __init__(self, cause: av.FFmpegError):
        self.cause = cause
        super().__init__(str(cause))


def reading(items: Iterable[T]) -> Iterator[T]:
    """The same items; errors of FFmpeg in getting them are told apart from those of writing."""
    iterator = iter(items)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except av.FFmpegError as error:
            raise ReadingError(error) from error
        yield item


def nearest(value: Fraction) -> int:
    """To the nearest whole number, halves up: as FFmpeg rounds times."""
    return math.floor(value + Fraction(1, 2))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """While ``path`` is being written: whatever goes wrong, no part of it is left, and errors come out as ours.

    ScratchFullError where the disk has no room, StorageError where it says no otherwise, VerifyError where FFmpeg
    refuses what it is given.
    """
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        path.unlink(missing_ok=True)
        said = error.strerror or str(error)
        if error.errno in _FULL:
            raise ScratchFullError(
                f"there is no room left to write it ({said})",
                where=str(path),
                todo="Free some, or name a larger folder as cluster.scratch",
            ) from error
        if isinstance(error, OSError):
            raise StorageError(f"it cannot be written: {said}", where=str(path)) from error
        raise VerifyError(f"FFmpeg does not write it: {said}", where=str(path)) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
