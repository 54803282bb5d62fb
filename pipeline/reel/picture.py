"""One image file of a sequence, from its bytes to native planes.

FFmpeg decodes it and is told beforehand how large a picture may be. What it only logs, and what a PNG's own checksums
say, counts as damage: its decoders of images give what they could make of a file, and go on.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from pipeline.errors import SourceError
from pipeline.reel import exr, logs
from pipeline.reel.formats import pixel_format
from pipeline.reel.source import MAX_SIDE

CODECS = {".dpx": "dpx", ".tif": "tiff", ".tiff": "tiff", ".exr": "exr", ".png": "png"}
"""Suffix of an image → FFmpeg's codec."""
_MAGIC = {
    "dpx": (b"SDPX", b"XPDS"),
    "tiff": (b"II*\0", b"MM\0*"),
    "exr": (b"v/1\x01",),
    "png": (b"\x89PNG\r\n\x1a\n",),
}
MOST_PIXELS = 1 << 27
"""What a header may claim before anything is decoded: 16384 × 8192."""
COPY_AGAIN = "Take another copy of the file, or scan it again"
_PNG_HEAD = 8
_CHUNK = 12
"""Bytes of a PNG chunk beside its data: length, kind, CRC."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image."""

    frame: av.VideoFrame
    sample_aspect: Fraction
    """0 where the file does not say."""
    rate: Fraction
    """Frames a second as FFmpeg reads it from the file; 0 where it does not say."""
    damage: str | None
    """What is wrong with it, though a picture came out."""


def codec_of(name: str) -> str:
    """FFmpeg's codec of an image by its file's name."""
    return CODECS["." + name.rpartition(".")[2].lower()]


def decode(data: bytes, codec: str, *, threads: int) -> Picture:
    """Decode one image. Raises SourceError, without the file's name, where no picture comes out.

    A header that claims more than MOST_PIXELS is refused before any memory is taken.
    """
    if not data.startswith(_MAGIC[codec]):
        raise SourceError(
            f"this is no {codec.upper()} file: it begins with {data[:8].hex(' ') or 'nothing'}", todo=COPY_AGAIN
        )
    logs.install()
    # Any: av's stubs give create() the base class.
    context: Any = av.CodecContext.create(codec, "r")
    context.thread_type, context.thread_count = "SLICE", threads
    context.options = {"max_pixels": str(MOST_PIXELS)}
    frames: list[av.VideoFrame] = []
    failed: str | None = None
    with logs.errors() as told:
        try:
            frames = context.decode(av.Packet(data)) + context.decode(None)
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            failed = error.strerror or str(error)
    said = png_damage(data) if codec == "png" else exr.damage(data) if codec == "exr" else None
    said = said or next((text for _, text in told if text), failed)
    if not frames:
        raise SourceError(
            f"no picture can be decoded from its {len(data)} bytes ({(said or 'the file ends too soon')[:200]})",
            todo=COPY_AGAIN,
        )
    frame = frames[0]
    if max(frame.width, frame.height) > MAX_SIDE:
        raise SourceError(f"the picture is {frame.width}x{frame.height}; at most {MAX_SIDE} px a side are read")
    rate = context.framerate or Fraction(0)
    return Picture(frame, context.sample_aspect_ratio or Fraction(0), Fraction(rate), said and said[:200])


@dataclass(frozen=True, slots=True)
class Shape:
    """What a frame hash's header says of an image."""

    size: tuple[int, int]
    """Width and height in px."""
    sample_aspect: Fraction
    """0 where the file does not say."""
    bytes: int
    """Of its planes."""


def shape_of(path: Path) -> Shape:
    """Of an image that was written before. Raises SourceError where it does not decode."""
    found = decode(path.read_bytes(), codec_of(path.name), threads=1)
    size = (found.frame.width, found.frame.height)
    return Shape(size, found.sample_aspect, pixel_format(found.frame.format.name).frame_bytes(*size))


def png_damage(data: bytes) -> str | None:
    """What a PNG's checksums and end say against it (ISO/IEC 15948, 5.3)."""
    at = _PNG_HEAD
    while at + _CHUNK <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + _CHUNK + length
        kind = data[at + 4 : at + 8]
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            return f"its chunk {kind!r} fails its CRC"
        if kind == b"IEND":
            return None
        at = end
    return "the file is cut short"
