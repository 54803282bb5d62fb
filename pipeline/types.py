"""The frozen records that pass between rooms. numpy at most: no torch, no av, no pyarrow here.

Frame spans are half-open ``[first, last)``. Frame numbers are presentation order from 0, over the whole source.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ENGINE_VERSION = 4
"""Raised whenever the same job would give other pictures; part of every tile's id."""

Sha256 = str
Md5 = str


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """One plane of a pixel format, as FFmpeg lays it out."""

    log2_w: int
    """log2 of the horizontal subsampling; the plane is ceil(width / 2**log2_w) positions wide."""
    log2_h: int
    """log2 of the vertical subsampling."""
    samples: int
    """Interleaved samples a position: 1 if planar, 2 for nv12's chroma, 3 for rgb24, 4 for bgr0 (padding counts)."""


@dataclass(frozen=True, slots=True)
class Component:
    """Where one colour component lies."""

    plane: int
    sample: int
    """Which of the plane's interleaved samples."""
    shift: int
    """Bits that the code value is shifted left in its sample (6 for p010, else 0)."""
    depth: int
    """Bits of the code value."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """A pixel format: what FFmpeg's descriptor says, without FFmpeg."""

    name: str
    """FFmpeg's name, e.g. ``yuv422p10le``."""
    model: Literal["gray", "yuv", "rgb"]
    depth: int
    """Bits a code value (8–16; of floats 16 or 32)."""
    planes: tuple[PlaneLayout, ...]
    components: tuple[Component, ...]
    """Y · Y, Cb, Cr · R, G, B — in that order, whatever the order in memory."""
    alpha: Component | None = None
    """Carried, never restored."""
    is_float: bool = False
    """Whether samples are floats of ``depth`` bits (16 or 32), not whole numbers: black 0, white 1, any other value."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """``uint8`` up to 8 bits, else native-endian ``uint16``; of floats ``float16`` or ``float32``."""
        if self.is_float:
            return np.dtype(np.float16 if self.depth == 16 else np.float32)
        return np.dtype(np.uint8 if self.depth <= 8 else np.uint16)

    def plane_shape(self, plane: int, width: int, height: int) -> tuple[int, ...]:
        """Shape of one frame's plane: ``(h, w)``, or ``(h, w, samples)`` where samples are interleaved."""
        p = self.planes[plane]
        shape = (-(-height >> p.log2_h), -(-width >> p.log2_w))
        return shape if p.samples == 1 else (*shape, p.samples)

    def parts_into_fields(self, height: int) -> bool:
        """Whether each field of an interlaced frame of so many lines has the chroma lines that its luma lines want."""
        return all(height % (2 << p.log2_h) == 0 for p in self.planes if p.log2_h)

    def frame_bytes(self, width: int, height: int) -> int:
        """Bytes of one frame's native planes, without line padding."""
        shapes = (self.plane_shape(i, width, height) for i in range(len(self.planes)))
        return sum(int(np.prod(s)) for s in shapes) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Frames:
    """A run of consecutive frames as native planes. Arrays may be read-only (shared memory): never write into them."""

    planes: tuple[NDArray[Any], ...]
    """One array a plane: ``(N, h, w)`` or ``(N, h, w, samples)``, dtype ``format.dtype``."""
    format: PixelFormat
    first: int
    """Number of the first frame."""
    pts: NDArray[np.int64]
    """(N,) presentation times in ticks of the source's time base."""

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def last(self) -> int:
        return self.first + len(self)

    @property
    def nbytes(self) -> int:
        return sum(p.nbytes for p in self.planes)

    def span(self, first: int, last: int) -> Frames:
        """The frames ``[first, last)`` by frame number, as views."""
        if not self.first <= first <= last <= self.last:
            raise ValueError(f"span {first}:{last} is not inside the frames {self.first}:{self.last}")
        a, b = first - self.first, last - self.first
        return Frames(tuple(p[a:b] for p in self.planes), self.format, first, self.pts[a:b])

    def frame(self, number: int) -> tuple[NDArray[Any], ...]:
        """The native planes of one frame, without the leading axis."""
        i = number - self.first
        if not 0 <= i < len(self):
            raise ValueError(f"frame {number} is not inside {self.first}:{self.last}")
        return tuple(p[i] for p in self.planes)


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour tags as the source carries them (FFmpeg's names, ``unknown`` where untagged), and what we use."""

    matrix: str
    range: str
    primaries: str
    transfer: str
    chroma_location: str
    matrix_used: Literal["rgb", "gray", "bt601", "bt709", "bt2020"]
    full_range_used: bool
    assumed: tuple[str, ...] = ()
    """One sentence for each thing that the source does not say and that we assumed."""
    transfer_used: Literal["display", "log", "linear"] = "display"
    """How values are read for the nets: as shown, as a film scan's printing density (Cineon), or as light."""


@dataclass(frozen=True, slots=True)
class OtherStream:
    """A stream that is carried over untouched (audio, subtitle, attachment, data, second picture)."""

    index: int
    kind: str
    codec: str
    language: str | None
    detail: str
    """For people: ``pcm_s16le 48000 Hz stereo``."""
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mastering:
    """What a picture was graded on, and how bright it gets. None: not said."""

    primaries: tuple[Fraction, ...] | None
    """CIE 1931 x and y of the display's red, green, blue and white, in this order (SMPTE ST 2086)."""
    luminance: tuple[Fraction, Fraction] | None
    """Least and greatest of the display, cd/m²."""
    light: tuple[int, int] | None
    """MaxCLL and MaxFALL, cd/m² (CTA-861.3)."""


@dataclass(frozen=True, slots=True)
class ImageSequence:
    """How the files of a folder of numbered images are called, one a frame."""

    prefix: str
    digits: int
    """Least digits of a number; it is filled up with zeros to that."""
    suffix: str
    """What follows the number: ``.dpx``, ``_left.tif``."""
    first: int
    """Number in the name of frame 0."""
    beside: tuple[str, ...] = ()
    """Names of other files in the folder, which are not carried; the first few."""
    header: str = ""
    """What every file's DPX header must say alike, as ``name=value`` with spaces between; else empty."""
    left_out: tuple[str, ...] = ()
    """A sentence for each thing that is in the first file and not in its picture."""

    @property
    def not_carried(self) -> list[str]:
        """Sentences on all of the folder that no deliverable holds."""
        beside = [
            f"The file {name} beside the images is no frame of the film and is not carried" for name in self.beside
        ]
        return beside + list(self.left_out)

    def file(self, frame: int) -> str:
        """Name of a frame's file below the folder."""
        return f"{self.prefix}{self.first + frame:0{self.digits}d}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Reel:
    """What a source is, from its headers, within ``probe``'s bounds."""

    name: str
    """Path below the common folder of the sources, without suffix; also its folder below OUT."""
    uri: str
    source_id: str
    """sha256 over uri, size and ETag or mtime: another file under the same name is another source."""
    bytes: int
    container: str
    stream: int
    """Index of the picture stream in the container."""
    codec: str
    width: int
    height: int
    format: PixelFormat
    rate: Fraction
    """Frames a second, exact."""
    time_base: Fraction
    sample_aspect: Fraction
    colour: Colour
    field_order: str
    """``progressive``, ``tt``, ``bb``, ``tb``, ``bt`` or ``unknown``."""
    timecode: str | None
    others: tuple[OtherStream, ...]
    tags: tuple[tuple[str, str], ...]
    """The container's own metadata."""
    picture_tags: tuple[tuple[str, str], ...] = ()
    """The picture stream's metadata."""
    display_matrix: tuple[int, ...] | None = None
    """How the picture is turned or mirrored for display, 3×3 as ISO/IEC 14496-12 has it (16.16, last column 2.30);
    None: shown as it lies. Pictures are restored as they lie, and the tag is carried."""
    sequence: ImageSequence | None = None
    """Where the source is a folder of numbered images; its ``uri`` is the folder's, with a slash at the end."""
    mastering: Mastering | None = None

    @property
    def base_name(self) -> str:
        return self.name.rsplit("/", 1)[-1]

    @property
    def interlaced(self) -> bool:
        """Whether a frame holds two fields, which were taken one after the other."""
        return self.field_order in ("tt", "bb", "tb", "bt")

    @property
    def rotation(self) -> float:
        """Degrees counter-clockwise by which the picture is turned for display."""
        if self.display_matrix is None:
            return 0.0
        a, b, _, c, d, *_ = self.display_matrix
        across, down = math.hypot(a, c), math.hypot(b, d)
        return -math.degrees(math.atan2(b / down, a / across)) if across and down else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """Frame number ↔ pts ↔ key frame ↔ byte span; one entry a frame, in presentation order."""

    pts: NDArray[np.int64]
    """(N,) strictly rising, in ticks of ``time_base``."""
    key: NDArray[np.bool_]
    """(N,) decoding may start here."""
    position: NDArray[np.int64]
    """(N,) byte offset of the frame's packet in the source; -1 where the container does not say. By cues: of its
    cluster."""
    size: NDArray[np.int64]
    """(N,) bytes of the packet. By cues: to the next one's place, with the sound between them."""
    time_base: Fraction
    rate: Fraction
    constant: bool
    """Every pts is the tick of ``start + n / rate`` to within one tick."""
    found_by: Literal["table", "cues", "demux", "listing"]
    version: NDArray[np.int64] | None = None
    """Of a folder of images: (N,) 63 bits of a hash of each file's name, size and ETag or mtime; else None."""

    def __len__(self) -> int:
        return len(self.pts)

    def time(self, number: int) -> Fraction:
        """Presentation time of a frame in seconds: snapped to the exact rate where the rate is constant."""
        if self.constant:
            return int(self.pts[0]) * self.time_base + number / self.rate
        return int(self.pts[number]) * self.time_base

    def decode_start(self, number: int) -> int:
        """The key frame from which decoding must start to get frame ``number``."""
        keys = np.flatnonzero(self.key[: number + 1])
        return int(keys[-1]) if len(keys) else 0

    @property
    def digest(self) -> Sha256:
        """sha256 over every entry: two sources with equal digests have the same packets at the same places."""
        h = hashlib.sha256(f"{self.time_base} {self.rate} {self.constant}".encode())
        for a in (self.pts, self.key, self.position, self.size, self.version):
            if a is not None:
                h.update(np.ascontiguousarray(a).tobytes())
        return h.hexdigest()


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames between two cuts."""

    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Tile:
    """A run of frames that is restored as one unit."""

    number: int
    first: int
    last: int
    """The core ``[first, last)``, which is written."""
    overlap: int
    """Frames before the core that are restored but not written (0 at the start of the reel, else 1)."""
    head: int
    """Frames before the overlap that are only read."""
    tail: int
    """Frames after the core that are only read."""

    @property
    def read_first(self) -> int:
        return self.first - self.overlap - self.head

    @property
    def read_last(self) -> int:
        return self.last + self.tail

    @property
    def restore_first(self) -> int:
        return self.first - self.overlap


@dataclass(frozen=True, slots=True)
class PassPlan:
    """One pass of the chain with everything fixed."""

    name: str
    """Unique in the chain; how ``shots:`` addresses it."""
    kind: str
    """Which treatment: ``net``…"""
    radius: int
    settings: Mapping[str, Any]
    """What holds for the whole reel (JSON values): weights, tlc, …"""
    parameters: Mapping[str, float]
    """What may change from frame to frame, with the value that holds where no override says otherwise."""
    weights_sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """A ``shots:`` entry: other parameters for the frames ``[first, last)``."""

    first: int
    last: int
    skip: bool
    parameters: Mapping[str, Mapping[str, float]]
    """pass name → parameter → value."""


@dataclass(frozen=True, slots=True)
class NetInfo:
    """A net's weights as the registry knows them: enough to plan with, without torch."""

    name: str
    """Registry name, or the file's base name."""
    uri: str
    """Where the bytes are: a path of the package, of the cache, or a URI."""
    sha256: Sha256
    family: Literal["nafnet", "mprnet", "external"]
    config: Mapping[str, Any]
    """What ``nets.build`` takes; of an external net, one of another architecture: ``arch``, and ``library``, whose code
    it is, with its version."""
    radius: int
    """Frames that the net reads on each side of the one it restores."""
    licence: str
    restricted: bool
    """The licence must be accepted in the spec before use."""
    train_size: tuple[int, int] | None
    """[height, width] in px that the weights were trained at, where it is known."""
    parameter_bytes: int
    activation_bytes_px: float
    """Peak bytes of float32 activations for a pixel of the picture, frames in a call = 1."""


SIGNALS: tuple[str, ...] = (
    *("ymin", "ylow", "yhigh", "ymax"),
    *("umin", "ulow", "uavg", "uhigh", "umax"),
    *("vmin", "vlow", "vavg", "vhigh", "vmax"),
    *("satmin", "satlow", "satavg", "sathigh", "satmax"),
    *("huemed", "hueavg", "udif", "vdif", "vrep"),
)
"""What FFmpeg's signalstats tells beyond YAVG (``luma``), YDIF (``ydif``), TOUT and BRNG, which have fields of their
own: in this order. Levels are in 8-bit codes as the columns' are, hues in degrees, ``vrep`` is a share."""

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


FrameParameters = Mapping[str, Mapping[str, float]]
"""What one frame's passes get: pass name → parameter → value."""


LUMA_LEVELS: tuple[float, ...] = (0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Shares of a picture's pixels whose levels a survey tells: its inverse distribution of luma."""
COLOUR_LEVELS: tuple[float, ...] = (0.005, 0.02, 0.5, 0.98, 0.995)
"""The same of each of R, G and B."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Signals of the frames ``[first, first + N)``. Levels: 0 black, 1 white of the nominal range."""

    first: int
    cut: NDArray[np.bool_]
    """(N,) the picture changes before the frame."""
    levels: NDArray[np.float32]
    """(N, 15) the luma that LUMA_LEVELS of the pixels stay below."""
    colours: NDArray[np.float32]
    """(N, 15) the same of COLOUR_LEVELS for R, then G, then B."""
    shift: NDArray[np.float32]
    """(N, 2) px to the right and downwards by which the picture moved since the frame before; 0 for the reel's first,
    and without meaning after a cut."""
    confidence: NDArray[np.float32]
    """(N,) correlation of the two frames once this shift is taken off, outliers left out, 0 to 1."""
    still: NDArray[np.float32]
    """(N,) share of its textured blocks that moved by this shift and no other, 0 to 1."""
    change: NDArray[np.float32]
    """(N,) mean absolute difference of luma to the frame before."""
    gains: NDArray[np.float32]
    """(N, 16) natural logarithm of the brightness over the frame before's, in 4 × 4 blocks, row by row."""

    def __len__(self) -> int:
        return len(self.cut)

    @property
    def last(self) -> int:
        return self.first + len(self)

    @classmethod
    def signals(cls) -> tuple[str, ...]:
        """The arrays' names, in order."""
        return ("cut", "levels", "colours", "shift", "confidence", "still", "change", "gains")


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Parameters of the frames ``[first, first + N)`` that the plan found from the survey: pass by pass, row by row."""

    first: int
    names: Mapping[str, tuple[str, ...]]
    """Pass name → what its columns are called."""
    values: Mapping[str, NDArray[np.float32]]
    """Pass name → (N, K)."""

    def span(self, first: int, last: int) -> Curves:
        """The rows of the frames ``[first, last)``: copies, so that a tile carries no more than its own."""
        a, b = first - self.first, last - self.first
        return Curves(first, self.names, {p: v[a:b].copy() for p, v in self.values.items()})

    def at(self, number: int) -> dict[str, dict[str, float]]:
        """One frame's parameters: pass name → parameter → value."""
        i = number - self.first
        return {p: dict(zip(self.names[p], v[i].tolist(), strict=True)) for p, v in self.values.items()}

    def digest(self, first: int, last: int) -> Sha256:
        """sha256 over what the frames ``[first, last)`` get."""
        h = hashlib.sha256()
        for name in sorted(self.values):
            h.update(f"{name} {' '.join(self.names[name])}".encode())
            h.update(np.ascontiguousarray(self.values[name][first - self.first : last - self.first]).tobytes())
        return h.hexdigest()


@dataclass(frozen=True, slots=True)
class Plan:
    """A reel cut into tiles, with every parameter fixed. Pure data: plan.json holds it."""

    id: Sha256
    reel: Reel
    index_digest: Sha256
    first: int
    last: int
    """The frames that are delivered, ``[first, last)``."""
    total: int
    """Frames of the source."""
    chain: tuple[PassPlan, ...]
    overrides: tuple[Override, ...]
    tiles: tuple[Tile, ...]
    tile_ids: tuple[Sha256, ...]
    cut_radius: int
    spec: Mapping[str, Any]
    """The whole spec as canonical JSON values."""
    tile_bytes: int
    """Upper bound of the bytes that one tile holds in the object store (source and restored planes)."""
    worker_bytes: int
    """Upper bound of a restorer's own working memory, its libraries included."""
    decode_frames: int
    """Frames that decoders will go through in all, with key-frame run-up and halos."""
    curves: Sha256 | None = None
    """Digest of what the survey's signals came to for every frame; None where no pass asks for them."""


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One row of ``frames.parquet``; the columns' units and meanings stand in ``tables.py``. None is null."""

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
    dirt_fraction: float | None = None
    scratch_columns: int | None = None
    shift_x_px: float | None = None
    shift_y_px: float | None = None
    signals_source: Signals = NO_SIGNALS
    signals_output: Signals = NO_SIGNALS
    black_fraction: float | None = None
    unsupported_fraction: float | None = None
    seam_space: float | None = None
    seam_time: float | None = None
    """Known when tiles are joined."""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """One encoded file of one tile for one deliverable."""

    deliverable: str
    name: str
    """File name below the reel's work folder; carries its own sha256."""
    sha256: Sha256
    bytes: int
    md5s: tuple[Md5, ...] = ()
    """Of every frame as it decodes, of a further deliverable than the first."""


@dataclass(frozen=True, slots=True)
class StillsFile:
    """Pictures of some of a tile's frames, kept for the reel's page."""

    name: str
    """File name below the reel's work folder; carries its own sha256."""
    sha256: Sha256
    bytes: int
    frames: tuple[int, ...]
    """Numbers of the frames that it shows, rising."""


@dataclass(frozen=True, slots=True)
class TileRecord:
    """What the ledger keeps of a tile that is done."""

    tile_id: Sha256
    number: int
    first: int
    last: int
    segments: tuple[Segment, ...]
    """One a deliverable, in the spec's order."""
    rows: str
    """Name of the Parquet file with this tile's rows; carries its own sha256."""
    rows_sha256: Sha256
    host: str
    device: str
    seconds: Mapping[str, float]
    """Wall seconds of each step: decode, restore, encode, upload…"""
    tries: int
    finished: str
    """ISO 8601, UTC."""
    flags: tuple[str, ...] = ()
    peak_bytes: int = 0
    """Most memory that the restoring process has held so far; 0 where it is not known."""
    device_peak_bytes: int = 0
    """Most memory that the tile took on its GPU; 0 on a CPU."""
    stills: StillsFile | None = None


OutcomeStatus = Literal["done", "already", "refused", "quarantined", "stopped"]


@dataclass(frozen=True, slots=True)
class ReelOutcome:
    """How one reel of a run ended."""

    name: str
    uri: str
    status: OutcomeStatus
    frames: int = 0
    tiles: int = 0
    restored: int = 0
    """Tiles that this run restored; the rest were in the ledger."""
    seconds: float = 0.0
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
