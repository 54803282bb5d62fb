"""Figures against a known truth, on clips whose figures follow by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.quality.truth import decibel, detection, mean_of, score


def test_psnr_is_told_apart_inside_and_outside_of_damage() -> None:
    truth = np.full((4, 3, 16, 20), 0.5, np.float32)
    damaged = np.zeros((4, 16, 20), np.bool_)
    damaged[:, 4:8, 5:10] = True
    found = truth + np.float32(0.01)
    found = np.where(damaged[:, None], truth + np.float32(0.1), found)
    got = score(found, truth, damaged)
    assert got.inside_db == pytest.approx(20, abs=1e-3)
    assert got.outside_db == pytest.approx(40, abs=1e-3)
    share = damaged.mean()
    assert got.psnr_db == pytest.approx(-10 * np.log10(share * 1e-2 + (1 - share) * 1e-4), abs=1e-3)
    assert got.temporal == pytest.approx(0, abs=1e-4), "the error stands still"
    assert got.flicker == pytest.approx(0, abs=1e-4)
    assert got.ssim < 1


def test_what_is_equal_is_perfect_and_what_jumps_is_told_as_flicker() -> None:
    truth = np.random.default_rng(0).random((5, 3, 16, 20)).astype(np.float32)
    none = np.zeros((5, 16, 20), np.bool_)
    same = score(truth, truth, none)
    assert (same.psnr_db, same.inside_db, same.ssim, same.temporal, same.flicker) == (100, 100, 1, 0, 0)
    jumps = truth + np.array((0, 0.02, 0, 0.02, 0), np.float32)[:, None, None, None]
    got = score(jumps, truth, none)
    assert got.flicker == pytest.approx(0.02 * 255, rel=1e-4)
    assert got.temporal == pytest.approx(0.02 * 255, rel=1e-4)
    assert mean_of([same, got]).flicker == pytest.approx(0.01 * 255, rel=1e-4)


def test_recall_is_of_what_must_be_found_and_precision_of_what_may_be() -> None:
    wanted, right, found = (np.zeros((1, 4, 10), np.bool_) for _ in range(3))
    wanted[0, 0, :8] = True
    right[0, :2, :8] = True
    found[0, 0, 2:10] = True
    got = detection(found, wanted, right)
    assert got.recall == 6 / 8
    assert got.precision == 6 / 8
    assert detection(~found, wanted & found, right).recall == 0
    nothing = np.zeros_like(found)
    assert detection(nothing, nothing, nothing).recall == detection(nothing, wanted, right).precision == 1


def test_clips_of_two_sizes_are_refused() -> None:
    a, b = np.zeros((3, 3, 8, 8), np.float32), np.zeros((3, 3, 8, 9), np.float32)
    with pytest.raises(ValueError, match="of its size"):
        score(a, b, np.zeros((3, 8, 8), np.bool_))
    assert decibel(np.zeros(0)) == 100
