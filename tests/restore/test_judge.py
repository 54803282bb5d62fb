"""What speaks for dirt and against it, and what is made of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.restore.passes import judge
from pipeline.restore.passes.evidence import NAMES, evidence
from pipeline.restore.passes.looking import RADIUS, Looker
from pipeline.restore.passes.scene import Scene
from tests.restore.test_dirt import Film, colour, grained, grey, pictures_of, spot

Floats = np.typing.NDArray[np.float32]


def scene_of(film: Film) -> Scene:
    """The middle frame's."""
    looker = Looker(threshold=0.1, trust=1.0, largest=0.05, most=0.08)
    window = pictures_of(film)
    between = looker.first(window)
    assert between is not None
    return looker.second(window[RADIUS], between).scene


def told(film: Film) -> Floats:
    """The evidence of its spots."""
    return evidence(scene_of(film)).rows


def of(rows: Floats, name: str) -> float:
    """That of the one spot there is."""
    assert len(rows) == 1
    return float(rows[0, NAMES.index(name)])


@pytest.mark.parametrize("tone", [0.9, 0.05])
def test_a_blotch_on_a_pan_is_likely_dirt_and_a_thing_that_goes_on_is_not_however_fast(tone: float) -> None:
    blotched = colour()
    spot(blotched[RADIUS], 80, 120, 7, (tone,) * 3)
    assert judge.likelihood(told(grained(blotched))).max() < 0.1
    # Of 9 px and of 7 px, by up to a sixth of the width: the smaller and the faster, the less can be told of it.
    for radius, step, least in (
        (9, 20, 0.9),
        (9, 32, 0.9),
        (9, 38, 0.9),
        (7, 20, 0.9),
        (7, 26, 0.9),
        (7, 32, 0.8),
        (7, 38, 0.7),
    ):
        crossed = colour()
        for k, frame in enumerate(crossed):
            spot(frame, 80, 120 + step * (k - RADIUS), radius, (tone,) * 3)
        (likely,) = judge.likelihood(told(grained(crossed)))
        assert likely > least, (radius, step)


def test_evidence_says_what_its_name_says() -> None:
    film = grey()
    spot(film[RADIUS], 80, 120, 7, (0.9,) * 3)
    alone = told(grained(film, one=True))
    assert len(alone) == 1
    assert of(alone, "area") == pytest.approx(np.log(150 / 10**2), abs=0.2)
    assert of(alone, "at_edge") == of(alone, "crowd_spoken") == 0.0
    assert of(alone, "spoken") == of(alone, "like_share") == of(alone, "tone_most") == 0.0
    # Bars of its tone in both neighbours: of another shape they do not speak for it, though their tone does.
    other = film.copy()
    for k, x in ((RADIUS - 1, 100), (RADIUS + 1, 140)):
        other[k, 84:90, x - 12 : x + 12] = 0.9
    barred = told(grained(other, one=True))
    assert of(barred, "like_share") == of(barred, "spoken") == 0.0
    assert of(barred, "tone_least") > 0.1
    # The same in both neighbours, nearby: the frame's own is spoken for, and its tone is seen anew on both sides.
    for k, x in ((RADIUS - 1, 100), (RADIUS + 1, 140)):
        spot(film[k], 80, x, 7, (0.9,) * 3)
    three = told(grained(film, one=True))
    assert of(three, "spoken") == 1.0
    assert of(three, "tone_least") > 0.1


def test_a_spot_at_the_picture_s_edge_is_told_as_such_and_nothing_fails_there() -> None:
    film = grey()
    spot(film[RADIUS], 0, 0, 9, (0.9,) * 3)
    spot(film[RADIUS], 159, 239, 9, (0.9,) * 3)
    rows = told(grained(film, one=True))
    assert len(rows) == 2
    assert np.isfinite(rows).all()
    assert (rows[:, NAMES.index("at_edge")] == 1).all()


def test_evidence_of_twice_the_picture_is_much_the_same() -> None:
    """Lengths go by the way that things move between frames, and that by the picture's width."""
    film = grey(size=(200, 400))
    spot(film[RADIUS], 100, 200, 8, (0.9,) * 3)
    twice = film.repeat(2, axis=1).repeat(2, axis=2)
    (one,), (two,) = (told(f) for f in (film, twice))
    for name in ("area", "mottled", "contrast", "tone_most", "at_edge", "like_share", "spoken"):
        assert two[NAMES.index(name)] == pytest.approx(one[NAMES.index(name)], abs=0.25), name


def test_odds_of_a_spot_hang_on_no_other() -> None:
    rows = np.random.default_rng(0).normal(0, 2, (40, len(NAMES))).astype(np.float32)
    together = judge.learned()(rows)
    assert np.array_equal(together, np.concatenate([judge.learned()(row[None]) for row in rows]))
    assert judge.learned()(rows[:0]).shape == (0,)


def test_what_lies_beyond_all_that_was_learned_from_counts_as_its_end() -> None:
    one = judge.learned()
    far = (one.mean + 1e6 * one.deviation)[None]
    assert one(far) == pytest.approx(one((one.mean + judge.BOUND * one.deviation)[None]), abs=1e-4)


def test_nets_are_read_as_written_and_those_for_other_evidence_refused(tmp_path: Path) -> None:
    judge.write(judge.learned(), tmp_path / "a.safetensors")
    rows = np.random.default_rng(1).normal(0, 1, (5, len(NAMES))).astype(np.float32)
    assert np.array_equal(judge.read(tmp_path / "a.safetensors")(rows), judge.learned()(rows))
    none = np.zeros(3, np.float32)
    judge.write(judge.Judge(none, none, none, none, none), tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="weighs 3 numbers of evidence"):
        judge.read(tmp_path / "b.safetensors")


def test_a_small_spot_where_movement_is_in_doubt_is_left_and_a_large_one_is_weighed() -> None:
    for radius, left in ((2, True), (9, False)):
        film = grey(size=(200, 400))
        spot(film[RADIUS], 100, 200, radius, (0.9,) * 3)
        scene = scene_of(grained(film, one=True))
        assert not evidence(scene).unsure.any(), "it moves as it should"
        doubtful = evidence(replace(scene, doubtful=(np.ones_like(scene.doubtful[0]), scene.doubtful[1])))
        assert doubtful.unsure.any() == left
        assert doubtful.weighed.any() != left
        assert len(doubtful.rows) == doubtful.weighed.sum()
