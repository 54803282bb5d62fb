"""How long a run takes to its first tile, and whether restorers wait for frames."""

from __future__ import annotations

import datetime
import statistics
from pathlib import Path

from jobs.bench_film import write_film
from jobs.bench_report import Figure, Part
from jobs.bench_run import Run, restore, told

_STEPS = ("decode", "source_hash", "restore", "encode", "upload")


def first_tile(folder: Path, *, frames: int = 48, width: int = 640, height: int = 480, times: int = 3) -> Part:
    """From the command to the first tile in the ledger, and what that time is spent on."""
    with told(f"make a film of {frames} frames"):
        film = write_film(folder / "start.mkv", frames=frames, width=width, height=height)
    runs = [restore(film, folder / f"start-{n}") for n in range(times)]
    spent = [_spent(run) for run in runs]
    figures = [Figure(what, f"{statistics.median(s[what] for s in spent):.2f} s") for what in spent[0]]
    return Part(
        name="first-tile",
        title="Time to the first tile",
        how=f"`reelmend restore` of {frames} frames of {width}×{height} px (RGB of 10 bit) with the preset `archive`, "
        f"from the command to the first tile's record in the ledger. Medians of {times} runs; the steps "
        "follow each other.",
        figures=figures,
    )


def _spent(run: Run) -> dict[str, float]:
    """What the time to the first record went to, in seconds."""
    first = min(run.records, key=lambda r: r.finished)
    recorded = datetime.datetime.fromisoformat(first.finished).timestamp()
    servers = min(s.first for s in run.watch.of("Ray"))
    started = run.line(" restorer")
    steps = {step: first.seconds[step] for step in _STEPS}
    found = {
        "from the command to the first tile": recorded - run.began,
        "Python, its imports, the call's checks": servers - run.began,
        "Ray's servers": started - servers,
        "workers, their imports, the nets, the plan": run.handed_out - started,
        "· of that, until the plan was there": run.planned - started,
        "the tile: decode": steps["decode"],
        "the tile: cuts and hashes": steps["source_hash"],
        "the tile: restore, with its figures": steps["restore"],
        "the tile: encode, decode again": steps["encode"],
        "the tile: rows, upload": steps["upload"],
    }
    return {**found, "between its steps": recorded - run.handed_out - sum(steps.values())}


def restorer_idle(folder: Path, *, frames: int = 480, width: int = 320, height: int = 240) -> Part:
    """Share of the restorers' time that they do not compute."""
    with told(f"make a film of {frames} frames"):
        film = write_film(folder / "idle.mkv", frames=frames, width=width, height=height)
    run = restore(film, folder / "idle")
    restorers = [s for s in run.watch.of("restorer") if s.working]
    computed = sum(r.seconds["restore"] for r in run.records)
    return Part(
        name="restorer-idle",
        title="Restorers that wait",
        how=f"`reelmend restore` of {frames} frames of {width}×{height} px (RGB of 10 bit) with the preset `archive`: "
        "the time of each restorer from its first tile's start to its last one's end, less what the tiles' records say "
        "that it computed. On CPUs the restorers share the cores with decoding and encoding; that time counts as "
        "computing.",
        figures=[
            Figure("share of the restorers' time without computing", f"{run.idle_share:.1%}"),
            Figure(f"computing, {len(restorers)} restorers on {run.records[0].device}", f"{computed:.1f} s"),
            Figure("tiles", str(len(run.records))),
        ],
    )


def task_cores(
    folder: Path, *, frames: int = 240, width: int = 640, height: int = 480, cores: tuple[int, ...] = (1, 2)
) -> Part:
    """How long one quick restorer waits as decoding and encoding get more cores."""
    with told(f"make a film of {frames} frames"):
        film = write_film(folder / "cores.mkv", frames=frames, width=width, height=height)
    said = ("chain=[]", "cluster.restorers=1", "cluster.task_cpus=1", "cluster.use_gpu=never")
    figures = []
    for count in cores:
        words = [w for s in (*said, f"cluster.local_cpus={count}") for w in ("--set", s)]
        run = restore(film, folder / f"cores-{count}", *words)
        # From the first tile's start to the last one's end; each end is seen half a look late or early.
        spans = [s.working for s in run.watch.of("restorer") if s.working]
        seconds = max(b for _, b in spans) - min(a for a, _ in spans) + run.watch.every_s
        figures += [
            Figure(f"{_cores(count)}: frames a second", f"{frames / seconds:.1f}"),
            Figure(f"{_cores(count)}: the restorer's time without computing", f"{run.idle_share:.1%}"),
        ]
    return Part(
        name="task-cores",
        title="Cores for decoding and encoding",
        how=f"`reelmend restore` of {frames} frames of {width}×{height} px (RGB of 10 bit) with an empty chain and one "
        "restorer, which then only takes figures and is quicker than FFV1, as a GPU is. Decode and encode tasks take "
        "one core each, and Ray gives them as many as are named; restorer and driver take none of these. What the "
        "restorer waits for is decoding and encoding alone.",
        figures=figures,
    )


def _cores(count: int) -> str:
    return f"{count} task core{'s' if count > 1 else ''}"
