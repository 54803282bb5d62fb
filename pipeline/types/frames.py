"""Pixel formats, and frames as native planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


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
