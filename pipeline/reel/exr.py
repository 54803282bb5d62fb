"""What FFmpeg's decoder of OpenEXR passes over without a word: other channels, parts, margins; and lines that are gone.

The header is a list of attributes, each a name, a type and a size. A table of offsets follows, one a chunk of lines or
a tile, and then the chunks, each with its size (OpenEXR file layout).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

_MAGIC = b"v/1\x01"
_SEVERAL_PARTS, _DEEP = 0x1000, 0x800
_MOST_HEADER = 1 << 20
_MOST_NAME = 256
_CHANNEL = 16
"""Bytes of a channel's description after its name."""
_PICTURE = frozenset("RGBAY")
_MOST_NAMED = 12
_MOST_SIDE = 1 << 20
_LINES = {3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
"""Compression → lines of a chunk, where that is more than one: ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB."""
_MIPMAP, _RIPMAP = 1, 2


def passed_over(data: bytes) -> tuple[str, ...]:
    """A sentence for each thing that is in the file and not in the decoded picture; none where there is no header."""
    if data[:4] != _MAGIC or len(data) < 8:
        return ()
    (version,) = struct.unpack_from("<I", data, 4)
    said = []
    if version & (_SEVERAL_PARTS | _DEEP):
        said.append("The EXR images have several parts, or deep pixels, of which one flat picture is read")
    words = dict(_attributes(data[:_MOST_HEADER]))
    others = sorted(name for name in _channels(words.get("channels", b"")) if name not in _PICTURE)
    if others:
        more = ", …" if len(others) > _MOST_NAMED else ""
        said.append(f"The EXR channels {', '.join(others[:_MOST_NAMED])}{more} are not carried")
    data_window, shown = words.get("dataWindow", b""), words.get("displayWindow", b"")
    if len(data_window) == len(shown) == 16 and data_window != shown:
        left, top, right, bottom = struct.unpack("<4i", data_window)
        first_x, first_y, last_x, last_y = struct.unpack("<4i", shown)
        if left < first_x or top < first_y or right > last_x or bottom > last_y:
            said.append("The EXR images hold pixels beyond their display window, which are not carried")
    return tuple(said)


def damage(data: bytes) -> str | None:
    """What its table of offsets says against a file of one flat part: chunks that are not there whole."""
    (version,) = struct.unpack_from("<I", data, 4) if len(data) >= 8 else (0,)
    if data[:4] != _MAGIC or version & (_SEVERAL_PARTS | _DEEP):
        return None
    words, at = {}, 8
    for name, value, end in _placed(data[:_MOST_HEADER]):
        words[name], at = value, end
    at += 1  # the zero byte that ends the header
    head, chunks = _chunks(words)
    table = data[at : at + 8 * chunks]
    if chunks == 0 or len(table) < 8 * chunks:
        return "the file is cut short: its table of lines is not whole"
    for number, (offset,) in enumerate(struct.iter_unpack("<Q", table)):
        size_at = offset + head - 4
        if offset < at + len(table) or offset + head > len(data):
            return f"the file is cut short: of its {chunks} chunks of lines, {number} are there"
        (size,) = struct.unpack_from("<I", data, size_at)
        if size > len(data) - offset - head:
            return f"the file is cut short: of its {chunks} chunks of lines, {number} are there whole"
    return None


def _chunks(words: dict[str, bytes]) -> tuple[int, int]:
    """Bytes of a chunk before its data, and the number of chunks; 0 where the header does not say."""
    window, compression, tiles = words.get("dataWindow", b""), words.get("compression", b""), words.get("tiles")
    if len(window) != 16 or len(compression) != 1:
        return 8, 0
    left, top, right, bottom = struct.unpack("<4i", window)
    width, height = right - left + 1, bottom - top + 1
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE):
        return 8, 0
    if tiles is None:
        return 8, -(-height // _LINES.get(compression[0], 1))
    if len(tiles) != 9:
        return 20, 0
    across, down, mode = struct.unpack("<IIB", tiles)
    if not (across and down):
        return 20, 0
    wide, high = (_sizes(n, mode) for n in (width, height))
    pairs = zip(wide, high, strict=False) if mode & 15 < _RIPMAP else itertools.product(wide, high)
    if mode & 15 == _MIPMAP:
        longest = max(len(wide), len(high))
        pairs = zip(*(n + [n[-1]] * (longest - len(n)) for n in (wide, high)), strict=True)
    return 20, sum(-(-w // across) * -(-h // down) for w, h in pairs)


def _sizes(size: int, mode: int) -> list[int]:
    """A side at every level."""
    if mode & 15 == 0:
        return [size]
    up = mode >> 4
    sizes = [size]
    while sizes[-1] > 1:
        sizes.append(max(1, (sizes[-1] + up) // 2))
    return sizes


def _attributes(data: bytes) -> Iterator[tuple[str, bytes]]:
    for name, value, _ in _placed(data):
        yield name, value


def _placed(data: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Name, value, and the place after it."""
    at = 8
    while at < len(data) and data[at]:
        name, at = _text(data, at)
        _, at = _text(data, at)
        if at + 4 > len(data):
            return
        (size,) = struct.unpack_from("<I", data, at)
        if size > len(data) - at - 4:
            return
        at += 4 + size
        yield name, data[at - size : at], at


def _channels(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data) and data[at]:
        name, at = _text(data, at)
        at += _CHANNEL
        yield name


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A text that a zero byte ends, printable, and the place after it."""
    end = data.find(b"\0", at, at + _MOST_NAME)
    end = len(data) if end < 0 else end
    return "".join(c if c.isprintable() else "?" for c in data[at:end].decode("latin-1")), end + 1
