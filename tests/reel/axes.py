"""The axes along which films differ, short films for their combinations, and what of them is not tried.

The films are made by the judge's FFmpeg from raw pictures that use every code value from the lowest to the highest.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.reel.formats import pixel_format, wire_dtype
from tests.reel import judge
from tests.reel.films import picture

FRAMES = 8
RATES = ("16", "18", "20", "22", "24000/1001", "24", "25", "30000/1001")
CONTAINERS = ("mkv", "mov", "mp4", "mxf", "avi")

_YUV_9_TO_16 = [
    f"yuv{a}{s}p{d}le" for d in (9, 10, 12, 14, 16) for s in (420, 422, 444) for a in ("", "a") if (a, d) != ("a", 14)
]
FORMATS: Mapping[str, tuple[str, ...]] = {
    "ffv1": (
        *("gray", "gray9le", "gray10le", "gray12le", "gray14le", "gray16le", "ya8"),
        *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuva420p", "yuva422p", "yuva444p"),
        *(f for f in _YUV_9_TO_16 if f not in ("yuva420p12le",)),
        *("yuv440p10le", "yuv440p12le", "bgr0", "bgra"),
        *("gbrp9le", "gbrp10le", "gbrp12le", "gbrp14le", "gbrp16le", "gbrap10le", "gbrap12le", "gbrap16le"),
    ),
    "prores": ("yuv422p10le", "yuv444p10le", "yuva444p10le"),
    "dnxhr": ("yuv422p", "yuv422p10le", "yuv444p10le", "gbrp10le"),
    "h264": (
        *("gray", "gray10le", "yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj444p"),
        *("yuv420p10le", "yuv422p10le", "yuv444p10le"),
    ),
    "hevc": (
        *("gray", "gray10le", "gray12le", "yuv420p", "yuv422p", "yuv444p", "yuvj420p"),
        *("yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le"),
        *("gbrp", "gbrp10le", "gbrp12le"),
    ),
    "v210": ("yuv422p10le",),
    "jpeg2000": (
        *("gray", "gray10le", "gray12le", "gray16le", "ya8", "rgb24", "rgb48le", "rgba", "rgba64le"),
        *("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv422p12le", "yuv444p12le"),
        *("yuv444p16le", "yuva444p", "yuva444p10le"),
    ),
    "png": ("gray", "gray16be", "ya8", "ya16be", "rgb24", "rgb48be", "rgba", "rgba64be"),
    "tiff": ("gray", "gray16le", "ya8", "ya16le", "rgb24", "rgb48le", "rgba", "rgba64le", "yuv420p", "yuv444p"),
    "dpx": ("gray", "gray16be", "gbrp10be", "gbrp12le", "rgb24", "rgb48be", "rgba", "rgba64be"),
}
"""Codec → pixel formats that its encoder is given. A decoder may name what it gives otherwise."""

_HOLDS: Mapping[str, tuple[str, ...]] = {
    "ffv1": ("mkv", "mov", "mp4", "mxf", "avi"),
    "prores": ("mkv", "mov", "mxf", "avi"),
    "dnxhr": ("mkv", "mov", "mxf", "avi"),
    "h264": ("mkv", "mov", "mp4", "mxf", "avi"),
    "hevc": ("mkv", "mov", "mp4"),
    "v210": ("mkv", "mov", "avi"),
    "jpeg2000": ("mkv", "mov", "mp4", "mxf", "avi"),
    "png": ("mkv", "mov", "mp4", "avi"),
    "tiff": ("mkv", "mov"),
    "dpx": ("mkv", "mov", "avi"),
}
"""Codec → containers into which FFmpeg puts it."""

_ENCODER: Mapping[str, tuple[str, ...]] = {
    "ffv1": ("ffv1", "-level", "3", "-slicecrc", "1", "-slices", "9"),
    "prores": ("prores_ks",),
    "dnxhr": ("dnxhd",),
    "h264": ("libx264", "-threads", "1", "-preset", "ultrafast", "-qp", "12"),
    "hevc": ("libx265", "-preset", "ultrafast"),
    "v210": ("v210",),
    "jpeg2000": ("jpeg2000", "-pred", "1"),
    "png": ("png",),
    "tiff": ("tiff",),
    "dpx": ("dpx",),
}
_PREDICTING = ("h264", "hevc", "ffv1")
_TAG_OF_MATRIX = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}
_MAY_BE_ODD = ("ffv1", "png", "tiff")
_SCANS = {"tt": "tff", "bb": "bff"}


@dataclass(frozen=True)
class Film:
    """One combination."""

    codec: str
    pixel_format: str
    container: str = "mkv"
    rate: str = "24"
    timing: str = "constant"
    start: str = "0"
    gop: str = "intra"
    size: str = "even"
    aspect: str = "1:1"
    rotation: str = "0"
    scan: str = "progressive"
    range: str = "untagged"
    matrix: str = "untagged"
    sound: str = "none"

    def __str__(self) -> str:
        plain = Film(self.codec, self.pixel_format)
        told = [str(getattr(self, f.name)) for f in fields(self) if f.name in ("codec", "pixel_format", "container")]
        told += [
            f"{f.name}={getattr(self, f.name)}"
            for f in fields(self)
            if f.name not in ("codec", "pixel_format", "container") and getattr(self, f.name) != getattr(plain, f.name)
        ]
        return " ".join(told)

    @property
    def width_height(self) -> tuple[int, int]:
        if self.codec == "dnxhr":
            return 256, 120
        return (67, 45) if self.size == "odd" else (64, 48)


AXES: Mapping[str, tuple[str, ...]] = {
    "container": CONTAINERS,
    "rate": RATES,
    "timing": ("constant", "variable"),
    "start": ("0", "1.5"),
    "gop": ("intra", "predicted", "b-frames", "open"),
    "size": ("even", "odd"),
    "aspect": ("1:1", "16:15"),
    "rotation": ("0", "90"),
    "scan": ("progressive", "tt", "bb"),
    "range": ("untagged", "limited", "full"),
    "matrix": ("untagged", "bt601", "bt709", "bt2020", "rgb"),
    "sound": ("none", "pcm_s16le", "aac"),
}


def impossible(film: Film) -> str | None:
    """Why no such film is made; None where it can be. Not what we refuse: what there is no such thing as."""
    model = pixel_format(film.pixel_format).model
    rules = (
        (film.container not in _HOLDS[film.codec], "FFmpeg's muxer does not take the codec"),
        (film.container in ("mxf", "avi") and film.timing == "variable", "the container has a constant rate"),
        (film.container in ("mxf", "avi") and film.start != "0", "the container starts at 0"),
        (film.container == "mxf" and film.rate in ("16", "18", "20", "22"), "MXF knows broadcast rates only"),
        (film.container == "avi" and film.sound == "aac", "FFmpeg's AVI leaves a gap in the picture for its run-up"),
        (film.container == "mxf" and film.sound == "aac", "FFmpeg's MXF holds PCM"),
        (film.container == "mp4" and film.sound == "pcm_s16le", "players of mp4 know no PCM"),
        (film.container == "mxf" and film.codec == "h264" and film.gop != "intra", "FFmpeg's MXF counts no B-frames"),
        (film.container == "mxf" and film.codec == "h264" and model != "yuv", "AVC-Intra in MXF is YUV"),
        (film.container not in ("mkv", "mov", "mp4") and film.rotation != "0", "the container has no rotation"),
        (film.gop != "intra" and film.codec not in _PREDICTING, "the codec's pictures all stand alone"),
        (film.gop in ("b-frames", "open") and film.codec == "ffv1", "FFV1 has no B-frames"),
        (film.gop in ("b-frames", "open") and film.container == "avi", "see the refused films"),
        (film.size == "odd" and film.codec not in _MAY_BE_ODD, "the encoder wants even sizes"),
        (film.size == "odd" and film.codec == "tiff" and model == "yuv", "FFmpeg does not read its own"),
        (film.size == "odd" and film.scan != "progressive", "two fields of one height want an even number of lines"),
        (film.scan != "progressive" and film.codec in ("dnxhr", "hevc", "png", "tiff", "dpx"), "no such encoder"),
        (film.scan != "progressive" and film.container in ("mp4", "avi") and film.codec != "h264", "nowhere to say it"),
        (film.scan != "progressive" and film.container == "mxf", "FFmpeg's MXF halves the height"),
        (model == "rgb" and film.matrix not in ("untagged", "rgb"), "RGB has no matrix"),
        (model == "rgb" and film.range == "limited", "RGB of limited range is not in use"),
        (model == "gray" and film.matrix != "untagged", "gray has no matrix"),
        (model == "yuv" and film.matrix == "rgb", "YUV needs a matrix"),
        (film.pixel_format.startswith("yuvj") and film.range != "full", "yuvj is full range"),
        (film.codec in ("prores", "dnxhr", "v210") and film.range == "full", "the codec is of limited range"),
        (film.codec in ("png", "tiff", "dpx") and film.range == "limited", "the codec is of full range"),
    )
    return next((reason for holds, reason in rules if holds), None)


def _random_film(draw: random.Random, codec: str, name: str) -> Film:
    while True:
        film = Film(codec, name, **{axis: draw.choice(values) for axis, values in AXES.items()})
        # Step by step back to the plain value, so that a valid film is found soon.
        for axis in draw.sample(list(AXES), len(AXES)):
            if impossible(film) is None:
                return film
            film = replace(film, **{axis: draw.choice((AXES[axis][0], getattr(film, axis), *AXES[axis]))})


def _pairs(film: Film) -> Iterator[tuple[str, str, str, str]]:
    told = {"codec": film.codec, **{axis: getattr(film, axis) for axis in AXES}}
    for (a, x), (b, y) in itertools.combinations(told.items(), 2):
        yield a, x, b, y


@cache
def films() -> tuple[Film, ...]:
    """Every pixel format of every codec, and every pair of values of all other axes, in as few films as greed finds."""
    draw = random.Random(1895)
    essences = [(codec, name) for codec, names in FORMATS.items() for name in names]
    draw.shuffle(essences)
    pool = {essence: {f: frozenset(_pairs(f)) for f in _some(draw, essence)} for essence in essences}
    everything = {film: pairs for some in pool.values() for film, pairs in some.items()}
    missing = set().union(*everything.values())
    chosen: list[Film] = []
    for essence in essences:
        best = max(pool[essence], key=lambda f: len(everything[f] & missing))
        chosen.append(best)
        missing -= everything[best]
    while missing:
        best = max(everything, key=lambda f: len(everything[f] & missing))
        chosen.append(best)
        missing -= everything[best]
    return tuple(chosen)


def _some(draw: random.Random, essence: tuple[str, str]) -> list[Film]:
    return [_random_film(draw, *essence) for _ in range(20)]


def make(film: Film, folder: Path) -> Path:
    """The film as a file, by FFmpeg itself. Each frame is another picture, over the whole range of its codes."""
    fmt = pixel_format(film.pixel_format)
    width, height = film.width_height
    raw = b"".join(
        plane.astype(wire_dtype(fmt)).tobytes()
        for n in range(FRAMES)
        for plane in picture(fmt, width, height, n, seed=7)
    )
    path = folder / f"film.{film.container}"
    seconds = FRAMES / Fraction(film.rate)
    call = ["-v", "error", "-f", "rawvideo", "-pix_fmt", film.pixel_format, "-s", f"{width}x{height}"]
    call += ["-framerate", film.rate, "-i", "pipe:0"]
    if film.sound != "none":
        call += ["-f", "lavfi", "-i", f"sine=r=48000:d={float(seconds):.6f}", "-map", "0:v", "-map", "1:a"]
        call += ["-c:a", film.sound, "-ac", "2"]
    call += ["-vf", ",".join(_filters(film)), "-c:v", *_ENCODER[film.codec], *_options(film)]
    call += ["-pix_fmt", film.pixel_format, "-fps_mode", "passthrough"]
    if film.start != "0":
        call += ["-output_ts_offset", film.start]
    if film.container == "avi":
        call += ["-strict", "-2"]
    judge.run(*call, *(["-movflags", "+write_colr"] if film.container in ("mov", "mp4") else []), str(path), stdin=raw)
    if film.rotation != "0":
        turned = folder / f"turned.{film.container}"
        judge.run(
            *["-v", "error", "-copyts", "-display_rotation", film.rotation, "-i", str(path)],
            *["-map", "0", "-c", "copy", str(turned)],
        )
        return turned
    return path


def _filters(film: Film) -> list[str]:
    found = [f"setsar={film.aspect.replace(':', '/')}"]
    if film.timing == "variable":
        found.append(r"setpts=round((N+2*gte(N\,3)+gte(N\,6))/FR/TB)")
    if film.scan != "progressive":
        found.append(f"setfield={_SCANS[film.scan]}")
    said = []
    if film.range != "untagged":
        said.append(f"range={film.range}")
    if film.matrix in _TAG_OF_MATRIX:
        tag = _TAG_OF_MATRIX[film.matrix]
        primaries = {"bt2020nc": "bt2020"}.get(tag, tag)
        transfer = {"bt2020nc": "bt2020-10"}.get(tag, tag)
        said.append(f"colorspace={tag}:color_primaries={primaries}:color_trc={transfer}")
    elif film.matrix == "rgb":
        said.append("colorspace=gbr")
    return found + ([f"setparams={':'.join(said)}"] if said else [])


def _options(film: Film) -> list[str]:
    interlaced = film.scan != "progressive"
    if film.codec == "dnxhr":
        depth = pixel_format(film.pixel_format).depth
        is_444 = film.pixel_format in ("yuv444p10le", "gbrp10le")
        return ["-profile:v", "dnxhr_444" if is_444 else "dnxhr_hqx" if depth == 10 else "dnxhr_hq"]
    if film.codec == "prores":
        profile = "3" if film.pixel_format == "yuv422p10le" else "4"
        return ["-profile:v", profile, *(["-flags", "+ildct"] if interlaced else [])]
    if film.codec == "h264":
        shape = {
            "intra": "keyint=1",
            "predicted": "keyint=4:min-keyint=4:bframes=0",
            "b-frames": "keyint=4:min-keyint=4:bframes=2:b-adapt=0:open-gop=0:scenecut=0",
            "open": "keyint=4:min-keyint=4:bframes=2:b-adapt=0:open-gop=1:scenecut=0",
        }[film.gop]
        return ["-x264-params", shape, *(["-flags", "+ildct+ilme"] if interlaced else [])]
    if film.codec == "hevc":
        shape = {
            "intra": "keyint=1",
            "predicted": "keyint=4:min-keyint=4:bframes=0",
            "b-frames": "keyint=4:min-keyint=4:bframes=2:b-adapt=0:open-gop=0:scenecut=0",
            "open": "keyint=4:min-keyint=4:bframes=2:b-adapt=0:open-gop=1:scenecut=0",
        }[film.gop]
        return ["-x265-params", f"{shape}:log-level=none:pools=1:frame-threads=1:qp=12"]
    if film.codec == "ffv1":
        return ["-g", "1" if film.gop == "intra" else "4"]
    return []


def refusal(name: str) -> str | None:
    """Why a pixel format is refused, None where it is read."""
    try:
        pixel_format(name)
    except SourceError as error:
        return error.what
    return None
