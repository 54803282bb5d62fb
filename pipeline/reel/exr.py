"""What an OpenEXR file holds that FFmpeg's decoder passes over, so that it can be said: other channels, parts, margins.

The header is a list of attributes, each a name, a type and a size (OpenEXR file layout, "Header Attributes").
"""

from __future__ import annotations

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


def _attributes(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 8
    while at < len(data) and data[at]:
        name, at = _text(data, at)
        _, at = _text(data, at)
        if at + 4 > len(data):
            return
        (size,) = struct.unpack_from("<I", data, at)
        if size > len(data) - at - 4:
            return
        yield name, data[at + 4 : at + 4 + size]
        at += 4 + size


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
