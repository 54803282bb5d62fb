"""One tile's frames as a segment: an encoded file on local scratch, decoded again before it counts.

Segments of one deliverable have equal settings and equal codec headers, begin with a key frame and refer to nothing
outside themselves, so that ``assemble`` can put their packets one behind the other unchanged. Nothing that the machine
decides (threads, speed) reaches the bytes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.errors import SourceError, VerifyError
from pipeline.reel import logs
from pipeline.reel.convert import Converter, Planes, tags
from pipeline.reel.deliver import CONTAINER, IMAGES, chroma_shift, deliver_format, encoder
from pipeline.reel.formats import frame_of, hash_planes, pixel_format, planes_of
from pipeline.reel.image_writing import check_images, encode_images
from pipeline.reel.joined import REORDER
from pipeline.reel.writing import CONTAINER_OPTIONS, writing
from pipeline.spec import Output
from pipeline.types import Frames, Md5, PixelFormat, Reel

LEAST_PSNR_DB = 20.0
"""Of a lossy segment's block means against those of the frames it was given; a wrong frame is far below."""

_FFV1 = {"level": "3", "coder": "1", "context": "1", "g": "1", "slicecrc": "1"}
# 16 slices, as archives ask. FFmpeg needs more for the largest pictures and refuses many counts for the smallest.
_SLICES = (16, 20, 24, 25, 30, 36, 42, 48, 64, 12, 9, 6, 4, 2, 1)
_PRORES_PROFILES = {(1, 0): "3", (0, 0): "4"}
_DNXHR_PROFILES = {(1, 0): "dnxhr_hqx", (0, 0): "dnxhr_444"}
_THREADED = frozenset(("ffv1", "dnxhr"))
"""Encoders whose bytes do not depend on the number of threads; the others get one."""
_X264 = "open-gop=0:mbtree=0"
_X265 = "open-gop=0:cutree=0:pools=none:frame-threads=1:wpp=0:info=0:log-level=none"
_SVT = "lp=1"
_BLOCK = 8
_FIELD_ORDERS = ("progressive", "tt", "bb", "tb", "bt")


def encode_segment(frames: Iterable[Frames], reel: Reel, output: Output, path: Path, *, threads: int) -> list[Md5]:
    """Write these consecutive frames as one file, decode it again, and give the MD5 of every decoded frame. Of images:
    ``encode_images``.

    ``frames`` is taken once, a batch at a time. The file's own times count frames from 0 at the reel's rate;
    ``assemble`` gives them their real ones. ``threads`` speeds FFV1 and DNxHR up and changes no byte; x264 and x265
    always get one thread, because their bitstream depends on the number, and ProRes is fast enough with one. SVT-AV1
    starts threads of its own, on which its bitstream does not depend.

    ``ffv1``: every decoded frame must have the hash of the planes that were given (regrouped as ``deliver_format``
    says; padding samples count as 0, FFV1 does not keep them). All others: as many frames, of equal size, each like its
    original. Raises VerifyError naming the reel's frame, SourceError where the codec refuses the picture,
    ScratchFullError where the disk is full.
    """
    if output.codec in IMAGES:
        return encode_images(frames, reel, output, path)
    logs.install()
    target = deliver_format(reel.format, output, width=reel.width, height=reel.height)
    convert = Converter(reel.format, target, reel.colour, reel.width, reel.height)
    lossless = output.codec == "ffv1"
    numbers: list[int] = []
    # What each decoded frame is held against: its hash, or its block means.
    wanted: list[Md5 | NDArray[np.float32]] = []
    written = 0
    with (
        writing(path),
        av.open(str(path), "w", CONTAINER[output.codec], container_options=dict(CONTAINER_OPTIONS)) as container,
    ):
        stream = _encoder(container, reel, output, target, threads)
        for number, native in _each(frames, reel):
            planes = convert(native)
            wanted.append(hash_planes(planes, target) if lossless else _block_means(planes, target))
            frame = frame_of(planes, target, pts=len(numbers), time_base=1 / reel.rate)
            # ProRes takes its frame headers' tags from the frames.
            for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):
                setattr(frame, tag, getattr(stream.codec_context, tag))
            written += _mux(container, stream.encode(frame), output, written)
            numbers.append(number)
        _mux(container, stream.encode(None), output, written)
    if not numbers:
        raise ValueError("a segment has at least one frame")
    return _check(path, reel, target, numbers, wanted, threads)


