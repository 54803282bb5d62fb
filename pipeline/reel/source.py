"""A film opened for reading: from a disk or through range reads of a store, never longer than it is needed.

Every picture goes through one byte reader of ours, so that a store that fails is told apart from a film that is broken.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from pipeline.errors import MissingError, SourceError, StorageError
from pipeline.reel import logs
from pipeline.storage import store

# Nothing that reads other files (playlists, image patterns) or draws text as a picture may open an untrusted source.
_DEMUXERS = "matroska,mov,avi,mxf,mpegts,mpeg,dv,flv,asf,ogg,nut,gxf,yuv4mpegpipe,ivf,swf,rm,wtv,mpegtsraw"
_GENERATE_PTS = 0x0001
_OF_WRITING = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM))
_READ_BYTES = 256 << 10
_HEAD_BYTES = 256
MAX_STREAMS = 256
MAX_SIDE = 16_384
MAX_EXTRADATA = 16 << 20
TRY_OTHER_COPY = "Take another copy of the file, or repair it (ffmpeg -i FILE -c copy NEW tells what is left)"


class _Reader:
    """The bytes of a source for ``av``; remembers the store's error, which FFmpeg would take for the film's end."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except (OSError, StorageError) as error:
            self.error = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, StorageError) as error:
            self.error = error
            raise
        except ValueError as error:
            # A broken film can ask for a place before its first byte.
            raise OSError(str(error)) from error

    def tell(self) -> int:
        return self._file.tell()


@dataclass(frozen=True, slots=True)
class Source:
    """An open film. Use it in one thread."""

    uri: str
    local: Path | None
    """The copy that is read in place of ``uri``."""
    container: InputContainer
    stream: VideoStream
    """The picture stream."""
    size: int
    """Bytes of the file."""
    head: bytes
    """The first bytes of the file."""
    complaints: tuple[str, ...]
    """Errors that the container's reader only logged while it read the header."""


@contextmanager
def open_source(uri: str, *, local: Path | None = None, stream: int | None = None) -> Iterator[Source]:
    """Open a film and close it again, whatever happens.

    ``local`` is a copy on this machine to read in place of ``uri``. ``stream`` is the picture stream's index; without
    it FFmpeg's choice is taken: the default or largest one that is no cover picture.

    FFmpeg's errors, here and in the body, come out as SourceError with ``uri``; the store's own as StorageError. Errors
    of writing (a full disk) pass through.
    """
    with open_container(uri, local=local) as (container, size, head, complaints):
        yield Source(uri, local, container, _picture(uri, container, stream), size, head, complaints)


@contextmanager
def open_container(
    uri: str, *, local: Path | None = None
) -> Iterator[tuple[InputContainer, int, bytes, tuple[str, ...]]]:
    """As ``open_source``, whether or not there is a picture: the container, its size in bytes, its first bytes, and
    what its demuxer complained of."""
    logs.install()
    try:
        file = store.open_read(uri if local is None else str(local))
    except MissingError as error:
        if local is not None:
            raise
        raise SourceError("there is no such file", where=uri, todo=error.todo or "Check the name") from None
    with file:
        reader = _Reader(file)
        with _told(uri, reader):
            head = reader.read(_HEAD_BYTES)
            size = reader.seek(0, 2)
            reader.seek(0)
            if size == 0:
                raise SourceError("the file is empty (0 bytes)", where=uri, todo="Copy it again from its origin")
            container, complaints = _open(uri, reader)
            try:
                yield container, size, head, complaints
                _raise_store_error(uri, reader)
            finally:
                container.close()


@contextmanager
def demuxing(source: Source) -> Iterator[Iterator[Packet[VideoStream]]]:
    """The picture stream's packets, from where the container stands, and an empty one at the end that flushes decoders.

    AVI has no times but the packets' order; where the codec keeps that order, it is the pictures' own. What ``av``
    holds for it is given back at the end also where not every packet was asked for.
    """
    packets = source.container.demux(source.stream)
    try:
        in_order = source.container.format.name == "avi" and not source.stream.codec_context.has_b_frames
        yield _timed(packets) if in_order else packets
    finally:
        packets.close()  # type: ignore[attr-defined]


def _timed(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    for packet in packets:
        if packet.pts is None:
            packet.pts = packet.dts
        yield packet


def _open(uri: str, reader: _Reader) -> tuple[InputContainer, tuple[str, ...]]:
    container: InputContainer | None = None
    with logs.errors() as told:
        try:
            container = av.open(
                reader,
                "r",
                metadata_errors="replace",
                buffer_size=_READ_BYTES,
                container_options={"format_whitelist": _DEMUXERS},
            )
        except av.error.FFmpegError as error:
            refused = error
    if container is not None:
        # Times that FFmpeg makes up where the file has none would hide that they are missing.
        container.flags &= ~_GENERATE_PTS
        return container, tuple(text for writer, text in told if writer == container.format.name)
    _raise_store_error(uri, reader)
    said = next((text for _, text in told if text), refused.strerror or str(refused))
    raise SourceError(
        f"this is no film that can be read, or only the start of one ({said[:200]})", where=uri, todo=TRY_OTHER_COPY
    )


def _picture(uri: str, container: InputContainer, wanted: int | None) -> VideoStream:
    if len(container.streams) > MAX_STREAMS:
        raise SourceError(
            f"the file claims {len(container.streams)} streams; at most {MAX_STREAMS} are read", where=uri
        )
    if wanted is not None:
        for stream in container.streams.video:
            if stream.index == wanted:
                return stream
        raise SourceError(f"the picture stream {wanted} is gone: the file was changed", where=uri, todo="Run again")
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    for stream in films:
        if best is not None and stream.index == best.index:
            return stream
    if films:
        return max(films, key=lambda s: s.width * s.height)
    kinds = sorted({"a cover picture" if s.type == "video" else s.type for s in container.streams})
    found = f"it holds only {' and '.join(kinds)}" if kinds else "it holds no stream at all"
    raise SourceError(f"there is no picture: {found}", where=uri, todo="Name a file with a video stream")


@contextmanager
def _told(uri: str, reader: _Reader) -> Iterator[None]:
    """Errors of FFmpeg as ours."""
    try:
        yield
    except av.error.FFmpegError as error:
        _raise_store_error(uri, reader)
        if isinstance(error, MemoryError) or error.errno in _OF_WRITING:
            raise
        raise SourceError(f"FFmpeg cannot read on: {error.strerror}", where=uri, todo=TRY_OTHER_COPY) from error
    except SourceError:
        # What looks like a film cut short may be a store that stopped answering.
        _raise_store_error(uri, reader)
        raise
    except (OSError, StorageError) as error:
        if error is reader.error:
            _raise_store_error(uri, reader)
        raise


def _raise_store_error(uri: str, reader: _Reader) -> None:
    if isinstance(reader.error, StorageError):
        raise reader.error
    if reader.error is not None:
        raise StorageError(f"it cannot be read: {reader.error}", where=uri) from reader.error
