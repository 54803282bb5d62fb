"""What colour tags say, by FFmpeg's names, and what is taken where they say nothing."""

from __future__ import annotations

import re
from typing import Literal, cast

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.types import Colour, PixelFormat


def _numbered(names: str) -> dict[int, str]:
    return dict(enumerate(names.split()))


# Numbers of ITU-T H.273, which FFmpeg and every container use; names as FFmpeg prints them.
_MATRIX = _numbered(
    "gbr bt709 unknown reserved fcc bt470bg smpte170m smpte240m ycgco bt2020nc bt2020c smpte2085 "
    "chroma-derived-nc chroma-derived-c ictcp ipt-c2 ycgco-re ycgco-ro"
)
_RANGE = _numbered("unknown tv pc")
_PRIMARIES = _numbered(
    "reserved bt709 unknown reserved bt470m bt470bg smpte170m smpte240m film bt2020 smpte428 smpte431 smpte432"
) | {22: "ebu3213"}
_TRANSFER = _numbered(
    "reserved bt709 unknown reserved bt470m bt470bg smpte170m smpte240m linear log100 log316 iec61966-2-4 bt1361e "
    "iec61966-2-1 bt2020-10 bt2020-12 smpte2084 smpte428 arib-std-b67"
)
_SITES = frozenset(("left", "center", "topleft", "top", "bottomleft", "bottom"))

Matrix = Literal["rgb", "gray", "bt601", "bt709", "bt2020"]
_USED: dict[str, Matrix] = {
    "bt709": "bt709",
    "bt470bg": "bt601",
    "smpte170m": "bt601",
    "bt2020nc": "bt2020",
}
_NEAR: dict[str, Matrix] = {"fcc": "bt601", "smpte240m": "bt709", "bt2020c": "bt2020"}
_UNTAGGED = ("unknown", "reserved", "gbr")
_HD_LINES = 720


def matrix_name(number: int) -> str:
    """FFmpeg's name of a matrix."""
    return _MATRIX.get(number, "unknown")


def range_name(number: int) -> str:
    """FFmpeg's name of a range."""
    return _RANGE.get(number, "unknown")


def primaries_name(number: int) -> str:
    """FFmpeg's name of primaries."""
    return _PRIMARIES.get(number, "unknown")


def transfer_name(number: int) -> str:
    """FFmpeg's name of a transfer."""
    return _TRANSFER.get(number, "unknown")


def chroma_location(description: str, stream: int, pixel_format: str) -> str:
    """Where chroma is sited, from FFmpeg's description of the input; ``unknown`` where it does not say."""
    for line in description.splitlines():
        if not re.match(rf"  Stream #0:{stream}\D", line):
            continue
        told = re.search(rf"\b{re.escape(pixel_format)}\(([^)]*)\)", line)
        words = {w.strip() for w in told[1].split(",")} if told else set()
        return next(iter(words & _SITES), "unknown")
    return "unknown"


def resolve(
    fmt: PixelFormat,
    *,
    matrix: str,
    range_: str,
    primaries: str,
    transfer: str,
    location: str,
    height: int,
    say: spec.Source,
) -> Colour:
    """The source's tags, with the matrix and range that are used; every assumption is one sentence.

    Raises SourceError for matrices whose planes are not Y'CbCr (YCgCo, ICtCp…).
    """
    assumed: list[str] = []
    used: Matrix
    if fmt.model == "rgb":
        used = "rgb"
    elif fmt.model == "gray":
        used = "gray"
    elif matrix in _USED:
        used = _USED[matrix]
    elif matrix in _NEAR:
        used = _NEAR[matrix]
        assumed.append(f"the matrix {matrix} is computed as its near relative {used}")
    elif matrix in _UNTAGGED:
        used, why = _untagged_matrix(height, say)
        found = f"is tagged {matrix}, which fits no YUV" if matrix == "gbr" else "is not tagged"
        assumed.append(f"the matrix {found}: {used} is taken {why}")
    else:
        raise SourceError(
            f"the colour matrix is {matrix}; wanted is BT.601, BT.709, BT.2020, RGB or gray",
            todo="Convert the film to one of these first",
        )
    full, sentence = _full_range(fmt, range_, say)
    if sentence:
        assumed.append(sentence)
    read_as, sentence = _transfer(fmt, say)
    if sentence:
        assumed.append(sentence)
    return Colour(matrix, range_, primaries, transfer, location, used, full, tuple(assumed), read_as)


def _transfer(fmt: PixelFormat, say: spec.Source) -> tuple[Literal["display", "log", "linear"], str | None]:
    if say.transfer == "auto":
        if fmt.is_float:
            return "linear", "floats are taken for light, white being 1; source.transfer says otherwise"
        return "display", None
    if say.transfer != "display" and fmt.model == "yuv":
        raise SourceError(
            f"source.transfer: {say.transfer} is for RGB and gray, the picture is {fmt.name}",
            todo="Leave it out: video in YUV is as it is shown",
        )
    if say.transfer == "log" and fmt.is_float:
        raise SourceError(
            f"source.transfer: log is for whole codes, the picture is {fmt.name}", todo="Say linear or display"
        )
    return say.transfer, None


def _untagged_matrix(height: int, say: spec.Source) -> tuple[Matrix, str]:
    if say.untagged_matrix != "auto":
        return cast(Matrix, say.untagged_matrix), "as source.untagged_matrix says"
    if height < _HD_LINES:
        return "bt601", f"for {height} lines (fewer than {_HD_LINES})"
    return "bt709", f"for {height} lines ({_HD_LINES} or more)"


def _full_range(fmt: PixelFormat, range_: str, say: spec.Source) -> tuple[bool, str | None]:
    if range_ in ("tv", "pc"):
        return range_ == "pc", None
    if fmt.name.startswith("yuvj"):
        return True, None
    if fmt.model != "yuv":
        return True, f"the range is not tagged: full is taken for {fmt.model}"
    if say.untagged_range != "auto":
        return (
            say.untagged_range == "full",
            f"the range is not tagged: {say.untagged_range} as source.untagged_range says",
        )
    return False, "the range is not tagged: limited is taken for YUV"
