"""Things that pass faster than any flow follows are no dirt; large dirt is none of them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.restore.test_passes import Clip, pan, restored
from tests.restore.test_suspects import blotch, grained, left

SIZE = (240, 320)


def thing(frame: Clip, y: float, x: float, *, long: float = 14, high: float = 7) -> np.ndarray:
    """A light thing with a dark lower half; its mask."""
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]]
    mask = np.square((columns - x) / long) + np.square((rows - y) / high) < 1
    frame[mask & (rows < y)], frame[mask & (rows >= y)] = 0.95, 0.05
    return np.asarray(mask)


@pytest.mark.parametrize("share", [0.08, 0.15, 0.3])
@pytest.mark.parametrize("sink", [0.0, 0.04])
def test_what_crosses_the_picture_stays_from_edge_to_edge(share: float, sink: float) -> None:
    """Also where it comes in and goes out, as long as two frames show it but for its edge."""
    clip = pan(12, size=SIZE)
    masks = []
    for k, frame in enumerate(clip):
        masks.append(thing(frame, 90 + sink * SIZE[1] * k, 40 + share * SIZE[1] * (k - 4)))
    out, worker = restored(grained(clip), "pass: dirt")
    seen = [k for k, m in enumerate(masks) if m.sum() > 150 and 0 < k < 11]
    assert len(seen) >= 3
    for k in seen:
        gone = (np.abs(out[k] - clip[k])[masks[k]] > 0.15).mean()
        assert gone < 0.05, (k, gone)
    assert any("fast-motion" in worker.flags[k] for k in seen)


def test_a_large_blotch_is_mended() -> None:
    """Larger than most dirt: a hundredth of the picture's width in radius, and more."""
    clean = pan(7, size=SIZE)
    clip = clean.copy()
    blotch(clip[3], 120, 160, 12, 0.02)
    assert 0.003 * clean[0].size < np.pi * 12**2 < 0.01 * clean[0].size
    out, _ = restored(grained(clip), "pass: dirt")
    assert left(out, clean, 3, 120, 160, 12) < 0.05


@pytest.mark.parametrize(
    ("places", "stays"),
    [
        ({2: (60, 40), 4: (100, 240)}, False),  # one on either side, but not opposite
        ({1: (60, 40), 2: (90, 100), 4: (150, 220), 5: (180, 280)}, True),  # opposite: it goes that way
        ({4: (150, 220)}, False),  # on one side, though the other place is in the picture too
    ],
)
def test_its_like_in_both_neighbours_speaks_where_they_lie_opposite(
    places: dict[int, tuple[int, int]], stays: bool
) -> None:
    clean = pan(7, size=SIZE)
    clip = clean.copy()
    for k, (y, x) in ({3: (120, 160)} | places).items():
        blotch(clip[k], y, x, 8, 0.02)
    out, _ = restored(grained(clip), "pass: dirt")
    assert (left(out, clean, 3, 120, 160, 8) > 0.1) == stays


def test_what_does_not_go_on_is_dirt() -> None:
    """Opposite each other by chance, but the next frame has nothing where it would have gone."""
    clean = pan(9, size=SIZE)
    for goes_on in (False, True):
        clip = clean.copy()
        places = {3: (105, 115), 4: (120, 160), 5: (135, 205)}
        if goes_on:
            places |= {2: (90, 70), 6: (150, 250)}
        for k, (y, x) in places.items():
            # The one before and the one after differ in shape, which alone would speak for one thing.
            blotch(clip[k], y, x, 8, 0.02)
            if k in (3, 5):
                clip[k, y - 10 : y - 6, x - 10 : x + 11] = 0.02
        out, _ = restored(grained(clip), "pass: dirt")
        assert (left(out, clean, 4, 120, 160, 8) > 0.1) == goes_on


def test_what_passes_from_light_into_dark_stays() -> None:
    """What lies behind it shines through at its edge, which then looks otherwise in every frame."""
    clip = np.full((9, *SIZE), 0.75, np.float32)
    clip += pan(9, size=SIZE) * 0.1
    clip[:, :, 147:191] = 0.02
    masks = []
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for k, frame in enumerate(clip):
        away = np.hypot(rows - 120, columns - (70 + 22 * k))
        covers = np.clip((8 - away) / 4, 0, 1)
        frame[:] = covers * 0.2 + (1 - covers) * frame
        masks.append(away < 5)
    out, _ = restored(grained(clip), "pass: dirt")
    for k in range(1, 8):
        assert (np.abs(out[k] - clip[k])[masks[k]] > 0.15).mean() < 0.05, k


def test_a_large_thing_stays_where_a_frame_is_printed_twice() -> None:
    """A neighbour that repeats the frame says nothing about what passes, so what is large is left alone."""
    clip = pan(9, size=SIZE)
    masks = [thing(frame, 120, 0.2 * SIZE[1] * k) for k, frame in enumerate(clip)]
    order = [0, 1, 2, 3, 3, 4, 5, 6, 7]
    twice = grained(clip)[order]
    out, worker = restored(twice, "pass: dirt")
    for k in (3, 4):
        assert (np.abs(out[k] - twice[k])[masks[3]] > 0.15).mean() < 0.05, k
        assert "fast-motion" in worker.flags[k]
