"""What training costs: making damaged samples, and whether a net waits for them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from jobs.bench_report import Figure, Part
from jobs.bench_run import told
from jobs.train import load
from pipeline.reel.still import read_picture, write_png
from pipeline.tables import read_training
from pipeline.train.fit import LOG, fit
from pipeline.train.speed import damaged_per_second, made_overlays

_SIDE, _FRAMES = 256, 5
_GOAL = 20.0
"""Samples a second on one core."""
_OVERLAYS = 64


def training(folder: Path, *, samples: int = 120, steps: int = 30) -> Part:
    """Damaged samples a second, and the share of a job's time that its net waits for samples."""
    with resources.as_file(resources.files("jobs") / "assets" / "seeding.jpg") as photo:
        picture = read_picture(photo)
    with told(f"damage {samples} samples"):
        rate = damaged_per_second(picture, samples, frames=_FRAMES, side=_SIDE, overlays=made_overlays(_OVERLAYS))
    photos = folder / "photos"
    photos.mkdir()
    for number in range(4):
        write_png(photos / f"{number}.png", picture[:, number * 320 : number * 320 + 640])
    said = [f"validation.every={steps}", "validation.clips=1", f"steps={steps}"]
    spec = load("nafnet-film", data=[str(photos)], overlays=None, overrides=said)
    with told(f"train {steps} steps"):
        fit(spec, str(folder / "out"))
    row = read_training(folder / "out" / LOG)[-1]
    return Part(
        name="training",
        title="Training",
        how=f"Damage of every kind at the ranges of `Ranges()`, on samples of {_FRAMES} frames of {_SIDE}×{_SIDE} px, "
        f"by CPU time of one thread; the overlays are {_OVERLAYS} made ones of the sizes of real ones, decoded. Then "
        f"`reelmend train nafnet-film` for {steps} steps of {spec.batch} samples of {spec.crop}×{spec.crop} px, "
        f"{spec.run.threads} threads for the net and {spec.run.loaders} for the samples.",
        figures=(
            Figure("damaged samples a second, one core", f"{rate:.1f}", f"≥ {_GOAL:g}", rate >= _GOAL),
            Figure("steps a second", f"{row['steps_per_second']:.2f}"),
            Figure("share of the time spent waiting for samples", f"{row['waited']:.1%}"),
        ),
    )
