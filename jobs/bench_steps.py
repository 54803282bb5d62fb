"""What every step of a tile's way costs when nothing else goes on: CPU seconds, single-threaded, in this process."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from pipeline.cluster import steps
from pipeline.cluster.restorer import TileRestorer
from pipeline.cluster.work import Decoded, Job, Prepared, ReelWork, Restored
from pipeline.plan import cuts
from pipeline.plan.make import chain_of
from pipeline.publish import layout
from pipeline.quality.figures import Meter
from pipeline.reel.decode import decode
from pipeline.reel.encode import encode_segment
from pipeline.reel.formats import hash_planes
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.restore.colour import Converter
from pipeline.types import Frames, Tile

T = TypeVar("T")

Per = Literal["read", "restored", "written"]
"""Which of a tile's frames a step goes through: with halo, with overlap, or its own."""

STEPS: Mapping[str, Per] = {
    "decode": "read",
    "cuts": "read",
    "hashes of the source": "written",
    "colour and chain": "restored",
    "figures": "restored",
    "encode": "written",
    "decode again, hashes": "written",
    "rows, upload, record": "written",
}
"""The steps, in order."""


def counts(tile: Tile) -> dict[Per, int]:
    """Frames of a tile that each kind of step goes through."""
    return {
        "read": tile.read_last - tile.read_first,
        "restored": tile.last - tile.restore_first,
        "written": tile.last - tile.first,
    }


class Alone:
    """Takes tiles through every step, one step after the other."""

    def __init__(self, job: Job, prepared: Prepared):
        """``job`` writes into an output of its own. Fixes this process's torch settings as a restorer does."""
        self._job, self._index, self._curves = job, prepared.index, prepared.curves
        self._work = ReelWork(steps.without_tiles(prepared.plan), job.out, job.spec, stage=False)
        self._plan = prepared.plan
        self._restorer = TileRestorer(chain_of(job.spec, job.nets), job.spec, job.nets, "cpu")
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def measure(self, number: int) -> None:
        """One tile through all steps."""
        tile, reel, spec = self._plan.tiles[number], self._plan.reel, self._job.spec
        threads = steps.threads(spec)
        spent: dict[str, float] = {}
        frames, spent["decode"] = _cpu(
            lambda: decode(reel, self._index, tile.read_first, tile.read_last, threads=threads)
        )
        found, spent["cuts"] = _cpu(lambda: cuts.find(cuts.signature(frames)))
        core = range(tile.first, tile.last)
        md5, spent["hashes of the source"] = _cpu(
            lambda: tuple(hash_planes(frames.frame(n), frames.format) for n in core)
        )
        times = tuple(float(self._index.time(n)) for n in core)
        curves = self._curves.span(tile.read_first, tile.read_last) if self._curves else None
        decoded = Decoded(tile, self._plan.tile_ids[number], frames, found, md5, times, frozenset(), {}, curves)
        restored, whole = _cpu(lambda: self._restorer.restore(self._work, decoded))
        spent["figures"] = self._figures(frames, restored)
        spent["colour and chain"] = max(0.0, whole - spent["figures"])  # of an empty chain it is next to nothing
        spent |= self._encode(restored, threads)
        for step, seconds in spent.items():
            self._seconds[step].append(seconds / counts(tile)[STEPS[step]])

    def _figures(self, before: Frames, restored: Restored) -> float:
        """The core's figures, scaled to all that the tile restores."""
        tile, reel = restored.tile, self._plan.reel
        converter = Converter(reel.format, reel.colour, "cpu")
        meter = Meter(reel.format, reel.colour)
        spent = 0.0
        for n in range(tile.first, tile.last):
            source, output = (converter.upload(f.frame(n)) for f in (before, restored.frames))
            rgb = [converter.to_rgb([p[None] for p in planes])[0] for planes in (source, output)]
            _, seconds = _cpu(partial(meter.see, n, source, output, *rgb))
            spent += seconds
        _, seconds = _cpu(lambda: meter.figures(tile.first, tile.last, ()))
        return (spent + seconds) * counts(tile)["restored"] / counts(tile)["written"]

    def _encode(self, restored: Restored, threads: int) -> dict[str, float]:
        reel, spec = self._plan.reel, self._job.spec
        with steps.scratch(spec) as folder:
            output = spec.deliver.outputs[0]
            path = folder / f"{output.name}{layout.suffix(output)}"
            _, segment = _cpu(lambda: encode_segment([restored.frames], reel, output, path, threads=threads))
            again = self._again(path, threads)
        _, whole = _cpu(lambda: steps.encode_tile(self._work, restored, 0))
        return {
            "encode": max(0.0, segment - again),
            "decode again, hashes": again,
            "rows, upload, record": max(0.0, whole - segment),
        }

    def _again(self, path: Path, threads: int) -> float:
        reel = probe(str(path), path.stem, self._job.spec.source)
        index = build(reel)
        frames, spent = _cpu(lambda: decode(reel, index, 0, len(index), threads=threads))
        _, hashed = _cpu(lambda: [hash_planes(frames.frame(n), frames.format) for n in range(len(frames))])
        return spent + hashed

    def totals(self, tiles: Sequence[Tile]) -> dict[str, float]:
        """CPU seconds of each step over all these tiles: the median of what was measured, a frame, times the frames."""
        frames: dict[Per, int] = {"read": 0, "restored": 0, "written": 0}
        for tile in tiles:
            for per, count in counts(tile).items():
                frames[per] += count
        return {step: statistics.median(self._seconds[step]) * frames[per] for step, per in STEPS.items()}

    def once(self, frames: int) -> float:
        """CPU seconds if every one of so many frames went through every step once: without halo and overlap."""
        return frames * sum(statistics.median(self._seconds[step]) for step in STEPS)


def _cpu(call: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    result = call()
    return result, time.process_time() - began
