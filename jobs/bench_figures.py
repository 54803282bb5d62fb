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
_GOAL = 0.10


def figures(folder: Path, *, width: int = _SIZE[0], height: int = _SIZE[1], frames: int = _FRAMES) -> Part:
    """The goal of less than a tenth of the restoration's time, with the net ``nafnet-film``, one thread each."""
    film = write_film(folder / "film.mkv", frames=frames, width=width, height=height)
    said = spec.Spec()
    nets = {"net": weights.resolve(spec.NetPass())}
    reel = probe(str(film), film.stem, said.source)
    plan = make_plan(reel, build(reel), said, nets)
    device = available()
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
    share = statistics.median(both) / statistics.median(plain) - 1
    return Part(
        "figures",
        "Figures",
        f"{each} frames of {width}×{height} px (RGB of 10 bit) through `nafnet-film` on {device}, with every figure of "
        f"`frames.parquet` taken and without: medians of {_TIMES}.",
        [
            Figure("restoring a frame, no figures", f"{statistics.median(plain) / each * 1000:.0f} ms"),
            Figure("with figures", f"{statistics.median(both) / each * 1000:.0f} ms"),
            Figure("the figures' cost", f"{share:.1%} of the restoration", f"≤ {_GOAL:.0%}", share <= _GOAL),
        ],
    )


def _frames(tile: Tile) -> int:
    return tile.last - tile.restore_first
