"""Training through Ray Train: two processes make the steps of one, and the command says the same of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ray.cluster_utils import Cluster

from jobs.train import train
from pipeline.cluster import training
from pipeline.errors import CallError, ReelmendError
from pipeline.reel.still import write_png
from pipeline.tables import read_training
from pipeline.train import group, state
from pipeline.train.fit import CHECKPOINT, LOG
from tests.train.conftest import photo
from tests.train.test_fit import make

pytestmark = pytest.mark.cluster


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A job of three steps, in a file."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        write_png(photos / f"p{number}.png", photo(number))
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(make(photos, steps=3, batch=4, precision="float32").canonical()))
    return path


def _watched(work: Callable[[], None], folder: str) -> None:
    """The work, after a note of who does it: processes that did not know of each other would give the same net."""
    Path(folder, f"{group.rank()} of {group.size()}").touch()
    work()


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(
    cluster: Cluster,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spread, seen = training.spread, tmp_path / "seen"
    seen.mkdir()

    def on_cpus(work: Callable[[], None], **how: Any) -> None:
        spread(partial(_watched, work, str(seen)), use_gpu=False, **how)

    monkeypatch.setattr(training, "spread", on_cpus)
    told = {}
    for workers in (1, 2):
        out = str(tmp_path / str(workers))
        said = train(
            str(config),
            out,
            data=(),
            overlays=None,
            overrides=(),
            minutes=None,
            as_json=True,
            workers=workers,
            address=cluster.address,
        )
        assert said == 0
        told[workers] = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in seen.iterdir()) == ["0 of 2", "1 of 2"]
    assert told[1].keys() == told[2].keys()
    assert (told[2]["step"], told[2]["done"]) == (3, True)
    assert Path(told[2]["weights"].removeprefix("file://")).is_file()
    assert told[2]["net_psnr_db"] == pytest.approx(told[1]["net_psnr_db"], abs=0.01)
    one, two = (state.load(f"{tmp_path}/{n}/{CHECKPOINT}") for n in (1, 2))
    assert one is not None
    assert two is not None
    for part in ("net", "ema", "first"):
        for key, value in getattr(one, part).items():
            assert torch.allclose(value, getattr(two, part)[key], atol=1e-4), key
    logs = [[row["step"] for row in read_training(tmp_path / str(n) / LOG)] for n in (1, 2)]
    assert logs[0] == logs[1] == [0, 2, 3]


def _breaks() -> None:
    raise ValueError("the disk is on fire")


@pytest.mark.slow
def test_what_fails_in_a_process_is_told(cluster: Cluster) -> None:
    with pytest.raises(ReelmendError, match=r"a training process failed: .*the disk is on fire"):
        training.spread(_breaks, workers=1, address=cluster.address, use_gpu=False)


def test_more_than_the_cluster_has(cluster: Cluster) -> None:
    with pytest.raises(CallError, match="the cluster has 0 GPUs, 3 are asked for"):
        training.spread(_breaks, workers=3, address=cluster.address)
