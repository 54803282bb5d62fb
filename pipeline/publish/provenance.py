"""``provenance.json``: what was done to a reel, when, by which spec, code, weights and machines.

Events, objects and agents carry the names of PREMIS 3 and the event types of the Library of Congress
(http://id.loc.gov/vocabulary/preservation/eventType). The document is put once, before anything else of a publication:
it says whose the publication is. That all of it is there and whole is said by the manifest, which is written last.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import StorageError
from pipeline.plan.document import plain
from pipeline.publish import events
from pipeline.publish.documents import as_json, read_object
from pipeline.publish.parts import Part, as_said
from pipeline.reel import residual
from pipeline.reel.beside import Beside
from pipeline.reel.deliver import deliver_format
from pipeline.spec import RESIDUAL, Output
from pipeline.types import ENGINE_VERSION, FrameIndex, NetInfo, Plan, Sha256, TileRecord

MAX_BYTES = 64 << 20
FORMAT, VERSION = "reelmend-provenance", 1
_LIBRARIES = ("av", "numpy", "torch", "ray", "pyarrow", "fsspec", "s3fs", "opencv-python-headless")


def make(
    plan: Plan,
    index: FrameIndex,
    records: Sequence[TileRecord],
    outputs: Sequence[Output],
    parts: Mapping[str, Sequence[Part]],
    *,
    when: datetime.datetime,
    nets: Mapping[str, NetInfo],
    not_carried: Sequence[str],
    code_sha256: Sha256 | None,
    beside: Sequence[Beside] = (),
    streams: Sequence[str] = (),
    others: str | None = None,
) -> bytes:
    """The document, as UTF-8 JSON.

    records: of every tile of the plan, in order. parts: deliverable → its files. when: now, at which the first of them
    is assembled and checked. nets: pass name → weights, for their licences. not_carried: a sentence for each thing of
    the source that the first deliverable does not hold. code_sha256: over reelmend's own source files. beside: what of
    it lies there as files. streams: names of the files with the hashes of its other streams. others: name of the file
    with all that images, as the first deliverable, cannot hold.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "plan_id": plan.id,
        "reel": plan.reel.name,
        "frames": [plan.first, plan.last],
        "source_frames": plan.total,
        "source": {
            **{k: v for k, v in plain(plan.reel).items() if k != "name"},
            "index": {
                "digest": plan.index_digest,
                "found_by": index.found_by,
                "rate": index.rate,
                "constant_rate": index.constant,
            },
        },
        "assumed": plan.reel.colour.assumed,
        "not_carried": list(not_carried),
        "beside": beside,
        "deliverables": [
            {"name": o.name, **as_said(parts[o.name]), "codec": o.codec, "pixel_format": _pixel_format(plan, o)}
            for o in outputs
        ],
        "chain": plan.chain,
        "overrides": plan.overrides,
        "weights": _weights(plan, nets),
        "software": software(code_sha256),
        "machines": _machines(records),
        "spec": plan.spec,
        "agents": events.agents(records, software(code_sha256)["reelmend"]),
        "objects": events.objects(plan, outputs, parts, beside, others),
        "events": events.events(plan, records, outputs, parts, when, beside, streams, others),
    }
    return as_json(document).encode()


def plan_id(data: bytes, *, where: str) -> Sha256:
    """The plan that a document is of. Raises StorageError where the bytes are no provenance."""
    document = read(data, where=where)
    return str(document["plan_id"])


def read(data: bytes, *, where: str) -> dict[str, Any]:
    """The document. Raises StorageError where the bytes are no provenance of this version."""
    document = read_object(data, where=where)
    if document.get("format") != FORMAT or document.get("version") != VERSION:
        raise StorageError(f"not a provenance of version {VERSION}", where=where, todo="Restore it from a copy")
    if not re.fullmatch("[0-9a-f]{64}", str(document.get("plan_id"))):
        raise StorageError("a provenance without a plan's id", where=where, todo="Restore it from a copy")
    return document


def digest(data: bytes) -> Sha256:
    """The document's sha256, as the manifest has it."""
    return hashlib.sha256(data).hexdigest()


def software(code_sha256: Sha256 | None) -> dict[str, Any]:
    """The versions that the process that publishes runs; every worker of a run is checked to have the same."""
    return {
        "reelmend": _version("reelmend"),
        "code_sha256": code_sha256,
        "engine_version": ENGINE_VERSION,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES if _version(name) is not None},
    }


def _pixel_format(plan: Plan, output: Output) -> str:
    if output == RESIDUAL:
        return residual.carrier(plan.reel.format).name
    return deliver_format(plan.reel.format, output, width=plan.reel.width, height=plan.reel.height).name


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _weights(plan: Plan, nets: Mapping[str, NetInfo]) -> list[dict[str, Any]]:
    found = []
    for p in plan.chain:
        if p.weights_sha256 is not None:
            net = nets.get(p.name)
            found.append(
                {
                    "pass": p.name,
                    "net": str(p.settings.get("net", p.name)),
                    "architecture": p.settings.get("architecture", p.settings.get("family")),
                    "library": p.settings.get("library"),
                    "sha256": p.weights_sha256,
                    "licence": net.licence if net else None,
                    "uri": net.uri if net else None,
                }
            )
    return found


def _machines(records: Sequence[TileRecord]) -> list[dict[str, Any]]:
    """Who restored how much: one entry a host and device."""
    found: dict[tuple[str, str], list[int]] = {}
    for r in records:
        counts = found.setdefault((r.host, r.device), [0, 0])
        counts[0] += 1
        counts[1] += r.last - r.first
    return [
        {"host": host, "device": device, "tiles": tiles, "frames": frames}
        for (host, device), (tiles, frames) in sorted(found.items())
    ]
