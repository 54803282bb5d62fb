"""The restoring worker: a chain on a device, over one tile after another. A plain class; Ray makes an actor of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pipeline.cluster.work import Decoded, ReelWork, Restored
from pipeline.plan.curves import wants_survey
from pipeline.plan.make import parameters_at
from pipeline.quality.figures import Meter
from pipeline.restore.chain import Restorer
from pipeline.restore.device import device_name
from pipeline.spec import Spec
from pipeline.types import NetInfo, PassPlan

DAMAGED = "damaged"
"""Flag of a frame whose source is damaged, or builds on a picture that is (``source.damaged: flag``)."""
INTERLACED = "interlaced"
"""Flag of a frame of two fields, each of which was restored by itself. Its figures are of the woven frame."""


class TileRestorer:
    """Holds the nets of a job; every reel of the job goes through the same one."""

    def __init__(self, chain: Sequence[PassPlan], spec: Spec, nets: Mapping[str, NetInfo], device: str):
        """device: ``cpu`` or ``cuda:0`` (the one that the actor was given)."""
        self._restorer = Restorer(chain, spec.engine, nets, device)
        self._chain = chain
        self.device = device_name(device)
        """Model of the device, for people and for the records."""

    def restore(self, work: ReelWork, decoded: Decoded) -> Restored:
        """The tile's core, restored, with the figures of every frame."""
        began = time.perf_counter()
        if decoded.curves is None and wants_survey(self._chain):
            raise ValueError(f"tile {decoded.tile.number} came without what its passes want from the survey")
        plan, tile, frames = work.plan, decoded.tile, decoded.frames
        meter = Meter(frames.format, plan.reel.colour)
        restored = self._restorer.run(
            frames,
            tile,
            decoded.cuts,
            lambda n: parameters_at(n, self._chain, plan.overrides, decoded.curves),
            plan.reel.colour,
            meter.see,
            fields=plan.reel.interlaced,
        )
        core = range(tile.first, tile.last)
        cut = {n: bool(decoded.cuts[n - tile.read_first]) for n in core}
        figures = meter.figures(tile.first, tile.last, {n for n, c in cut.items() if c})
        return Restored(
            tile=tile,
            tile_id=decoded.tile_id,
            frames=restored.span(tile.first, tile.last),
            figures=tuple(figures),
            cuts=tuple(cut[n] for n in core),
            flags=tuple(tuple(sorted({*self._restorer.flags.get(n, ()), *_of_source(work, decoded, n)})) for n in core),
            found=tuple(self._restorer.found.get(n, {}) for n in core),
            source_md5=decoded.source_md5,
            time_s=decoded.time_s,
            device=self.device,
            seconds={**decoded.seconds, "restore": time.perf_counter() - began},
        )


def _of_source(work: ReelWork, decoded: Decoded, number: int) -> set[str]:
    """Flags that a frame has from its source."""
    found = {DAMAGED} if number in decoded.damaged else set()
    return found | {INTERLACED} if work.plan.reel.interlaced else found
