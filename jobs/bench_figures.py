"""What the figures of a frame cost beside its restoration."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from jobs.bench_film import write_film
from jobs.bench_report import Figure, Part
from jobs.bench_run import told
from pipeline import spec
from pipeline.plan import cuts, make_plan
from pipeline.plan.make import chain_of
from pipeline.quality.figures import Meter
from pipeline.reel.decode import decode
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.restore import weights
from pipeline.restore.chain import Restorer
from pipeline.restore.device import available
from pipeline.types import Tile

_SIZE = (640, 480)
_FRAMES = 12
_TIMES = 3
_NETS = {"nafnet-film": 0.10, "nafnet-film-small": None}
"""Net → the share of the restoration that its figures may cost."""


def figures(folder: Path, *, width: int = _SIZE[0], height: int = _SIZE[1], frames: int = _FRAMES) -> Part:
    """The goal of less than a tenth of the restoration's time, with the net ``nafnet-film``, one thread each; and what
    the small one comes to."""
    film = write_film(folder / "film.mkv", frames=frames, width=width, height=height)
    device = available()
    found = []
    for name, goal in _NETS.items():
        plain, both, each = _beside(film, name, device)
        share = both / plain - 1
        of = f"{name}: "
        found += [
            Figure(of + "restoring a frame, no figures", f"{plain * 1000:.0f} ms"),
            Figure(of + "with figures", f"{both * 1000:.0f} ms"),
            Figure(of + "the figures' cost", f"{share:.1%} of the restoration", *_met(share, goal)),
        ]
    return Part(
        "figures",
        "Figures",
        f"{each} frames of {width}×{height} px (RGB of 10 bit) through each net on {device}, with every figure of "
        f"`frames.parquet` taken and without: medians of {_TIMES}.",
        found,
    )


def _met(share: float, goal: float | None) -> tuple[str, bool] | tuple[()]:
    return (f"≤ {goal:.0%}", share <= goal) if goal is not None else ()


def _beside(film: Path, name: str, device: str) -> tuple[float, float, int]:
    """Seconds a frame without figures and with them, medians; and how many frames that is of."""
    said = spec.Spec()
    nets = {"net": weights.resolve(spec.NetPass(weights=name))}
    reel = probe(str(film), film.stem, said.source)
    plan = make_plan(reel, build(reel), said, nets)
    restorer = Restorer(chain_of(said, nets), said.engine, nets, device)
    tile = plan.tiles[0]
    source = decode(reel, build(reel), tile.read_first, tile.read_last, threads=1)
    found = cuts.find(cuts.signature(source))

    # Of a CPU, its own time: what else the machine does must not count.
    clock = time.process_time if device == "cpu" else time.perf_counter

    def seconds(measured: bool) -> float:
        meter = Meter(source.format, reel.colour)
        began = clock()
        restorer.run(
            source,
            tile,
            found,
            lambda _n: {"net": {"strength": 1.0}},
            reel.colour,
            meter.see if measured else lambda *_words: None,
        )
        if measured:
            meter.figures(tile.first, tile.last, ())
        return clock() - began

    with told(f"figures beside {nets['net'].name}"):
        seconds(True)  # everything is warm
        pairs = [(seconds(False), seconds(True)) for _ in range(_TIMES)]
    plain, both = ([pair[i] for pair in pairs] for i in (0, 1))
    each = _frames(tile)
    return statistics.median(plain) / each, statistics.median(both) / each, each


def _frames(tile: Tile) -> int:
    return tile.last - tile.restore_first
