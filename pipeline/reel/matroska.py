"""What FFmpeg's Matroska muxer cannot be told through ``av``, written into the file's track headers afterwards.

Three things: the display size, which is how Matroska says the shape of a pixel; the codec delay, which says how much of
a sound track's beginning is the codec's run-up; and what the picture was mastered on. None changes the length of
anything: a placeholder in the track's name keeps the room, and what is left of it becomes a Void element (RFC 9559, RFC
8794).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from pathlib import Path

from pipeline.errors import VerifyError
from pipeline.types import Mastering

_SEGMENT, _TRACKS, _ENTRY, _NUMBER = 0x18538067, 0x1654AE6B, 0xAE, 0xD7
_NAME, _VIDEO, _VOID, _CRC, _CODEC_DELAY = 0x536E, 0xE0, 0xEC, 0xBF, 0x56AA
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_BY_RATIO = 3
_COLOUR, _MAX_CLL, _MAX_FALL, _MASTERING, _RED_X, _MOST, _LEAST = 0x55B0, 0x55BC, 0x55BD, 0x55D0, 0x55D1, 0x55D9, 0x55DA
_HEAD_BYTES = 16 << 20

RESERVE = "." * 240
"""Written behind the name of a track that will be changed: room for every element that is added, and for a Void."""


@dataclass(frozen=True, slots=True)
class TrackEdit:
    """What one track's header gets."""

    title: str | None
    """The track's name without the placeholder."""
    sample_aspect: Fraction | None = None
    """Shape of a pixel; None or 1 leaves the display size as it is (equal to the pixels')."""
    width: int = 0
    height: int = 0
    """Size of the picture in px, where ``sample_aspect`` is given."""
    delay: Fraction = Fraction(0)
    """Seconds of run-up at the start of the track that are decoded and thrown away."""
    mastering: Mastering | None = None


def codec_delays(head: bytes) -> dict[int, int]:
    """Track number → codec delay in ns, of the tracks that have one, from the beginning of a Matroska file."""
    _, body = _tracks(head, "header")
    found = {}
    for element, payload, _ in _elements(body):
        if element == _ENTRY:
            parts = {e: p for e, p, _ in _elements(payload)}
            if _CODEC_DELAY in parts:
                found[int.from_bytes(parts.get(_NUMBER, b""), "big")] = int.from_bytes(parts[_CODEC_DELAY], "big")
    return found


def edit_tracks(path: Path, edits: Mapping[int, TrackEdit]) -> None:
    """Change the headers of the tracks with these numbers (from 1) in a closed file that FFmpeg's muxer wrote.

    Every edited track must have been written with a title ending in ``RESERVE``. Raises VerifyError where the file is
    not laid out as that muxer lays it out.
    """
    with path.open("r+b") as file:
        at, out = _changed(file.read(_HEAD_BYTES), edits, str(path))
        file.seek(at)
        file.write(out)


def edited(data: bytes, edits: Mapping[int, TrackEdit]) -> bytes:
    """As ``edit_tracks``, of a small file in memory."""
    at, out = _changed(data, edits, "header")
    return data[:at] + out + data[at + len(out) :]


def _changed(head: bytes, edits: Mapping[int, TrackEdit], where: str) -> tuple[int, bytes]:
    """Where the track headers begin, and what stands there from now on."""
    at, body = _tracks(head, where)
    out, seen, crc = b"", set(), False
    for element, payload, raw in _elements(body):
        if element == _CRC:
            crc = True
            continue
        if element == _ENTRY:
            parts = {e: p for e, p, _ in _elements(payload)}
            number = int.from_bytes(parts.get(_NUMBER, b""), "big")
            if number in edits:
                raw = raw[: len(raw) - len(payload)] + _edited(payload, edits[number], where)
                seen.add(number)
        out += raw
    if seen != set(edits):
        raise VerifyError(f"it has no tracks {sorted(set(edits) - seen)} in its header", where=where)
    if crc:
        # RFC 8794, 11.3.1: over all that follows in its parent, least significant byte first.
        out = _element(_CRC, zlib.crc32(out).to_bytes(4, "little")) + out
    if len(out) != len(body):
        raise VerifyError(f"its track headers would go from {len(body)} to {len(out)} bytes", where=where)
    return at, out


