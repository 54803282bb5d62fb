"""Headers of DPX files (SMPTE 268M, version 2.0): what they say of a scan, and carrying that into new files.

A field that is filled with ones is undefined, as the standard has it; text may also be all zeros.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.reel import rates

HEADER_BYTES = 2048
"""Generic header and the film and television headers; user data and the picture follow."""
_LEAST_BYTES = 1664
"""The generic header alone, which every file has."""
_ELEMENT = 780
_MAX_TEXT = 200

# Name → offset and kind: a number of bytes of text; I, H and B whole numbers; f float32.
_DESCRIPTIVE: dict[str, tuple[int, str]] = {
    "created": (136, "24"),
    "creator": (160, "100"),
    "project": (260, "200"),
    "copyright": (460, "200"),
    "orientation": (768, "H"),
    "x_offset": (1408, "I"),
    "y_offset": (1412, "I"),
    "x_center": (1416, "f"),
    "y_center": (1420, "f"),
    "x_original_size": (1424, "I"),
    "y_original_size": (1428, "I"),
    "source_file": (1432, "100"),
    "source_created": (1532, "24"),
    "input_device": (1556, "32"),
    "input_serial": (1588, "32"),
    "border_left": (1620, "H"),
    "border_right": (1622, "H"),
    "border_top": (1624, "H"),
    "border_bottom": (1626, "H"),
    "aspect_across": (1628, "I"),
    "aspect_down": (1632, "I"),
    "film_manufacturer": (1664, "2"),
    "film_type": (1666, "2"),
    "film_perforation": (1668, "2"),
    "film_prefix": (1670, "6"),
    "film_count": (1676, "4"),
    "film_format": (1680, "32"),
    "frame_position": (1712, "I"),
    "sequence_length": (1716, "I"),
    "held_count": (1720, "I"),
    "film_rate": (1724, "f"),
    "shutter_angle": (1728, "f"),
    "frame_id": (1732, "32"),
    "slate": (1764, "100"),
    "time_code": (1920, "I"),
    "user_bits": (1924, "I"),
    "interlace": (1928, "B"),
    "field_number": (1929, "B"),
    "video_signal": (1930, "B"),
    "sample_rate_across_hz": (1932, "f"),
    "sample_rate_down_hz": (1936, "f"),
    "tv_rate": (1940, "f"),
    "time_offset_ms": (1944, "f"),
    "gamma": (1948, "f"),
    "black_level": (1952, "f"),
    "black_gain": (1956, "f"),
    "break_point": (1960, "f"),
    "white_level": (1964, "f"),
    "integration_s": (1968, "f"),
    "transfer": (_ELEMENT + 21, "B"),
    "colorimetric": (_ELEMENT + 22, "B"),
}
_REFERENCES: dict[str, tuple[int, str]] = {
    "low_code": (_ELEMENT + 4, "I"),
    "low_quantity": (_ELEMENT + 8, "f"),
    "high_code": (_ELEMENT + 12, "I"),
    "high_quantity": (_ELEMENT + 16, "f"),
}
"""What two code values mean; true for pictures of the same depth only."""
_SHAPE: dict[str, tuple[int, str]] = {
    "elements": (770, "H"),
    "width": (772, "I"),
    "height": (776, "I"),
    "descriptor": (_ELEMENT + 20, "B"),
    "depth": (_ELEMENT + 23, "B"),
    "packing": (_ELEMENT + 24, "H"),
    "encoding": (_ELEMENT + 26, "H"),
}
_OF_THE_FILM = ("orientation", "transfer", "colorimetric")
"""With the shape, what must be the same in every file of a film."""
_FILE_NAME, _FILE_NAME_BYTES = 36, 100
_USER_BYTES = 32
TRANSFERS = MappingProxyType(
    {
        1: "printing density",
        2: "linear",
        3: "logarithmic",
        4: "unspecified video",
        5: "SMPTE 274M",
        6: "BT.709",
        7: "BT.601 625 lines",
        8: "BT.601 525 lines",
        9: "NTSC",
        10: "PAL",
    }
)
_LOG = (1, 3)
_LINEAR = 2
_KEYCODE = ("film_manufacturer", "film_type", "film_prefix", "film_count", "film_perforation")
_DROP = 0x40


@dataclass(frozen=True, slots=True)
class Header:
    """What a DPX file says of itself; only what is defined."""

    words: dict[str, str | int | float]

    @property
    def shape(self) -> str:
        """What must be the same in every file of a film, as ``name=value`` with spaces between."""
        return " ".join(f"{name}={self.words.get(name, 'undefined')}" for name in (*_SHAPE, *_OF_THE_FILM))

    @property
    def timecode(self) -> str | None:
        """SMPTE ST 12-1 ``HH:MM:SS:FF`` (``;`` where it drops numbers)."""
        code = self.words.get("time_code")
        if not isinstance(code, int):
            return None
        hours, minutes, seconds, frames = code.to_bytes(4, "big")
        fields = [hours & 0x3F, minutes & 0x7F, seconds & 0x7F, frames & 0x3F]
        values = [10 * (b >> 4) + (b & 15) for b in fields]
        if any(b & 15 > 9 for b in fields) or values[0] > 23 or values[1] > 59 or values[2] > 59:
            return None
        mark = ";" if frames & _DROP else ":"
        return f"{values[0]:02}:{values[1]:02}:{values[2]:02}{mark}{values[3]:02}"

    @property
    def keycode(self) -> str | None:
        """The film's edge code: maker, type, prefix, count and perforations, as scanners write them."""
        parts = [str(self.words.get(name, "")) for name in _KEYCODE]
        return f"{parts[0]} {parts[1]} {parts[2]} {parts[3]}+{parts[4]}" if all(parts[:4]) else None

    @property
    def rate(self) -> Fraction | None:
        """Frames a second: the film header's, else the television header's; None where neither is believable."""
        for name in ("film_rate", "tv_rate"):
            value = self.words.get(name)
            if isinstance(value, float) and rates.SLOWEST <= value <= rates.FASTEST:
                return rates.snap(Fraction(value).limit_denominator(1_000_000))
        return None

    def tags(self) -> Iterator[tuple[str, str]]:
        """Everything that is defined and describes the scan, as tags of a film."""
        if self.keycode:
            yield "dpx_keycode", self.keycode
        for name, value in self.words.items():
            if name in (*_SHAPE, "time_code", *(_KEYCODE if self.keycode else ())) or value == 0:
                continue
            text = f"{value:g}" if isinstance(value, float) else str(value)
            if name in ("transfer", "colorimetric") and isinstance(value, int):
                text = TRANSFERS.get(value, text)
            yield f"dpx_{name}", text