def check_encodable(reel: Reel, outputs: Iterable[Output]) -> None:
    """Raise SourceError, naming the reel, where a deliverable's codec cannot hold its pictures; nothing is encoded.

    Raises ConfigError where the spec names a pixel format that the codec never holds.
    """
    for output in outputs:
        try:
            if output.codec in IMAGES:
                check_images(reel, output)
                continue
            target = deliver_format(reel.format, output, width=reel.width, height=reel.height)
            with av.open(io.BytesIO(), "w", CONTAINER[output.codec]) as container:
                _encoder(container, reel, output, target, threads=1)
        except SourceError as error:
            what = f"no deliverable {output.name!r} of it: {error.what}"
            raise SourceError(what, where=reel.uri, todo=error.todo or "Choose another codec for this reel") from None


def _mux(container: OutputContainer, packets: Sequence[Any], output: Output, before: int) -> int:
    """Write packets of which ``before`` went ahead; returns how many. Orders are counted here, by frames."""
    for number, packet in enumerate(packets, before):
        if output.codec == "hevc":
            # Of a film of one frame x265 gives an order that nobody wrote: what lay in that memory.
            packet.dts = number - REORDER[output.codec]
        container.mux(packet)
    return len(packets)


def _each(frames: Iterable[Frames], reel: Reel) -> Iterator[tuple[int, Planes]]:
    """Frame numbers and planes, as consecutive as they must be."""
    expected: int | None = None
    for batch in frames:
        if (expected is not None and batch.first != expected) or batch.format != reel.format:
            raise ValueError(f"frame {batch.first} in {batch.format.name} follows where {expected} was expected")
        for number in range(batch.first, batch.last):
            yield number, batch.frame(number)
        expected = batch.last


def _encoder(container: OutputContainer, reel: Reel, output: Output, target: PixelFormat, threads: int) -> VideoStream:
    """The stream, its encoder open. Every setting that reaches the bytes is a function of the reel and the spec."""
    options = tags(reel.format, target, reel.colour, reel.height).options()
    if reel.field_order in _FIELD_ORDERS:
        options["field_order"] = reel.field_order
    if output.codec == "ffv1":
        options |= _FFV1 | {"slices": str(_slices(target.name, reel.width, reel.height))}
    elif output.codec == "prores":
        options |= {"profile": _PRORES_PROFILES[chroma_shift(target)]}
    elif output.codec == "dnxhr":
        options |= {"profile": _DNXHR_PROFILES[chroma_shift(target)]}
    elif output.codec == "av1":
        # SVT-AV1 tells all its settings on stderr for every segment, and listens to nothing but this.
        os.environ.setdefault("SVT_LOG", "1")
        options |= {"crf": str(output.crf), "preset": "8", "svtav1-params": _SVT}
    else:
        # Closed GOPs: a segment is whole in itself. No macroblock tree (x265: cutree): x264 computes it with what each
        # processor takes for a reciprocal, and with AVX-512 even with memory that nobody wrote: equal calls gave
        # different files.
        params = {"h264": ("x264-params", _X264), "hevc": ("x265-params", _X265)}[output.codec]
        options |= {"crf": str(output.crf), "preset": "fast", params[0]: params[1]}
    # Any: av's stubs type these by the codec's literal name.
    stream: Any = container.add_stream(encoder(output, reel.width), rate=reel.rate, options=options)
    stream.width, stream.height, stream.pix_fmt = reel.width, reel.height, target.name
    if reel.display_matrix is not None:
        stream.set_display_matrix(reel.display_matrix)
    context = stream.codec_context
    context.time_base = 1 / reel.rate
    if reel.sample_aspect > 0:
        context.sample_aspect_ratio = reel.sample_aspect
    context.flags |= Flags.bitexact
    context.thread_type = "SLICE"
    context.thread_count = threads if output.codec in _THREADED else 1
    try:
        context.open()
    except av.FFmpegError as error:
        raise SourceError(
            f"{output.codec} does not hold {target.name} of {reel.width}×{reel.height} px ({error.strerror})",
            where=reel.uri,
            todo="Choose another codec for this reel",
        ) from error
    return stream  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def _slices(pixel_format_name: str, width: int, height: int) -> int:
    """The first of ``_SLICES`` that FFmpeg's FFV1 takes for this picture."""
    for count in _SLICES:
        trial: Any = av.CodecContext.create("ffv1", "w")
        trial.width, trial.height, trial.pix_fmt = width, height, pixel_format_name
        trial.time_base = Fraction(1, 25)
        trial.options = _FFV1 | {"slices": str(count)}
        with logs.errors():
            try:
                trial.open()
            except av.FFmpegError:
                continue
        return count
    raise SourceError(f"FFV1 takes no number of slices for a picture of {width}×{height} px in {pixel_format_name}")