def _edited(entry: bytes, edit: TrackEdit, where: str) -> bytes:
    out = b""
    room = False
    for element, payload, raw in _elements(entry):
        if element == _NAME and payload.endswith(RESERVE.encode()):
            out += _element(_NAME, edit.title.encode()) if edit.title else b""
            room = True
        elif element == _VIDEO:
            payload = payload if edit.sample_aspect in (None, 1) else _with_aspect(payload, edit)
            payload = _with_mastering(payload, edit.mastering) if edit.mastering else payload
            # As the muxer has it, where nothing is changed in it.
            out += _element(_VIDEO, payload) if edit.mastering or edit.sample_aspect not in (None, 1) else raw
        elif element == _CODEC_DELAY and edit.delay:
            continue
        else:
            out += raw
    if not room:
        raise VerifyError("a track header has no room for what it must say", where=where)
    if edit.delay:
        out += _element(_CODEC_DELAY, round(edit.delay * 1_000_000_000).to_bytes(8, "big"))
    return out + _void(len(entry) - len(out), where)


def _with_aspect(video: bytes, edit: TrackEdit) -> bytes:
    assert edit.sample_aspect is not None
    wide, high, unit = edit.width * edit.sample_aspect, Fraction(edit.height), b""
    if wide.denominator != 1:
        # No whole number of pixels shows this shape, so the ratio itself is written.
        a, b = edit.width * edit.sample_aspect.numerator, edit.height * edit.sample_aspect.denominator
        wide, high = Fraction(a // gcd(a, b)), Fraction(b // gcd(a, b))
        unit = _element(_DISPLAY_UNIT, bytes([_BY_RATIO]))
    # FFmpeg has said that the unit is not known; without a word it is pixels.
    gone = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
    out = b"".join(raw for e, _, raw in _elements(video) if e not in gone)
    for element, value in ((_DISPLAY_WIDTH, int(wide)), (_DISPLAY_HEIGHT, int(high))):
        out += _element(element, value.to_bytes(4, "big"))
    return out + unit


def _with_mastering(video: bytes, said: Mastering) -> bytes:
    """The video element with what ``said`` holds in its colour element (RFC 9559, 5.1.4.1.28.23 and on)."""
    display = b""
    for number, value in enumerate(said.primaries or ()):
        display += _element(_RED_X + number, struct.pack(">d", value))
    for element, light in zip((_LEAST, _MOST), said.luminance or (), strict=False):
        display += _element(element, struct.pack(">d", light))
    more = _element(_MASTERING, display) if display else b""
    for element, level in zip((_MAX_CLL, _MAX_FALL), said.light or (), strict=False):
        more += _element(element, level.to_bytes(4, "big"))
    parts = list(_elements(video))
    colour = next((payload for element, payload, _ in parts if element == _COLOUR), b"")
    return b"".join(raw for element, _, raw in parts if element != _COLOUR) + _element(_COLOUR, colour + more)


def _void(room: int, where: str) -> bytes:
    """A Void element that takes exactly ``room`` bytes."""
    if room == 0:
        return b""
    for length in (1, 2):
        payload = room - 1 - length
        if 0 <= payload < (1 << 7 * length) - 1:
            return _element(_VOID, bytes(payload), length)
    raise VerifyError(f"a track header has {room} bytes of room left, which no Void element fills", where=where)


def _tracks(head: bytes, where: str) -> tuple[int, bytes]:
    """Offset and bytes of the Tracks element's payload."""
    at = 0
    while at < len(head):
        element, after = _id(head, at, where)
        size, start = _size(head, after, where)
        if element == _SEGMENT:
            at = start
            continue
        if start + size > len(head):
            break
        if element == _TRACKS:
            return start, head[start : start + size]
        at = start + size
    raise VerifyError(f"no track headers in its first {len(head)} bytes", where=where)


def _elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Id, payload, and the whole element as it lies there."""
    at = 0
    while at < len(data):
        element, after = _id(data, at, "track header")
        size, start = _size(data, after, "track header")
        if start + size > len(data):
            raise VerifyError("a Matroska element is longer than the one it lies in", where="track header")
        yield element, data[start : start + size], data[at : start + size]
        at = start + size


def _id(data: bytes, at: int, where: str) -> tuple[int, int]:
    length = 9 - data[at].bit_length()
    if not 1 <= length <= 4 or at + length > len(data):
        raise VerifyError(f"no Matroska element at byte {at}", where=where)
    return int.from_bytes(data[at : at + length], "big"), at + length


def _size(data: bytes, at: int, where: str) -> tuple[int, int]:
    length = 9 - data[at].bit_length() if at < len(data) else 0
    if not 1 <= length <= 8 or at + length > len(data):
        raise VerifyError(f"no Matroska element size at byte {at}", where=where)
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return value, at + length


def _element(element: int, payload: bytes, length: int = 1) -> bytes:
    """An element whose size takes ``length`` bytes, or as many as it needs."""
    while len(payload) >= (1 << 7 * length) - 1:
        length += 1
    size = (len(payload) | 1 << 7 * length).to_bytes(length, "big")
    return element.to_bytes((element.bit_length() + 7) // 8, "big") + size + payload
