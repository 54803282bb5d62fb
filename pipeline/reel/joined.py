"""The picture's packets out of one segment after another, numbered by the frames that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.errors import VerifyError
from pipeline.spec import Output
from pipeline.types import Reel

REORDER = {"ffv1": 0, "prores": 0, "dnxhr": 0, "h264": 2, "hevc": 2, "av1": 0}
"""Frames by which a codec's order can run ahead of the pictures' order: B-frames with a pyramid need two. A packet of
AV1 holds, with the one picture that is shown, those that later ones refer to."""


@dataclass(frozen=True, slots=True)
class PicturePacket:
    """One coded picture."""

    packet: Any
    frame: int
    """Its place in presentation order over all segments, from 0."""


class Joined:
    """Segments in order, each opened when it is needed and closed before the next is asked for."""

    def __init__(self, segments: Iterator[Path], reel: Reel, output: Output):
        self._segments, self._reel = segments, reel
        self._reorder = REORDER[output.codec]
        self._open: InputContainer | None = None
        self._path = Path()
        self._extradata: bytes | None = None

    def __enter__(self) -> Self:
        if not self._next():
            raise VerifyError("there is not one segment to assemble", where=self._reel.uri)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def template(self) -> VideoStream:
        """The picture stream of the segment that is open."""
        assert self._open is not None
        return self._open.streams.video[0]

    def packets(self) -> Iterator[PicturePacket]:
        """Every packet, in the codec's order. Raises VerifyError where segments do not fit together."""
        before = 0
        while self._open is not None:
            count = 0
            for packet in self._open.demux(self.template):
                if not packet.size:
                    continue
                yield PicturePacket(packet, before + self._place(packet, count))
                count += 1
            before += count
            self._close()
            self._next()

    def _place(self, packet: Any, count: int) -> int:
        """Place of a packet's picture in its segment; a segment's times count frames at the reel's rate."""
        if count == 0 and not packet.is_keyframe:
            raise VerifyError(f"the segment {self._path.name} does not begin with a key frame", where=self._reel.uri)
        if not self._reorder:
            return count
        place: int = round(packet.pts * packet.time_base * self._reel.rate)
        if place < 0 or count - place > self._reorder:
            raise VerifyError(
                f"the segment {self._path.name} holds its packet {count} out of order", where=self._reel.uri
            )
        return place

    def _next(self) -> bool:
        path = next(self._segments, None)
        if path is None:
            return False
        self._path = path
        try:
            self._open = av.open(str(path))
            context = self.template.codec_context
        except (av.FFmpegError, OSError, IndexError) as error:
            raise VerifyError(f"the segment {path.name} cannot be read: {error}", where=self._reel.uri) from error
        if (context.width, context.height) != (self._reel.width, self._reel.height):
            raise VerifyError(
                f"the segment {path.name} is {context.width}×{context.height} px, "
                f"expected {self._reel.width}×{self._reel.height}",
                where=self._reel.uri,
            )
        extradata = bytes(context.extradata or b"")
        if self._extradata is None:
            self._extradata = extradata
        if extradata != self._extradata:
            raise VerifyError(
                f"the segment {path.name} was encoded with other settings than the ones before it",
                where=self._reel.uri,
                todo="Run again with --overwrite: the segments come from different versions",
            )
        return True

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
