"""One tile's frames as numbered images: a tar of files, each decoded again before it counts.

The files come out of the tar as they are published. What a source's DPX header says of the scan goes into a DPX
deliverable's, file by file.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import numpy as np
from av.codec.context import Flags

from pipeline.errors import SourceError, VerifyError
from pipeline.reel import dpx, images, logs, picture
from pipeline.reel.convert import Planes, image_planes, tags
from pipeline.reel.deliver import deliver_format
from pipeline.reel.formats import frame_of, hash_planes, pixel_format, planes_of, same_samples
from pipeline.reel.image_formats import IMAGES
from pipeline.reel.timecode import timecode_at
from pipeline.reel.writing import writing
from pipeline.spec import Output
from pipeline.types import Frames, Md5, PixelFormat, Reel

_OPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "dpx": {},
        # Archives keep TIFF uncompressed.
        "tiff": {"compression_algo": "raw"},
        "png": {"pred": "mixed"},
        "exr": {"compression": "zip16"},
    }
)
_DIGITS = 8
"""Of a frame's number in a file's name, where the source is no sequence with names of its own."""
_MOST_NAME = 255
_MOST_NAMED = 40


def image_name(reel: Reel, output: Output, frame: int) -> str:
    """Name of a frame's file in the deliverable's folder: the source's own with another suffix, or its number."""
    suffix = IMAGES[output.codec]
    if reel.sequence is None:
        return f"{frame:0{_DIGITS}d}{suffix}"
    return reel.sequence.file(frame).rpartition(".")[0] + suffix


def encode_images(frames: Iterable[Frames], reel: Reel, output: Output, path: Path) -> list[Md5]:
    """Write these consecutive frames into a tar, and give the MD5 of every one as it decodes again.

    ``frames`` is taken once. Equal frames give equal bytes, whatever the threads. Raises VerifyError naming the frame
    where an image does not decode to the very code values that it was given, SourceError where the codec refuses the
    picture, ScratchFullError where the disk is full.
    """
    logs.install()
    target = deliver_format(reel.format, output, width=reel.width, height=reel.height)
    found: list[Md5] = []
    with writing(path), tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for batch in frames:
            heads = _heads(reel, output, batch)
            for number in range(batch.first, batch.last):
                planes = image_planes(batch.frame(number), reel.format, target)
                data = encode_image(planes, target, reel, output)
                name = image_name(reel, output, number)
                if heads:
                    data = dpx.carry(heads[number - batch.first], data, name)
                elif output.codec == "dpx":
                    data = dpx.describe(data, name, reel.rate, timecode_at(reel.timecode, number, reel.rate))
                found.append(_checked(data, planes, target, reel, output, number))
                about = tarfile.TarInfo(name)
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))
    return found


def encode_image(planes: Planes, target: PixelFormat, reel: Reel, output: Output) -> bytes:
    """One image file. Raises SourceError where FFmpeg's encoder refuses the picture."""
    # Any: av's stubs give create() the base class.
    context: Any = av.CodecContext.create(output.codec, "w")
    height, width = planes[0].shape[:2]
    given, more = target, {}
    if target.is_float:
        more = {"format": "half" if target.depth == 16 else "float"}
        given = pixel_format(target.name.replace("f16", "f32"))
        planes = tuple(p.astype(given.dtype, copy=False) for p in planes)
    context.width, context.height, context.pix_fmt = width, height, given.name
    context.time_base = Fraction(1, 1)
    context.thread_count = 1
    context.flags |= Flags.bitexact
    if reel.sample_aspect > 0:
        context.sample_aspect_ratio = reel.sample_aspect
    context.options = {
        **_OPTIONS[output.codec],
        **more,
        **tags(reel.format, target, reel.colour, reel.height).options(),
    }
    try:
        context.open()
        packets = context.encode(frame_of(planes, given, pts=0, time_base=Fraction(1, 1))) + context.encode(None)
    except av.FFmpegError as error:
        raise SourceError(
            f"{output.codec} does not hold {target.name} of {width}×{height} px ({error.strerror})",
            where=reel.uri,
            todo="Choose another codec for this reel",
        ) from error
    return b"".join(bytes(p) for p in packets)


def check_images(reel: Reel, output: Output) -> None:
    """Raise SourceError where the codec cannot hold the reel's pictures; one small picture is encoded."""
    target = deliver_format(reel.format, output, width=reel.width, height=reel.height)
    side = (min(reel.width, 64), min(reel.height, 64))
    planes = tuple(np.zeros(target.plane_shape(i, *side), target.dtype) for i in range(len(target.planes)))
    encode_image(planes, target, reel, output)
    name = image_name(reel, output, 0)
    if len(name.encode(errors="surrogateescape")) > _MOST_NAME or not name.isprintable():
        raise SourceError(
            f"no image can be called {name[:60]!r}: it is too long, or no text",
            where=reel.uri,
            todo="Rename the images",
        )


def not_in_images(reel: Reel, output: Output, beside: str) -> tuple[str, ...]:
    """A sentence for each thing of the source that images do not hold. ``beside``: the file with the other streams."""
    said = [
        f"The {o.kind} stream {o.index} ({o.detail}) is not in the images: {beside} holds what Matroska can carry of it"
        for o in reel.others
    ]
    if reel.sequence is not None:
        said += reel.sequence.not_carried
    if reel.tags and not (reel.codec == output.codec == "dpx"):
        said.append(f"The tags {', '.join(k for k, _ in reel.tags[:_MOST_NAMED])} are not in the images")
    if reel.timecode and output.codec != "dpx":
        said.append(f"The timecode {reel.timecode} of the first frame is not in the images: frames.parquet has it")
    return tuple(said)


@contextmanager
def opened(path: Path) -> Iterator[Iterator[tuple[str, bytes]]]:
    """The files of a tar that ``encode_images`` wrote, in order: name and bytes, one in memory at a time.

    Raises VerifyError where it is none.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            yield _members(tar, path)
    except tarfile.TarError as error:
        raise VerifyError(f"it is no tar of images: {error}", where=str(path)) from error


def _members(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        file = tar.extractfile(member) if member.isfile() else None
        if file is None or "/" in member.name or member.name.startswith("."):
            raise VerifyError(f"it holds {member.name[:80]!r}, which is no image", where=str(path))
        yield member.name, file.read()


def _heads(reel: Reel, output: Output, batch: Frames) -> list[bytes]:
    if output.codec != "dpx" or reel.sequence is None or reel.codec != "dpx":
        return []
    return images.headers(reel, batch.first, batch.last)


def _checked(data: bytes, planes: Planes, target: PixelFormat, reel: Reel, output: Output, number: int) -> Md5:
    """The hash of the image as it decodes, once that is what it was made from."""
    try:
        frame = picture.decode(data, output.codec, threads=1).frame
        fmt = pixel_format(frame.format.name)
        back = planes_of(frame, fmt)
    except SourceError as error:
        raise VerifyError(f"the encoded image does not decode: {error.what}", where=reel.uri, frame=number) from error
    same = same_samples(fmt, target) and hash_planes(image_planes(back, fmt, target), target) == hash_planes(
        planes, target
    )
    if not same:
        raise VerifyError(
            f"the encoded image decodes to other values ({fmt.name} for {target.name})", where=reel.uri, frame=number
        )
    return hash_planes(back, fmt)
