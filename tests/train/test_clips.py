"""A pan over a still: where the window is, and what it shows between two pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.train.clips import pan, shrink, to_clip


def ramp(height: int, width: int) -> np.ndarray:
    """A still whose red is its column, whose green is its row, and whose blue is nothing."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y, np.zeros_like(x)])[None]


@given(
    start=st.tuples(st.floats(0, 10), st.floats(0, 10)),
    step=st.tuples(st.floats(0, 3), st.floats(0, 3)),
    frames=st.integers(1, 5),
)
def test_shows_what_lies_under_the_window(start: tuple[float, float], step: tuple[float, float], frames: int) -> None:
    clip = pan(ramp(40, 50), frames=frames, size=(12, 16), start=start, step=step)
    assert clip.shape == (frames, 3, 12, 16)
    assert clip.dtype == np.float32
    for i in range(frames):
        y, x = start[0] + i * step[0], start[1] + i * step[1]
        np.testing.assert_allclose(clip[i, 0, 0], x + np.arange(16), atol=1e-4)
        np.testing.assert_allclose(clip[i, 1, :, 0], y + np.arange(12), atol=1e-4)


def test_whole_pixels_are_exact() -> None:
    still = np.random.default_rng(0).random((1, 3, 30, 40), dtype=np.float32)
    clip = pan(still, frames=3, size=(10, 10), start=(2, 3), step=(1, -1))
    assert np.array_equal(clip[2], still[0, :, 4:14, 1:11])


@pytest.mark.parametrize("step", [(0, 9), (9, 0), (-1, 0), (0, -1)])
def test_refuses_to_leave_the_still(step: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="leaves the still of 20×20"):
        pan(ramp(20, 20), frames=3, size=(8, 8), start=(1, 1), step=step)


def test_refuses_no_frames_and_several_stills() -> None:
    with pytest.raises(ValueError, match="1 frame or more"):
        pan(ramp(20, 20), frames=0, size=(8, 8), start=(0, 0), step=(0, 0))
    with pytest.raises(ValueError, match=r"a still is \(1, 3, H, W\)"):
        pan(np.zeros((2, 3, 20, 20), np.float32), frames=1, size=(8, 8), start=(0, 0), step=(0, 0))


def test_shrink_takes_the_mean_and_cuts_the_rest() -> None:
    still = np.arange(2 * 5, dtype=np.float32).reshape(1, 1, 2, 5)
    assert shrink(still, 2).tolist() == [[[[3.0, 5.0]]]]
    assert np.array_equal(shrink(still, 1), still)
    with pytest.raises(ValueError, match="by 1 or more"):
        shrink(still, 0)


def test_pictures_become_a_clip() -> None:
    pictures = np.zeros((2, 4, 6, 3), np.uint8)
    pictures[1, 2, 3] = (255, 51, 0)
    clip = to_clip(pictures)
    assert clip.shape == (2, 3, 4, 6)
    np.testing.assert_allclose(clip[1, :, 2, 3], [1.0, 0.2, 0.0], atol=1e-7)
    with pytest.raises(ValueError, match="uint8"):
        to_clip(pictures.astype(np.float32))
