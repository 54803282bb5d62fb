"""Whether memory grows with a reel's length."""

from __future__ import annotations

from pathlib import Path

from jobs.bench_film import write_film
from jobs.bench_processes import Role
from jobs.bench_report import Figure, Part
from jobs.bench_run import restore, told

GOAL = 0.05
_ROLES: tuple[tuple[Role, str], ...] = (
    ("driver", "driver"),
    ("restorer", "restorer, the largest"),
    ("task worker", "task worker, the largest"),
)
_WORKERS: tuple[Role, ...] = ("restorer", "task worker")


def memory(
    folder: Path, *, frames: int = 600, times: int = 10, width: int = 160, height: int = 120, name: str = "memory"
) -> Part:
    """Peak private memory of every kind of process, for a reel and for one ``times`` as long."""
    peaks = [_peaks(folder, n, width, height) for n in (frames, frames * times)]
    figures = []
    for role, what in _ROLES:
        short, long = peaks[0][role], peaks[1][role]
        growth = long / short - 1
        came = f"{short / 2**20:.1f} → {long / 2**20:.1f} MiB ({growth:+.1%})"
        figures.append(Figure(what, came, f"≤ +{GOAL:.0%}", growth <= GOAL))
    short, long = peaks[0]["Ray"], peaks[1]["Ray"]
    figures.append(Figure("Ray's own servers, the largest", f"{short / 2**20:.1f} → {long / 2**20:.1f} MiB"))
    return Part(
        name=name,
        title="Memory and a reel's length" if name == "memory" else "Memory and a reel's length, quick",
        how=f"Reels of {frames} and {frames * times} frames of {width}×{height} px in RGB of 10 bit, restored with an "
        "empty chain, each by a fresh `reelmend restore` with a Ray of its own. Peak of resident less shared memory of "
        "each process (so without libraries' files and the object store, which `cluster.in_flight_gib` bounds), seen "
        "50 times a second.",
        figures=figures,
    )


def _peaks(folder: Path, frames: int, width: int, height: int) -> dict[Role, int]:
    with told(f"make a film of {frames} frames"):
        film = write_film(folder / f"memory-{frames}.mkv", frames=frames, width=width, height=height)
    run = restore(film, folder / f"memory-{frames}", "--set", "chain=[]", every_s=0.02)
    film.unlink()
    roles: tuple[Role, ...] = ("driver", *_WORKERS, "Ray")
    return {role: max(s.private_peak for s in run.watch.of(role)) for role in roles}
