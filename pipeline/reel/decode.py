"""Exact spans of native planes, whole or a batch at a time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.reel import images
from pipeline.reel.damage import Finding, refuse
from pipeline.reel.reading import frames
from pipeline.types import FrameIndex, Frames, Reel


def decode(
    reel: Reel,
    index: FrameIndex,
    first: int,
    last: int,
    *,
    threads: int,
    local: Path | None = None,
    damage: dict[int, Finding] | None = None,
) -> Frames:
    """The frames ``[first, last)`` as native planes, exactly as a decode of the whole film gives them.

    ``threads`` are FFmpeg's slice threads. ``local`` is a copy of the file on this machine. Raises SourceError for a
    missing picture, for one of another size or format, and naming every damaged one of the span.

    With ``damage``, damaged pictures are noted there by their numbers, and given as FFmpeg conceals them: for FFV1 the
    same whatever the span, since the picture before is decoded first, which it fills the lost slices from.
    """
    planes: list[NDArray[Any]] = []
    found = {} if damage is None else damage
    with closing(frames(reel, index, first, last, threads=threads, local=local, damage=found)) as run:
        for number, native in run:
            if not planes:
                planes = [np.empty((last - first, *p.shape), p.dtype) for p in native]
            for whole, plane in zip(planes, native, strict=True):
                whole[number - first] = plane
    if damage is None and found:
        where = reel.uri if reel.sequence is None else images.file_of(reel, min(f.root for f in found.values()))
        refuse(where, found, first, last)
    return Frames(tuple(planes), reel.format, first, index.pts[first:last])


def batches(
    reel: Reel,
    index: FrameIndex,
    first: int,
    last: int,
    *,
    threads: int,
    size: int = 8,
    local: Path | None = None,
    damage: dict[int, Finding] | None = None,
) -> Generator[Frames, None, None]:
    """As ``decode``, ``size`` frames at a time: memory does not grow with the span. Without ``damage``, the first
    damaged picture is an error."""
    with closing(frames(reel, index, first, last, threads=threads, local=local, damage=damage)) as run:
        planes: list[NDArray[Any]] = []
        start = first
        for number, found in run:
            if number == start:
                planes = [np.empty((min(size, last - start), *p.shape), p.dtype) for p in found]
            for whole, plane in zip(planes, found, strict=True):
                whole[number - start] = plane
            if number + 1 == start + len(planes[0]):
                yield Frames(tuple(planes), reel.format, start, index.pts[start : number + 1])
                start, planes = number + 1, []
