"""The files of a sequence: fetched several at once, held against the listing, and decoded in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from numpy.typing import NDArray

from pipeline.errors import MissingError, SourceError, StorageError
from pipeline.reel import dpx, picture
from pipeline.reel.damage import Finding
from pipeline.reel.damage import error as error_of
from pipeline.reel.formats import planes_of
from pipeline.storage import numbered, store
from pipeline.types import FrameIndex, Reel

_AT_ONCE = 8
_AHEAD_BYTES = 256 << 20
"""Bytes of files that are fetched before they are wanted; one more file is, whatever its size."""


def frames(
    reel: Reel,
    index: FrameIndex,
    first: int,
    last: int,
    *,
    threads: int,
    damage: dict[int, Finding] | None = None,
) -> Generator[tuple[int, tuple[NDArray[Any], ...]], None, None]:
    """As ``reading.frames``, of a folder of images."""
    if not 0 <= first < last <= len(index):
        raise ValueError(f"frames {first}:{last} are not inside 0:{len(index)}")
    sequence = reel.sequence
    assert sequence is not None
    with closing(_fetched(reel, index, first, last)) as files:
        for number, data in files:
            file = file_of(reel, number)
            with of_file(file, number):
                if reel.codec == "dpx":
                    check_shape(sequence.header, dpx.parse(data[: dpx.HEADER_BYTES]).shape)
                found = picture.decode(data, reel.codec, threads=threads)
            check_picture(reel, number, found)
            if found.damage is not None:
                if damage is None:
                    raise error_of(file, found.damage, number)
                damage[number] = Finding(number, found.damage)
            yield number, planes_of(found.frame, reel.format)


def file_of(reel: Reel, frame: int) -> str:
    """URI of a frame's file."""
    assert reel.sequence is not None
    return store.join(reel.uri, reel.sequence.file(frame))


def headers(reel: Reel, first: int, last: int) -> list[bytes]:
    """The first bytes of the files of the frames ``[first, last)``: DPX headers, which are carried into DPX."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda n: head(file_of(reel, n)), range(first, last)))


def head(uri: str) -> bytes:
    """The first bytes of a file: a DPX header."""
    return store.read_head(uri, dpx.HEADER_BYTES)


def _fetched(reel: Reel, index: FrameIndex, first: int, last: int) -> Generator[tuple[int, bytes], None, None]:
    """The files' bytes in order, some files ahead."""

    def get(number: int) -> bytes:
        uri, size = file_of(reel, number), int(index.size[number])
        try:
            data = _read(uri, size)
            stat = store.stat(uri)  # after reading: so the bytes are those of this version
        except MissingError:
            raise SourceError(
                "the file is gone since the folder was probed", where=uri, frame=number, todo="Put it back, run again"
            ) from None
        name = uri.rpartition("/")[2]
        version = numbered.version(name, stat.bytes, stat.version)
        if len(data) != size or index.version is None or version != index.version[number]:
            raise SourceError(
                f"the file changed since the folder was probed: {size} bytes then, {stat.bytes} now",
                where=uri,
                frame=number,
                todo="Run again when nothing writes to it any more",
            )
        return data

    numbers = iter(range(first, last))
    ahead: deque[tuple[int, Future[bytes]]] = deque()
    held = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            while True:
                while len(ahead) < _AT_ONCE and (not ahead or held < _AHEAD_BYTES):
                    number = next(numbers, None)
                    if number is None:
                        break
                    held += int(index.size[number])
                    ahead.append((number, pool.submit(get, number)))
                if not ahead:
                    return
                number, future = ahead.popleft()
                data = future.result()
                held -= len(data)
                yield number, data
        finally:
            for _, future in ahead:
                future.cancel()


def _read(uri: str, size: int) -> bytes:
    """A file's bytes; none where it has grown, which its version tells."""
    try:
        return store.read_bytes(uri, limit=size)
    except StorageError as error:
        if error.transient or isinstance(error, MissingError) or store.stat(uri).bytes <= size:
            raise
        return b""


def check_picture(reel: Reel, number: int, found: picture.Picture) -> None:
    """SourceError where an image is of another size or format than the film."""
    frame = found.frame
    if (frame.width, frame.height) != (reel.width, reel.height):
        raise SourceError(
            f"the image is {frame.width}x{frame.height}, the first one {reel.width}x{reel.height}",
            where=file_of(reel, number),
            frame=number,
            todo="Give the images of each size a folder of their own",
        )
    if frame.format.name != reel.format.name:
        raise SourceError(
            f"the image is {frame.format.name}, the first one {reel.format.name}",
            where=file_of(reel, number),
            frame=number,
            todo="Give the images of each kind a folder of their own",
        )


def check_shape(first: str, other: str) -> None:
    told = dpx.difference(first, other)
    if told is not None:
        raise SourceError(
            f"its header is not like that of the first image: {told}",
            todo="Give the images of each kind a folder of their own, or correct the header",
        )


class of_file:  # noqa: N801 - reads as a word
    """Errors within are of this file."""

    def __init__(self, file: str, frame: int):
        self._file, self._frame = file, frame

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, SourceError) and error.where is None:
            raise SourceError(error.what, where=self._file, frame=self._frame, todo=error.todo) from error
