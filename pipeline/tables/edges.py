"""A tile's two edges as they stand in the metadata of its rows' file."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from pipeline.errors import StorageError
from pipeline.types import Edge, Edges

KEY = b"reelmend.edges"
_MOST_BLOCKS = 4096
_MOST_BYTES = 1 << 20


def to_metadata(edges: Edges | None) -> dict[bytes, bytes]:
    """What ``from_metadata`` reads. Means are kept to a ten-thousandth of a code."""
    if edges is None:
        return {}
    said = dataclasses.asdict(edges)
    for edge in said.values():
        if edge is not None:
            edge["blocks"] = [round(b, 4) for b in edge["blocks"]]
    return {KEY: json.dumps(said, separators=(",", ":"), allow_nan=False).encode()}


def from_metadata(metadata: dict[bytes, bytes] | None, where: str | None) -> Edges | None:
    """None where the file has none. Raises StorageError where it holds something else."""
    text = (metadata or {}).get(KEY)
    if text is None:
        return None
    try:
        if len(text) > _MOST_BYTES:
            raise ValueError(f"{len(text)} bytes")
        said = json.loads(text)
        return Edges(_edge(said["overlap"]) if said["overlap"] is not None else None, _edge(said["last"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StorageError(f"the edges of its tile cannot be read: {error}"[:300], where=where) from None


def _edge(said: dict[str, Any]) -> Edge:
    frame, sha256, blocks = said["frame"], said["sha256"], said["blocks"]
    right = type(frame) is int and isinstance(sha256, str) and len(sha256) <= 64 and len(blocks) <= _MOST_BLOCKS
    numbers = tuple(float(b) for b in blocks)
    if not right or not all(map(math.isfinite, numbers)):
        raise ValueError("no edge")
    return Edge(frame, sha256, numbers)


def apart(a: Edge, b: Edge) -> float:
    """How far two restorations of one frame are apart: the greatest difference of block means, in 8-bit codes.

    0 exactly where they are equal bit for bit, and only there.
    """
    if a.sha256 == b.sha256:
        return 0.0
    if len(a.blocks) != len(b.blocks):
        return 255.0
    return max((abs(x - y) for x, y in zip(a.blocks, b.blocks, strict=True)), default=0.0) or 1e-6
