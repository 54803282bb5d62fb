"""``reelmend preview``: one frame as the source has it and as configs would restore it, side by side. Without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.common import find_nets, find_sources, load_spec, say
from pipeline.errors import CallError
from pipeline.plan import cuts, make_plan
from pipeline.plan.curves import plan_curves, wants_survey
from pipeline.plan.make import parameters_at
from pipeline.reel.decode import batches, decode
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.reel.still import write_png
from pipeline.restore.chain import Restorer
from pipeline.spec import Spec
from pipeline.survey.signals import Look
from pipeline.survey.spans import HALO
from pipeline.types import Curves, FrameIndex, PassPlan, Reel

AROUND = 72
"""Frames on either side that are surveyed for a preview: three seconds, more than the low-passes reach over."""
_GAP = 8
"""Px between two pictures."""


def show_preview(source: str, at: int, configs: Sequence[str], out: Path) -> int:
    """Write the picture. Raises CallError where the source is no single film or lacks the frame, or ``out``'s folder is
    none."""
    if not out.absolute().parent.is_dir():
        raise CallError("there is no such folder", where=str(out.parent), todo="Make it, or give another --out")
    found = find_sources([source])
    if len(found) != 1:
        raise CallError(f"names {len(found)} films; a preview is of one", where=source)
    names = list(configs) or ["archive"]
    pictures: list[NDArray[np.uint8]] = []
    for name in names:
        spec = load_spec(name)
        reel = probe(*found[0], spec.source)
        index = build(reel)
        if not 0 <= at < len(index):
            raise CallError(f"frame {at} was asked for, the reel has the frames 0:{len(index)}", where="--at")
        before, after, found_there, flags = restored(reel, index, spec, at)
        told = ", ".join([*(f"{k} {v:.4g}" for k, v in found_there.items()), *flags]) or "nothing to tell"
        pictures += [before] if not pictures else []
        pictures.append(after)
        say(f"{name}: {told}")
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    row = [part for p in pictures for part in (gap, p)][1:]
    write_png(out, np.ascontiguousarray(np.concatenate(row, axis=1)))
    say(f"{out}: from left to right the source, {', '.join(names)}")
    return 0


def restored(
    reel: Reel, index: FrameIndex, spec: Spec, at: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Mapping[str, float], Sequence[str]]:
    """The frame before and after, (H, W, 3) of 8 bit; what passes found in it, and its flags."""
    nets = find_nets(spec)
    plan = make_plan(reel, index, spec, nets, (at, at + 1))
    tile = plan.tiles[0]
    frames = decode(reel, index, tile.read_first, tile.read_last, threads=1)
    curves = _curves(reel, index, plan.chain, at) if wants_survey(plan.chain) else None
    worker = Restorer(plan.chain, spec.engine, nets, "cpu")
    seen: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}

    def observe(number: int, _: Any, __: Any, before: Any, after: Any) -> None:
        seen[number] = (_to_picture(before), _to_picture(after))

    worker.run(
        frames,
        tile,
        cuts.find(cuts.signature(frames)),
        lambda n: parameters_at(n, plan.chain, plan.overrides, curves),
        reel.colour,
        observe,
        fields=reel.interlaced,
    )
    return *seen[at], worker.found[at], worker.flags[at]


def _curves(reel: Reel, index: FrameIndex, chain: Sequence[PassPlan], at: int) -> Curves:
    """From a survey of the seconds around the frame, where a run surveys the whole reel: nearly the same."""
    first, last = max(0, at - AROUND), min(len(index), at + AROUND + 1)
    look = Look(first, last, reel.colour, reel.width)
    for frames in batches(reel, index, max(0, first - HALO), min(len(index), last + HALO), threads=1):
        look.see(frames)
    return plan_curves(look.result(), chain, reel)


def _to_picture(rgb: Any) -> NDArray[np.uint8]:
    """(H, W, 3) of 8 bit from a tensor (3, H, W) of 0 to 1."""
    codes = np.clip(rgb.cpu().numpy().transpose(1, 2, 0) * 255 + 0.5, 0, 255)
    return np.asarray(codes, np.uint8)
