"""The treatments, one file each."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.restore.passes.base import Bench, Factory, Job, Pass, Restored
from pipeline.restore.passes.net import NetPass

__all__ = ["FACTORIES", "Bench", "Factory", "Job", "NetPass", "Pass", "Restored"]

FACTORIES: Mapping[str, Factory] = {"net": NetPass.build}
"""Pass kind → how it is built; a new treatment is added here."""
