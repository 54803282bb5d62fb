"""The plan: a pure function of reel, index, spec and weights."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, SpanError
from pipeline.plan import cuts
from pipeline.plan.document import canonical
from pipeline.plan.memory import tile_bytes, worker_bytes
from pipeline.plan.tiles import cut_into_tiles, run_up
from pipeline.spec import Spec
from pipeline.treatments import Treatment
from pipeline.types import (
    ENGINE_VERSION,
    FIGURES_RADIUS,
    Curves,
    FrameIndex,
    NetInfo,
    Override,
    PassPlan,
    Plan,
    Reel,
    Sha256,
    Tile,
)

_NOT_PICTURES = ("cluster", "keep_work")
"""Parts of a spec that change no picture: a job may go on under others, so they are in no id."""
_REPORT = ("flags", "stills")
"""Parts that change what is reported, and no picture: in the plan's id, as reports are published under it, and in no
tile's, so that another threshold redoes no tile."""


def make_plan(
    reel: Reel,
    index: FrameIndex,
    spec: Spec,
    nets: Mapping[str, NetInfo],
    frames: tuple[int, int] | None = None,
    curves: Curves | None = None,
) -> Plan:
    """Cut a reel into tiles and fix every parameter.

    nets: pass name → its weights, for every net of the chain. frames: the span ``[A, B)`` to deliver; None is all.
    curves: what ``plan.curves`` found for the passes that want a survey.
    Raises SpanError where the span, or an override that names the reel, lies outside it.
    """
    total = len(index)
    first, last = _span(reel, total, frames)
    chain = chain_of(spec, nets)
    overrides = tuple(_overrides(reel, total, spec))
    reach = sum(p.radius for p in chain)
    # What figures look at must be at hand, and known to be of one shot, whatever the chain; the frame at the border of
    # a cut that is farthest away counts among those that tell of it.
    halo = max(reach + cuts.RADIUS, FIGURES_RADIUS + cuts.RADIUS - 1)
    tiles = cut_into_tiles(index, first, last, spec.tiles.frames, halo)
    said = spec.canonical()
    others = (*_NOT_PICTURES, *_REPORT, "chain", "shots", "tiles")
    pictures = {k: v for k, v in said.items() if k not in others}
    pictures["deliver"], splits = _without_splits(said["deliver"])
    common = {
        "engine_version": ENGINE_VERSION,
        "source": reel.source_id,
        "index": index.digest,
        "colour": reel.colour,
        "format": reel.format,
        "size": [reel.width, reel.height],
        "rate": reel.rate,
        "interlaced": reel.interlaced,
        "chain": [[p.kind, p.radius, p.settings, p.weights_sha256] for p in chain],
        "spec": pictures,
    }
    common_hash = hashlib.sha256(canonical(common).encode()).hexdigest()
    ids = tuple(_tile_ids(common_hash, tiles, chain, overrides, reach, total, curves))
    starts = run_up(index)
    identity: list[Any] = [common_hash, [said[k] for k in _REPORT], reel.name, reel.uri, first, last, total, ids]
    if splits:
        identity.append(splits)
    return Plan(
        id=hashlib.sha256(canonical(identity).encode()).hexdigest(),
        reel=reel,
        index_digest=index.digest,
        first=first,
        last=last,
        total=total,
        chain=chain,
        overrides=overrides,
        tiles=tiles,
        tile_ids=ids,
        cut_radius=cuts.RADIUS,
        spec=said,
        tile_bytes=tile_bytes(reel, tiles, spec.stills),
        worker_bytes=worker_bytes(reel, tiles, chain, nets, spec),
        decode_frames=int(sum(t.read_last - int(starts[t.read_first]) for t in tiles)),
        curves=curves.digest(0, total) if curves else None,
    )


