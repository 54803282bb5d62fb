"""How many bytes of a source its tiles read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.plan.tiles import run_up
from pipeline.types import FrameIndex, Tile


def bytes_to_read(index: FrameIndex, tiles: Iterable[Tile]) -> int:
    """Bytes of the packets that decoding these tiles goes through, run-ups and halos counted each time."""
    before = np.concatenate([[0], np.cumsum(index.size)])
    starts = run_up(index)
    return int(sum(before[t.read_last] - before[starts[t.read_first]] for t in tiles))
