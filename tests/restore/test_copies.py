"""Film that shows frames several times, as transfers to another rate do: copies have the dirt of what they repeat."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import motion
from pipeline.train import damage
from tests.motion.test_motion import scene, view
from tests.restore.test_passes import H, W, bar, dirty, frames_of, pan, restored


def test_dirt_is_seen_past_repeats_and_beside_a_flash() -> None:
    clean = pan(7)
    spot = (slice(60, 66), slice(100, 106))
    clip = clean[[0, 1, 2, 2, 3, 4, 5]].copy()
    clip[2][spot] = clip[3][spot] = 0.02  # the second repeats the first, dirt and all
    out, _ = restored(clip, "pass: dirt")
    assert (out[2:4, 61:65, 101:105] > 0.15).all()
    flashing = clean.copy()
    flashing[1] += 0.4
    flashing[3][spot] = 0.02
    out, _ = restored(flashing, "pass: dirt")
    assert (out[3, 61:65, 101:105] > 0.15).all()


def test_dirt_is_seen_past_repeats_behind_passes_that_even_out_the_shot() -> None:
    """They have another value for every frame, but not for copies: those would be told from one another by it."""
    rng = np.random.default_rng(6)
    way, lit = rng.normal(0, 1.2, (24, 2)), rng.normal(0.9, 0.06, 24)
    way[[9, 15]], lit[[9, 15]] = way[[8, 14]], lit[[8, 14]]
    picture = scene()
    grain = rng.normal(0, 3 / 255, (24, H, W))
    grain[[9, 15]] = grain[[8, 14]]
    clip = np.stack([view(picture, *w, H, W) * g for w, g in zip(way, lit, strict=True)]) + grain
    for first in (8, 14):
        clip[first : first + 2, 60:66, 100:106] = 0.01
    clip += rng.normal(0, 0.5 / 255, clip.shape).astype(np.float32)
    out, worker = restored(clip.astype(np.float32), "{pass: stabilise}, {pass: deflicker}, {pass: dirt}")
    assert worker.found[8]["shift_x_px"] == worker.found[9]["shift_x_px"] != 0
    for k in (8, 9, 14, 15):
        assert (out[k, 57:69, 97:109] > 0.1).all(), k


@pytest.mark.parametrize("times", [2, 3])
def test_dirt_is_told_from_limbs_where_every_frame_is_shown_several_times(times: int) -> None:
    """As transfers of slow film do; the codec makes the copies differ a little."""
    clean, film, seen = dirty(9)
    bare = film.copy()
    bar(film)
    limb = film != bare
    shown = np.repeat(film, times, axis=0)
    shown += np.random.default_rng(3).normal(0, 0.4 / 255, shown.shape).astype(np.float32)
    out, _ = restored(shown, "pass: dirt")
    inner = slice(2, -2)
    near = np.stack([motion.grow(m, 12) for m in limb])
    for copy in range(times):
        before, after = (f[copy::times] for f in (shown, out))
        own = (seen & ~near)[inner]
        worse, better = (np.sqrt(np.mean(np.square((f - clean)[inner][own]))) for f in (before, after))
        assert better < 0.4 * worse, copy
        away = limb & ~np.stack([motion.grow(m, 4) for m in seen])
        assert (np.abs(after - before)[inner][away[inner]] > 0.1).mean() < 0.01, copy
    again, _ = restored(shown, "pass: dirt", length=7)
    assert np.array_equal(out, again), "and tiles leave no trace"


def test_frames_repeated_by_any_number_leave_no_trace_of_tiles_and_dirt_does_not_blink() -> None:
    """Which frames stand beside another hangs on the window then, and on no other window."""
    clean = pan(8, (3.0, 1.0), size=(240, 320))
    recipe = damage.Recipe(dirt=8, dirt_radius=(8, 25), scratches=0, flicker=0, grain=3 / 255)
    film = damage.damage(clean[:, None].repeat(3, 1), recipe, seed=3).damaged[:, 0]
    bar(film)
    times = (1, 2, 1, 3, 1, 2, 3, 4)
    shown = np.repeat(film, times, axis=0)
    shown += np.random.default_rng(3).normal(0, 0.4 / 255, shown.shape).astype(np.float32)
    out, _ = restored(shown, "pass: dirt")
    for length in (1, 3):
        assert np.array_equal(out, restored(shown, "pass: dirt", length=length)[0]), length
    exact = np.repeat(film[:4], 4, axis=0)
    source = frames_of(exact).planes[0].astype(np.float32) / 65535
    assert np.array_equal(restored(exact, "pass: dirt")[0], source), "more than three times: all of them are left alone"
