"""What speaks for dirt and what against it: other dirt nearby does not, a limb that turns back does."""

from __future__ import annotations

import numpy as np
import pytest

from tests.restore.test_passes import Clip, bar, frames_of, pan, restored

LARGE = "{pass: dirt, largest: 0.05}"


def blotch(frame: Clip, y: int, x: int, r: int, level: float) -> None:
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]]
    frame[np.hypot(rows - y, columns - x) < r] = level


def grained(clip: Clip) -> Clip:
    return clip + np.random.default_rng(1).normal(0, 3 / 255, clip.shape).astype(np.float32)


def left(out: Clip, clean: Clip, k: int, y: int, x: int, r: int) -> float:
    """Mean error inside a blotch of frame k."""
    return float(np.abs(out - clean)[k, y - r // 2 : y + r // 2, x - r // 2 : x + r // 2].mean())


def test_a_blotch_is_mended_though_a_neighbour_has_another_nearby() -> None:
    clean = pan(7, size=(240, 320))
    clip = clean.copy()
    blotch(clip[3], 120, 160, 8, 0.02)
    blotch(clip[2], 100, 180, 6, 0.1)
    out, _ = restored(grained(clip), "pass: dirt")
    assert left(out, clean, 3, 120, 160, 8) < 0.05
    assert left(out, clean, 2, 100, 180, 6) < 0.05


def test_it_stays_where_both_neighbours_have_the_like_or_one_has_its_twin() -> None:
    for places in ({2: (108, 148), 3: (120, 160), 4: (132, 172)}, {3: (120, 160), 4: (132, 172)}):
        clip = pan(7, size=(240, 320))
        for k, (y, x) in places.items():
            blotch(clip[k], y, x, 8, 0.02)
        out, worker = restored(grained(clip), "pass: dirt")
        assert (out[3, 116:124, 156:164] < 0.15).all(), places
        assert "fast-motion" in worker.flags[3]


def test_a_twin_far_away_in_one_neighbour_is_chance_in_both_it_is_a_thing() -> None:
    clean = pan(7, size=(240, 320))
    for far, mended in (({4: (150, 205)}, True), ({2: (90, 115), 4: (150, 205)}, False)):
        clip = clean.copy()
        for k, (y, x) in ({3: (120, 160)} | far).items():
            blotch(clip[k], y, x, 8, 0.02)
        out, _ = restored(grained(clip), "pass: dirt")
        assert (left(out, clean, 3, 120, 160, 8) < 0.05) == mended, far


def test_a_large_blotch_is_mended_though_both_neighbours_have_one_of_another_shape() -> None:
    clean = pan(7, size=(240, 320))
    for long, mended in ((24, True), (0, False)):
        clip = clean.copy()
        blotch(clip[3], 120, 160, 8, 0.02)
        for k, (y, x) in {2: (108, 146), 4: (134, 172)}.items():
            if long:
                clip[k, y - 3 : y + 4, x - long // 2 : x + long // 2] = 0.02
            else:
                blotch(clip[k], y, x, 7, 0.02)
        out, _ = restored(grained(clip), "pass: dirt")
        assert (left(out, clean, 3, 120, 160, 8) < 0.05) == mended, long


@pytest.mark.parametrize("speed", [25, 30, 40])
@pytest.mark.parametrize(("high", "setting"), [(12, LARGE), (6, "pass: dirt")])
def test_a_thing_of_two_tones_that_moves_stays(speed: int, high: int, setting: str) -> None:
    """A white shirt and dark trousers: one spot, of which each part has a shape."""
    clip = pan(7, (0.4, 0.1), size=(240, 320))
    for k, frame in enumerate(clip):
        x = 40 + speed * k
        frame[110 : 110 + high, x : x + 16], frame[110 + high : 110 + 2 * high, x : x + 16] = 0.97, 0.02
    out, _ = restored(grained(clip), setting)
    x = 40 + speed * 3
    assert (np.abs(out - clip)[3, 110 : 110 + 2 * high, x : x + 16] > 0.1).mean() < 0.05


@pytest.mark.parametrize("places", [{2: (90, 115), 4: (150, 205)}, {2: (108, 146), 4: (134, 172)}])
def test_what_both_neighbours_have_opposite_each_other_is_a_thing(places: dict[int, tuple[int, int]]) -> None:
    """Near, and further away than any flow follows."""
    clip = pan(7, size=(240, 320))
    for k, (y, x) in ({3: (120, 160)} | places).items():
        blotch(clip[k], y, x, 8, 0.02)
    out, worker = restored(grained(clip), "pass: dirt")
    assert (out[3, 116:124, 156:164] < 0.15).all()
    assert "fast-motion" in worker.flags[3]


def test_many_far_twins_in_one_neighbour_are_chance_too() -> None:
    clean = pan(7, size=(240, 320))
    clip = clean.copy()
    blotch(clip[3], 120, 160, 5, 0.02)
    for y, x in ((75, 200), (165, 200), (165, 120), (75, 120)):
        blotch(clip[4], y, x, 5, 0.02)
    out, _ = restored(grained(clip), "pass: dirt")
    assert left(out, clean, 3, 120, 160, 5) < 0.05


@pytest.mark.parametrize(("y", "x"), [(14, 160), (120, 306), (226, 40)])
def test_a_large_blotch_leads_no_flow_astray_not_even_at_the_edge(y: int, x: int) -> None:
    clean = pan(7, (2.0, 0.5), size=(240, 320))
    clip = clean.copy()
    blotch(clip[3], y, x, 13, 0.95)
    out, _ = restored(grained(clip), LARGE)
    assert left(out, clean, 3, y, x, 13) < 0.06


def test_a_limb_stays_even_where_it_turns_back() -> None:
    """There its neighbour on one side still overlaps it, so that it stands out from one frame alone."""
    clip = pan(12, (0.4, 0.1), size=(240, 320))
    bar(clip)
    clip = grained(clip)
    out, _ = restored(clip, LARGE)
    source = frames_of(clip).planes[0].astype(np.float32) / 65535
    wrong = (np.abs(out - source) > 4 / 255).mean((1, 2))
    assert wrong.max() <= 1e-3, wrong


def test_one_thing_that_moves_does_not_keep_dirt_near_it() -> None:
    clean = pan(7, size=(240, 320))
    for k, frame in enumerate(clean):
        blotch(frame, 70, 15 + 45 * k, 7, 0.97)  # passes by
    clip = clean.copy()
    blotch(clip[3], 110, 160, 6, 0.02)
    out, worker = restored(grained(clip), "pass: dirt")
    assert left(out, clean, 3, 110, 160, 6) < 0.05
    assert left(out, clean, 3, 70, 150, 7) < 0.05
    assert "fast-motion" in worker.flags[3]


def test_tile_lengths_and_cuts_leave_no_trace() -> None:
    """A frame is cleaned for the flow by its neighbours, which in turn are cleaned by theirs: all within the radius."""
    clip = np.concatenate([pan(5, size=(160, 240)), pan(4, (2.0, 0.0), seed=3, size=(160, 240)), pan(2, seed=5)])
    rng = np.random.default_rng(4)
    for frame in clip:
        for _ in range(4):
            blotch(frame, *rng.integers(10, 150, 2), rng.integers(3, 9), rng.choice([0.03, 0.97]))
    whole, _ = restored(clip, "pass: dirt")
    for length in (1, 2, 3, 5):
        assert np.array_equal(restored(clip, "pass: dirt", length=length)[0], whole), length


def test_what_two_looks_at_dirt_find_adds_up() -> None:
    clean = pan(13, size=(240, 320))
    clip = clean.copy()
    blotch(clip[6], 120, 160, 8, 0.98)
    clip[6, 60:72, 60:72] -= 0.15
    looks = "{pass: dirt, threshold: 0.3}", "{pass: dirt, name: faint, threshold: 0.08}"
    share = [
        worker.found[6]["dirt_fraction"]
        for _, worker in (restored(clip, said) for said in (looks[0], looks[1], ", ".join(looks)))
    ]
    assert 0 < share[0] < share[1]
    assert share[2] == pytest.approx(share[1], rel=0.15)