def parse(data: bytes) -> Header:
    """Read the first bytes of a file. Raises SourceError, without the file's name, where they are no DPX header."""
    if data[:4] not in (b"SDPX", b"XPDS") or len(data) < _LEAST_BYTES:
        raise SourceError(
            f"this is no DPX file: it begins with {data[:4].hex(' ') or 'nothing'} and has {len(data)} bytes of header",
            todo="Take another copy of the file",
        )
    order = _order(data)
    (offset,) = struct.unpack_from(f"{order}I", data, 4)
    words: dict[str, str | int | float] = {}
    for name, (at, kind) in (*_SHAPE.items(), *_DESCRIPTIVE.items(), *_REFERENCES.items()):
        if at >= _LEAST_BYTES and (offset < HEADER_BYTES or len(data) < HEADER_BYTES):
            continue
        value = _read(data, order, at, kind)
        if value is not None:
            words[name] = value
    (user,) = struct.unpack_from(f"{order}I", data, _USER_BYTES)
    if user not in (0, 0xFFFFFFFF):
        words["user_bytes"] = user
    return Header(words)


def difference(a: str, b: str) -> str | None:
    """In which words two shapes differ: ``height was 1556, is 1080``; None where they are one."""
    pairs = zip(a.split(" "), b.split(" "), strict=True)
    told = [(x.partition("="), y.partition("=")) for x, y in pairs if x != y]
    return "; ".join(f"{x[0]} was {x[2]}, is {y[2]}" for x, y in told) or None


def remarks(header: Header, say: spec.Source) -> Iterator[str]:
    """Sentences on what the header says and we do not follow."""
    transfer = header.words.get("transfer")
    if transfer in _LOG and say.transfer != "log":
        yield (
            f"the DPX header says {TRANSFERS[int(transfer)]}, which scanners often write untrue: the codes are taken "
            f"as {_taken(say)}; source.transfer: log reads them through the Cineon curve"
        )
    if transfer == _LINEAR and say.transfer != "linear":
        yield f"the DPX header says linear: the codes are taken as {_taken(say)} (source.transfer)"
    if header.words.get("orientation"):
        yield (
            f"the DPX header says orientation {header.words['orientation']}: the picture is restored as FFmpeg reads "
            "it, line by line from the file's start"
        )


