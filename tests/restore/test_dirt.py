"""Dirt in colour, and what moves beside an edge that moves otherwise: the pass alone, on windows of RGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline import motion
from pipeline.restore.passes import carried, dirt
from pipeline.restore.passes.base import Job
from tests.restore.test_passes import pan
from tests.restore.test_suspects import blotch

Film = NDArray[np.float32]
"""(N, H, W, 3) RGB."""
LUMA = np.array((0.2126, 0.7152, 0.0722), np.float32)
SETTINGS = {"threshold": 0.1, "trust": 1.0, "doubt": 0.5, "largest": 0.01, "most": 0.08}
R = dirt.DirtPass.radius


def colour(frames: int = 7, tint: Sequence[float] = (0.35, 0.5, 0.9)) -> Film:
    """A pan over one hue."""
    return pan(frames, size=(160, 240))[..., None] * np.array(tint, np.float32) + np.float32(0.05)


def grey(frames: int = 7, size: tuple[int, int] = (160, 240)) -> Film:
    return np.repeat(pan(frames, size=size)[..., None], 3, axis=3)


def grained(film: Film, one: bool = False) -> Film:
    noise = np.random.default_rng(1).normal(0, 3 / 255, (*film.shape[:3], 1 if one else 3))
    return np.asarray(film + noise, np.float32)


def pictures_of(film: Film) -> list[torch.Tensor]:
    """Each (3, H, W)."""
    return [torch.from_numpy(np.ascontiguousarray(f.transpose(2, 0, 1))) for f in film]


def mended(film: Film) -> tuple[Film, list[frozenset[str]]]:
    """Every frame with whole neighbours; the others as they are."""
    pictures = pictures_of(film)
    one = dirt.DirtPass(SETTINGS)
    out, marks = film.copy(), [frozenset[str]()] * len(film)
    for k in range(R, len(film) - R):
        (got,) = one.restore([Job(k, tuple(pictures[k - R : k + R + 1]), {})])
        out[k], marks[k] = got.rgb.numpy().transpose(1, 2, 0), got.marks
    return out, marks


def spot(frame: Film, y: int, x: int, r: int, rgb: Sequence[float]) -> NDArray[np.bool_]:
    """A round blotch; its mask."""
    mask = np.zeros(frame.shape[:2], np.float32)
    blotch(mask, y, x, r, 1.0)
    frame[mask > 0] = rgb
    return mask > 0


def test_a_spot_as_bright_as_what_it_hides_is_seen_by_its_colour() -> None:
    clean = colour()
    film = clean.copy()
    level = float((clean[3, 77:84, 117:124] @ LUMA).mean())
    where = spot(film[3], 80, 120, 6, (level, level, level))
    assert abs(float((film[3] - clean[3])[where].mean(0) @ LUMA)) < 0.02, "luma alone does not show it"
    out, _ = mended(grained(film))
    assert np.abs(film[3] - clean[3])[where].mean() > 0.1
    assert np.abs(out[3] - clean[3])[where].mean() < 0.03


def test_a_coloured_spot_on_grey_film_is_mended_and_its_grey_neighbours_serve() -> None:
    """Emulsion that is worn through to a dye layer; planes of colour are asked for in this frame alone."""
    clean = grey()
    film = clean.copy()
    level = float(clean[3, 77:84, 117:124].mean())
    # As bright as what it hides.
    where = spot(film[3], 80, 120, 6, (level - 0.2, level + 0.086, level - 0.264))
    out, _ = mended(grained(film, one=True))
    assert np.abs(out[3] - clean[3])[where].mean() < 0.03


@pytest.mark.parametrize("speed", [9, 18, 25])
@pytest.mark.parametrize("highlight", [0, 2, 3])
def test_a_coloured_thing_that_moves_stays(speed: int, highlight: int) -> None:
    film = colour(9)
    for k, frame in enumerate(film):
        level = float((frame[60:100, 60:180] @ LUMA).mean())
        spot(frame, 80, 12 + speed * k, 7, (level, level, level))
        spot(frame, 80, 12 + speed * k, highlight, (level + 0.3,) * 3)
    film = grained(film)
    out, marks = mended(film)
    changed = (np.abs(out - film).max(3) > 4 / 255).mean((1, 2))
    assert changed.max() < 1e-3, changed
    assert "fast-motion" in marks[4]


def stalks(frames: int = 13) -> Film:
    """Thin things of the background, which pans, beside a disc that comes the other way."""
    film = np.repeat((0.35 + 0.4 * pan(frames, (3.0, 0.0), size=(160, 240)))[..., None], 3, axis=3)
    for k, frame in enumerate(film):
        for x in np.cumsum(np.random.default_rng(3).integers(15, 40, 12)) - 60:
            at = x + 3 * k
            if 0 <= at < 236:
                frame[20:140, at : at + 4] = (0.85, 0.8, 0.75)
        spot(frame, 80, 200 - 9 * k, 34, (0.1, 0.08, 0.05))
    return grained(film)


def touched(film: Film) -> float:
    """Share of the worst frame's pixels."""
    out, _ = mended(film)
    return float((np.abs(out - film).max(3) > 16 / 255).mean((1, 2)).max())


def test_what_lies_beside_an_edge_that_moves_otherwise_is_no_dirt(monkeypatch: pytest.MonkeyPatch) -> None:
    film = stalks()
    assert touched(film) == 0.0
    monkeypatch.setattr(dirt, "likelihood", lambda rows: np.zeros(len(rows), np.float32))
    assert touched(film) > 1e-3, "the film shows nothing of what it is here for"


def test_carried_sees_a_spot_again_where_its_surroundings_went() -> None:
    here, there = colour(2)
    flow = np.zeros((160, 240, 2), np.float32)
    spots = motion.regions(spot(here, 80, 120, 5, (0.9, 0.1, 0.1)))
    middle = colour(1)[0]
    assert not carried.carried(here, there, flow, spots, 1, middle)
    flow[:, :100] = (9, -4)  # something near moves so
    assert not carried.carried(here, there, flow, spots, 1, middle)
    spot(there, 76, 129, 5, (0.9, 0.1, 0.1))
    assert carried.carried(here, there, flow, spots, 1, middle)
    flow[:, :100] = (9, 4)
    assert not carried.carried(here, there, flow, spots, 1, middle)
