"""Frames that repeat the one before: told, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.restore.passes.base import Bench, Job, Restored
from pipeline.types import PassPlan

DUPLICATE = "duplicate"
"""Flag of a frame that repeats the one before it."""


class DuplicatesPass:
    """See ``treatments.DuplicatesPass``."""

    radius = 0
    group = 1

    @classmethod
    def build(cls, plan: PassPlan, bench: Bench) -> DuplicatesPass:  # noqa: ARG003
        """As every factory."""
        return cls()

    def reset(self) -> None:
        """It keeps nothing."""

    def restore(self, jobs: Sequence[Job]) -> list[Restored]:
        return [
            Restored(j.window[0], marks=frozenset({DUPLICATE} if j.parameters.get("duplicate", 0.0) > 0 else ()))
            for j in jobs
        ]
