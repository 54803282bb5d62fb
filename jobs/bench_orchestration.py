"""What the cluster costs: a run's wall time against the work alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs.bench_film import write_film
from jobs.bench_processes import Role
from jobs.bench_report import Figure, Part, at_most, cores
from jobs.bench_run import Run, restore, told
from jobs.bench_steps import Alone
from jobs.common import find_nets, load_spec
from pipeline.cluster.surveying import prepare_here
from pipeline.cluster.work import Job
from pipeline.types import Tile

GOAL = 1.15


_CHAIN = "chain=[{pass: net}]"
"""What is measured is what a run adds to its steps: a chain of one pass, without a survey before, shows it plainly."""


def orchestration(
    folder: Path,
    *,
    frames: int = 600,
    width: int = 640,
    height: int = 480,
    samples: int = 6,
    name: str = "orchestration",
    overrides: Sequence[str] = (),
) -> Part:
    """Restore a reel, and measure the steps of some of its tiles alone: half of them before the run, half after it.

    ``overrides``: further ``--set`` values of the run.
    """
    with told(f"make a film of {frames} frames"):
        film = write_film(folder / f"{name}.mkv", frames=frames, width=width, height=height)
    # Seconds of a CPU are what is compared; a GPU's would be another matter.
    said = ["cluster.use_gpu=never", _CHAIN, *overrides]
    spec = load_spec("archive", said)
    job = Job(((str(film), film.stem),), str(folder / f"{name}-alone"), spec, find_nets(spec))
    prepared = prepare_here(job, 0)
    alone, tiles = Alone(job, prepared), prepared.plan.tiles
    chosen = [round((i + 0.5) * len(tiles) / samples - 0.5) for i in range(min(samples, len(tiles)))]
    with told(f"steps of {len(chosen[::2])} tiles, alone"):
        for number in chosen[::2]:
            alone.measure(number)
    # Few looks: they take time of the cores that the run is to have.
    run = restore(film, folder / name, *(w for s in said for w in ("--set", s)), every_s=0.2)
    with told(f"steps of {len(chosen[1::2])} tiles, alone"):
        for number in chosen[1::2]:
            alone.measure(number)
    return Part(
        name=name,
        title="Orchestration" if name == "orchestration" else "Orchestration, quick",
        how=f"A reel of {frames} frames of {width}×{height} px (RGB of 10 bit) through the preset `archive` "
        "with the bundled net alone. *Wall*: "
        "from when the first tile can be handed out (the plan is there, and a restorer with its nets) to the reel's "
        f"end, published. *Steps*: CPU seconds of every step of {len(chosen)} of its tiles, each measured alone, "
        "single-threaded, half of them before the run and half after it; medians, scaled to all tiles with their halos "
        "and overlaps. What the run does besides (handing on, joining the rows, assembling, publishing) is only in the "
        "wall.",
        figures=_figures(run, alone, tiles, frames),
    )


def _figures(run: Run, alone: Alone, tiles: Sequence[Tile], frames: int) -> list[Figure]:
    wall = run.done - run.handed_out
    totals = alone.totals(tiles)
    work, n = sum(totals.values()), cores()
    by_role, others = run.cpu_between(run.handed_out, run.done)
    used = sum(by_role.values())
    overlap = sum(t.overlap for t in tiles) / frames
    halo = sum(t.read_last - t.read_first for t in tiles) / frames - 1
    return [
        at_most("wall ÷ (steps ÷ cores)", wall / (work / n), GOAL, lambda r: f"{r:.3f}"),
        Figure("the same, less what other programs used", f"{(wall * n - others) / work:.3f}"),
        Figure("wall", f"{wall:.1f} s, {frames / wall:.2f} frames/s"),
        Figure("steps, alone", f"{work:.1f} CPU s"),
        *(Figure(f"· {step}", f"{s:.1f} CPU s, {s / frames * 1000:.1f} ms a frame") for step, s in totals.items()),
        Figure(
            "the same, against steps without halo and overlap",
            f"{wall / (alone.once(frames) / n):.3f} (they add {halo:.0%} to decoding, {overlap:.0%} to the net)",
        ),
        Figure("CPU that the run used meanwhile", f"{used:.1f} CPU s of {wall * n:.1f}"),
        *(Figure(f"· {role}", f"{s:.1f} CPU s") for role, s in sorted(by_role.items())),
        Figure("CPU that other programs used meanwhile", f"{others:.1f} CPU s"),
        Figure("cores idle meanwhile", f"{max(0.0, 1 - (used + others) / (wall * n)):.1%}"),
        Figure("the steps' CPU in the run, against alone", f"{_worked(by_role) / work:.3f}"),
        Figure("restorers without computing", f"{run.idle_share:.1%}"),
        Figure("assembling and publishing", f"{run.done - run.line('all tiles done'):.1f} s of the wall"),
    ]


def _worked(by_role: dict[Role, float]) -> float:
    return by_role.get("restorer", 0.0) + by_role.get("task worker", 0.0)
