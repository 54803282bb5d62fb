"""What a survey comes to, frame by frame; and that a tile's id holds what its own frames get and no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pipeline.plan import make_plan
from pipeline.plan.curves import KNOTS, plan_curves
from pipeline.plan.make import chain_of
from pipeline.plan.smooth import smooth
from pipeline.spec import Spec, parse
from pipeline.types import LUMA_LEVELS, Curves, Survey
from tests.plan.made_up import index, reel


def steady(frames: int, cuts: tuple[int, ...] = ()) -> dict[str, Any]:
    """A survey of a film where nothing happens: evenly spread levels, no movement."""
    cut = np.zeros(frames, np.bool_)
    cut[list(cuts)] = True
    return {
        "cut": cut,
        "levels": np.tile(np.array(LUMA_LEVELS, np.float32), (frames, 1)) * np.float32(0.8),
        "colours": np.tile(np.array([0.01, 0.05, 0.4, 0.7, 0.8] * 3, np.float32), (frames, 1)),
        "shift": np.zeros((frames, 2), np.float32),
        "confidence": np.ones(frames, np.float32),
        "still": np.ones(frames, np.float32),
        "change": np.full(frames, 0.01, np.float32),
        "gains": np.zeros((frames, 16), np.float32),
    }


def curves(said: str, signals: Mapping[str, Any], **film: Any) -> np.ndarray[Any, Any]:
    """Rows that the one pass of a chain gets."""
    spec = parse(f"chain: [{said}]")
    found = plan_curves(Survey(0, **signals), chain_of(spec, {}), reel(**film))
    (rows,) = found.values.values()
    return rows


def test_a_straight_line_through_time_is_no_flicker_and_noise_about_it_is() -> None:
    line = np.linspace(0.2, 0.7, 40)[:, None]
    assert np.allclose(smooth(line, 6.0), line)
    noise = np.random.default_rng(0).normal(0, 0.05, (40, 1))
    assert np.abs(smooth(line + noise, 6.0) - line)[5:-5].max() < 0.03
    weights = np.ones(40)
    weights[20] = 0
    spoilt = line.copy()
    spoilt[20] = 5.0
    assert np.allclose(smooth(spoilt, 6.0, weights), line)


def test_gains_are_evened_out_within_their_shot_and_flashes_are_left_alone() -> None:
    gain = np.random.default_rng(1).normal(1, 0.05, 60).astype(np.float32)
    gain[30:] *= 0.5
    gain[12] = 1.9
    signals = steady(60, (30,))
    signals["levels"] = signals["levels"] * gain[:, None]
    rows = curves("pass: deflicker", signals)
    assert np.flatnonzero(rows[:, -1]).tolist() == [12]
    assert not rows[12, :-1].any()
    knots = np.linspace(0, 1, KNOTS)
    for a, b, usual in ((0, 30, 1.0), (30, 60, 0.5)):
        # The middle of the range, where the film has light: f(gain · v) stays near v.
        evened = [np.interp(0.4 * gain[n], knots, knots + rows[n, :KNOTS]) for n in range(a, b) if n != 12]
        assert np.std(evened) < 0.25 * 0.4 * usual * 0.05
    assert (np.diff(knots + rows[:, :KNOTS], axis=1) > 0).all(), "a tone curve that falls would turn tones over"


def test_a_steady_film_a_fade_and_a_slow_pan_are_left_alone() -> None:
    signals = steady(50)
    assert not curves("pass: deflicker", signals).any()
    signals["levels"] = signals["levels"] * np.linspace(1, 0.1, 50, dtype=np.float32)[:, None]
    assert np.abs(curves("pass: deflicker", signals)).max() < 1e-3
    signals["shift"] = np.tile(np.float32([0.3, 0]), (50, 1))
    assert np.abs(curves("pass: stabilise", signals, width=2000)).max() < 1e-4
    assert not curves("pass: duplicates", signals).any()
    assert np.array_equal(curves("pass: fade", signals)[:, :3], np.ones((50, 3)))


def test_one_bright_corner_is_evened_out_by_the_local_gains() -> None:
    signals = steady(60)
    course = np.random.default_rng(2).normal(0, 0.03, 60)
    signals["gains"][1:, 5] = np.diff(course)
    rows = curves("pass: deflicker", signals)
    got = rows[:, KNOTS:-1]
    assert np.std(got[:, 5] + course) < 0.3 * np.std(course)
    assert not np.delete(got, 5, axis=1).any()
    assert not curves("{pass: deflicker, local: 0}", signals).any()


def weave(frames: int = 80) -> dict[str, Any]:
    signals = steady(frames)
    way = np.random.default_rng(3).normal(0, 1.0, (frames, 2))
    signals["shift"][1:] = np.diff(way, axis=0)
    return signals | {"way": way}


def test_weave_is_taken_off_a_still_background_and_only_told_elsewhere() -> None:
    signals = weave()
    way = signals.pop("way")
    rows = curves("pass: stabilise", signals, width=2048)
    left = way + rows[:, :2]
    assert np.std(left - smooth(left, 6.0)) < 0.15
    assert not rows[:, 2].any()

    moving = signals | {"still": np.full(80, 0.3, np.float32)}
    assert curves("pass: stabilise", moving, width=2048)[:, :2].any() == np.False_
    assert curves("pass: stabilise", moving, width=2048)[:, 2].all()
    assert curves("{pass: stabilise, when: always}", moving, width=2048)[:, :2].any()
    unsure = signals | {"confidence": np.full(80, 0.2, np.float32)}
    assert not curves("pass: stabilise", unsure, width=2048).any()
    calm = signals | {"shift": signals["shift"] * np.float32(0.03)}
    assert not curves("pass: stabilise", calm, width=2048).any()
    assert np.abs(curves("{pass: stabilise, limit: 0.0004}", signals, width=2048)).max() <= 0.0004 * 2048 + 1e-4


def test_repeats_are_found_also_where_every_other_frame_is_one() -> None:
    signals = steady(30)
    signals["change"][1::2] = 0.0006
    assert np.flatnonzero(curves("pass: duplicates", signals)).tolist() == list(range(1, 30, 2))
    still = steady(30) | {"change": np.full(30, 0.0006, np.float32)}
    assert not curves("pass: duplicates", still).any(), "a still scene is no row of repeats"


@pytest.mark.parametrize("said", ["pass: stabilise", "pass: deflicker"])
def test_a_copy_is_treated_as_the_frame_that_it_repeats(said: str) -> None:
    """Else copies would be no copies any more for the passes behind, and what was still would tremble."""
    rng = np.random.default_rng(3)
    signals = weave()
    del signals["way"]
    signals["levels"] = (signals["levels"] * rng.normal(1, 0.05, (80, 1))).astype(np.float32)
    copies = np.array([7, 20, 21, 50])
    for k in copies:
        signals["shift"][k], signals["change"][k] = 0.0, 0.0005
        signals["levels"][k] = signals["levels"][k - 1]
    rows = curves(said, signals, width=2048)
    assert rows[:, :2].any()
    assert np.array_equal(rows[copies], rows[copies - 1])
    others = np.setdiff1d(np.arange(1, 80), copies)
    assert (rows[others] != rows[others - 1]).any(1).all()
    # Of a still scene without grain a frame that weaves or flickers by little looks much like a copy, and is none.
    signals["shift"][copies], signals["levels"][copies] = 0.6, signals["levels"][copies] + 0.003
    assert (curves("pass: duplicates", signals, width=2048)[copies] == 1).all()
    near = curves(said, signals, width=2048)
    assert (near[copies] != near[copies - 1]).any(1).all()


@pytest.mark.parametrize("changed", [5, 40])
def test_a_tile_id_holds_the_curves_of_the_frames_that_it_touches_alone(changed: int) -> None:
    spec: Spec = parse("chain: [{pass: deflicker}, {pass: dirt}]\ntiles: {frames: 10}")
    columns = tuple(f"c{i}" for i in range(3))
    values = np.zeros((100, 3), np.float32)

    def ids(rows: np.ndarray[Any, Any]) -> tuple[str, ...]:
        curves = Curves(0, {"deflicker": columns}, {"deflicker": rows})
        return make_plan(reel(), index(100), spec, {}, curves=curves).tile_ids

    other = values.copy()
    other[changed, 1] = 1e-3
    plan = make_plan(reel(), index(100), spec, {})
    reach = 2
    touched = [t.restore_first - reach <= changed < t.last + reach for t in plan.tiles]
    assert [a != b for a, b in zip(ids(values), ids(other), strict=True)] == touched
    assert plan.tile_ids != ids(values)
