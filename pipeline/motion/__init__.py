"""How pictures move: dense optical flow, global shifts, warping, and what hangs together in them.

OpenCV's only home. numpy float32 in and out. Everything here is a pure function of its pictures, as long as the process
keeps the number of threads that ``settle`` set: OpenCV's flow is split into as many stripes as there are threads, and
rounds otherwise at their borders.
"""

from pipeline.motion.flow import Flow, disagreement, flow, settle, warp, warp_at
from pipeline.motion.regions import (
    Regions,
    beyond,
    envelope,
    found_nearby,
    grow,
    match,
    match_anew,
    mean,
    mean_outside,
    regions,
)
from pipeline.motion.shift import Aligned, align, moved

__all__ = [
    "Aligned",
    "Flow",
    "Regions",
    "align",
    "beyond",
    "disagreement",
    "envelope",
    "flow",
    "found_nearby",
    "grow",
    "match",
    "match_anew",
    "mean",
    "mean_outside",
    "moved",
    "regions",
    "settle",
    "warp",
    "warp_at",
]
