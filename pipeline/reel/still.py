"""Single pictures: reading one in, and writing a PNG for people to look at."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError

_MOST_PIXELS = 1 << 28
"""What a header may claim before anything is decoded: about 16384 × 16384."""


def read_picture(path: Path) -> NDArray[np.uint8]:
    """One picture file (JPEG, PNG, TIFF…) as RGB of 8 bit, ``(H, W, 3)``.

    Meant for stills that are shown or panned over: the conversion is FFmpeg's own, not exact enough for
    a film. Raises SourceError naming the file where it is missing, is no picture or is larger than 2^28 px.
    """
    return _decode(path).to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def read_alpha(path: Path) -> NDArray[np.uint8]:
    """The alpha channel of one picture file, ``(H, W)`` of 8 bit. Raises as ``read_picture``, and without a channel."""
    frame = _decode(path)
    if "a" not in frame.format.name.replace("gray", ""):
        raise SourceError(f"the picture ({frame.format.name}) has no alpha channel", where=str(path))
    return frame.to_ndarray(format="rgba")[..., 3].astype(np.uint8)


def _decode(path: Path) -> av.VideoFrame:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise SourceError("there is no picture in this file", where=str(path))
            stream = container.streams.video[0]
            # FFmpeg itself refuses a header that claims more, before it takes the memory.
            stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            frame = next(container.decode(stream), None)
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"cannot be read as a picture: {error}", where=str(path)) from None
    if frame is None:
        raise SourceError("the file ends before its picture does", where=str(path))
    return frame


def write_png(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write ``(H, W, 3)`` RGB of 8 bit as a PNG, without loss; equal pictures give equal files.

    Raises ValueError for another shape or type, OSError where the file cannot be written.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"a picture is uint8 (H, W, 3), this is {rgb.dtype} {rgb.shape}")
    # Any: av's stubs give create() the base class, which knows no width.
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = rgb.shape[:2]
    encoder.pix_fmt = "rgb24"
    encoder.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    path.write_bytes(b"".join(bytes(p) for p in packets))


_QUALITIES = (3, 5, 8, 12, 20, 31)
"""Quantisers to try, from the best; the last is the coarsest that JPEG's encoder has."""


def jpeg(rgb: NDArray[np.uint8], most: int) -> bytes:
    """``(H, W, 3)`` RGB of 8 bit as a JPEG of at most ``most`` bytes where any quality comes to that.

    The same picture gives the same bytes. Raises ValueError for another shape or type.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"a picture is uint8 (H, W, 3), this is {rgb.dtype} {rgb.shape}")
    # 4:2:0 wants even sides.
    even = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), "edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    frame = frame.reformat(format="yuvj420p", dst_colorspace="ITU601", dst_color_range="JPEG")
    data = b""
    for quality in _QUALITIES:
        encoder: Any = av.CodecContext.create("mjpeg", "w")
        encoder.height, encoder.width = even.shape[:2]
        encoder.pix_fmt = "yuvj420p"
        encoder.time_base = Fraction(1, 1)
        encoder.thread_type, encoder.thread_count = "SLICE", 1
        encoder.qmin = encoder.qmax = quality
        frame.pts = 0
        data = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
        if len(data) <= most:
            break
    return data
