"""Which frames a pass sees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.restore.windows import needed, window
from tests.restore.toys import cut_at


@pytest.mark.parametrize(
    ("number", "cuts", "wanted"),
    [
        (5, [], (3, 4, 5, 6, 7)),
        (0, [], (0, 0, 0, 1, 2)),
        (1, [], (0, 0, 1, 2, 3)),
        (9, [], (7, 8, 9, 9, 9)),
        (5, [5], (5, 5, 5, 6, 7)),
        (4, [5], (2, 3, 4, 4, 4)),
        (5, [4], (4, 4, 5, 6, 7)),
        (5, [5, 7], (5, 5, 5, 6, 6)),
        (5, [5, 6], (5, 5, 5, 5, 5)),
        (6, [5, 7], (5, 5, 6, 6, 6)),
        (0, [1], (0, 0, 0, 0, 0)),
    ],
)
def test_windows_by_hand(number: int, cuts: list[int], wanted: tuple[int, ...]) -> None:
    assert window(number, 2, 0, cut_at(10, cuts)) == wanted


def naive(number: int, radius: int, total: int, cuts: list[int]) -> tuple[int, ...]:
    """By the whole shot."""
    edges = sorted({0, total, *cuts})
    a, b = next((a, b) for a, b in pairwise(edges) if a <= number < b)
    return tuple(a if n < a else b - 1 if n >= b else n for n in range(number - radius, number + radius + 1))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_window_depends_on_its_shot_alone(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 30))
    cuts = data.draw(st.lists(st.integers(1, total), unique=True).map(lambda c: [x for x in c if x < total]))
    radius = data.draw(st.integers(0, 5))
    number = data.draw(st.integers(0, total - 1))
    wanted = naive(number, radius, total, cuts)
    assert window(number, radius, 0, cut_at(total, cuts)) == wanted
    # The same from any stretch of frames that holds the window.
    first = data.draw(st.integers(0, max(0, number - radius)))
    last = data.draw(st.integers(min(total, number + radius + 1), total))
    part = cut_at(total, cuts)[first:last]
    part[0] = False  # what lies before a stretch is not known
    assert window(number, radius, first, part) == wanted


def test_a_frame_that_is_handed_through_needs_itself_alone() -> None:
    found = needed({7, 5, 6}, 1, lambda n: n != 6, 0, np.zeros(10, np.bool_))
    assert list(found.items()) == [(5, (4, 5, 6)), (6, (6,)), (7, (6, 7, 8))]
