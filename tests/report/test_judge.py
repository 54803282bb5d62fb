"""Rules: each fires on what it is for, and on nothing else."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest

from pipeline.report.judge import Judge, own_flags
from pipeline.rules import WORDS, Flags, threshold, words
from pipeline.types import NO_SIGNALS, SIGNALS, FrameRow
from tests.test_tables import row

GOOD = {
    "changed_fraction": 0.05,
    "unsupported_fraction": 0.0,
    "sharpness_source": 0.2,
    "sharpness_output": 0.2,
    "noise_source": 3.0,
    "noise_output": 2.0,
    "flicker_source": 1.0,
    "flicker_output": 1.0,
    "ydif_source": 3.0,
    "black_fraction": 0.1,
}


def colour(u: float) -> tuple[float | None, ...]:
    return tuple(u if s in ("uavg", "vavg") else None for s in SIGNALS)


def frame(n: int, **other: Any) -> FrameRow:
    return row(n, **(GOOD | other))


@pytest.mark.parametrize(
    ("other", "flags"),
    [
        ({}, set()),
        ({"changed_fraction": 0.61}, {"heavy-change"}),
        ({"unsupported_fraction": 0.006}, {"possible-invention"}),
        ({"unsupported_fraction": None}, set()),
        ({"sharpness_output": 0.15}, {"lost-sharpness"}),
        ({"sharpness_source": 0.01, "sharpness_output": 0.0}, set()),
        ({"noise_output": 0.5}, {"grain-gone"}),
        ({"noise_source": 0.9, "noise_output": 0.0}, set()),
        ({"noise_output": 0.0}, {"grain-gone"}),
        ({"flicker_output": 5.5}, {"flicker-added"}),
        ({"flicker_source": 20.0, "flicker_output": 1.0}, set()),
        ({"flicker_source": None, "flicker_output": None}, set()),
        ({"signals_source": colour(128), "signals_output": colour(126)}, {"colour-shift"}),
        ({"signals_source": colour(128), "signals_output": NO_SIGNALS}, set()),
        ({"seam_space": 0.8}, {"seam"}),
        ({"black_fraction": 0.99}, {"black"}),
    ],
)
def test_own_figures(other: dict[str, Any], flags: set[str]) -> None:
    found = own_flags(frame(0, **other), Flags())
    assert set(found) == flags
    assert all(severity >= 1 for severity in found.values())


def judged(
    rows: list[FrameRow], flags: Flags | None = None, size: int = 7, **more: Any
) -> tuple[list[FrameRow], Judge]:
    judge = Judge(flags or Flags(), Fraction(10), **more)
    found = judge.rows(rows[i : i + size] for i in range(0, len(rows), size))
    return list(itertools.chain.from_iterable(found)), judge


class TestRows:
    def test_a_duplicate_is_the_frame_before_once_more(self) -> None:
        rows = [frame(n, source_md5=f"{n // 2:032x}") for n in range(6)]
        found, judge = judged(rows, size=3)
        assert [r.flags for r in found] == [(), ("duplicate",)] * 3
        assert judge.fired["duplicate"].runs == [(1, 2), (3, 4), (5, 6)]

    @pytest.mark.parametrize("size", [1, 5, 100])
    def test_a_freeze_is_flagged_whole_once_it_is_long_enough(self, size: int) -> None:
        rows = [frame(n, ydif_source=0.1 if 10 <= n < 29 or 40 <= n < 60 or n >= 80 else 3.0) for n in range(105)]
        found, judge = judged(rows, size=size)
        assert [r.frame for r in found] == list(range(105))
        assert judge.fired["freeze"].runs == [(40, 60), (80, 105)]

    def test_a_seam_in_time(self) -> None:
        found, _ = judged([frame(0), frame(1, seam_time=0.7), frame(2, seam_time=5.0)])
        assert [r.flags for r in found] == [(), (), ("seam",)]

    def test_what_the_chain_raised_stays_and_is_named(self) -> None:
        found, judge = judged([frame(0, flags=("memory-ladder", "something-new"))], watched={0})
        assert found[0].flags == ("memory-ladder", "something-new")
        assert judge.severities[0].keys() == set(found[0].flags)
        assert words("something-new").about == "run"

    def test_a_rule_that_is_not_used_flags_nothing(self) -> None:
        off = Flags.model_validate({name: {"use": False} for name in Flags.model_fields})
        worst = {"changed_fraction": 1.0, "unsupported_fraction": 1.0, "sharpness_output": 0.0, "noise_output": 0.0}
        rows = [
            frame(n, **worst, flicker_output=99.0, seam_space=9.0, seam_time=9.0, black_fraction=1.0, source_md5="a")
            for n in range(50)
        ]
        assert all(r.flags == () for r in judged(rows, off)[0])

    def test_thresholds_are_the_specs(self) -> None:
        strict = Flags.model_validate({"heavy_change": {"above": 0.01, "fail": True}})
        found, _ = judged([frame(0)], strict)
        assert found[0].flags == ("heavy-change",)
        assert strict.failing == ("heavy-change",)
        assert threshold(strict, "heavy-change") == "above 0.01"


def test_every_rule_has_words_and_none_fails_as_shipped() -> None:
    of_passes = {"dirt-limit", "fast-motion", "flash", "weave"}
    assert {name.replace("_", "-") for name in Flags.model_fields} | of_passes == set(WORDS)
    assert Flags().failing == ()
    assert all(w.sentence.endswith(".") for w in WORDS.values())
