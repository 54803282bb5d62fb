"""A deliverable's files in order: one, or of a split one its parts. Pure.

Parts are cut between tiles, by the plan and the ledger's records alone, so that every run finds the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipeline.publish import layout
from pipeline.spec import RESIDUAL, Deliver, Split
from pipeline.types import Plan, TileRecord

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a deliverable."""

    file: str
    """Below the reel's folder; a folder of images with its slash."""
    first: int
    """Its frames ``[first, last)``, in the source's numbers."""
    last: int
    tiles: tuple[int, int] = (0, 0)
    """Its tiles ``[a, b)``."""


def parts_of(plan: Plan, records: Sequence[TileRecord]) -> dict[str, tuple[Part, ...]]:
    """Deliverable → its files. The residual's hold the same frames as the first output's."""
    deliver = Deliver.model_validate(plan.spec["deliver"])
    names = layout.deliverables(plan.reel.base_name, deliver.written)
    found = {}
    for output in deliver.outputs:
        together = [output.name]
        if deliver.residual and output == deliver.outputs[0]:
            together.append(RESIDUAL.name)
        borders = _borders(plan, records, output.split, together)
        for name in together:
            found[name] = tuple(
                Part(
                    layout.part(names[name], number if len(borders) > 2 else None),
                    plan.tiles[a].first,
                    plan.tiles[b - 1].last,
                    (a, b),
                )
                for number, (a, b) in enumerate(pairwise(borders), 1)
            )
    return found


def _borders(plan: Plan, records: Sequence[TileRecord], split: Split | None, names: Sequence[str]) -> list[int]:
    """Numbers of the tiles at which parts begin, and that of all tiles at the end."""
    borders = [0]
    if split is not None:
        frames, held = 0, dict.fromkeys(names, 0)
        for number, (tile, record) in enumerate(zip(plan.tiles, records, strict=True)):
            sizes = {s.deliverable: s.bytes for s in record.segments}
            more = {n: held[n] + sizes[n] for n in names}
            full = (split.frames is not None and frames + tile.last - tile.first > split.frames) or (
                split.gib is not None and max(more.values()) > split.gib * _GIB
            )
            if full and frames:
                borders.append(number)
                frames, more = 0, {n: sizes[n] for n in names}
            frames, held = frames + tile.last - tile.first, more
    return [*borders, len(plan.tiles)]


def as_said(parts: Sequence[Part]) -> dict[str, Any]:
    """What a provenance says of a deliverable's files."""
    if len(parts) == 1:
        return {"file": parts[0].file}
    return {"file": parts[0].file, "parts": [{"file": p.file, "frames": [p.first, p.last]} for p in parts]}


def read(said: Mapping[str, Any], first: int, last: int) -> tuple[Part, ...]:
    """A deliverable's files by what a provenance says of it. ``[first, last)``: the frames of all of them.

    Raises KeyError, TypeError or ValueError where it does not say what ``as_said`` does.
    """
    if "parts" not in said:
        return (Part(str(said["file"]), first, last),)
    found = []
    for one in said["parts"]:
        a, b = (int(n) for n in one["frames"])
        found.append(Part(str(one["file"]), a, b))
    ends = [first, *(p.last for p in found)]
    if ends[-1] != last or [p.first for p in found] != ends[:-1] or any(a >= b for a, b in pairwise(ends)):
        raise ValueError(f"its parts are not the frames {first}:{last} in order")
    return tuple(found)