def _check(
    path: Path,
    reel: Reel,
    target: PixelFormat,
    numbers: list[int],
    wanted: list[Md5 | NDArray[np.float32]],
    threads: int,
) -> list[Md5]:
    """Decode the segment and hold every frame against what it was made of."""
    found: list[Md5] = []
    for number, want, frame in zip_longest(numbers, wanted, _decoded(path, reel, threads)):
        if frame is None or want is None:
            more = "more" if want is None else "fewer"
            raise VerifyError(
                f"{path.name} decodes to {more} frames than the {len(numbers)} it was given", where=reel.uri
            )
        if (frame.width, frame.height) != (reel.width, reel.height):
            raise VerifyError(
                f"{path.name} decodes to {frame.width}×{frame.height} px, expected {reel.width}×{reel.height}",
                where=reel.uri,
                frame=number,
            )
        fmt = pixel_format(frame.format.name)
        planes = planes_of(frame, fmt)
        md5 = hash_planes(planes, fmt)
        if isinstance(want, str):
            if md5 != want or fmt != target:
                raise VerifyError(
                    f"{path.name} decodes to {fmt.name} {md5}, expected {target.name} {want}",
                    where=reel.uri,
                    frame=number,
                )
        else:
            error = float(np.mean((_block_means(planes, fmt) - want) ** 2, dtype=np.float64))
            psnr = -10 * np.log10(max(error, 1e-10))
            if psnr < LEAST_PSNR_DB:
                raise VerifyError(
                    f"{path.name} decodes to another picture: {psnr:.1f} dB, expected {LEAST_PSNR_DB:.0f} or more",
                    where=reel.uri,
                    frame=number,
                )
        found.append(md5)
    return found


def _decoded(path: Path, reel: Reel, threads: int) -> Iterator[av.VideoFrame]:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_type = "SLICE"
            stream.codec_context.thread_count = threads
            yield from container.decode(stream)
    except av.FFmpegError as error:
        raise VerifyError(f"{path.name} cannot be decoded again: {error.strerror}", where=reel.uri) from error


def _block_means(planes: Planes, fmt: PixelFormat) -> NDArray[np.float32]:
    """Means of blocks of 8×8 samples of every colour component, 1 being just above full scale."""
    means = []
    for c in fmt.components:
        plane = planes[c.plane] if fmt.planes[c.plane].samples == 1 else planes[c.plane][..., c.sample]
        h, w = (min(_BLOCK, n) for n in plane.shape)
        rows, columns = plane.shape[0] // h, plane.shape[1] // w
        blocks = (plane >> c.shift)[: rows * h, : columns * w].reshape(rows, h, columns, w)
        means.append(blocks.mean(axis=(1, 3), dtype=np.float32).ravel() / (1 << c.depth))
    return np.concatenate(means)
