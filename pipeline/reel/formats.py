"""Pixel formats: FFmpeg's descriptors as ``PixelFormat``, and one frame's native planes in and out of ``av``.

Native planes are what the codec holds: no resampling, no matrix, no depth change. swscale is used nowhere here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.format import VideoFormatComponent
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.types import Component, PixelFormat, PlaneLayout

# In one plane, FFmpeg's descriptor (as av shows it) does not say in which order the components lie; the name does.
_RGB_PACKED = re.compile(r"^(?=.*r)(?=.*g)(?=.*b)([rgba0]{3,4})(?:24|48|64)?(?:le|be)?$")
_YUV_PACKED = {"ayuv": "ayuv", "ayuv64": "ayuv", "vuya": "vuya", "vuyx": "vuy0", "uyva": "uyva", "vyu444": "vyu"} | {
    "xv36": "uyv0",
    "xv48": "uyv0",
}
_HIGH_BITS = re.compile(r"^p[024]1\d(le|be)$|msb(le|be)$|^xv36(le|be)$")
_FLOAT = re.compile(r"f(16|32)(le|be)$")
_PLANAR_FLOAT = re.compile(r"^(gbra?p|gray)f(16|32)(le|be)$")
_WAY_OUT = "Convert it first, without loss where that is possible, e.g. with ffmpeg -pix_fmt"


@lru_cache(maxsize=512)
def pixel_format(name: str) -> PixelFormat:
    """The pixel format that FFmpeg calls ``name``.

    Raises SourceError for what cannot be carried as planes of whole 8- or 16-bit samples: palettes, bit streams,
    several pixels in one position (yuyv422), packed floats, fewer than 8 or more than 16 bits, Bayer, XYZ, hardware
    surfaces.
    """
    try:
        f = av.VideoFormat(name, 64, 64)
    except ValueError:
        raise SourceError(f"FFmpeg knows no pixel format {name[:40]!r}") from None
    reason = _refusal(f)
    if reason:
        raise SourceError(
            f"the pixel format {name} {reason}; wanted is gray, YUV or RGB with 8 to 16 bits, or planes of floats",
            todo=_WAY_OUT,
        )

    depth = f.components[0].bits
    if f.is_planar:
        placed = list(_planar(f))
    else:
        order = _packed_order(f) or ""
        letters = "rgba" if f.is_rgb else "yuva"
        placed = [(0, order.index(letters[i] if not c.is_alpha else "a")) for i, c in enumerate(f.components)]
        samples = len(order)
    shift = 16 - depth if _HIGH_BITS.search(name) else 0
    components = [Component(plane, sample, shift, depth) for plane, sample in placed]

    planes = []
    for i in range(1 + max(c.plane for c in components)):
        first = next(c for c in f.components if c.plane == i)
        n = sum(c.plane == i for c in components) if f.is_planar else samples
        planes.append(PlaneLayout((64 // first.width).bit_length() - 1, (64 // first.height).bit_length() - 1, n))
    colours = [c for c, d in zip(components, f.components, strict=True) if not d.is_alpha]
    alphas = [c for c, d in zip(components, f.components, strict=True) if d.is_alpha]
    return PixelFormat(
        name=name,
        model="rgb" if f.is_rgb else "gray" if len(colours) == 1 else "yuv",
        depth=depth,
        planes=tuple(planes),
        components=tuple(colours),
        alpha=alphas[0] if alphas else None,
        is_float=_FLOAT.search(name) is not None,
    )


def _refusal(f: av.VideoFormat) -> str | None:
    bits = {c.bits for c in f.components}
    if not bits:
        return "is a hardware surface"
    if f.has_palette:
        return "has a palette"
    if f.is_bayer:
        return "is a raw sensor mosaic"
    if _FLOAT.search(f.name):
        return None if _PLANAR_FLOAT.search(f.name) else "packs floating-point values"
    if f.name.startswith("xyz"):
        return "holds XYZ, not RGB"
    if f.is_bit_stream or min(bits) < 8 or max(bits) > 16 or len(bits) > 1:
        return f"has {'/'.join(str(b) for b in sorted(bits))} bits a component"
    if not f.is_planar and _packed_order(f) is None:
        return "packs several values into one sample or several pixels into one position"
    return None


def _packed_order(f: av.VideoFormat) -> str | None:
    """Letters of a packed format's samples in memory order, ``0`` for padding; None where they are no whole samples."""
    if f.is_rgb:
        m = _RGB_PACKED.match(f.name)
        return m[1] if m else None
    if len([c for c in f.components if not c.is_alpha]) == 1:
        return "y" if len(f.components) == 1 else "ya"
    return _YUV_PACKED.get(re.sub(r"(?<=\d)(le|be)$", "", f.name))


