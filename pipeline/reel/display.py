"""How a picture is meant to be turned or mirrored for display: the container's display matrix."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from itertools import islice
from typing import Any

import av.error
from av.sidedata.sidedata import Type

from pipeline.reel import logs
from pipeline.reel.source import Source

_SAID = re.compile(r"display ?matrix", re.IGNORECASE)
_QUARTERS = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}


def matrix(source: Source, description: str) -> tuple[int, ...] | None:
    """The matrix as ``Reel.display_matrix`` has it; None where the container has none.

    ``description`` is FFmpeg's own (``logs.describe``). av shows the matrix on decoded pictures only, so one is decoded
    where there is a matrix at all; the source is not where it was afterwards.
    """
    if _SAID.search(description) is None:
        return None
    with logs.errors(), suppress(av.error.FFmpegError):
        for frame in islice(source.container.decode(source.stream), 1):
            try:
                found: Any = frame.side_data
                for data in found:
                    if data.type == Type.DISPLAYMATRIX:
                        return struct.unpack("=9i", bytes(data)[:36])
            except ValueError:
                # av stumbles over kinds of data that it has no name for (EXIF), but knows the angle.
                return _turned_by(frame.rotation)
    return None


def _turned_by(degrees: int) -> tuple[int, ...] | None:
    """The matrix of a turn by so many degrees counter-clockwise; None for what is no quarter turn."""
    quarter = _QUARTERS.get(degrees % 360)
    if quarter is None:
        return None
    a, b, c, d = (v << 16 for v in quarter)
    return (a, b, 0, c, d, 0, 0, 0, 1 << 30)
