"""What was changed though the frame before bears the source out: inventions that stand and that move, and repairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline import motion
from pipeline.quality.figures import Meter
from pipeline.reel.formats import pixel_format
from pipeline.rules import Flags
from tests.quality.pictures import colour
from tests.quality.test_figures import no_change
from tests.restore import test_passes as made

Clip = NDArray[np.float32]
FORMAT = pixel_format("gray16le")
LIMIT = Flags().possible_invention.above


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    motion.settle(1)


def told(
    source: Clip, output: Clip, cuts: Collection[int] = (), found: Mapping[int, Mapping[str, float]] | None = None
) -> list[float | None]:
    meter = Meter(FORMAT, colour(True))
    still = no_change(*source.shape[1:])
    for n, pair in enumerate(zip(source, output, strict=True)):
        before, after = ((torch.from_numpy(np.round(np.clip(p, 0, 1) * 65535).astype(np.uint16)),) for p in pair)
        of = found[n] if found else {}
        shift = (of.get("shift_x_px", 0.0), of.get("shift_y_px", 0.0))
        meter.see(n, before, after, still, still, shift=shift)
    return [f.unsupported_fraction for f in meter.figures(0, len(source), cuts)]


def most(*words: object) -> float:
    return max(v for v in told(*words) if v is not None)  # type: ignore[arg-type]


def least(*words: object) -> float:
    return min(v for v in told(*words) if v is not None)  # type: ignore[arg-type]


def grainy(clip: Clip) -> Clip:
    return clip + np.random.default_rng(1).normal(0, 4 / 255, clip.shape).astype(np.float32)


@pytest.mark.parametrize("step", [(0.0, 0.0), (4.0, 1.5), (9.0, 0.0)])
def test_what_is_drawn_into_the_scene_counts_though_it_moves_along(step: tuple[float, float]) -> None:
    """An eye that was never there, on every frame in its place on the face."""
    film = grainy(made.pan(6, step, size=(240, 320)))
    drawn = film.copy()
    for n, frame in enumerate(drawn):
        x, y = 250 - round(step[0] * n), 150 - round(step[1] * n)
        frame[y - 20 : y + 20, x - 20 : x + 20] += 0.2
    share = 1600 / film[0].size
    assert least(film, drawn) > 0.5 * share > LIMIT
    assert most(film, drawn) < 1.3 * share
    # Nor does it matter that it comes in one frame alone.
    once = film.copy()
    once[3] = drawn[3]
    assert (told(film, once)[3] or 0) > 0.5 * share
    assert most(film[:3], once[:3]) == 0


def test_fine_texture_counts_though_it_cancels_out_on_the_reduced_picture() -> None:
    film = np.kron(made.pan(4, (2.0, 0.0), size=(240, 320)), np.ones((1, 2, 2), np.float32))
    drawn = film.copy()
    rows, columns = np.mgrid[100:200, 100:200]
    for n, frame in enumerate(drawn):
        frame[100:200, 100 + 4 * n : 200 + 4 * n] += 0.15 * np.where((rows + columns) % 2, 1, -1)
    assert least(film, drawn) > 0.8 * 1e4 / film[0].size > LIMIT


def test_what_is_taken_out_of_the_scene_counts() -> None:
    film = made.pan(5, (3.0, 1.0), size=(240, 320))
    for n, frame in enumerate(film):
        frame[100 - n : 140 - n, 150 - 3 * n : 190 - 3 * n] += 0.3  # a sign on the wall
    without = made.pan(5, (3.0, 1.0), size=(240, 320))
    assert least(grainy(film), grainy(without)) > LIMIT


def test_a_repaired_film_has_none() -> None:
    """Weave, flicker, dirt, a scratch, grain, a cut: with all passes over it."""
    clip = made.worn(14)
    chain = "{pass: stabilise}, {pass: deflicker}, {pass: dirt}, {pass: scratches}, {pass: degrain}"
    out, worker = made.restored(clip, chain)
    assert np.abs(out - clip).max() > 0.3
    assert most(clip, out, {7}, worker.found) < 0.2 * LIMIT


def test_neither_brightness_nor_contrast_nor_weave_is_an_invention() -> None:
    rng = np.random.default_rng(2)
    clean = np.clip(made.pan(8, (0.0, 0.0), size=(240, 320)), 0, 1)
    # Twice the same gain: what stands still was changed by 50 codes.
    gains = np.repeat(rng.uniform(0.7, 1.0, 4), 2).astype(np.float32)[:, None, None]
    assert most(clean * gains, clean) == 0
    assert most(0.2 + 0.6 * clean**1.3, clean) < 0.2 * LIMIT
    way = np.repeat(rng.uniform(-5, 5, (4, 2)), 2, axis=0)
    trembling = np.stack([made.view(made.scene(), x, y) for x, y in way])
    steady = np.stack([made.view(made.scene(), 0, 0)] * 8)
    found = {n: {"shift_x_px": -float(x), "shift_y_px": -float(y)} for n, (x, y) in enumerate(way)}
    assert most(trembling, steady, (), found) < 0.2 * LIMIT


def test_dirt_that_a_repeat_shows_again_is_dirt_in_both() -> None:
    clean, clip, _ = made.dirty(8)
    assert most(clip.repeat(2, axis=0), clean.repeat(2, axis=0)) < 0.2 * LIMIT


def test_a_first_frame_and_one_after_a_cut_have_none_to_be_borne_out_by() -> None:
    film = made.pan(4, (0.0, 0.0))
    found = told(film, 1 - film, {2})
    assert [f is None for f in found] == [True, False, True, False]
    assert all(f > 0.3 for f in found if f is not None)


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (5, 5), (24, 24)])
def test_every_size_has_one(size: tuple[int, int]) -> None:
    film = np.random.default_rng(3).uniform(0, 1, (2, *size)).astype(np.float32)
    assert 0 <= most(film, 1 - film) <= 1
