"""Folders of numbered images, made by the judge's FFmpeg, and what it says of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


def regrouped(folder: Path, pixel_format_name: str | None) -> judge.Hashes:
    """As ``framemd5``, of the same code values in the planes of another pixel format."""
    call = ["-v", "error", "-framerate", "24", "-start_number", str(FIRST)]
    call += ["-i", str(folder / f"scan_%07d{files(folder)[0].suffix}")]
    call += ["-pix_fmt", pixel_format_name] if pixel_format_name else []
    text, _ = judge.run(*call, "-fflags", "+bitexact", "-f", "framemd5", "-")
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


def resized(folder: Path) -> None:
    made = make(folder.parent / "other", size=(80, 48))
    (folder / "scan_0001005.dpx").write_bytes((made / "scan_0001005.dpx").read_bytes())


def grown(folder: Path) -> None:
    """Another size of picture in a codec that compresses: only decoding tells."""
    made = make(folder.parent / "other", "png", "rgb24", size=(80, 48))
    (folder / "scan_0001005.png").write_bytes((made / "scan_0001005.png").read_bytes())


def cut(name: str, share: float) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / name
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def huge(folder: Path) -> None:
    for file in files(folder):
        put(file, 772, "I", 1_000_000_000)


def flipped(folder: Path) -> None:
    path = folder / "scan_0001004.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


@dataclass(frozen=True)
class Bad:
    """A folder that is not whole."""

    codec: str
    spoil: Callable[[Path], object]
    file: str
    """That is named."""
    what: str
    """Part of what is said of it."""


BAD: Mapping[str, Bad] = {
    "gap": Bad("dpx", lambda f: (f / "scan_0001004.dpx").unlink(), "scan_0001005.dpx", "1 image is missing after"),
    "empty": Bad("dpx", lambda f: (f / "scan_0001003.dpx").write_bytes(b""), "scan_0001003.dpx", "empty (0 bytes)"),
    "other size": Bad("dpx", resized, "scan_0001005.dpx", "width was 64, is 80"),
    "other size, found by its pixels": Bad("png", grown, "scan_0001005.png", "the image is 80x48, the first one 64x48"),
    "other header": Bad(
        "dpx",
        lambda f: put(f / "scan_0001006.dpx", 780 + 21, "B", 1),
        "scan_0001006.dpx",
        "transfer was 4, is 1",
    ),
    "cut short": Bad("dpx", cut("scan_0001006.dpx", 0.9), "scan_0001006.dpx", "cut short"),
    "cut png": Bad("png", cut("scan_0001006.png", 0.9), "scan_0001006.png", "the file is cut short"),
    "cut tiff": Bad("tiff", cut("scan_0001006.tif", 0.6), "scan_0001006.tif", "no picture can be decoded"),
    "cut exr": Bad("exr", cut("scan_0001006.exr", 0.9), "scan_0001006.exr", "the file is cut short: of its 48 chunks"),
    "flipped png": Bad("png", flipped, "scan_0001004.png", "CRC"),
    "text": Bad(
        "dpx",
        lambda f: [p.write_text("this is a text " * 600) for p in files(f)],
        "scan_0001001.dpx",
        "this is no DPX file: it begins with 74 68 69 73",
    ),
    "a text among pictures": Bad(
        "dpx",
        lambda f: (f / "scan_0001006.dpx").write_text("text " * 3000),
        "scan_0001006.dpx",
        "this is no DPX file",
    ),
    "a header of 10^9 px": Bad("dpx", huge, "scan_0001001.dpx", "no picture can be decoded"),
    "twice": Bad(
        "dpx",
        lambda f: (f / "scan_1003.dpx").write_bytes((f / "scan_0001003.dpx").read_bytes()),
        "scan_1003.dpx",
        "the number 1003 is there twice",
    ),
    "two films": Bad(
        "dpx",
        lambda f: (f / "scan_0001003.dpx").rename(f / "take_0001003.dpx"),
        "take_0001003.dpx",
        "another sequence than",
    ),
    "digits": Bad(
        "dpx",
        lambda f: (f / "scan_0001008.dpx").rename(f / "scan_01008.dpx"),
        "scan_0001001.dpx",
        "written with 7 digits",
    ),
}
