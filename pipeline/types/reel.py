"""What a source is, from its headers, and where its frames lie."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.types.frames import PixelFormat
from pipeline.types.ids import Sha256


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
