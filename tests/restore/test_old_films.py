"""No limb and no real line is lost in films of 1903 and 1906, in any preset, where repair has lost them before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.common import load_spec
from jobs.preview import restored
from pipeline.reel.index import build
from pipeline.reel.probe import probe

OLD = Path(__file__).parents[2].parent / "shared" / "data" / "oldfilm"
Picture = NDArray[np.float64]

pytestmark = pytest.mark.skipif(not OLD.is_dir(), reason="the old films are not at hand")
PRESETS = sorted(p.stem for p in (Path(__file__).parents[2] / "configs").glob("*.yaml"))
"""All that there are; `make test` asks the one that films are given to unless told otherwise."""
EVERY = [p if p == "archive" else pytest.param(p, marks=pytest.mark.slow) for p in PRESETS]


def frame(film: str, number: int, preset: str) -> tuple[Picture, Picture]:
    """The frame before and after, gray, 0 to 255; after with the shift undone to the nearest px."""
    spec = load_spec(preset)
    reel = probe(str(OLD / f"{film}.mkv"), film, spec.source)
    before, after, found, _ = restored(reel, build(reel), spec, number)
    back = [-round(found.get(f"shift_{axis}_px", 0.0)) for axis in "yx"]
    return before.mean(2), np.roll(after.mean(2), back, (0, 1))


def apart(before: Picture, after: Picture, columns: slice, rows: slice) -> float:
    """Mean difference in a box, once the brightness there is matched."""
    a, b = before[rows, columns], after[rows, columns]
    return float(np.abs(a - b * (a * b).sum() / (b * b).sum()).mean())


@pytest.mark.parametrize("preset", EVERY)
def test_leg_hand_and_cable_slot_of_market_street_stay(preset: str) -> None:
    before, after = frame("market_street_1906", 13, preset)
    assert apart(before, after, slice(215, 245), slice(312, 352)) < 8, "leg and hand"
    assert apart(before, after, slice(238, 248), slice(225, 365)) < 8, "the cable slot"
    # A dark line beside light stone: how dark it is for its sides is what a repair would take.
    depth = [f[225:365, 232:238].mean() - f[225:365, 238:248].min(1).mean() for f in (before, after)]
    assert depth[1] > 0.85 * depth[0]


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_the_panelling_and_window_frames_of_train_robbery_stay(preset: str) -> None:
    for number in (10, 20, 35):
        before, after = frame("train_robbery_1903", number, preset)
        for wall in ((slice(185, 260), slice(200, 270)), (slice(10, 150), slice(355, 395))):
            lines = [np.abs(np.diff(f[wall].mean(0), 2)).mean() for f in (before, after)]
            assert lines[1] > 0.9 * lines[0], (number, wall)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("film", "number", "columns", "rows"),
    [
        pytest.param("market_street_1906", 27, slice(34, 54), slice(310, 336), id="the light between two legs"),
        pytest.param("market_street_1906", 20, slice(241, 254), slice(300, 330), id="a walking stick"),
        pytest.param("train_robbery_1903", 27, slice(286, 306), slice(292, 312), id="a hand"),
    ],
)
def test_where_things_open_close_and_turn_nothing_is_dirt(film: str, number: int, columns: slice, rows: slice) -> None:
    """The neighbours agree there on what the frame does not show."""
    spec = load_spec("archive", ["chain=[{pass: deflicker}, {pass: dirt}]"])
    bright = load_spec("archive", ["chain=[{pass: deflicker}]"])
    reel = probe(str(OLD / f"{film}.mkv"), film, spec.source)
    shown = [restored(reel, build(reel), s, number)[1][rows, columns] for s in (bright, spec)]
    assert np.array_equal(*shown)
