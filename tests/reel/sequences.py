"""Folders of numbered images, made by the judge's FFmpeg, and what it says of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.reel.formats import pixel_format, wire_dtype
from tests.reel import judge
from tests.reel.films import picture

FRAMES = 8
FIRST = 1001
SIZE = (64, 48)
FORMATS: Mapping[str, tuple[str, ...]] = {
    "dpx": ("gray", "gray16be", "rgb24", "rgba", "gbrp10be", "gbrp12be", "gbrp12le", "rgb48be", "rgb48le", "rgba64be"),
    "tiff": ("gray", "gray16le", "rgb24", "rgba", "rgb48le", "rgba64le", "yuv420p", "yuv444p"),
    "png": ("gray", "gray16be", "rgb24", "rgba", "rgb48be", "rgba64be"),
}
"""Codec → pixel formats that its encoder is given, of those that FFV1 holds."""
SUFFIX = {"dpx": ".dpx", "tiff": ".tif", "png": ".png", "exr": ".exr"}


def light(name: str, number: int, size: tuple[int, int] = SIZE) -> list[NDArray[Any]]:
    """Planes of one frame of floats: noise around grey, and what EXR alone holds: below black, far beyond white, -0,
    infinities."""
    fmt = pixel_format(name)
    rng = np.random.default_rng((number, 9))
    planes = []
    for _ in fmt.planes:
        plane = rng.gamma(2.0, 0.2, size[::-1]).astype(np.float16).astype(np.float32)
        plane[5, :6] = (-0.25, -0.0, 13.5, 60000.0, np.inf, -np.inf)
        planes.append(plane)
    return planes


def make_exr(folder: Path, name: str = "gbrpf32le", kind: str = "float", frames: int = FRAMES) -> Path:
    """A sequence of EXR, ``kind``: float or half, made by the judge."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = b"".join(p.astype("<f4").tobytes() for n in range(frames) for p in light(name, n))
    judge.run(
        *["-v", "error", "-f", "rawvideo", "-pix_fmt", name, "-s", f"{SIZE[0]}x{SIZE[1]}", "-i", "pipe:0"],
        *["-c:v", "exr", "-format", kind, "-pix_fmt", name, "-start_number", str(FIRST)],
        *["-f", "image2", str(folder / "scan_%07d.exr")],
        stdin=raw,
    )
    return folder


def make(
    folder: Path,
    codec: str = "dpx",
    name: str = "gbrp10be",
    *options: str,
    frames: int = FRAMES,
    first: int = FIRST,
    size: tuple[int, int] = SIZE,
    pattern: str = "scan_%07d",
    seed: int = 3,
) -> Path:
    """A sequence of other pictures in every frame, over the whole range of codes. Gives the folder back."""
    folder.mkdir(parents=True, exist_ok=True)
    fmt = pixel_format(name)
    raw = b"".join(
        plane.astype(wire_dtype(fmt)).tobytes() for n in range(frames) for plane in picture(fmt, *size, n, seed=seed)
    )
    judge.run(
        *["-v", "error", "-f", "rawvideo", "-pix_fmt", name, "-s", f"{size[0]}x{size[1]}", "-i", "pipe:0"],
        *["-c:v", codec, *options, "-pix_fmt", name, "-start_number", str(first)],
        *["-f", "image2", str(folder / f"{pattern}{SUFFIX[codec]}")],
        stdin=raw,
    )
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def framemd5(folder: Path, *, first: int = FIRST, rate: str = "24", pattern: str = "scan_%07d") -> judge.Hashes:
    """What the judge says of the frames of a folder."""
    suffix = next(f.suffix for f in files(folder) if f.suffix != ".txt")
    text, _ = judge.run(
        *["-v", "error", "-framerate", rate, "-start_number", str(first), "-i", str(folder / f"{pattern}{suffix}")],
        *["-fflags", "+bitexact", "-f", "framemd5", "-"],
    )
    return judge._parsed(text.decode())


def put(path: Path, offset: int, kind: str, *values: Any) -> None:
    """Write into a DPX header, in the file's own byte order."""
    data = bytearray(path.read_bytes())
    struct.pack_into((">" if data[:4] == b"SDPX" else "<") + kind, data, offset, *values)
    path.write_bytes(bytes(data))


def with_all_headers(folder: Path) -> Path:
    """Give DPX files, of which FFmpeg writes the generic header alone, the film and television headers, undefined."""
    for path in files(folder):
        data = bytearray(path.read_bytes())
        order = ">" if data[:4] == b"SDPX" else "<"
        assert struct.unpack_from(f"{order}I", data, 4) == (1664,)
        data[1664:1664] = b"\xff" * 384
        for at, value in ((4, 2048), (16, len(data)), (28, 384), (780 + 28, 2048)):
            struct.pack_into(f"{order}I", data, at, value)
        path.write_bytes(bytes(data))
    return folder
