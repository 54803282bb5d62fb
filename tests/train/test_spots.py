"""Learning what is dirt: spots of known worth."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.train.spots import Spots, held_out, learn


def made(number: int = 600, clips: int = 12) -> Spots:
    """Spots that are worth mending where the first two numbers of evidence have the same sign; the third says nothing,
    but is the clip's own."""
    rng = np.random.default_rng(3)
    evidence = rng.normal(0, 1, (number, 3)).astype(np.float32)
    clip = rng.integers(0, clips, number)
    evidence[:, 2] = rng.normal(0, 1, clips)[clip]
    gain = np.where(evidence[:, 0] * evidence[:, 1] > 0, 1.0, -1.0) * rng.uniform(0.5, 20, number)
    return Spots(evidence, gain.astype(np.float32), clip.astype(np.int64))


def had(spots: Spots, odds: np.typing.NDArray[np.float32]) -> float:
    """Share of the best gain there is."""
    return float(spots.gain[odds < 0].sum() / spots.gain[spots.gain > 0].sum())


def test_what_no_line_parts_is_learned_and_holds_for_clips_that_were_not_seen() -> None:
    spots = made()
    assert had(spots, learn(spots, members=1)(spots.evidence)) > 0.95
    assert had(spots, held_out(spots, members=1)) > 0.85


def test_it_is_learned_from_other_clips_alone() -> None:
    """A clip whose spots are the opposite of all others' is told wrongly, by what never saw it."""
    spots = made()
    turned = spots.clip == 0
    spots.gain[turned] *= -1
    odds = held_out(spots, members=1)
    assert had(spots[turned], odds[turned]) < 0.2
    assert had(spots[turned], learn(spots[turned], members=1)(spots.evidence[turned])) > 0.95, "by itself it is learned"


def test_harm_weighs_more_than_what_is_left() -> None:
    """Nothing tells these apart, and as much is to be had as to be lost: they are let be."""
    none = np.zeros((200, 2), np.float32)
    gain = np.where(np.arange(200) % 2, 1.0, -1.0).astype(np.float32)
    spots = Spots(none, gain, np.arange(200))
    assert (learn(spots, members=1)(none) > 0).all()


def test_equal_spots_make_equal_nets() -> None:
    one, two = learn(made(), members=2), learn(made(), members=2)
    assert all(np.array_equal(getattr(one, n), getattr(two, n)) for n in type(one).__slots__)
    assert not np.array_equal(one.first[0], one.first[1]), "its members differ"


def test_spots_are_joined_and_chosen() -> None:
    spots = made(10)
    both = Spots.joined([spots, spots])
    assert both.evidence.shape == (20, 3)
    assert both[both.gain > 0].gain.min() > 0
    with pytest.raises(ValueError, match="need at least one array"):
        Spots.joined([])
