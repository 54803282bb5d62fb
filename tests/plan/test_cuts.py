from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.plan import cuts
from pipeline.types import Frames
from tests.plan.made_up import GRAY


def picture(seed: int, shift: int = 0) -> NDArray[np.uint8]:
    """A smooth made-up picture, moved sideways by some pixels."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(20, 235, (9, 24))
    big = np.kron(small, np.ones((16, 16)))
    big = sum(np.roll(big, k, axis) for k in range(-8, 9) for axis in (0, 1)) / 34
    return np.roll(big, shift, 1)[:, :192].astype(np.uint8)


def signatures(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    frames = Frames((np.stack(pictures),), GRAY, 0, np.arange(len(pictures)))
    return cuts.signature(frames)


def found(pictures: list[NDArray[np.uint8]]) -> list[int]:
    return [int(n) for n in np.flatnonzero(cuts.find(signatures(pictures)))]


def test_a_cut_is_found_where_it_is() -> None:
    assert found([picture(1, s) for s in range(12)] + [picture(2, s) for s in range(9)]) == [12]


def test_movement_flicker_grain_and_dirt_are_no_cuts() -> None:
    rng = np.random.default_rng(0)
    film = []
    for s in range(20):
        p = picture(1, 4 * s) * rng.uniform(0.8, 1.15) + rng.normal(0, 8, (144, 192))
        y, x = rng.integers(0, 100), rng.integers(0, 150)
        p[y : y + 40, x : x + 40] = 255
        film.append(np.clip(p, 0, 255).astype(np.uint8))
    assert found(film) == []


def test_a_one_frame_flash_is_no_cut_but_a_cut_after_one_is() -> None:
    one = [picture(1, s) for s in range(8)]
    flash = [*one[:4], picture(9), *one[5:]]
    assert found(flash) == []
    assert found([*flash, *[picture(3, s) for s in range(6)]]) == [8]


def test_shots_of_one_frame_after_another_are_told_apart() -> None:
    film = [picture(1, s) for s in range(6)] + [picture(n) for n in (5, 6, 7)] + [picture(2, s) for s in range(6)]
    assert found(film) == [6, 7, 8, 9]
    # Flashes one after another, with the shot between them, are none.
    assert found([picture(n, s) for s, n in enumerate((1, 1, 1, 5, 1, 6, 1, 7, 1, 1, 1))]) == []


def test_a_fast_pan_is_no_cut() -> None:
    assert found([picture(1, 6 * s) for s in range(20)]) == []


def test_flat_leader_is_one_shot_and_ends_with_the_picture() -> None:
    rng = np.random.default_rng(0)
    leader = [rng.integers(10, 14, (144, 192)).astype(np.uint8) for _ in range(6)]
    assert found([*leader, *[picture(1, s) for s in range(6)]]) == [6]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=24), st.data())
def test_a_decision_needs_radius_frames_on_either_side_and_no_more(scenes: list[int], data: st.DataObject) -> None:
    every = signatures([picture(s, n) for n, s in enumerate(scenes)])
    whole = cuts.find(every)
    a = data.draw(st.integers(0, len(scenes) - 1))
    b = data.draw(st.integers(a + 1, len(scenes)))
    part = cuts.find(every[a:b])
    for n in range(a + 1, b):
        inside = (n - a >= cuts.RADIUS or a == 0) and (b - n >= cuts.RADIUS or b == len(scenes))
        if inside:
            assert part[n - a] == whole[n]


def test_pictures_smaller_than_the_grid_have_signatures_too() -> None:
    tiny = Frames((np.zeros((2, 3, 5), np.uint8),), GRAY, 0, np.arange(2))
    assert cuts.signature(tiny).shape == (2, cuts.ROWS, cuts.COLUMNS)
