"""From what a reel is and what a job says to tiles with every parameter fixed. Pure: no I/O, no Ray, no torch."""

from pipeline.plan.document import from_json, to_json
from pipeline.plan.make import make_plan

__all__ = ["from_json", "make_plan", "to_json"]