def _without_splits(deliver: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is delivered, as far as pictures go, and by the outputs' names how they are cut into files: that is in the
    plan's id alone."""
    splits = {o["name"]: o["split"] for o in deliver["outputs"] if o["split"]}
    outputs = [{k: v for k, v in o.items() if k != "split"} for o in deliver["outputs"]]
    return {**deliver, "outputs": outputs}, splits


def chain_of(spec: Spec, nets: Mapping[str, NetInfo]) -> tuple[PassPlan, ...]:
    """The spec's chain with everything fixed; the same for every reel of a job. Raises ConfigError."""
    return tuple(_pass(p, name, nets, spec.seed) for p, name in zip(spec.chain, spec.pass_names(), strict=True))


def _span(reel: Reel, total: int, frames: tuple[int, int] | None) -> tuple[int, int]:
    first, last = frames or (0, total)
    if not 0 <= first < last <= total:
        raise SpanError(
            f"frames {first}:{last} were asked for, the reel has the frames 0:{total}",
            where=reel.uri,
            todo="Give --frames A:B inside it (half-open, from 0)",
        )
    return first, last


def _pass(said: Any, name: str, nets: Mapping[str, NetInfo], seed: int) -> PassPlan:
    if isinstance(said, Treatment):
        settings = said.model_dump(mode="json", exclude={"name", "kind", "strength"}) | {"seed": seed}
        return PassPlan(name, said.kind, said.radius, settings, {"strength": said.strength})  # type: ignore[attr-defined]
    net = nets[name]
    if said.tlc is True and net.train_size is None:
        raise ConfigError(
            f"pass {name!r} says tlc: true, but the size that {net.name} was trained at is not known",
            where="chain",
            todo="Say it: tlc: [height, width]",
        )
    tlc = list(net.train_size) if said.tlc is True and net.train_size else (list(said.tlc) if said.tlc else None)
    guard = said.guard.model_dump() if said.guard else None
    settings = {"net": net.name, "family": net.family, "tlc": tlc, "guard": guard, "limit": said.limit}
    if "library" in net.config:
        # The code is not ours, and another version of it may give other pictures.
        settings |= {"architecture": net.config["arch"], "library": net.config["library"]}
    return PassPlan(
        name=name,
        kind=said.kind,
        radius=net.radius,
        settings=settings,
        parameters={"strength": said.strength},
        weights_sha256=net.sha256,
    )


def _overrides(reel: Reel, total: int, spec: Spec) -> Iterable[Override]:
    for shot in spec.shots:
        if shot.reel not in (None, reel.name):
            continue
        first, last = shot.span
        if first >= total and shot.reel is not None:
            raise SpanError(
                f"shots: names the frames {shot.frames}, the reel has the frames 0:{total}",
                where=reel.uri,
                todo="Correct the span in the config",
            )
        if first < total:
            yield Override(first=first, last=min(last, total), skip=shot.skip, parameters=shot.set)


def _tile_ids(
    common: Sha256,
    tiles: Sequence[Tile],
    chain: Sequence[PassPlan],
    overrides: Sequence[Override],
    reach: int,
    total: int,
    curves: Curves | None,
) -> Iterable[Sha256]:
    """Ids that change only where something that a tile computes with changes."""
    touching: dict[int, list[Override]] = {}
    if overrides:
        begin = np.array([max(0, t.restore_first - reach) for t in tiles])
        end = np.array([min(total, t.last + reach) for t in tiles])
        for o in overrides:
            for n in range(int(np.searchsorted(end, o.first, "right")), int(np.searchsorted(begin, o.last, "left"))):
                touching.setdefault(n, []).append(o)
    default = canonical({p.name: p.parameters for p in chain})
    for n, tile in enumerate(tiles):
        span = (max(0, tile.restore_first - reach), min(total, tile.last + reach))
        runs = _runs(span, chain, touching[n]) if n in touching else [[*span, default]]
        parts: list[Any] = [common, [tile.first, tile.last, tile.overlap, tile.head, tile.tail], runs]
        if curves:
            parts.append(curves.digest(*span))
        text = canonical(parts)
        yield hashlib.sha256(text.encode()).hexdigest()


def _runs(span: tuple[int, int], chain: Sequence[PassPlan], overrides: Sequence[Override]) -> list[list[Any]]:
    """The parameters in force over a span, as runs of equal ones: two configs that come to the same give the same."""
    edges = {span[0], span[1]}
    for o in overrides:
        edges.update(e for e in (o.first, o.last) if span[0] < e < span[1])
    order = sorted(edges)
    runs: list[list[Any]] = []
    for a, b in itertools.pairwise(order):
        values = canonical(parameters_at(a, chain, overrides))
        if runs and runs[-1][2] == values:
            runs[-1][1] = b
        else:
            runs.append([a, b, values])
    return runs


def parameters_at(
    number: int, chain: Sequence[PassPlan], overrides: Sequence[Override], curves: Curves | None = None
) -> dict[str, dict[str, float]]:
    """The passes' parameters for one frame: later overrides win; a skipped frame has every strength at 0.

    curves: of frames that hold this one.
    """
    planned = curves.at(number) if curves else {}
    found = {p.name: {**p.parameters, **planned.get(p.name, {})} for p in chain}
    for o in overrides:
        if o.first <= number < o.last:
            for name, values in o.parameters.items():
                found[name].update(values)
            if o.skip:
                for every in found.values():
                    every["strength"] = 0.0
    return found
