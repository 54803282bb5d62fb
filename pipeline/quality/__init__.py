"""Figures of a frame and between frames, on torch tensors."""

from pipeline.quality.compare import compare
from pipeline.quality.figures import Meter

__all__ = ["Meter", "compare"]
