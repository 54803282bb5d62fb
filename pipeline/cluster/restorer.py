"""The restoring worker: a chain on a device, over one tile after another. A plain class; Ray makes an actor of it."""

from __future__ import annotations

import hashlib
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline import tables
from pipeline.cluster.work import Decoded, Picture, ReelWork, Restored
from pipeline.plan.curves import wants_survey
from pipeline.plan.make import parameters_at
from pipeline.plan.memory import CROP, spatial_tile
from pipeline.quality.changes import Borders
from pipeline.quality.figures import Meter
from pipeline.report.stills import of_tile
from pipeline.restore import view
from pipeline.restore.chain import Restorer
from pipeline.restore.device import begin_peak, device_name, peak_device_bytes
from pipeline.restore.engine import spans
from pipeline.restore.staging import Begun
from pipeline.spec import Spec
from pipeline.types import FIGURES_RADIUS, Edge, Edges, FrameFigures, Frames, NetInfo, PassPlan

DAMAGED = "damaged"
"""Flag of a frame whose source is damaged, or builds on a picture that is (``source.damaged: flag``)."""
INTERLACED = "interlaced"
"""Flag of a frame of two fields, each of which was restored by itself. Its figures are of the woven frame."""

_MOST_BEGUN = 2
"""Tiles of which the first frames are held on the device at once; many more may wait for it."""
_STARTED = 256
"""Tiles whose restoring has begun that are remembered."""
_MAXRSS = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit that the system tells a process's greatest size in."""


