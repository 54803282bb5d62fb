"""A publication's agents, objects and events in the words of PREMIS 3.

Event types are the Library of Congress's (http://id.loc.gov/vocabulary/preservation/eventType).
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.publish import layout
from pipeline.publish.documents import iso, moment
from pipeline.publish.parts import Part
from pipeline.reel.beside import Beside
from pipeline.reel.deliver import IMAGES
from pipeline.spec import Output
from pipeline.types import Plan, TileRecord

_VOCABULARY = "http://id.loc.gov/vocabulary/preservation/eventType/"
_TYPES = {
    "creation": "cre",
    "extraction": "ext",
    "fixity check": "fix",
    "message digest calculation": "mes",
    "modification": "mod",
    "validation": "val",
}
"""Event types in use, with their codes in the vocabulary."""
_AGENT = "reelmend"
_Step = tuple[str, datetime.datetime, str, list[str], list[str]]
"""Type, time, detail, names of what it was done to, and of what came of it."""


def agents(records: Sequence[TileRecord], version: str | None) -> list[dict[str, Any]]:
    """The program and the machines. ``version``: the program's."""
    software_agent = {
        "agentIdentifier": {"agentIdentifierType": "local", "agentIdentifierValue": _AGENT},
        "agentName": "Reelmend",
        "agentType": "software",
        "agentVersion": version,
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


def objects(
    plan: Plan,
    outputs: Sequence[Output],
    parts: Mapping[str, Sequence[Part]],
    beside: Sequence[Beside],
    others: str | None,
) -> list[dict[str, Any]]:
    """The source, the deliverables (each part of a split one), and what lies beside them. ``others``: the file with all
    that images cannot hold."""
    source = {
        "objectIdentifier": {"objectIdentifierType": "URI", "objectIdentifierValue": plan.reel.uri},
        "objectCategory": "file" if plan.reel.sequence is None else "representation",
        "objectCharacteristics": {"size": plan.reel.bytes, "format": {"formatName": plan.reel.container}},
        "significantProperties": {"source_id": plan.reel.source_id},
    }
    made = [(part.file, _format_name(o)) for o in outputs for part in parts[o.name]]
    if others is not None:
        made.append((others, "matroska"))
    made += [(file, one.codec) for one in beside for file in one.files]
    return [
        source,
        *(
            {
                "objectIdentifier": {"objectIdentifierType": "file", "objectIdentifierValue": file},
                "objectCategory": "representation" if file.endswith("/") else "file",
                "objectCharacteristics": {"format": {"formatName": format_name}},
                "relationship": {
                    "relationshipType": "derivation",
                    "relationshipSubType": "has source",
                    "relatedObjectIdentifier": plan.reel.uri,
                },
            }
            for file, format_name in made
        ),
    ]


def _format_name(output: Output) -> str:
    return f"{output.codec} images" if output.codec in IMAGES else f"{output.codec} in {layout.suffix(output)[1:]}"


def events(
    plan: Plan,
    records: Sequence[TileRecord],
    outputs: Sequence[Output],
    parts: Mapping[str, Sequence[Part]],
    when: datetime.datetime,
    beside: Sequence[Beside],
    streams: Sequence[str],
    others: str | None,
) -> list[dict[str, Any]]:
    """What was done, in order. ``when``: now. ``streams``: names of the files with the hashes of the other streams.
    ``others``: the file with all that images cannot hold."""
    times = [moment(r.finished, where=f"{plan.reel.name}: the ledger's record of tile {r.number}") for r in records]
    begin, end = min(times), max(times)
    frames = plan.last - plan.first
    leading = [part.file for part in parts[outputs[0].name]]
    further = [part.file for o in outputs[1:] for part in parts[o.name]]
    files = leading + further
    named = leading[0] if len(leading) == 1 else f"{leading[0]} to {leading[-1]}"
    source = [plan.reel.uri]
    later = " and ".join([*["parts"] * (len(leading) > 1), *["deliverables"] * bool(further)])
    span = f"{frames} frames in {len(records)} tiles, the first recorded at {iso(begin)}"
    steps: list[_Step] = []
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
            f"MD5 of every decoded frame of the source and of {named}: {layout.SOURCE_MD5}, {layout.OUTPUT_MD5}",
            [plan.reel.uri, *leading],
            [layout.SOURCE_MD5, layout.OUTPUT_MD5],
        ),
        *(
            [
                (
                    "message digest calculation",
                    when,
                    f"SHA-256 over the packets of every other stream of the source and of {others or named}: "
                    f"{', '.join(streams)}{', of all parts together' if len(leading) > 1 else ''}",
                    [plan.reel.uri, *([others] if others else leading)],
                    list(streams),
                )
            ]
            if streams
            else []
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
                f"the images of {named} taken from segments whose sha256 were checked"
                if outputs[0].codec in IMAGES
                else f"{leading[0]} put together from its segments, whose sha256 were checked; "
                "its packets read back and compared with theirs"
            )
            + (f"; the further {later} pass the same check before the manifest is written" if later else ""),
            leading[:1],
            [],
        ),
    ]
    if others is not None:
        steps.append(
            (
                "extraction",
                when,
                f"all streams of the source that {named} cannot hold, put into {others}; its packets read back and "
                "compared",
                source,
                [others],
            )
        )
    if beside:
        steps.append(
            (
                "extraction",
                when,
                f"streams of the source that {others or named} cannot carry, or not as they are, laid beside it; "
                "their packets read back and compared",
                source,
                [file for one in beside for file in one.files],
            )
        )
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
