"""Grain averaged over neighbours: what is as broad as a cloud is no grain, and leaves no edge."""

from __future__ import annotations

import numpy as np

from tests.restore.test_passes import pan, restored


def test_a_place_that_is_darker_in_one_frame_is_evened_out_without_an_edge() -> None:
    """Faint enough to be averaged at its rim and too strong for it in its middle, as light that leaks into the gate."""
    rng = np.random.default_rng(3)
    clean = 0.35 + 0.3 * pan(7, (0.5, 0.2))
    rows, columns = np.mgrid[: clean.shape[1], : clean.shape[2]]
    cloud = 0.03 * np.exp(-(np.square(rows - 80) + np.square(columns - 120)) / (2 * 45**2))
    clip = clean + rng.normal(0, 1 / 255, clean.shape)
    clip[3] -= cloud
    out, _ = restored(clip.astype(np.float32), "pass: degrain")
    changed = out[3] - clean[3] + cloud
    smooth = changed.reshape(20, 8, 30, 8).mean((1, 3))
    steps = max(float(np.abs(np.diff(smooth, axis=a)).max()) for a in (0, 1))
    assert steps < 0.006, "an edge shows where the averaging ends"
    there = cloud > 0.02
    assert np.abs(out[3] - clean[3])[there].mean() < 0.75 * np.abs(clip[3] - clean[3])[there].mean(), (
        "and it is fainter"
    )
    assert (out[3] - clean[3])[~there].std() < 0.75 * (clip[3] - clean[3])[~there].std(), "and so is the grain"