class TileRestorer:
    """Holds the nets of a job; every reel of the job goes through the same one."""

    def __init__(self, chain: Sequence[PassPlan], spec: Spec, nets: Mapping[str, NetInfo], device: str):
        """device: ``cpu`` or ``cuda:0`` (the one that the actor was given)."""
        self._restorer = Restorer(chain, spec.engine, nets, device)
        self._chain = chain
        self._nets = [nets[p.name] for p in chain if p.kind == "net"]
        self._begun: dict[str, Begun] = {}
        """Tile id → the frames of it that are on their way to the device, the next tile first."""
        self._started: deque[str] = deque(maxlen=_STARTED)
        """Ids of the tiles that were last restored: what is begun of those comes too late."""
        self._moved = threading.Condition()
        """Guards both; told when a tile is restored."""
        self.device = device_name(device)
        """Model of the device, for people and for the records."""

    def begin(self, work: ReelWork, decoded: Decoded) -> None:
        """Send the first frames of a tile to the device; called beside ``restore``, tile after tile in the order in
        which they are restored. Waits while two tiles have been begun and not been restored."""
        tile_id, reel = decoded.tile_id, work.plan.reel
        with self._moved:
            self._moved.wait_for(lambda: len(self._begun) < _MOST_BEGUN or tile_id in self._started)
            if tile_id in self._started:
                return
        begun = self._restorer.begin(decoded.frames, decoded.tile, reel.colour, fields=reel.interlaced)
        with self._moved:
            if tile_id not in self._started:
                self._begun[tile_id] = begun

    def restore(self, work: ReelWork, decoded: Decoded) -> Restored:
        """The tile's core, restored, with the figures of every frame."""
        began = time.perf_counter()
        begin_peak(self._restorer.device)
        if decoded.curves is None and wants_survey(self._chain):
            raise ValueError(f"tile {decoded.tile.number} came without what its passes want from the survey")
        plan, tile, frames = work.plan, decoded.tile, decoded.frames
        ends = (*range(tile.restore_first, tile.first), tile.last - 1)
        begun = self._start(decoded.tile_id)
        meter = Meter(
            frames.format,
            plan.reel.colour,
            borders=_borders(work, self._nets),
            edges=ends,
        )
        self._pass_by(meter, work, frames, range(max(tile.read_first, tile.first - FIGURES_RADIUS), tile.restore_first))
        restored = self._restorer.run(
            frames,
            tile,
            decoded.cuts,
            lambda n: parameters_at(n, self._chain, plan.overrides, decoded.curves),
            plan.reel.colour,
            lambda n, *pictures: meter.see(n, *pictures, shift=self._shift(n)),
            fields=plan.reel.interlaced,
            begun=begun,
        )
        self._pass_by(meter, work, frames, range(tile.last, min(tile.read_last, tile.last + FIGURES_RADIUS)))
        edges = [_edge(restored, meter, n) for n in ends]
        core = range(tile.first, tile.last)
        cut = {n: bool(decoded.cuts[n - tile.read_first]) for n in range(tile.read_first, tile.read_last)}
        figures = meter.figures(tile.first, tile.last, {n for n, c in cut.items() if c})
        flags = [tuple(sorted({*self._restorer.flags.get(n, ()), *_of_source(work, decoded, n)})) for n in core]
        pictures = self._pictures(work, decoded, restored, figures, flags)
        return Restored(
            tile=tile,
            tile_id=decoded.tile_id,
            frames=restored.span(tile.first, tile.last),
            figures=tuple(figures),
            edges=Edges(edges[0] if tile.overlap else None, edges[-1]),
            cuts=tuple(cut[n] for n in core),
            flags=tuple(flags),
            found=tuple(self._restorer.found.get(n, {}) for n in core),
            source_md5=decoded.source_md5,
            time_s=decoded.time_s,
            device=self.device,
            seconds={**decoded.seconds, "restore": time.perf_counter() - began},
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS,
            device_peak_bytes=peak_device_bytes(self._restorer.device),
            pictures=tuple(pictures),
        )

    def _pass_by(self, meter: Meter, work: ReelWork, frames: Frames, numbers: range) -> None:
        reel = work.plan.reel
        for n in numbers:
            meter.pass_by(n, self._restorer.planes(frames, n, reel.colour, fields=reel.interlaced))

    def _start(self, tile_id: str) -> Begun:
        """A tile's turn has come: what was begun of it. What was begun before it is of tiles that never came: what they
        were decoded to was lost."""
        with self._moved:
            self._started.append(tile_id)
            self._moved.notify_all()
            while self._begun:
                first = next(iter(self._begun))
                begun = self._begun.pop(first)
                if first == tile_id:
                    return begun
        return {}

    def _shift(self, number: int) -> tuple[float, float]:
        """Px by which the chain moved a frame."""
        found = self._restorer.found[number]
        return found.get("shift_x_px", 0.0), found.get("shift_y_px", 0.0)

    def _pictures(
        self,
        work: ReelWork,
        decoded: Decoded,
        restored: Frames,
        figures: Sequence[FrameFigures],
        flags: Sequence[Sequence[str]],
    ) -> list[Picture]:
        plan, stills = work.plan, work.spec.stills
        found = []
        for n in of_tile(plan, work.spec, decoded.tile, figures, flags):
            colour, fields = plan.reel.colour, plan.reel.interlaced
            before, after = (self._restorer.rgb(f, n, colour, fields=fields) for f in (decoded.frames, restored))
            whole = (0, 0, plan.reel.width, plan.reel.height)
            box = x, y, w, h = view.most_changed(before, after, CROP)
            kinds: tuple[tuple[tables.Kind, tables.Kind, Any], ...] = (
                ("before", "piece-before", before),
                ("after", "piece-after", after),
            )
            for kind, piece, rgb in kinds:
                found.append(Picture(n, kind, whole, view.smaller(rgb, stills.side).numpy()))
                found.append(Picture(n, piece, box, view.as_bytes(rgb[:, y : y + h, x : x + w]).numpy()))
        return found


def _edge(restored: Frames, meter: Meter, number: int) -> Edge:
    h = hashlib.sha256()
    for plane in restored.frame(number):
        h.update(np.ascontiguousarray(plane).data)
    return Edge(number, h.hexdigest(), meter.blocks(number))


def _borders(work: ReelWork, nets: Sequence[NetInfo]) -> Borders:
    """Where the nets' spatial tiles meet in the reel's picture; in a field every second line is."""
    reel, engine = work.plan.reel, work.spec.engine
    lines = 2 if reel.interlaced else 1
    height = -(-reel.height // lines)
    sides = {spatial_tile(reel.width, height, net, engine) for net in nets}
    rows = {lines * s.keep_first for side in sides for s in spans(height, side, engine.halo)[1:]}
    columns = {s.keep_first for side in sides for s in spans(reel.width, side, engine.halo)[1:]}
    return Borders(tuple(sorted(rows)), tuple(sorted(columns)))


def _of_source(work: ReelWork, decoded: Decoded, number: int) -> set[str]:
    """Flags that a frame has from its source."""
    found = {DAMAGED} if number in decoded.damaged else set()
    return found | {INTERLACED} if work.plan.reel.interlaced else found
