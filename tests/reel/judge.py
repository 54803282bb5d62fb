"""FFmpeg as an independent judge: the program of the ``imageio-ffmpeg`` wheel, which is not the library that av holds.

It makes the films of the format tests and says what is in a file: frames, times, sound. Nothing of ours takes part.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import imageio_ffmpeg

_SECONDS = 120
_ROW = re.compile(r"^0,\s*(-?\d+),\s*(-?\d+),\s*(-?\d+),\s*(\d+),\s*([0-9a-f]{32})")


@cache
def program() -> str:
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def run(*arguments: str, stdin: bytes = b"") -> tuple[bytes, str]:
    """Its stdout and stderr. Raises RuntimeError with what it said where it fails."""
    call = [program(), "-hide_banner", "-nostdin" if not stdin else "-y", "-y", *arguments]
    done = subprocess.run(call, input=stdin or None, capture_output=True, timeout=_SECONDS, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{said[-2000:]}")
    return done.stdout, said


@dataclass(frozen=True)
class Hashes:
    """What its framemd5 says of a film."""

    text: str
    time_base: Fraction
    rows: tuple[tuple[Fraction, str], ...]
    """Seconds and MD5 of every frame."""

    @property
    def times(self) -> list[Fraction]:
        return [time for time, _ in self.rows]

    @property
    def md5s(self) -> list[str]:
        return [md5 for _, md5 in self.rows]


def framemd5(path: Path, *, pixel_format: str | None = None) -> Hashes:
    """Every frame with its own time, turned by no rotation tag; ``pixel_format`` regroups its code values first."""
    asked = ["-pix_fmt", pixel_format] if pixel_format else []
    text, _ = run(
        *["-v", "error", "-noautorotate", "-copyts", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"],
        *["-enc_time_base", "demux", *asked, "-f", "framemd5", "-"],
    )
    return _parsed(text.decode())


def plain_framemd5(path: Path) -> Hashes:
    """As anybody calls it: ``ffmpeg -noautorotate -i FILE -map 0:v:0 -fflags +bitexact -f framemd5 -``."""
    text, _ = run(
        "-v", "error", "-noautorotate", "-i", str(path), "-map", "0:v:0", "-fflags", "+bitexact", "-f", "framemd5", "-"
    )
    return _parsed(text.decode())


def _parsed(text: str) -> Hashes:
    base = re.search(r"^#tb 0: (\S+)", text, re.MULTILINE)
    assert base is not None, text[:300]
    tick = Fraction(base[1])
    rows = [m for m in map(_ROW.match, text.splitlines()) if m]
    return Hashes(text, tick, tuple((int(m[2]) * tick, m[5]) for m in rows))


def stream_hash(path: Path, kind: str) -> str:
    """SHA-256 over the bytes of the packets of the first stream of a kind (``a``, ``s``)."""
    text, _ = run("-v", "error", "-i", str(path), "-map", f"0:{kind}:0", "-c", "copy", "-f", "streamhash", "-")
    return text.decode().strip().rsplit("=", 1)[-1]


@dataclass(frozen=True)
class Tags:
    """What it prints of the picture stream."""

    line: str
    sample_aspect: Fraction
    range: str
    matrix: str
    field_order: str
    rotation: float


_ORDERS = {
    "top first": "tt",
    "bottom first": "bb",
    "top coded first (swapped)": "tb",
    "bottom coded first (swapped)": "bt",
    "progressive": "progressive",
}


_MATRICES = ("gbr", "bt709", "smpte170m", "bt470bg", "bt2020nc")


def tags(path: Path) -> Tags:
    """What it prints of the picture stream: ``ffv1, yuv420p(tv, bt709/unknown/unknown, top first), 64x48 …``."""
    call: Sequence[str] = [program(), "-hide_banner", "-nostdin", "-i", str(path)]
    said = subprocess.run(call, capture_output=True, timeout=_SECONDS, check=False).stderr.decode(errors="replace")
    found = re.search(r"Stream #0:\d+.*?: Video: (.*)((?:\n {6,}.*)*)", said)
    assert found is not None, said
    line = found[1]
    told = re.search(r", \w+\(((?:[^()]|\([^()]*\))*)\)", line)
    words = [w.strip() for w in told[1].split(",")] if told else []
    colours = next((m for w in words if (m := w.partition("/")[0]) in _MATRICES), "unknown")
    turned = re.search(r"isplay ?[mM]atrix: rotation of (-?[\d.]+)", said)
    aspect = re.search(r"SAR (\d+):(\d+)", line)
    return Tags(
        line,
        Fraction(int(aspect[1]), int(aspect[2])) if aspect else Fraction(1),
        next((w for w in words if w in ("tv", "pc")), "unknown"),
        colours,
        next((_ORDERS[w] for w in words if w in _ORDERS), "unknown"),
        float(turned[1]) if turned else 0.0,
    )
