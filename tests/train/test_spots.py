"""Learning what is dirt: spots of known worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.train.spots import Spots, held_out, learn


def made(number: int = 600, clips: int = 12) -> Spots:
    """Spots that are worth mending where the first two numbers of evidence have the same sign; the third says nothing,
    but is the clip's own."""
    rng = np.random.default_rng(3)
    evidence = rng.normal(0, 1, (number, 3)).astype(np.float32)
    clip = rng.integers(0, clips, number)
    evidence[:, 2] = rng.normal(0, 1, clips)[clip]
    gain = np.where(evidence[:, 0] * evidence[:, 1] > 0, 1.0, -1.0) * rng.uniform(0.5, 20, number)
    return Spots(evidence, gain.astype(np.float32), np.zeros(number, np.float32), clip.astype(np.int64))


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
    spots = Spots(none, gain, np.zeros(200, np.float32), np.arange(200))
    assert (learn(spots, members=1)(none) > 0).all()


def test_what_is_faint_is_worth_mending_where_it_is_damage_alone() -> None:
    """Spots of 10 px, a twentieth of full range off: damage, and grain. Something tells them apart."""
    kinds = np.arange(200) % 2
    gain, sound = np.full(200, 10 * 0.05**2, np.float32), (10 * kinds).astype(np.float32)
    spots = Spots(kinds[:, None].astype(np.float32), gain, sound, np.arange(200))
    assert (spots.worth[kinds == 0] == gain[0]).all()
    assert (spots.worth[kinds == 1] < 0).all()
    assert ((learn(spots, members=1)(spots.evidence) > 0) == (kinds == 1)).all()


def test_equal_spots_make_equal_nets() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = learn(made(), members=2)
        torch.set_num_threads(2)
        two = learn(made(), members=2)
        assert torch.get_num_threads() == 2, "as it was"
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(getattr(one, n), getattr(two, n)) for n in type(one).__slots__)
    assert not np.array_equal(one.first[0], one.first[1]), "its members differ"


def test_spots_are_joined_and_chosen() -> None:
    spots = made(10)
    both = Spots.joined([spots, spots])
    assert both.evidence.shape == (20, 3)
    assert both[both.gain > 0].gain.min() > 0
    with pytest.raises(ValueError, match="need at least one array"):
        Spots.joined([])
