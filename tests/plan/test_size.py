"""A deliverable that could not be put together, or published, is refused before the first tile."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.errors import RefusedError, TooLargeError
from pipeline.plan import make_plan
from pipeline.plan.estimate import Room, check_size, deliverable_bytes
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


def checked(plan: Plan, *, object_bytes: int | None = None, scratch_bytes: int = 10**15) -> tuple[str, ...]:
    return check_size(plan, Room(object_bytes, scratch_bytes, "/scratch on node-3"), where="s3://films/a.mkv")


def test_what_fits_passes() -> None:
    plan, wanted = planned(), PLANES * 600 + 2 * PLANES * 600 // 20
    assert checked(plan, object_bytes=PLANES * 600, scratch_bytes=wanted) == ()
    assert checked(plan, scratch_bytes=wanted) == ()


def test_what_may_not_fit_is_said_and_what_surely_does_not_is_refused() -> None:
    plan = planned()
    (said,) = checked(plan, scratch_bytes=PLANES * 600)
    assert "may be too large: master will have some 1.9 GB" in said
    assert "/scratch on node-3, a disk of 1.9 GB" in said
    with pytest.raises(
        TooLargeError, match=r"master will have some 0\.6 GB.*/scratch on node-3, a disk of 0\.6"
    ) as told:
        checked(plan, scratch_bytes=PLANES * 200)
    assert "cluster.scratch" in str(told.value)
    assert "`split`" in str(told.value)
    assert isinstance(told.value, RefusedError), "nothing is wrong with the reel: no quarantine"
    night = planned(12_000_000)
    with pytest.raises(TooLargeError, match=r"some 7\.6 TB, the storage takes files of 5\.0 TB") as told:
        checked(night, object_bytes=5 * 10**12)
    assert "sequence" in str(told.value)
    assert len(checked(planned(4_000_000), object_bytes=5 * 10**12)) == 1


@pytest.mark.parametrize("split", [{"frames": 200}, {"gib": PLANES * 120 / 2**30}])
def test_of_a_split_one_a_part_must_fit(split: dict[str, Any]) -> None:
    proxy = {"name": "proxy", "codec": "h264"}
    deliver = {"outputs": [{"split": split}, proxy], "residual": True}
    fits = PLANES * 120 + 2 * PLANES * 30
    assert checked(planned(**deliver), object_bytes=PLANES * 120, scratch_bytes=fits) == ()
    if "gib" in split:  # a part becomes that large, whatever the whole comes to
        with pytest.raises(TooLargeError, match=r"a part of master will have some 0\.4 GB.*[Mm]ake its parts smaller"):
            checked(planned(**deliver), scratch_bytes=fits // 2)
        return
    master, residual = checked(planned(**deliver), scratch_bytes=fits // 2)
    assert "a part of master will have some 0.4 GB" in master
    assert "a part of residual" in residual
    assert "make its parts smaller" in master


def test_no_part_is_smaller_than_a_tile() -> None:
    assert checked(planned(outputs=[{"split": {"frames": 1}}]), object_bytes=PLANES * 30 - 1) != ()
    assert checked(planned(outputs=[{"split": {"gib": 1e-9}}]), object_bytes=PLANES * 30) == ()