def passed_over(header: Header) -> tuple[str, ...]:
    """A sentence for each thing that is in the file and carried nowhere."""
    said = []
    if header.words.get("user_bytes"):
        said.append(f"The {header.words['user_bytes']} bytes of user data in the DPX headers are not carried")
    if header.words.get("elements", 1) != 1:
        said.append(f"Of the {header.words['elements']} elements in the DPX images the first is read")
    return tuple(said)


def _taken(say: spec.Source) -> str:
    return "display" if say.transfer == "auto" else say.transfer


def carry(source: bytes, encoded: bytes, name: str) -> bytes:
    """A DPX file that FFmpeg encoded with all that the source's header says of the scan, under its new ``name``."""
    made = bytearray(encoded)
    order, own = _order(made), _order(source)
    (offset,) = struct.unpack_from(f"{own}I", source, 4)
    full = offset >= HEADER_BYTES and len(source) >= HEADER_BYTES
    if full:
        _make_room(made, order)
    _name(made, name)
    fields = dict(_DESCRIPTIVE)
    if source[_ELEMENT + 23] == made[_ELEMENT + 23]:
        fields |= _REFERENCES
    for at, kind in fields.values():
        if at >= _LEAST_BYTES and not full:
            continue
        if kind.isdecimal():
            made[at : at + int(kind)] = source[at : at + int(kind)]
        else:
            # Floats as their bits: what is undefined stays so.
            raw = kind.replace("f", "I")
            struct.pack_into(order + raw, made, at, *struct.unpack_from(own + raw, source, at))
    return bytes(made)


def describe(encoded: bytes, name: str, rate: Fraction, timecode: str | None) -> bytes:
    """A DPX file that FFmpeg encoded, with what is known of a frame of a film: its file's name, rate and timecode."""
    made = bytearray(encoded)
    order = _order(made)
    _make_room(made, order)
    _name(made, name)
    struct.pack_into(f"{order}f", made, _DESCRIPTIVE["tv_rate"][0], float(rate))
    if timecode is not None and len(timecode) == len("00:00:00:00"):
        code = int(timecode[0:2] + timecode[3:5] + timecode[6:8] + timecode[9:11], 16)
        struct.pack_into(f"{order}I", made, _DESCRIPTIVE["time_code"][0], code | (_DROP if ";" in timecode else 0))
    return bytes(made)


def _name(made: bytearray, name: str) -> None:
    text = name.encode()[: _FILE_NAME_BYTES - 1]
    made[_FILE_NAME : _FILE_NAME + _FILE_NAME_BYTES] = text.ljust(_FILE_NAME_BYTES, b"\0")


def _make_room(made: bytearray, order: str) -> None:
    """Give a file the film and television headers, undefined, where it has the generic one alone, as FFmpeg's have."""
    (offset,) = struct.unpack_from(f"{order}I", made, 4)
    if offset >= HEADER_BYTES:
        return
    made[_LEAST_BYTES:offset] = b"\xff" * (HEADER_BYTES - _LEAST_BYTES)
    (of_element,) = struct.unpack_from(f"{order}I", made, _ELEMENT + 28)
    moved = HEADER_BYTES - offset
    values = {4: HEADER_BYTES, 16: len(made), 28: HEADER_BYTES - _LEAST_BYTES, _ELEMENT + 28: of_element + moved}
    for at, value in values.items():
        struct.pack_into(f"{order}I", made, at, value)


def _order(data: bytes | bytearray) -> str:
    return ">" if data[:4] == b"SDPX" else "<"


def _read(data: bytes, order: str, at: int, kind: str) -> str | int | float | None:
    if kind.isdecimal():
        raw = data[at : at + int(kind)].split(b"\0")[0].rstrip(b"\xff")
        text = "".join(c for c in raw.decode("utf-8", "replace") if c.isprintable()).strip()
        return text[:_MAX_TEXT] or None
    (value,) = struct.unpack_from(order + kind, data, at)
    if kind == "f":
        return value if math.isfinite(value) and abs(value) < 1e30 else None
    return None if value == (1 << 8 * struct.calcsize(kind)) - 1 else value
