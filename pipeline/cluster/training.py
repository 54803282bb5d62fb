"""A training job on several GPUs of a cluster: Ray Train starts one process on each, and knows nothing of nets."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

# Ahead of Ray's own import: it reads what session sets once.
from pipeline.cluster.session import connected  # isort: skip

import ray
from ray.train import RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from pipeline.errors import CallError, ReelmendError


def spread(work: Callable[[], None], *, workers: int, address: str, use_gpu: bool = True) -> None:
    """Run ``work`` in so many processes at once, with torch.distributed initialised among them.

    ``work`` is pickled; what it leaves, it leaves in storage. ``use_gpu``: a GPU for each; else a CPU. Raises CallError
    where the cluster has not as many, ReelmendError where a process fails; the job's checkpoint is there for the next
    call.
    """
    kind = "GPU" if use_gpu else "CPU"
    with connected(address), tempfile.TemporaryDirectory(prefix="reelmend-ray-train-") as folder:
        there = ray.cluster_resources().get(kind, 0.0)
        if there < workers:
            raise CallError(
                f"the cluster has {there:g} {kind}s, {workers} are asked for", where="--workers", todo="Ask for fewer"
            )
        trainer = TorchTrainer(
            lambda: work(),
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=use_gpu, resources_per_worker=None if use_gpu else {"CPU": 1}
            ),
            run_config=RunConfig(name="reelmend", storage_path=folder),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            told = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise ReelmendError(
                f"a training process failed: {told[-1]}"[:500],
                todo="The same call goes on from the last checkpoint",
            ) from None
