"""Figures of frames, and the rows that hold them."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.types.ids import Md5, Sha256

SIGNALS: tuple[str, ...] = (
    *("ymin", "ylow", "yhigh", "ymax"),
    *("umin", "ulow", "uavg", "uhigh", "umax"),
    *("vmin", "vlow", "vavg", "vhigh", "vmax"),
    *("satmin", "satlow", "satavg", "sathigh", "satmax"),
    *("huemed", "hueavg", "udif", "vdif", "vrep"),
)
"""What FFmpeg's signalstats tells beyond YAVG (``luma``), YDIF (``ydif``), TOUT and BRNG, which have fields of their
own: in this order. Levels are in 8-bit codes as the columns' are, hues in degrees, ``vrep`` is a share."""

FIGURES_RADIUS = 2
"""Frames on each side of one that its figures look at, at most."""

Signals = tuple[float | None, ...]
"""A value for each of ``SIGNALS``; None where the picture has no chroma, or the difference no frame before it."""

NO_SIGNALS: Signals = (None,) * len(SIGNALS)


@dataclass(frozen=True, slots=True)
class FrameFigures:
    """Figures of one restored frame before encoding, and of its source. None: no frame stands before it in the shot."""

    psnr_db: float
    """Output against source over all components' code values, dB; 100 where they are equal."""
    ssim: float
    touched_fraction: float
    changed_fraction: float
    luma_source: float
    luma_output: float
    flicker_source: float | None
    flicker_output: float | None
    ydif_source: float | None
    ydif_output: float | None
    noise_source: float
    noise_output: float
    sharpness_source: float
    sharpness_output: float
    tout_source: float
    tout_output: float
    brng_source: float
    brng_output: float
    signals_source: Signals
    signals_output: Signals
    warp_error_source: float | None
    warp_error_output: float | None
    dirt_fraction: float
    """Of the source, as ``scratch_columns``; what a pass found where one looks for the same comes before it."""
    scratch_columns: int
    black_fraction: float
    unsupported_fraction: float | None
    seam_space: float | None
    """None: the frame was restored in one piece."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A restored frame next to a border between two tiles: how the two restorations of it are held together."""

    frame: int
    sha256: Sha256
    """Over its native planes."""
    blocks: tuple[float, ...]
    """Mean luma of its blocks, row by row, in 8-bit codes."""


@dataclass(frozen=True, slots=True)
class Edges:
    """A tile's two: the overlap frame, which the tile before it writes, and its own last frame."""

    overlap: Edge | None
    """None at the reel's start."""
    last: Edge


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One row of ``frames.parquet``; the columns' units and meanings stand in ``tables/schema.py``. None is null."""

    reel: str
    frame: int
    pts: int
    time_s: float
    timecode: str | None
    shot: int
    tile: int
    cut: bool
    """Not a column: the picture changes before this frame. Shots are numbered from it when tiles are joined."""
    source_md5: Md5
    output_md5: Md5
    psnr_db: float
    ssim: float
    touched_fraction: float
    changed_fraction: float
    luma_source: float
    luma_output: float
    flicker_source: float | None
    flicker_output: float | None
    ydif_source: float | None
    ydif_output: float | None
    noise_source: float
    noise_output: float
    sharpness_source: float
    sharpness_output: float
    net: str | None
    weights_sha256: str | None
    device: str
    seconds: float
    tout_source: float | None = None
    tout_output: float | None = None
    brng_source: float | None = None
    brng_output: float | None = None
    warp_error_source: float | None = None
    warp_error_output: float | None = None
    dirt_fraction: float = 0.0
    scratch_columns: int = 0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    gain_stops: float = 0.0
    signals_source: Signals = NO_SIGNALS
    signals_output: Signals = NO_SIGNALS
    black_fraction: float | None = None
    unsupported_fraction: float | None = None
    seam_space: float | None = None
    seam_time: float | None = None
    """Known when tiles are joined."""
    flags: tuple[str, ...] = ()
