"""Several processes that train one net: the same steps as one process makes, up to the rounding of sums."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from pipeline.train import group, state
from pipeline.train.fit import CHECKPOINT, fit
from pipeline.train.spec import TrainSpec
from tests.train.test_fit import make


def _process(number: int, meeting: str, spec: dict[str, Any], out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=number, world_size=2)
    try:
        # The second process is told to stop after four steps: both must.
        asked = iter(range(100))
        fit(TrainSpec.model_validate(spec), out, stopped=lambda: number == 1 and next(asked) >= 3)
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(photos: Path, tmp_path: Path) -> None:
    spec = make(photos, steps=9, batch=4, precision="float32")
    asked = iter(range(100))
    fit(spec, str(tmp_path / "one"), stopped=lambda: next(asked) >= 3)
    started = multiprocessing.get_context("spawn")
    two = str(tmp_path / "two")
    arguments = (str(tmp_path / "meeting"), spec.canonical(), two)
    processes = [started.Process(target=_process, args=(n, *arguments)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(150)
        assert process.exitcode == 0
    one, both = (state.load(f"{tmp_path}/{name}/{CHECKPOINT}") for name in ("one", "two"))
    assert one is not None
    assert both is not None
    assert (one.step, both.step) == (4, 4)
    for key, value in one.net.items():
        assert torch.allclose(value, both.net[key], atol=1e-4), key


def test_alone_nothing_is_shared() -> None:
    tensor = torch.ones(3)
    group.mean_([tensor])
    assert (group.rank(), group.size()) == (0, 1)
    assert torch.equal(tensor, torch.ones(3))
    assert group.any_of(True, torch.device("cpu"))
    assert not group.any_of(False, torch.device("cpu"))
