"""What a restoration took away: source − output, from which, with the output, the source comes back bit for bit.

The difference is taken of code values modulo their range, around the middle of it (128, 512, 32768…), so that where
nothing was changed the picture is one flat grey. It is kept as FFV1 in a *carrier* format: the source's own where FFV1
holds that, else one that holds every bit of its samples, padding included, which FFV1 does not keep in the
deliverable itself.

The output that counts is the deliverable as it is decoded, so only lossless ones have a residual: of a lossy one
another decoder may give slightly other pictures, and then nothing would come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError, VerifyError
from pipeline.reel.convert import Planes, regroup
from pipeline.reel.deliver import deliver_format, same_samples
from pipeline.reel.encode import encode_segment
from pipeline.reel.formats import hash_planes, pixel_format, planes_of
from pipeline.reel.source import open_source
from pipeline.spec import RESIDUAL, Output
from pipeline.types import Component, Frames, Md5, PixelFormat, Reel

_LOSSLESS = Output()


def carrier(source: PixelFormat) -> PixelFormat:
    """The FFV1 format in which a source's residual is kept. Raises SourceError where FFV1 has none."""
    return deliver_format(_every_bit(source), _LOSSLESS)


def _every_bit(source: PixelFormat) -> PixelFormat:
    """The source's own samples, seen so that none of their bits is padding: shifted ones as 16 bits, the fourth of
    ``bgr0`` as alpha."""
    parts = (*source.components, *([source.alpha] if source.alpha else []))
    depth = 16 if any(c.shift for c in parts) else source.depth
    taken = {(c.plane, c.sample) for c in parts}
    spare = [(p, s) for p, layout in enumerate(source.planes) for s in range(layout.samples) if (p, s) not in taken]
    alpha = source.alpha or (Component(*spare[0], 0, depth) if spare else None)
    if len(spare) > (source.alpha is None):
        raise SourceError(f"the padding of the pixel format {source.name} has no place in a residual")
    return replace(
        source,
        depth=depth,
        components=tuple(replace(c, shift=0, depth=depth) for c in source.components),
        alpha=replace(alpha, shift=0, depth=depth) if alpha else None,
    )


def reel_of(reel: Reel) -> Reel:
    """The residual as a reel: the source's size and times, none of its other streams."""
    return replace(reel, format=carrier(reel.format), others=(), tags=(), mastering=None)


def encode_residual(
    source: Frames, restored: Frames, reel: Reel, source_md5: Sequence[Md5], path: Path, *, threads: int
) -> list[Md5]:
    """Write the residual of these frames as one segment, decode it again, and give the MD5 of its decoded frames.

    ``source`` holds the frames of ``restored`` (and may hold more). ``source_md5``: of each, as the source decodes. It
    is proven, before the segment counts, that each frame comes back with that hash. Raises VerifyError naming the frame
    where not.
    """
    return encode_segment(_taken(source, restored, reel, source_md5), reel_of(reel), RESIDUAL, path, threads=threads)


def _taken(source: Frames, restored: Frames, reel: Reel, source_md5: Sequence[Md5]) -> Iterator[Frames]:
    own, kept = reel.format, carrier(reel.format)
    target = deliver_format(own, _LOSSLESS)
    for place, number in enumerate(range(restored.first, restored.last)):
        delivered = regroup(restored.frame(number), own, target)
        given = regroup(source.frame(number), _every_bit(own), kept)
        residual = tuple(
            _difference(a, b, kept.depth) for a, b in zip(given, _carried(delivered, target, own), strict=True)
        )
        found = hash_planes(rebuild(residual, delivered, target, own), own)
        if found != source_md5[place]:
            raise VerifyError(
                f"from its residual the source's frame comes back as {found}, it is {source_md5[place]}",
                where=reel.uri,
                frame=number,
                todo=f"Deliver it without a residual: it holds values that {own.name} has no place for",
            )
        yield Frames(tuple(p[None] for p in residual), kept, number, restored.pts[place : place + 1])


def rebuild(residual: Planes, output: Planes, output_format: PixelFormat, source: PixelFormat) -> Planes:
    """The source's native planes of one frame, from the decoded residual and the decoded lossless deliverable."""
    kept = carrier(source)
    planes = zip(residual, _carried(output, output_format, source), strict=True)
    return regroup(tuple(_sum(a, b, kept.depth) for a, b in planes), kept, _every_bit(source))


def _carried(output: Planes, output_format: PixelFormat, source: PixelFormat) -> Planes:
    """A deliverable's planes in the carrier format; what FFV1 does not keep is 0."""
    return regroup(regroup(output, output_format, source), _every_bit(source), carrier(source))


# Unsigned arrays wrap around by themselves, and 2**depth divides what they wrap at.
def _difference(source: Any, output: Any, depth: int) -> Any:
    half, mask = (source.dtype.type(n) for n in (1 << (depth - 1), (1 << depth) - 1))
    return (source - output + half) & mask


def _sum(residual: Any, output: Any, depth: int) -> Any:
    half, mask = (residual.dtype.type(n) for n in (1 << (depth - 1), (1 << depth) - 1))
    return (residual + output - half) & mask


@dataclass(frozen=True, slots=True)
class Undone:
    """One frame of a deliverable, and what came back of the source. None: a file has no such frame."""

    output_md5: Md5 | None
    """Of the deliverable's decoded frame."""
    planes: Planes | None
    """The source's native planes."""
    source_md5: Md5 | None


def undo(output: str, residual: str, source: PixelFormat, *, threads: int) -> Iterator[Undone]:
    """Decode a lossless deliverable beside its residual (URIs), and give every frame of the longer one, in order.

    Damage that FFmpeg does not tell shows in the hashes. Raises SourceError where a file cannot be read at all,
    VerifyError where one is not in the pixel format that it must be in.
    """
    target, kept = deliver_format(source, _LOSSLESS), carrier(source)
    with _decoded(output, target, threads) as made, _decoded(residual, kept, threads) as taken:
        for one, other in zip_longest(made, taken):
            planes = rebuild(other[1], one[1], target, source) if one and other else None
            md5 = None if planes is None else hash_planes(planes, source)
            yield Undone(one[0] if one else None, planes, md5)


@contextmanager
def _decoded(uri: str, wanted: PixelFormat, threads: int) -> Iterator[Iterator[tuple[Md5, Planes]]]:
    """A film's frames in order: hash as FFmpeg decodes them, and planes in this pixel format."""
    with open_source(uri) as film:
        context = film.stream.codec_context
        context.thread_type, context.thread_count = "SLICE", threads

        def frames() -> Iterator[tuple[Md5, Planes]]:
            for number, frame in enumerate(film.container.decode(film.stream)):
                fmt = pixel_format(frame.format.name)
                planes = planes_of(frame, fmt)
                if not same_samples(fmt, wanted):
                    raise VerifyError(f"it holds {fmt.name}, expected {wanted.name}", where=uri, frame=number)
                yield hash_planes(planes, fmt), regroup(planes, fmt, wanted)

        yield frames()
