"""docs/formats.md, as the format tests find it, and the films that are refused with the reason."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.reel import judge, sequences
from tests.reel.axes import AXES, FORMATS, FRAMES, Film, make

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
EXACT = "exact"

_WORDS = {
    "size": "odd: 67×45 px",
    "start": "seconds at which the picture begins",
    "scan": "tt: upper field first, bb: lower field first; with `source.interlaced: per_field`",
    "rotation": "degrees, carried and not applied",
    "timing": "variable: every picture has a time of its own",
}


@dataclass(frozen=True)
class Refused:
    """A film that is refused."""

    name: str
    reason: str
    """Part of what is said."""
    make: Callable[[Path], Path]


def _ffmpeg(name: str, *words: str) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        path = folder / name
        judge.run("-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25", "-frames:v", "8", *words, str(path))
        return path

    return made


REFUSED = (
    Refused(
        "interlaced, without `source.interlaced: per_field`",
        "interlaced (upper field first",
        lambda folder: make(Film("prores", "yuv422p10le", "mov", scan="tt"), folder),
    ),
    Refused("a palette", "has a palette", _ffmpeg("a.mov", "-c:v", "png", "-pix_fmt", "pal8")),
    Refused("1 bit", "1 bits a component", _ffmpeg("a.mov", "-c:v", "png", "-pix_fmt", "monob")),
    Refused(
        "two pixels in one position (yuyv422)",
        "packs several",
        _ffmpeg("a.avi", "-c:v", "rawvideo", "-pix_fmt", "yuyv422"),
    ),
    Refused(
        "the matrix YCgCo",
        "the colour matrix is ycgco",
        _ffmpeg("a.mkv", "-vf", "format=yuv444p,setparams=colorspace=ycgco", "-c:v", "ffv1"),
    ),
    Refused(
        "H.264 with B-frames in AVI, which has no times for them",
        "no presentation time",
        _ffmpeg("a.avi", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "8"),
    ),
)


Images = Mapping[tuple[str, str], Mapping[str, str]]
"""(Codec, what FFmpeg decodes) of a sequence → deliverable → ``exact``, what it becomes, or the reason why not."""


def page(verdicts: Mapping[Film, str], images: Images) -> str:
    """The page from what was found: film → ``exact`` or the reason why not; and of sequences."""
    exact = sum(v == EXACT for v in verdicts.values())
    lines = [
        "# Formats",
        "",
        *_prose(
            f"Made by `tests/reel/test_films.py`; do not edit. Films of {FRAMES} frames, {len(verdicts)} of them, are "
            "made by an FFmpeg that is not the one that reads them here: every pixel format of every codec, and every "
            "pair of values of the other axes that exists. Of each, our index (number, times), frame hashes and a "
            "copy as FFV1 in Matroska (an empty chain) are held against that FFmpeg's own framemd5: pixels, times (to "
            "Matroska's millisecond), sound, shape of the pixels, rotation, field order, range and matrix. "
            f"{exact} are exact. All of them also go through Ray (`tests/cluster/test_every_film.py`): with an empty "
            "chain no code value changes, with a net every frame of the source comes back from master and residual, "
            "and framemd5 and sound are by that FFmpeg's word what we say they are."
        ),
        "",
        "## Pixel formats",
        "",
        *_prose(
            "By what the encoder was given; a decoder may name its own otherwise (10-bit JPEG 2000 gray decodes as "
            "gray16le)."
        ),
        "",
        "| codec | exact | refused |",
        "|---|---|---|",
    ]
    for codec, names in FORMATS.items():
        good = [n for n in names if _all(verdicts, codec, n)]
        bad = [n for n in names if n not in good]
        lines.append(f"| {codec} | {' '.join(good)} | {' '.join(bad) or '–'} |")
    reasons = sorted({v for v in verdicts.values() if v != EXACT})
    lines += ["", *(f"- {reason}" for reason in reasons)]
    lines += ["", "## The other axes", "", "| axis | exact | |", "|---|---|---|"]
    for axis, values in AXES.items():
        good = [v for v in values if any(getattr(f, axis) == v and r == EXACT for f, r in verdicts.items())]
        lines.append(f"| {axis} | {', '.join(good)} | {_WORDS.get(axis, '')} |")
    lines += ["", "| codec | containers |", "|---|---|"]
    for codec in FORMATS:
        held = {f.container for f, r in verdicts.items() if f.codec == codec and r == EXACT}
        lines.append(f"| {codec} | {', '.join(c for c in AXES['container'] if c in held)} |")
    lines += _of_images(images)
    lines += ["", "## Refused", "", "By probe or index, in one line that names the file and what to do.", ""]
    lines += ["| what | what is said |", "|---|---|", *(f"| {r.name} | … {r.reason} … |" for r in REFUSED)]
    lines += [
        "",
        "## Damage",
        "",
        *_prose(
            "A picture whose own checksum fails, or whose decoder reports an error, quarantines the reel; all such "
            "pictures of the tile are named. With `source.damaged: flag` the job goes on, and each is flagged "
            "`damaged` in its row, as is every picture that may build on it. FFV1 (slice CRC) and PNG tell of damage "
            "wherever it is; ProRes, DNxHR and H.264 where their decoder stumbles; HEVC, JPEG 2000, TIFF, DPX and "
            "v210 hardly or not at all: keep checksums of such files. EXR tells of lines that are gone and, compressed "
            "by ZIP, of other damage. What FFmpeg conceals in FFV1 is the same in every run; in other codecs that is "
            "not promised."
        ),
        "",
    ]
    return "\n".join(lines)


def _of_images(images: Images) -> list[str]:
    outs = ("ffv1", *sequences.SUFFIX)
    lines = [
        "",
        "## Numbered images",
        "",
        *_prose(
            f"Sequences of {sequences.FRAMES} images, made by that FFmpeg. The frame hashes of the source are its own "
            "framemd5 of the folder; each deliverable's frames decode, by that FFmpeg, to the source's own code values "
            "(`exact`), or to them stretched to 16 bits, from which each can be told again. `–`: refused before the "
            "first tile. EXR of floats holds negative light, light beyond white, -0 and infinities, bit for bit; half "
            "stays half."
        ),
        "",
        f"| images | {' | '.join(outs)} |",
        f"|---|{'---|' * len(outs)}",
    ]
    for (codec, name), found in images.items():
        lines.append(f"| {codec} {name} | {' | '.join(found[out] for out in outs)} |")
    lines += [
        "",
        *_prose("A folder that is not whole is refused, in one line that names the file, its frame and what to do:"),
        "",
        "| what | what is said |",
        "|---|---|",
        *(f"| {case} | … {b.what} … |" for case, b in sequences.BAD.items() if b.what),
    ]
    return lines


def _all(verdicts: Mapping[Film, str], codec: str, name: str) -> bool:
    return all(r == EXACT for f, r in verdicts.items() if (f.codec, f.pixel_format) == (codec, name))


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, 118, break_on_hyphens=False)
