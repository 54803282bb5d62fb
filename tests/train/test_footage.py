"""Footage from stills: what moves, and by how much."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.train.footage import Motion, footage

QUIET = Motion(still=1.0, objects=(0, 0), lines=0.0, limbs=0.0, uneven=0.0)


def still(seed: int = 0, height: int = 120, width: int = 160) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((3, height // 8, width // 8))
    return coarse.repeat(8, axis=1).repeat(8, axis=2)[None].astype(np.float32)


def made(motion: Motion, seed: int = 0, frames: int = 5, **more: object) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return footage([still(), still(1)], motion, rng, frames=frames, size=(48, 64), width=480, **more)  # type: ignore[arg-type]


def test_a_camera_on_a_tripod_shows_the_still_itself() -> None:
    clip = made(QUIET)
    assert clip.shape == (5, 3, 48, 64)
    assert clip.dtype == np.float32
    assert np.array_equal(clip, np.broadcast_to(clip[:1], clip.shape))
    # The still's flat blocks, mirrored or not, at a place between two pixels.
    assert {round(float(v), 3) for v in np.unique(clip[0, 0, 20:28, 20:28])} & {
        round(float(v), 3) for v in np.unique(still()[0, 0])
    }


def test_is_seeded_and_stays_in_range() -> None:
    wild = Motion(still=0.0, objects=(3, 3), lines=1.0)
    for seed in range(4):
        clip = made(wild, seed)
        assert np.array_equal(clip, made(wild, seed))
        assert 0 <= clip.min() <= clip.max() <= 1
    assert not np.array_equal(made(wild, 0), made(wild, 1))


def test_a_pan_moves_no_faster_than_it_may() -> None:
    slow = Motion(still=0.0, objects=(0, 0), lines=0.0, limbs=0.0, uneven=0.0, pan=2.0, zoom=0.0, turn=0.0)
    seen = []
    for seed in range(8):
        clip = made(slow, seed).mean(axis=1)
        a, b = clip[2, 8:-8, 8:-8], clip[3]
        errors = {
            (dy, dx): float(np.abs(a - b[8 + dy : 40 + dy, 8 + dx : 56 + dx]).mean())
            for dy in range(-5, 6)
            for dx in range(-5, 6)
        }
        seen.append(np.hypot(*min(errors, key=errors.__getitem__)))
    assert max(seen) <= 3.5
    assert max(seen) >= 1


def test_things_move_against_a_background_that_stands_still() -> None:
    moving = QUIET.model_copy(update={"objects": (1, 1), "object_size": (20.0, 30.0)})
    changed = []
    for seed in range(12):
        clip, empty = made(moving, seed), made(QUIET, seed)
        thing = np.abs(clip - empty).max(axis=1) > 0.02
        changed.append(thing)
        assert thing.mean() < 0.6
    moved = [t for t in changed if t.any(axis=(1, 2)).all() and (t[0] != t[4]).any()]
    assert len(moved) >= 4, "too few things are seen to move"


def test_real_lines_move_with_the_scene_and_are_vertical() -> None:
    lined = QUIET.model_copy(update={"lines": 1.0})
    found = 0
    for seed in range(10):
        clip, plain = made(lined, seed), made(QUIET, seed)
        line = np.abs(clip - plain).max(axis=1) > 0.05
        assert (line == line[0]).all(), "a line left its scene"
        rows = line[0].any(axis=1)
        found += bool(rows.mean() > 0.5)
    assert found >= 5


def test_limbs_cover_places_for_a_single_frame() -> None:
    swinging = QUIET.model_copy(update={"limbs": 1.0})
    single = 0
    for seed in range(20):
        there = np.abs(made(swinging, seed) - made(QUIET, seed)).max(axis=1) > 0.1
        single += bool((there[2] & ~there[1] & ~there[3]).sum() > 10)
    assert single >= 2, "no limb is ever as hard to tell from a blotch as real ones are"


def test_uneven_footage_stands_still_and_leaps() -> None:
    uneven = QUIET.model_copy(update={"still": 0.0, "zoom": 0.0, "turn": 0.0, "uneven": 1.0, "objects": (1, 1)})
    still_frames = [np.abs(np.diff(made(uneven, seed, frames=9), axis=0)).mean(axis=(1, 2, 3)) for seed in range(6)]
    shares = [float(d.min() / max(d.max(), 1e-9)) for d in still_frames]
    assert min(shares) < 0.25


def test_a_track_moves_the_picture() -> None:
    way = np.zeros((5, 3), np.float32)
    way[3] = (3, -2, 0)
    clip = made(QUIET, track=way)
    np.testing.assert_allclose(clip[3, :, 10:40, 10:50], clip[2, :, 7:37, 12:52], atol=1e-4)
    assert np.array_equal(clip[2], clip[4])


def test_refuses_to_make_footage_of_nothing() -> None:
    with pytest.raises(ValueError, match="needs a still"):
        footage([], QUIET, np.random.default_rng(0), frames=2, size=(8, 8), width=480)
