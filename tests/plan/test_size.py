"""A deliverable that could not be put together, or published, is refused before the first tile."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.errors import RefusedError, TooLargeError
from pipeline.plan import make_plan
from pipeline.plan.estimate import check_size, deliverable_bytes
from pipeline.spec import Spec
from pipeline.types import Plan
from tests.plan import made_up

PLANES = 2048 * 1556


def planned(frames: int = 1000, codec: str = "prores", **deliver: Any) -> Plan:
    said = Spec.model_validate({"chain": [], "deliver": deliver, "tiles": {"frames": 50}})
    reel = dataclasses.replace(made_up.reel(width=2048, height=1556), codec=codec, bytes=PLANES * frames // 4)
    return make_plan(reel, made_up.index(frames), said, {})


def test_sizes_follow_from_codec_length_and_what_the_source_shrank_to() -> None:
    proxy = {"name": "proxy", "codec": "h264"}
    sizes = deliverable_bytes(planned(outputs=[{}, proxy], residual=True))
    assert sizes == {
        "master": PLANES * 1000 * 6 // 10,
        "proxy": PLANES * 1000 * 3 // 100,
        "residual": PLANES * 1000 * 6 // 10,
    }
    assert deliverable_bytes(planned(codec="ffv1"))["master"] == PLANES * 250
    assert deliverable_bytes(planned(500))["master"] == PLANES * 300


def test_what_fits_passes() -> None:
    plan, wanted = planned(), PLANES * 600 + 2 * PLANES * 600 // 20
    check_size(plan, object_bytes=PLANES * 600, scratch_bytes=wanted, where="a", scratch="/tmp")
    check_size(plan, object_bytes=None, scratch_bytes=wanted, where="a", scratch="/tmp")


def test_what_does_not_says_how_much_and_the_way_out() -> None:
    plan = planned()
    with pytest.raises(TooLargeError, match=r"master will have some 1\.9 GB.*/scratch, a disk of 1\.9 GB") as told:
        check_size(plan, object_bytes=None, scratch_bytes=PLANES * 600, where="s3://films/a.mkv", scratch="/scratch")
    assert "cluster.scratch" in str(told.value)
    assert "--frames A:B" in str(told.value)
    assert isinstance(told.value, RefusedError), "nothing is wrong with the reel: no quarantine"
    night = planned(4_000_000)
    with pytest.raises(TooLargeError, match=r"some 7\.6 TB, the storage takes files of 5\.0 TB") as told:
        check_size(night, object_bytes=5 * 10**12, scratch_bytes=10**14, where="s3://films/a.mkv", scratch="/scratch")
    assert "sequence" in str(told.value)
