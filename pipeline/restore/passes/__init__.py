"""The treatments, one file each."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.restore.passes.base import Bench, Factory, Job, Pass, Restored, Spared, Through
from pipeline.restore.passes.deflicker import DeflickerPass
from pipeline.restore.passes.degrain import DegrainPass
from pipeline.restore.passes.dirt import DirtPass
from pipeline.restore.passes.duplicates import DuplicatesPass
from pipeline.restore.passes.fade import FadePass
from pipeline.restore.passes.grain import GrainPass
from pipeline.restore.passes.net import NetPass
from pipeline.restore.passes.scratches import ScratchesPass
from pipeline.restore.passes.stabilise import StabilisePass

__all__ = ["FACTORIES", "Bench", "Factory", "Job", "NetPass", "Pass", "Restored", "Spared", "Through"]

FACTORIES: Mapping[str, Factory] = {
    "net": NetPass.build,
    "deflicker": DeflickerPass.build,
    "stabilise": StabilisePass.build,
    "fade": FadePass.build,
    "dirt": DirtPass.build,
    "scratches": ScratchesPass.build,
    "degrain": DegrainPass.build,
    "grain": GrainPass.build,
    "duplicates": DuplicatesPass.build,
}
"""Pass kind → how it is built; a new treatment is added here."""
