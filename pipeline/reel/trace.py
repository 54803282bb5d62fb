"""What was put into a file, packet by packet, in a few bytes each; and whether a demux of the file finds the same."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from pipeline.errors import VerifyError
from pipeline.types import Sha256

Payload = bytes | Packet  # type: ignore[type-arg]


def _digest(payload: Payload) -> int:
    """64 bits of a packet's SHA-256, for which processors have instructions: enough to name the packet that differs."""
    return int.from_bytes(hashlib.sha256(payload, usedforsecurity=False).digest()[:8], "little")


class Trace:
    """The packets of one stream as they were written: 16 bytes of memory for each."""

    def __init__(self, what: str):
        """``what`` names the stream for people."""
        self.what = what
        self.bytes = 0
        self._digests = array("Q")
        self._pts = array("q")

    def __len__(self) -> int:
        return len(self._pts)

    def add(self, payload: Payload, pts: int) -> None:
        """A packet as it should be found again, ``pts`` in ticks of the written stream."""
        self._digests.append(_digest(payload))
        self._pts.append(pts)
        self.bytes += len(memoryview(payload))

    def compare(self, found: Found, payload: Payload, pts: int | None, tick: Fraction) -> None:
        """Hold the next packet of this stream, as it was read again, against what was written. Raises VerifyError."""
        number = found.packets
        if number >= len(self):
            raise VerifyError(f"{self.what}: it holds more than the {len(self)} packets that were written")
        if self._digests[number] != _digest(payload):
            raise VerifyError(f"{self.name(number)} has other bytes than were written", frame=self.frame(number))
        if pts != self._pts[number]:
            raise VerifyError(
                f"{self.name(number)} stands at {pts} ticks of {tick} s, expected {self._pts[number]}",
                frame=self.frame(number),
            )
        found.packets += 1

    def finish(self, found: Found) -> None:
        """Raises VerifyError where packets are missing at the end."""
        if found.packets != len(self):
            raise VerifyError(f"{self.what}: {found.packets} packets are in the file, {len(self)} were written")

    def name(self, number: int) -> str:
        """A packet's name for people."""
        return f"{self.what}: packet {number}"

    def frame(self, number: int) -> int | None:  # noqa: ARG002  (pictures know better)
        """The picture that a packet holds; None for what is no picture."""
        return None


class PictureTrace(Trace):
    """The picture's packets. Their order is the codec's, so a packet's frame is found by its time."""

    def __init__(self, ticks: NDArray[np.int64], first: int):
        """``ticks`` are the pts of all frames, rising; ``first`` is the number of the first."""
        super().__init__("picture")
        self._ticks, self._first = ticks, first

    def frame(self, number: int) -> int | None:
        return self._first + int(np.searchsorted(self._ticks, self._pts[number]))


class StreamTrace(Trace):
    """Another stream's packets, and the hash of all its bytes."""

    def __init__(self, what: str):
        super().__init__(what)
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Over the packets' bytes, one behind the other."""
        return self._hash.hexdigest()

    def add(self, payload: Payload, pts: int) -> None:
        super().add(payload, pts)
        self._hash.update(payload)


class PcmTrace(StreamTrace):
    """PCM sound: a container may cut it into other packets, so bytes and times are held against each other."""

    def __init__(self, what: str, bytes_a_second: int):
        super().__init__(what)
        self._rate = bytes_a_second
        self._starts = array("q")

    def add(self, payload: Payload, pts: int) -> None:
        self._starts.append(self.bytes)
        super().add(payload, pts)

    def compare(self, found: Found, payload: Payload, pts: int | None, tick: Fraction) -> None:
        at = bisect_right(self._starts, found.bytes) - 1
        if pts is None or at < 0:
            raise VerifyError(f"{self.name(found.packets)} has no time or was never written")
        inside = Fraction(found.bytes - self._starts[at], self._rate)
        off = abs((pts - self._pts[at]) * tick - inside)
        # Of the packet written and of the packet read, each is rounded once: to a tick, or to a source's milliseconds.
        if off > 2 * max(tick, Fraction(1, 1000)):
            raise VerifyError(
                f"{self.what}: the sound at {float(pts * tick):.4f} s belongs {float(off):.4f} s away from there",
                todo="Deliver as ffv1: Matroska holds gaps in PCM sound, mp4 and mov do not",
            )
        found.packets += 1
        found.bytes += len(memoryview(payload))

    def finish(self, found: Found) -> None:
        if found.bytes != self.bytes or found.hash.hexdigest() != self.sha256:
            raise VerifyError(
                f"{self.what}: the {found.bytes} bytes of sound in the file are not the {self.bytes} that were written"
            )


class MovTextTrace(StreamTrace):
    """mov_text subtitles: a muxer puts an empty one wherever there is nothing to read."""

    EMPTY = b"\0\0"

    def compare(self, found: Found, payload: Payload, pts: int | None, tick: Fraction) -> None:
        if bytes(payload) != self.EMPTY:
            super().compare(found, payload, pts, tick)


class Found:
    """How far a stream has been read again."""

    def __init__(self) -> None:
        self.packets = 0
        self.bytes = 0
        self.hash = hashlib.sha256()
        """Of another stream than the picture: over the bytes of its packets as they lie in the file."""


def check(path: Path, traces: Mapping[int, Trace], running: Mapping[int, Any] | None = None) -> dict[int, Sha256]:
    """Demux a file that was written and hold every packet against its trace, by stream index.

    Streams without a trace may only be what a muxer makes by itself (timecode, chapter names) or attachments. Gives the
    sha256 of each other stream than the picture, over its packets as they lie in the file: what FFmpeg's streamhash
    says. ``running``: hashes by stream index that are told the same bytes. Raises VerifyError naming the file, and the
    frame or the stream and packet.
    """
    others = {index for index, trace in traces.items() if isinstance(trace, StreamTrace)}
    found = {index: Found() for index in traces}
    try:
        with av.open(str(path)) as container:
            extra = [s for s in container.streams if s.index not in traces and s.type not in ("data", "attachment")]
            if extra or len(container.streams) < len(traces):
                raise VerifyError(f"{len(container.streams)} streams are in the file, {len(traces)} were written")
            for packet in container.demux():
                index = packet.stream_index
                if packet.size and index in traces:
                    if index in others:
                        found[index].hash.update(packet)
                        if running:
                            running[index].update(packet)
                    traces[index].compare(found[index], packet, packet.pts, packet.time_base)
        for index, trace in traces.items():
            trace.finish(found[index])
        return {index: found[index].hash.hexdigest() for index in others}
    except av.FFmpegError as error:
        raise VerifyError(f"what was written cannot be read: {error.strerror}", where=str(path)) from error
    except VerifyError as error:
        raise VerifyError(error.what, where=str(path), frame=error.frame, todo=error.todo) from None
