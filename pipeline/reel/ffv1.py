"""The CRC that every slice of an FFV1 frame carries (RFC 9043, 4.9), checked on the packet itself.

FFmpeg conceals a damaged slice with pixels of its own and tells it in a log line only. Checking the packet needs no
log, holds for any number of threads, and costs about a millisecond for a megabyte.
"""

from __future__ import annotations

import zlib

_TAIL = 3
"""Bytes of the slice's size at its end; 8 where an error status and a CRC follow."""
_TAIL_CRC = 8
_MIRROR = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))
# The register before the first byte, which a whole slice also leaves behind: of versions 3 and 4 (there as a CRC of
# kind 2). zlib's CRC is the mirror image of FFV1's and inverts before and after.
_SEEDS = tuple(int(f"{seed:032b}"[::-1], 2) ^ 0xFFFFFFFF for seed in (0x00000000, 0x79408C7A))


def damaged_slices(packet: bytes) -> tuple[list[int], int]:
    """Numbers of the slices that fail their CRC, and how many slices the packet has.

    ``([], 0)`` where the packet carries no CRC. Sizes of slices that do not add up lose the whole packet: ``([0], 1)``.
    Not for FFV1 of versions 0 and 1, which has neither slices nor CRC.
    """
    spans = _slices(packet, _TAIL_CRC)
    if spans is None:
        return ([], 0) if _slices(packet, _TAIL) is not None else ([0], 1)
    mirrored = packet.translate(_MIRROR)
    whole = [any(zlib.crc32(mirrored[a:b], seed) == seed for seed in _SEEDS) for a, b in spans]
    return [i for i, good in enumerate(whole) if not good], len(spans)


def _slices(packet: bytes, tail: int) -> list[tuple[int, int]] | None:
    """Byte spans of the slices, found from the packet's end by the size that ends each; None where they do not fit."""
    spans: list[tuple[int, int]] = []
    end = len(packet)
    while end > 0:
        size = int.from_bytes(packet[max(end - tail, 0) : max(end - tail, 0) + 3], "big") + tail
        if size > end:
            return None
        spans.append((end - size, end))
        end -= size
    return spans[::-1]
