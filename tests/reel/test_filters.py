"""Clips through FFmpeg's filters."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import CallError
from pipeline.reel.filters import available, filtered


def test_a_clip_comes_through_as_it_went_in_and_a_filter_does_what_it_says() -> None:
    clip = np.random.default_rng(0).random((5, 3, 24, 32)).astype(np.float32)
    assert np.abs(filtered(clip, ()) - clip).max() <= 0.5 / 65535 + 1e-7
    flipped = filtered(clip, [("hflip", "")])
    assert np.abs(flipped - clip[..., ::-1]).max() <= 0.5 / 65535 + 1e-7
    still = clip.copy()
    still[2] = 1.0
    padded = (("tpad", "start=1:stop=1:start_mode=clone:stop_mode=clone"), ("tmedian", "radius=1"))
    assert filtered(still, padded).shape == clip.shape
    assert filtered(still, padded)[2].mean() < 0.8


def test_a_filter_that_is_not_there_is_told() -> None:
    assert available(["tmedian"])
    assert not available(["tmedian", "no-such-filter"])
    with pytest.raises(CallError, match="FFmpeg refuses this"):
        filtered(np.zeros((1, 3, 16, 16), np.float32), [("no-such-filter", "")])
