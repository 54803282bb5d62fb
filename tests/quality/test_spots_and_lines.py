"""Dirt and scratches of the source, measured without a pass: on films whose damage is known, and on what is none."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline import motion
from pipeline.quality import warps
from pipeline.quality.figures import Meter
from pipeline.reel.formats import pixel_format
from pipeline.types import FIGURES_RADIUS, FrameFigures
from tests.quality.pictures import colour
from tests.quality.test_figures import no_change
from tests.restore import test_passes as made

Clip = NDArray[np.float32]
FORMAT = pixel_format("gray16le")


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    motion.settle(1)


def figures(clip: Clip, cuts: Collection[int] = (), span: tuple[int, int] | None = None) -> list[FrameFigures]:
    """As a tile of that span has them."""
    first, last = span or (0, len(clip))
    meter = Meter(FORMAT, colour(True))
    codes = np.round(np.clip(clip, 0, 1) * 65535).astype(np.uint16)
    still = no_change(*clip.shape[1:])
    for n in range(max(0, first - FIGURES_RADIUS), min(len(clip), last + FIGURES_RADIUS)):
        planes = (torch.from_numpy(codes[n]),)
        if first - 1 <= n < last:
            meter.see(n, planes, planes, still, still)
        else:
            meter.pass_by(n, planes)
    return meter.figures(first, last, cuts)


def dirt(clip: Clip, cuts: Collection[int] = ()) -> list[float]:
    return [f.dirt_fraction for f in figures(clip, cuts)]


def columns(clip: Clip, cuts: Collection[int] = ()) -> list[int]:
    return [f.scratch_columns for f in figures(clip, cuts)]


def grainy(clip: Clip, seed: int = 1) -> Clip:
    return clip + np.random.default_rng(seed).normal(0, 3 / 255, clip.shape).astype(np.float32)


def test_dirt_comes_to_what_there_is_and_to_what_the_pass_finds() -> None:
    _, clip, seen = made.dirty()
    found = dirt(clip)
    assert (found[0], found[-1]) == (0.0, 0.0), "at the shot's ends one side alone is no evidence"
    measured = np.mean(found[1:-1])
    assert 0.5 < measured / seen[1:-1].mean() < 1.5
    _, worker = made.restored(clip, "pass: dirt")
    assert 0.5 < measured / np.mean([worker.found[n]["dirt_fraction"] for n in range(1, 11)]) < 1.5


def test_scratches_come_to_what_the_pass_finds() -> None:
    _, clip = made.lined(2.0)
    found = columns(clip)
    _, worker = made.restored(clip, "pass: scratches")
    passed = [worker.found[n]["scratch_columns"] for n in range(len(clip))]
    # The pass counts the columns that it touches, the line's faint sides with them.
    assert min(found) > 0 < min(passed)
    assert 0.33 < sum(found) / sum(passed) < 2, (found, passed)


@pytest.mark.parametrize("step", [(0.0, 0.0), (1.0, 0.4), (8.0, 2.0)])
def test_a_clean_film_has_none(step: tuple[float, float]) -> None:
    told = figures(grainy(made.pan(8, step, size=(240, 320))))
    assert max(f.dirt_fraction for f in told) < 5e-5
    assert not any(f.scratch_columns for f in told)


@pytest.mark.parametrize("trap", [made.bar, made.rain, made.sparkle, made.title])
def test_what_moves_fast_rains_or_is_written_is_no_dirt(trap: Callable[[Clip], None]) -> None:
    clip = made.pan(10, (0.4, 0.1), size=(240, 320))
    trap(clip)
    assert max(dirt(grainy(clip))) < 5e-4


def panelled(step: float) -> Clip:
    """Boards with dark joints from top to bottom, before which the camera goes by."""
    clip = made.pan(8, (step, 0.0), size=(240, 320)).copy()
    for k, frame in enumerate(clip):
        for x in range(20 - round(step * k) % 24, 318, 24):
            frame[:, x : x + 2] -= 0.1
    return clip


def passer_by() -> Clip:
    """Boards in a room, before which somebody walks."""
    clip = panelled(0.0)
    person = made.pan(8, (6.0, 0.0), seed=7, size=(240, 320))
    for k, frame in enumerate(clip):
        frame[40:, 40 + 6 * k : 130 + 6 * k] = person[k, 40:, :90]
    return clip


@pytest.mark.parametrize(
    "clip",
    [
        panelled(0.0),
        panelled(3.0),
        passer_by(),
        made.lined(0.0)[1],
        made.lined(2.0, of_the_scene=True)[1],
        made.lined(2.0, rows=slice(100, None))[1],
    ],
    ids=["panelling", "panelling that passes", "a person before it", "a still scene", "a pole", "a short line"],
)
def test_lines_without_evidence_are_none(clip: Clip) -> None:
    assert columns(grainy(clip)) == [0] * len(clip)


def test_a_repeated_frame_hides_nothing() -> None:
    """As in a transfer at a higher rate than the film's, of which every frame or every other one comes twice."""
    _, clip, _ = made.dirty(8)
    once = dirt(clip)[1:-1]
    twice = dirt(clip.repeat(2, axis=0))[2:-2]
    assert np.mean(once) > 5e-4
    assert 0.8 < np.mean(twice) / np.mean(once) < 1.25
    some = dirt(clip[[0, 1, 2, 2, 3, 4, 4, 5, 6, 7]])
    assert 0.7 < np.mean(some[1:-1]) / np.mean(once) < 1.4


def test_nothing_is_told_across_a_cut() -> None:
    _, dirty, _ = made.dirty(8)
    clip = np.concatenate([dirty[:4], dirty[::-1][:4]])
    told = dirt(clip, {4})
    assert [told[i] for i in (0, 3, 4, 7)] == [0.0] * 4
    assert told[1:3] == dirt(dirty[:4])[1:3]
    a, b = made.lined(2.0)[1], made.lined(2.0)[0]
    both = np.concatenate([a[:5], b[:2], a[:5]])
    assert columns(both, {5, 7}) == [*columns(a[:5]), 0, 0, *columns(a[:5])]


@pytest.mark.parametrize("length", [1, 4])
def test_tiles_tell_what_the_whole_film_does(length: int) -> None:
    """Dirt, a scratch, a frame that comes twice, a cut: whatever borders lie between."""
    clip = made.worn(12)
    clip[3] = clip[2]
    clip[9] = clip[10]
    cuts = {6}
    whole = figures(clip, cuts)
    assert any(f.dirt_fraction for f in whole)
    assert any(f.scratch_columns for f in whole)
    edges = [*range(0, len(clip), length), len(clip)]
    parts = [figures(clip, cuts, span) for span in pairwise(edges)]
    assert [f for part in parts for f in part] == whole


@pytest.mark.parametrize("threads", [1, 3])
def test_beside_a_gpu_threads_find_the_same(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """What a GPU's frames are given to; nothing waits for what comes after it, however few threads there are."""
    clip = made.worn(10)
    whole = figures(clip, {5})
    with ThreadPoolExecutor(threads) as pool:
        monkeypatch.setattr(warps, "_at_once", pool.submit)
        assert figures(clip, {5}) == whole


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (23, 400), (63, 40), (70, 31)])
def test_a_small_picture_has_none(size: tuple[int, int]) -> None:
    clip = np.random.default_rng(3).uniform(0, 1, (4, *size)).astype(np.float32)
    assert all((f.dirt_fraction, f.scratch_columns) == (0.0, 0) for f in figures(clip))
