"""What was done to a reel, in PREMIS's words."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StorageError
from pipeline.publish import layout, provenance
from pipeline.publish.documents import moment
from pipeline.publish.parts import Part
from pipeline.spec import Output
from pipeline.types import ENGINE_VERSION, FrameIndex, NetInfo, PassPlan, Plan, TileRecord
from tests.plan.made_up import net
from tests.publish import night

WHEN = datetime.datetime(2026, 3, 2, 6, 0, tzinfo=datetime.UTC)

# id.loc.gov/vocabulary/preservation/eventType: label → code.
LOC = {
    "creation": "cre",
    "fixity check": "fix",
    "message digest calculation": "mes",
    "modification": "mod",
    "validation": "val",
}


def document(plan: Plan, index: FrameIndex, nets: dict[str, NetInfo] | None = None) -> dict[str, Any]:
    records = [
        TileRecord(
            tile_id=tile_id,
            number=tile.number,
            first=tile.first,
            last=tile.last,
            segments=(),
            rows="rows",
            rows_sha256="0" * 64,
            host=f"node-{tile.number % 2}",
            device="H200",
            seconds={},
            tries=1,
            finished=f"2026-03-0{day}T23:59:59.5+01:00",
        )
        for day, (tile, tile_id) in enumerate(zip(plan.tiles, plan.tile_ids, strict=True), 1)
    ]
    outputs = [Output(), Output(name="proxy", codec="h264")]
    files = layout.deliverables(plan.reel.base_name, outputs)
    made = provenance.make(
        plan,
        index,
        records,
        outputs,
        {name: [Part(file, plan.first, plan.last)] for name, file in files.items()},
        when=WHEN,
        nets=nets or {},
        not_carried=["the data stream 3 (bin) is left out"],
        code_sha256="c" * 64,
    )
    assert provenance.plan_id(made, where="p") == plan.id
    return provenance.read(made, where="p")


@pytest.fixture
def planned(source: str) -> tuple[Plan, FrameIndex]:
    return night.planned(source, "a/reel one", night.spec([night.MASTER, night.PROXY]))


def test_it_holds_all_that_was_said_and_found(planned: tuple[Plan, FrameIndex]) -> None:
    plan, index = planned
    said = document(plan, index)
    assert said["reel"] == "a/reel one"
    assert said["frames"] == [0, 20]
    assert said["spec"] == plan.spec
    assert said["source"]["uri"] == plan.reel.uri
    assert said["source"]["source_id"] == plan.reel.source_id
    assert said["source"]["index"]["digest"] == index.digest
    assert said["source"]["rate"] == "18/1"
    assert said["source"]["others"][0]["codec"] == "pcm_s16le"
    assert said["assumed"] == list(plan.reel.colour.assumed) != []
    assert said["not_carried"] == ["the data stream 3 (bin) is left out"]
    assert said["software"]["engine_version"] == ENGINE_VERSION
    assert said["software"]["code_sha256"] == "c" * 64
    assert said["software"]["libraries"]["av"].startswith("18.")
    assert said["machines"] == [
        {"host": "node-0", "device": "H200", "tiles": 2, "frames": sum(t.last - t.first for t in plan.tiles[::2])},
        {"host": "node-1", "device": "H200", "tiles": 1, "frames": plan.tiles[1].last - plan.tiles[1].first},
    ]
    assert said["deliverables"] == [
        {"name": "master", "file": "reel one.mkv", "codec": "ffv1", "pixel_format": "yuv420p"},
        {"name": "proxy", "file": "reel one.proxy.mp4", "codec": "h264", "pixel_format": "yuv420p"},
    ]


def test_its_events_are_of_the_library_of_congress_and_in_utc(planned: tuple[Plan, FrameIndex]) -> None:
    plan, index = planned
    events = document(plan, index)["events"]
    for event in events:
        assert (
            event["eventTypeURI"].removeprefix("http://id.loc.gov/vocabulary/preservation/eventType/")
            == LOC[event["eventType"]]
        )
        assert datetime.datetime.fromisoformat(event["eventDateTime"]).utcoffset() == datetime.timedelta(0)
        assert event["eventOutcomeInformation"]["eventOutcome"] == "success"
    # Nothing modified a film that no pass touched.
    assert [e["eventType"] for e in events] == ["creation", "message digest calculation", "validation", "fixity check"]
    assert [e["eventDateTime"] for e in events] == ["2026-03-03T22:59:59.500+00:00"] * 3 + [
        "2026-03-02T06:00:00.000+00:00"
    ]
    assert len({e["eventIdentifier"]["eventIdentifierValue"] for e in events}) == len(events)
    linked = {v["linkingObjectIdentifierValue"] for e in events for v in e["linkingObjectIdentifier"]}
    assert {plan.reel.uri, "reel one.mkv", "reel one.proxy.mp4"} <= linked


def test_weights_come_with_name_hash_and_licence(planned: tuple[Plan, FrameIndex]) -> None:
    plan, index = planned
    info = net()
    own = {"net": info.name, "family": "nafnet", "tlc": None}
    other = {"net": "a.pth", "family": "external", "architecture": "SCUNet", "library": "spandrel 0.4.2"}
    chain = (
        PassPlan("clean", "net", 2, own, {"strength": 1.0}, info.sha256),
        PassPlan("sharpen", "net", 0, other, {"strength": 1.0}, "b" * 64),
    )
    said = document(dataclasses.replace(plan, chain=chain), index, {"clean": info})
    assert said["weights"] == [
        {
            "pass": "clean",
            "net": "nafnet-film",
            "architecture": "nafnet",
            "library": None,
            "sha256": "a" * 64,
            "licence": "CC0-1.0",
            "uri": info.uri,
        },
        {
            "pass": "sharpen",
            "net": "a.pth",
            "architecture": "SCUNet",
            "library": "spandrel 0.4.2",
            "sha256": "b" * 64,
            "licence": None,
            "uri": None,
        },
    ]
    assert said["events"][0]["eventType"] == "modification"
    assert "clean (net)" in said["events"][0]["eventDetailInformation"]["eventDetail"]


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b'{"format": "reelmend-provenance", "version": 1}', b'{"format": "x", "version": 1}'],
)
def test_anything_else_is_refused_with_its_name(data: bytes) -> None:
    with pytest.raises(StorageError, match=r"provenance|JSON") as caught:
        provenance.plan_id(data, where="s3://out/r/provenance.json")
    assert "s3://out/r/provenance.json" in str(caught.value)


def test_a_plan_id_is_64_digits_and_nothing_else() -> None:
    text = {"format": provenance.FORMAT, "version": provenance.VERSION, "plan_id": "../" + "0" * 61}
    with pytest.raises(StorageError):
        provenance.plan_id(json.dumps(text).encode(), where="p")


def test_times_without_an_offset_are_utc_and_no_time_is_told() -> None:
    assert moment("2026-03-01T22:00:00", where="x") == night.START
    with pytest.raises(StorageError, match="no ISO 8601"):
        moment("yesterday", where="x")


def test_the_published_one_tells_who_worked(source: str, out: str, scratch: Path) -> None:
    night.publish(source, "r", out, scratch)
    assert [m["host"] for m in night.provenance_of(out, "r")["machines"]] == ["node-0", "node-1"]
