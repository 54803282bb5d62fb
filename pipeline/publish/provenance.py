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
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import StorageError
from pipeline.plan.document import plain
from pipeline.publish import layout
from pipeline.publish.documents import as_json, iso, moment, read_object
from pipeline.reel import residual
from pipeline.reel.deliver import IMAGES, deliver_format
from pipeline.spec import RESIDUAL, Output
from pipeline.types import ENGINE_VERSION, FrameIndex, NetInfo, Plan, Sha256, TileRecord

MAX_BYTES = 64 << 20
FORMAT, VERSION = "reelmend-provenance", 1
_VOCABULARY = "http://id.loc.gov/vocabulary/preservation/eventType/"
_TYPES = {
    "creation": "cre",
    "fixity check": "fix",
    "message digest calculation": "mes",
    "modification": "mod",
    "validation": "val",
}
"""Event types in use, with their codes in the vocabulary."""
_LIBRARIES = ("av", "numpy", "torch", "ray", "pyarrow", "fsspec", "s3fs", "opencv-python-headless")
_AGENT = "reelmend"


def make(
    plan: Plan,
    index: FrameIndex,
    records: Sequence[TileRecord],
    outputs: Sequence[Output],
    *,
    when: datetime.datetime,
    nets: Mapping[str, NetInfo],
    not_carried: Sequence[str],
    code_sha256: Sha256 | None,
) -> bytes:
    """The document, as UTF-8 JSON.

    records: of every tile of the plan, in order. when: now, at which the first deliverable is assembled and checked.
    nets: pass name → weights, for their licences. not_carried: a sentence for each thing of the source that the
    first deliverable does not hold. code_sha256: over reelmend's own source files.
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
        "deliverables": [
            {"name": o.name, "file": file, "codec": o.codec, "pixel_format": _pixel_format(plan, o)}
            for o, file in zip(outputs, layout.deliverables(plan.reel.base_name, outputs).values(), strict=True)
        ],
        "chain": plan.chain,
        "overrides": plan.overrides,
        "weights": _weights(plan, nets),
        "software": software(code_sha256),
        "machines": _machines(records),
        "spec": plan.spec,
        "agents": _agents(records),
        "objects": _objects(plan, outputs),
        "events": _events(plan, records, outputs, when),
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


def _format_name(output: Output) -> str:
    return f"{output.codec} images" if output.codec in IMAGES else f"{output.codec} in {layout.suffix(output)[1:]}"


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


def _agents(records: Sequence[TileRecord]) -> list[dict[str, Any]]:
    software_agent = {
        "agentIdentifier": {"agentIdentifierType": "local", "agentIdentifierValue": _AGENT},
        "agentName": "Reelmend",
        "agentType": "software",
        "agentVersion": _version("reelmend"),
    }
    hosts = [
        {
            "agentIdentifier": {"agentIdentifierType": "local", "agentIdentifierValue": f"host:{host}"},
            "agentName": host,
            "agentType": "hardware",
        }
        for host in sorted({r.host for r in records})
    ]
    return [software_agent, *hosts]


def _objects(plan: Plan, outputs: Sequence[Output]) -> list[dict[str, Any]]:
    source = {
        "objectIdentifier": {"objectIdentifierType": "URI", "objectIdentifierValue": plan.reel.uri},
        "objectCategory": "file" if plan.reel.sequence is None else "representation",
        "objectCharacteristics": {"size": plan.reel.bytes, "format": {"formatName": plan.reel.container}},
        "significantProperties": {"source_id": plan.reel.source_id},
    }
    files = layout.deliverables(plan.reel.base_name, outputs)
    return [
        source,
        *(
            {
                "objectIdentifier": {"objectIdentifierType": "file", "objectIdentifierValue": files[o.name]},
                "objectCategory": "representation" if files[o.name].endswith("/") else "file",
                "objectCharacteristics": {"format": {"formatName": _format_name(o)}},
                "relationship": {
                    "relationshipType": "derivation",
                    "relationshipSubType": "has source",
                    "relatedObjectIdentifier": plan.reel.uri,
                },
            }
            for o in outputs
        ),
    ]


def _events(
    plan: Plan, records: Sequence[TileRecord], outputs: Sequence[Output], when: datetime.datetime
) -> list[dict[str, Any]]:
    times = [moment(r.finished, where=f"{plan.reel.name}: the ledger's record of tile {r.number}") for r in records]
    begin, end = min(times), max(times)
    frames = plan.last - plan.first
    files = list(layout.deliverables(plan.reel.base_name, outputs).values())
    source = [plan.reel.uri]
    span = f"{frames} frames in {len(records)} tiles, the first recorded at {iso(begin)}"
    steps: list[tuple[str, datetime.datetime, str, list[str], list[str]]] = []
    if plan.chain:
        names = ", ".join(f"{p.name} ({p.kind})" for p in plan.chain)
        steps.append(("modification", end, f"restored by the chain {names}; {span}", source, files))
    steps += [
        (
            "creation",
            end,
            f"encoded as {', '.join(o.codec for o in outputs)}; {span}{'' if plan.chain else '; no pass touched them'}",
            source,
            files,
        ),
        (
            "message digest calculation",
            end,
            f"MD5 of every decoded frame of the source and of {files[0]}: {layout.SOURCE_MD5}, {layout.OUTPUT_MD5}",
            [plan.reel.uri, files[0]],
            [layout.SOURCE_MD5, layout.OUTPUT_MD5],
        ),
        (
            "validation",
            end,
            "every encoded segment was decoded again and compared with what it was made from before it counted",
            files,
            [],
        ),
        (
            "fixity check",
            when,
            (
                f"the images of {files[0]} taken from segments whose sha256 were checked"
                if outputs[0].codec in IMAGES
                else f"{files[0]} put together from its segments, whose sha256 were checked; "
                "its packets read back and compared with theirs"
            )
            + ("; the further deliverables pass the same check before the manifest is written" if files[1:] else ""),
            files[:1],
            [],
        ),
    ]
    return [_event(plan, n, *step) for n, step in enumerate(steps)]


def _event(
    plan: Plan, number: int, kind: str, when: datetime.datetime, detail: str, sources: list[str], outcomes: list[str]
) -> dict[str, Any]:
    links = [("source", s) for s in sources] + [("outcome", o) for o in outcomes]
    return {
        "eventIdentifier": {
            "eventIdentifierType": "UUID",
            "eventIdentifierValue": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{plan.id}/{number}/{iso(when)}")),
        },
        "eventType": kind,
        "eventTypeURI": _VOCABULARY + _TYPES[kind],
        "eventDateTime": iso(when),
        "eventDetailInformation": {"eventDetail": detail},
        "eventOutcomeInformation": {"eventOutcome": "success"},
        "linkingAgentIdentifier": {
            "linkingAgentIdentifierType": "local",
            "linkingAgentIdentifierValue": _AGENT,
            "linkingAgentRole": "executing program",
        },
        "linkingObjectIdentifier": [
            {
                "linkingObjectIdentifierType": "URI" if o == plan.reel.uri else "file",
                "linkingObjectIdentifierValue": o,
                "linkingObjectRole": role,
            }
            for role, o in links
        ],
    }
