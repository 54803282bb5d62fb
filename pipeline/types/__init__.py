"""The frozen records that pass between rooms. numpy at most: no torch, no av, no pyarrow here.

Frame spans are half-open ``[first, last)``. Frame numbers are presentation order from 0, over the whole source.
"""

from pipeline.types.figures import FIGURES_RADIUS, NO_SIGNALS, SIGNALS, Edge, Edges, FrameFigures, FrameRow, Signals
from pipeline.types.frames import Component, Frames, PixelFormat, PlaneLayout
from pipeline.types.ids import ENGINE_VERSION, Md5, Sha256
from pipeline.types.plan import Curves, FrameParameters, NetInfo, Override, PassPlan, Plan, Shot, Tile
from pipeline.types.records import OutcomeStatus, ReelOutcome, Segment, StillsFile, TileRecord
from pipeline.types.reel import Colour, FrameIndex, ImageSequence, Mastering, OtherStream, Reel
from pipeline.types.survey import COLOUR_LEVELS, LUMA_LEVELS, Survey

__all__ = [
    "COLOUR_LEVELS",
    "ENGINE_VERSION",
    "FIGURES_RADIUS",
    "LUMA_LEVELS",
    "NO_SIGNALS",
    "SIGNALS",
    "Colour",
    "Component",
    "Curves",
    "Edge",
    "Edges",
    "FrameFigures",
    "FrameIndex",
    "FrameParameters",
    "FrameRow",
    "Frames",
    "ImageSequence",
    "Mastering",
    "Md5",
    "NetInfo",
    "OtherStream",
    "OutcomeStatus",
    "Override",
    "PassPlan",
    "PixelFormat",
    "Plan",
    "PlaneLayout",
    "Reel",
    "ReelOutcome",
    "Segment",
    "Sha256",
    "Shot",
    "Signals",
    "StillsFile",
    "Survey",
    "Tile",
    "TileRecord",
]