def _planar(f: av.VideoFormat) -> Iterator[tuple[int, int]]:
    """Plane and sample of each component of a planar or half-planar (nv12) format, in descriptor order."""
    # The only planar formats that put Cr before Cb.
    swapped = f.name in ("nv21", "nv42")
    for i, c in enumerate(f.components):
        before = sum(d.plane == c.plane for d in f.components[:i])
        yield c.plane, 1 - before if swapped and _shares(c, f) else before


def _shares(c: VideoFormatComponent, f: av.VideoFormat) -> bool:
    return sum(d.plane == c.plane for d in f.components) > 1


def chroma_shift(fmt: PixelFormat) -> tuple[int, int]:
    """log2 of the horizontal and vertical chroma subsampling; (0, 0) for gray and RGB."""
    if fmt.model != "yuv":
        return 0, 0
    plane = fmt.planes[fmt.components[1].plane]
    return plane.log2_w, plane.log2_h


def same_samples(a: PixelFormat, b: PixelFormat) -> bool:
    """Whether the two formats hold the same code values, in whatever planes, order and byte order."""
    return _samples(a) == _samples(b)


def _samples(fmt: PixelFormat) -> tuple[object, ...]:
    return fmt.model, fmt.depth, fmt.is_float, fmt.alpha is None, chroma_shift(fmt)


def big_endian(fmt: PixelFormat) -> bool:
    """Whether FFmpeg keeps this format's samples with the high byte first."""
    return fmt.depth > 8 and fmt.name.endswith("be")


def wire_dtype(fmt: PixelFormat) -> np.dtype[Any]:
    """Type of a sample as it lies in FFmpeg's memory."""
    if fmt.depth <= 8:
        return np.dtype(np.uint8)
    if fmt.is_float:
        return np.dtype(f"{'>' if big_endian(fmt) else '<'}f{fmt.depth // 8}")
    return np.dtype(">u2" if big_endian(fmt) else "<u2")


def planes_of(frame: av.VideoFrame, fmt: PixelFormat) -> tuple[NDArray[Any], ...]:
    """One frame's native planes, ``(h, w)`` or ``(h, w, samples)`` of ``fmt.dtype``, line padding left out.

    Read-only views into the frame's memory where the byte order allows (they keep that memory alive), else copies.
    Raises SourceError where the frame is not of this format.
    """
    if frame.format.name != fmt.name:
        raise SourceError(f"a picture is {frame.format.name} where {fmt.name} was expected")
    found = []
    for i in range(len(fmt.planes)):
        plane = _lines(frame, fmt, i).view(wire_dtype(fmt))
        plane = plane.reshape(fmt.plane_shape(i, frame.width, frame.height))
        plane = plane.astype(fmt.dtype, copy=False)
        plane.flags.writeable = False
        found.append(plane)
    return tuple(found)


def frame_of(
    planes: Sequence[NDArray[Any]],
    fmt: PixelFormat,
    *,
    pts: int | None = None,
    time_base: Fraction | None = None,
) -> av.VideoFrame:
    """A new ``av`` frame holding a copy of these native planes (shapes as ``planes_of`` gives them, alpha included)."""
    height, width = planes[0].shape[:2]
    frame = av.VideoFrame(width, height, fmt.name)
    for i, plane in enumerate(planes):
        shape = fmt.plane_shape(i, width, height)
        if plane.shape != shape or plane.dtype != fmt.dtype:
            raise ValueError(f"plane {i} is {plane.shape} {plane.dtype}, {fmt.name} wants {shape} {fmt.dtype}")
        lines = _lines(frame, fmt, i).view(wire_dtype(fmt))
        lines[...] = plane.reshape(shape[0], -1)
    frame.pts = pts
    if time_base is not None:
        frame.time_base = time_base
    return frame


def _lines(frame: av.VideoFrame, fmt: PixelFormat, plane: int) -> NDArray[np.uint8]:
    """The bytes of one plane as ``(lines, bytes of a line)``, top line first, writing through to the frame."""
    p = frame.planes[plane]
    height, width, *rest = fmt.plane_shape(plane, frame.width, frame.height)
    used = width * (rest[0] if rest else 1) * fmt.dtype.itemsize
    stride = abs(p.line_size)
    whole: NDArray[np.uint8] = np.frombuffer(memoryview(p), np.uint8, count=stride * height)
    whole = whole.reshape(height, stride)[:, :used]
    # A bottom-up picture has a negative line size; av's buffer then starts at its lowest address, the last line.
    return whole[::-1] if p.line_size < 0 else whole


def hash_planes(planes: Sequence[NDArray[Any]], fmt: PixelFormat) -> str:
    """MD5 of a frame as FFmpeg's framemd5 gives it: own pixel format and byte order, planes in order, no padding."""
    md5 = hashlib.md5(usedforsecurity=False)
    for plane in planes:
        md5.update(np.ascontiguousarray(plane, dtype=wire_dtype(fmt)).data.cast("B"))
    return md5.hexdigest()
