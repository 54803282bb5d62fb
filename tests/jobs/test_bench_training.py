"""The measurement of training, in small: it runs the real job and tells what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.bench_training import training


@pytest.mark.slow
def test_it_measures_damage_and_the_wait_for_samples(tmp_path: Path) -> None:
    part = training(tmp_path, samples=4, steps=2)
    assert [f.what.split(",")[0] for f in part.figures] == [
        "damaged samples a second",
        "steps a second",
        "share of the time spent waiting for samples",
    ]
    assert all(float(f.came.rstrip("%")) >= 0 for f in part.figures)
    assert part.figures[0].met is (float(part.figures[0].came) >= 20) or part.figures[0].came == "20.0"
