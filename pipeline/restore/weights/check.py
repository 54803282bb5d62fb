"""What ``reelmend nets`` tells of weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ReelmendError, WeightsError
from pipeline.restore.nets.external import ExternalNet
from pipeline.restore.weights import cache, files, registry, use
from pipeline.spec import NetPass
from pipeline.types import NetInfo

_SIDE = 64
"""px of the square that the forward pass of a check runs on."""
_MAX_CARD = 4 << 20
"""Characters of a card."""
_MAX_LICENCE = 200
"""Characters of a licence that a file states: as many as `reelmend train` writes."""


def listing() -> list[dict[str, Any]]:
    """One JSON-able mapping a registry name: name, family, config, task, frames, licence, restricted, train_size,
    source (where a person gets it), sha256 and bundled."""
    return [
        {
            "name": e.name,
            "family": e.config.family,
            "config": e.config.mapping(),
            "task": e.task,
            "frames": 2 * e.config.radius + 1,
            "licence": e.licence,
            "restricted": e.restricted,
            "train_size": list(e.train_size),
            "source": e.source,
            "sha256": e.sha256,
            "bundled": e.file is not None,
        }
        for e in registry.entries().values()
    ]


def check(name: str, *, sha256: str | None = None) -> dict[str, Any]:
    """Try weights, by name, path or URI: the hash, every key and value, and one forward pass on noise.

    Gives a JSON-able mapping: name, status (``ok``, ``absent``: a registry name that is not shipped and not in the
    cache, or ``failed``), reason (what went wrong, else None), licence (of a file in quotes what it states itself),
    restricted, card (Markdown or None; of a file that ``reelmend train`` left, the one in its header), and where the
    file was read: uri, sha256, family, config, frames, parameters, keys, seconds of the forward pass; of an external
    net also fast (what ``precision: fast`` comes to). A check does not ask whether the licence has been accepted.
    Raises WeightsError only where the name is unknown.
    """
    entry = registry.entries().get(name)
    report: dict[str, Any] = {
        "name": name,
        "status": "failed",
        "reason": None,
        "licence": entry.licence if entry else None,
        "restricted": entry.restricted if entry else None,
        "card": entry.card if entry else None,
    }
    if entry is not None and entry.file is None and (sha256 is None or cache.cached(sha256) is None):
        return report | {"status": "absent", "reason": f"not shipped; get it from its authors: {entry.source}"}
    if entry is None and "/" not in name and not name.endswith(use.SUFFIXES):
        registry.named(name)
    said = None
    try:
        info = use.resolve(NetPass(weights=name, sha256=sha256, accept_licence=True))
        net = use.load(info)
        if entry is None:
            notes = files.notes(use.locate(info))
            report["card"] = _card(notes)
            said = _licence(notes)
        report |= {
            "uri": info.uri,
            "sha256": info.sha256,
            "family": info.family,
            "config": dict(info.config),
            "licence": _told(said, info),
            "restricted": info.restricted,
            "frames": 2 * info.radius + 1,
            "parameters": sum(p.numel() for p in net.parameters()),
            "keys": len(net.state_dict()),
        }
        stack = torch.rand(1, 3 * (2 * info.radius + 1), _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
        began = time.perf_counter()
        _try(net, stack, name)
        report["seconds"] = time.perf_counter() - began
        if isinstance(net, ExternalNet):
            report["fast"] = _fast(net, stack, name)
    except ReelmendError as error:
        return report | {"reason": str(error)}
    return report | {"status": "ok"}


def _licence(notes: Mapping[str, str]) -> str | None:
    """What a file that anybody may have made states as its licence: one short line, without control characters."""
    line = " ".join(notes.get("licence", "")[: 4 * _MAX_LICENCE].split())
    line = "".join(c if c.isprintable() else "\ufffd" for c in line).replace('"', "'")
    return line if len(line) <= _MAX_LICENCE else f"{line[: _MAX_LICENCE - 1]}…"


def _told(said: str | None, info: NetInfo) -> str:
    if not said:
        return info.licence
    # In quotes, so that no file can go on in our words.
    return f'the file itself says "{said}", which nobody has checked' + f"; {info.licence}" * info.restricted


def _card(notes: Mapping[str, str]) -> str | None:
    """A card out of a file that anybody may have made: text and line ends, and no more of it than is ever written."""
    card = notes.get("card")
    if card is None:
        return None
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in card[:_MAX_CARD])


def _try(net: torch.nn.Module, stack: Tensor, name: str) -> None:
    try:
        with torch.inference_mode():
            out = net(stack)
    except Exception as error:  # noqa: BLE001 - the code of another architecture may raise anything
        text = " ".join(str(error).split())[:200]
        raise WeightsError(f"a forward pass on noise fails: {type(error).__name__}: {text}", where=name) from None
    if out.shape != (1, 3, _SIDE, _SIDE) or not bool(torch.isfinite(out).all()):
        raise WeightsError("a forward pass on noise gives values that are not finite", where=name)


def _fast(net: ExternalNet, stack: Tensor, name: str) -> str:
    """What ``precision: fast`` comes to with a net of another architecture, whose code nobody here has tried."""
    if not net.config["bfloat16"]:
        return "computed as exact: the library does not vouch for bfloat16"
    try:
        _try(net.to(dtype=torch.bfloat16), stack, name)
    except WeightsError as error:
        return f"cannot be used: {error.what}"
    return "ok"
