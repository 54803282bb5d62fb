"""What every column of every Parquet file is: name, type, unit and meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.types import SIGNALS

VERSION = 1
"""Of the files' layout; stands in each file's metadata under ``reelmend``, as ``<kind>/<version>``."""

FORMAT_KEY = b"reelmend"

FRACTION = "1"
"""Unit of shares and of plain numbers."""
CODE = "8-bit code"
"""Unit of levels: the 8-bit code of the same signal level, whatever the depth.

Limited range: code / 2^(depth-8), so that 10-bit 64–940 is 16–235; full range: code * 255 / (2^depth-1).
"""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: pa.DataType
    unit: str
    """``1`` where there is none, and empty for words."""
    meaning: str
    nullable: bool = False

    def field(self) -> pa.Field:
        """As Arrow has it, with ``unit`` and ``meaning`` as the field's metadata."""
        return pa.field(self.name, self.type, self.nullable, {"unit": self.unit, "meaning": self.meaning})


def schema(kind: str, columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of a kind of file."""
    return pa.schema([c.field() for c in columns], {FORMAT_KEY: f"{kind}/{VERSION}".encode()})


_INT, _REAL, _EXACT, _TEXT = pa.int64(), pa.float32(), pa.float64(), pa.string()
WORDS = pa.list_(pa.field("element", pa.string(), nullable=False))
"""A list of words, never null and without nulls."""

_DIFFERENCE = "null at the reel's start and after a cut"


def _both(name: str, unit: str, meaning: str, *, nullable: bool = False) -> list[Column]:
    """A figure of the source and the same one of the output."""
    return [
        Column(f"{name}_source", _REAL, unit, f"{meaning}, of the source", nullable),
        Column(f"{name}_output", _REAL, unit, f"{meaning}, of the restored frame before encoding", nullable),
    ]


_SIGNAL_UNITS = {"huemed": "degree", "hueavg": "degree", "vrep": FRACTION}
_SIGNAL_WORDS = {
    "min": "least",
    "low": "tenth percentile of",
    "avg": "mean of",
    "high": "ninetieth percentile of",
    "max": "greatest",
}
_CHANNELS = {"y": "luma code", "u": "Cb code", "v": "Cr code", "sat": "saturation (distance of Cb and Cr from gray)"}
_OTHER_SIGNALS = {
    "huemed": "median hue angle of Cb and Cr",
    "hueavg": "mean hue angle of Cb and Cr",
    "udif": f"mean absolute difference of Cb to the frame before; {_DIFFERENCE}",
    "vdif": f"mean absolute difference of Cr to the frame before; {_DIFFERENCE}",
    "vrep": "share of rows that repeat the fourth above",
}


def _signal(name: str) -> list[Column]:
    """A figure of FFmpeg's signalstats, of source and output."""
    meaning = _OTHER_SIGNALS.get(name)
    if meaning is None:
        channel = next(c for c in ("sat", "y", "u", "v") if name.startswith(c))
        meaning = f"{_SIGNAL_WORDS[name.removeprefix(channel)]} {_CHANNELS[channel]}"
    coloured = name not in ("ymin", "ylow", "yhigh", "ymax", "vrep")
    why = "; null without colour" if coloured else ""
    return [
        Column(f"{name}_{stream}", _REAL, _SIGNAL_UNITS.get(name, CODE), f"{said} ({name.upper()}){why}", True)
        for stream, said in (
            ("source", f"{meaning}, of the source, as FFmpeg's signalstats"),
            ("output", f"{meaning}, of the restored frame before encoding, as FFmpeg's signalstats"),
        )
    ]


FRAME_COLUMNS: tuple[Column, ...] = (
    Column("reel", _TEXT, "", "name of the reel"),
    Column("frame", _INT, "frame", "number of the frame in presentation order of the whole source, from 0"),
    Column("pts", _INT, "tick", "presentation time in ticks of the source's time base"),
    Column("time_s", _EXACT, "s", "presentation time, snapped to the exact rate where the rate is constant"),
    Column("timecode", _TEXT, "", "SMPTE timecode of the frame where the source carries one", True),
    Column("shot", _INT, "shot", "number of the shot that the frame is in, from 0"),
    Column("tile", _INT, "tile", "number of the temporal tile that the frame was restored in, from 0"),
    Column("source_md5", _TEXT, "", "MD5 of the decoded source frame in its own pixel format, as FFmpeg's framemd5"),
    Column("output_md5", _TEXT, "", "MD5 of the decoded frame of the first deliverable, as FFmpeg's framemd5"),
    Column("psnr_db", _REAL, "dB", "output against source over the code values of all components; 100 where equal"),
    Column(
        "ssim",
        _REAL,
        FRACTION,
        "structural similarity of luma to the source (Wang et al. 2004); 1 where equal",
    ),
    Column("touched_fraction", _REAL, FRACTION, "share of pixels where any code value differs"),
    Column(
        "changed_fraction",
        _REAL,
        FRACTION,
        "share of pixels where code values differ and an RGB channel moves by more than 4/255 of full range",
    ),
    *_both("luma", CODE, "mean of luma (Y; of RGB, the BT.709 luma)"),
    *_both("flicker", CODE, f"change of mean luma from the frame before; {_DIFFERENCE}", nullable=True),
    *_both("ydif", CODE, f"mean absolute difference of luma to the frame before; {_DIFFERENCE}", nullable=True),
    *_both(
        "tout",
        FRACTION,
        "share of pixels that stand out from the rows around them, at 8 bits as FFmpeg's signalstats TOUT",
        nullable=True,
    ),
    *_both(
        "brng",
        FRACTION,
        "share of pixels outside broadcast range, as FFmpeg's signalstats BRNG; 0 of gray and RGB",
        nullable=True,
    ),
    *_both("noise", CODE, "standard deviation of luma noise (Immerkaer 1996, median of 16x16 px blocks)"),
    *_both("sharpness", "1/px", "rms Sobel gradient of luma over its standard deviation, white noise taken off"),
    *_both(
        "warp_error",
        CODE,
        "mean absolute difference of luma to the frame before along the source's optical flow, on a picture reduced to "
        f"about 320 px of width; {_DIFFERENCE}",
        nullable=True,
    ),
    Column(
        "dirt_fraction",
        _REAL,
        FRACTION,
        "share of pixels in spots of this frame alone: what the pass dirt repaired, or, where none judged the frame, "
        "what was measured in the source; 0 in a shot's first and last frame",
    ),
    Column(
        "scratch_columns",
        _INT,
        "px",
        "columns of upright lines that the scene moves behind: what the pass scratches repaired, or, where none judged "
        "the frame, what was measured in the source; 0 in a shot of fewer than three frames",
    ),
    Column("shift_x_px", _REAL, "px", "shift to the right that was applied to steady the frame; 0 where none was"),
    Column("shift_y_px", _REAL, "px", "shift downwards that was applied to steady the frame; 0 where none was"),
    Column(
        "gain_stops",
        _REAL,
        "stop",
        "base-2 logarithm of what the frame's mean level was multiplied by to even out flicker; 0 where nothing was",
    ),
    *(column for name in SIGNALS for column in _signal(name)),
    Column("black_fraction", _REAL, FRACTION, "share of source pixels whose luma is below a tenth of the range", True),
    Column(
        "unsupported_fraction",
        _REAL,
        FRACTION,
        "share of the picture, reduced to about 320 px of width, that was changed by more than 24 8-bit codes though "
        f"the frame before, along the source's optical flow, shows there what the source does; {_DIFFERENCE}",
        True,
    ),
    Column(
        "seam_space",
        _REAL,
        CODE,
        "step of the change across the worst border between spatial tiles, beyond what it does beside it; null where "
        "the frame was restored in one piece",
        True,
    ),
    Column(
        "seam_time",
        _REAL,
        CODE,
        "greatest difference of block means between two restorations of the frame before a tile's first, by the tile "
        "before and by its own; 0 where they are equal bit for bit; null elsewhere",
        True,
    ),
    Column("flags", WORDS, "", "names of the rules that the frame met; empty where none"),
    Column("net", _TEXT, "", "nets of the chain, joined by +; null where no net ran", True),
    Column("weights_sha256", _TEXT, "", "sha256 of those nets' weights, joined by +; null where no net ran", True),
    Column("device", _TEXT, "", "model of the device that restored the frame"),
    Column("seconds", _REAL, "s", "share of its tile's restoring time"),
)
"""The columns of ``frames.parquet``, in order. Names, types and order are kept stable."""

CUT_COLUMN = Column("cut", pa.bool_(), "", "the picture changes before this frame")

INDEX_COLUMNS: tuple[Column, ...] = (
    Column("pts", _INT, "tick", "presentation time in ticks of the time base; strictly rising"),
    Column("key", pa.bool_(), "", "decoding may start at this frame"),
    Column("position", _INT, "byte", "offset of the frame's packet in the source; -1 where the container does not say"),
    Column("size", _INT, "byte", "size of the packet"),
    Column("version", _INT, "", "of a file of its own: 63 bits of a hash of its name, size and ETag or mtime; else 0"),
)


def _numbered(name: str, count: int, unit: str, meaning: str) -> list[Column]:
    return [Column(f"{name}_{i:02d}", _REAL, unit, f"{meaning}, number {i}") for i in range(count)]


SURVEY_COLUMNS: tuple[Column, ...] = (
    Column("frame", _INT, "frame", "number of the frame in presentation order, from 0"),
    CUT_COLUMN,
    *_numbered("levels", 15, FRACTION, "level that a share of the pixels' luma stays below, 0 black and 1 white"),
    *_numbered("colours", 15, FRACTION, "the same of R, G and B in turn, five shares each"),
    Column("shift_00", _REAL, "px", "way to the right that the picture went since the frame before"),
    Column("shift_01", _REAL, "px", "way downwards"),
    Column(
        "confidence", _REAL, FRACTION, "correlation of the two frames once this way is taken off, outliers left out"
    ),
    Column("still", _REAL, FRACTION, "share of its textured blocks that went this way and no other"),
    Column("change", _REAL, FRACTION, "mean absolute difference of luma to the frame before"),
    *_numbered("gains", 16, FRACTION, "logarithm of a block's brightness over the frame before's, 4 x 4 row by row"),
)
"""The columns of a span's ``survey`` file."""

_IDENTITY = frozenset(("frame", "pts", "time_s", "shot", "tile", "seconds"))
FIGURES: tuple[str, ...] = tuple(
    c.name for c in FRAME_COLUMNS if c.type in (_INT, _REAL, _EXACT) and c.name not in _IDENTITY
)
"""The measured columns, of which reports give means."""


def _mean(name: str) -> Column:
    column = next(c for c in FRAME_COLUMNS if c.name == name)
    return Column(name, _REAL, column.unit, f"mean over the shot's frames that have it: {column.meaning}", True)


SHOT_COLUMNS: tuple[Column, ...] = (
    Column("reel", _TEXT, "", "name of the reel"),
    Column("shot", _INT, "shot", "number of the shot, from 0"),
    Column("first", _INT, "frame", "number of the shot's first frame"),
    Column("last", _INT, "frame", "number of the frame after the shot's last"),
    Column("frames", _INT, "frame", "number of frames"),
    Column("time_s", _EXACT, "s", "presentation time of the first frame"),
    Column("touched_frames", _INT, "frame", "frames of which any code value changed"),
    Column("flagged_frames", _INT, "frame", "frames that carry a flag"),
    Column("psnr_min_db", _REAL, "dB", "the shot's most changed frame by PSNR"),
    Column("flags", WORDS, "", "flags of any of its frames; empty where none"),
    *(_mean(name) for name in FIGURES),
)

TILE_COLUMNS: tuple[Column, ...] = (
    Column("reel", _TEXT, "", "name of the reel"),
    Column("tile", _INT, "tile", "number of the temporal tile, from 0"),
    Column(
        "tile_id", _TEXT, "", "sha256 over the tile's source frames, parameters, passes, weights and engine version"
    ),
    Column("first", _INT, "frame", "number of the tile's first frame"),
    Column("last", _INT, "frame", "number of the frame after the tile's last"),
    Column("frames", _INT, "frame", "number of frames"),
    Column("bytes", _INT, "byte", "size of the tile's encoded segments, all deliverables"),
    Column("host", _TEXT, "", "machine that recorded the tile"),
    Column("device", _TEXT, "", "model of the device that restored it"),
    Column("tries", _INT, "1", "attempts that it took"),
    Column("peak_bytes", _INT, "byte", "most memory that its restoring process had held by then; 0 where not known"),
    Column("device_peak_bytes", _INT, "byte", "most memory that it took on its GPU; 0 on a CPU"),
    Column("finished", _TEXT, "", "when it was recorded, ISO 8601 in UTC"),
    Column("flags", WORDS, "", "flags of any of its frames; empty where none"),
)

TEXT_PATHS: tuple[str, ...] = tuple(
    dict.fromkeys(
        f"{c.name}.list.element" if c.type == WORDS else c.name
        for c in (*FRAME_COLUMNS, *SHOT_COLUMNS, *TILE_COLUMNS)
        if c.type in (WORDS, _TEXT)
    )
)
"""Where strings lie in any of the files, as Parquet names the places."""

_STEP = re.compile(r"[a-z][a-z0-9_]{0,31}")


def step_columns(steps: Sequence[str]) -> list[Column]:
    """Columns for the times of a tile's steps: ``decode`` becomes ``decode_s``. ValueError where a name is no word."""
    bad = next((s for s in steps if not _STEP.fullmatch(s)), None)
    if bad is not None:
        raise ValueError(bad[:64])
    return [Column(f"{s}_s", _REAL, "s", f"wall time of the step {s}; null where it did not run", True) for s in steps]
