"""A span of frames cut into temporal tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.types import FrameIndex, Tile

_LEAST_HALF = 8
"""Frames that each half of a reel's last tile must have: a shorter one would be mostly halo."""


def run_up(index: FrameIndex) -> NDArray[np.int64]:
    """(N,) for every frame the key frame from which decoding must start to get it."""
    numbers = np.where(index.key, np.arange(len(index)), 0)
    return np.asarray(np.maximum.accumulate(numbers), dtype=np.int64)


def cut_into_tiles(index: FrameIndex, first: int, last: int, length: int, halo: int) -> tuple[Tile, ...]:
    """Tiles whose cores cover ``[first, last)`` without gap.

    length: core length in frames that is aimed at. halo: frames read on each side beyond the overlap.
    Where decoding cannot start at every frame, a border moves (by less than half a length) to where a tile's first read
    frame is a key frame, so that nothing is decoded only to be thrown away. Where it can, the last of several tiles is
    cut in two, if each half is long enough. Halos reach beyond an excerpt's span, so that an excerpt's pictures equal
    the whole reel's; they end at the reel's ends.
    """
    starts = [first]
    keys = np.flatnonzero(index.key)
    every = len(keys) == len(index)
    while last - starts[-1] > length:
        aim = starts[-1] + length
        starts.append(aim if every else _near_key(keys, aim, length, halo, last))
    # A last tile of a few frames would be mostly halo: let the one before it take them.
    if len(starts) > 1 and last - starts[-1] < max(1, length // 4):
        starts.pop()
    # Restorers that share the work by tiles end up to a tile apart, with cores idle meanwhile; so up to half a tile.
    if every and len(starts) > 1 and last - starts[-1] >= 2 * _LEAST_HALF:
        starts.append((starts[-1] + last) // 2)
    ends = [*starts[1:], last]
    return tuple(_tile(n, a, b, halo, len(index)) for n, (a, b) in enumerate(zip(starts, ends, strict=True)))


def _near_key(keys: NDArray[np.intp], aim: int, length: int, halo: int, last: int) -> int:
    borders = keys[
        np.searchsorted(keys, aim - length // 2 - halo - 1, "right") : np.searchsorted(
            keys, aim + length // 2 - halo - 1, "left"
        )
    ] + (halo + 1)
    borders = borders[borders < last]
    return int(borders[np.argmin(np.abs(borders - aim))]) if len(borders) else aim


def _tile(number: int, first: int, last: int, halo: int, total: int) -> Tile:
    overlap = 1 if first > 0 else 0
    head = min(halo, first - overlap)
    tail = min(halo, total - last)
    return Tile(number=number, first=first, last=last, overlap=overlap, head=head, tail=tail)
