"""A folder of numbered images as a reel: probe, index, and its frames.

A tile reads its own files and no others, several at once. Every file is held against the listing that the index was
made from, before it counts: half of two films is neither.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.reel import colour, dpx, exr, images, picture, rates
from pipeline.reel.formats import pixel_format
from pipeline.reel.timecode import timecode_at
from pipeline.storage import numbered, store
from pipeline.types import Colour, FrameIndex, PixelFormat, Reel

_ASSUMED_RATE = Fraction(24)
_AT_ONCE = 8
_AHEAD_BYTES = 256 << 20
"""Bytes of files that are fetched before they are wanted; one more file is, whatever its size."""
_LOOKED_AT = 16
"""Headers that probe reads, spread over the film; the others are read with their pictures."""
_MOST_TAGS = 64
_MOST_CHARACTERS = 200
_TIFF_WORDS = frozenset(
    ("Artist", "Copyright", "DateTime", "DocumentName", "HostComputer", "ImageDescription", "Make", "Model", "Software")
)


def is_sequence(uri: str) -> bool:
    """Whether a reel's URI is that of a folder of images."""
    return uri.endswith("/")


def probe(uri: str, name: str, say: spec.Source) -> Reel:
    """As ``probe.probe``, of a folder of images."""
    listing = _listed(uri)
    sequence, files = listing.sequence, listing.files
    codec = picture.codec_of(sequence.suffix)
    first = _picture(listing, 0)
    last = _picture(listing, len(files) - 1) if len(files) > 1 else first
    frame = first.frame
    with images.of_file(files[0].uri, 0):
        fmt = pixel_format(frame.format.name)
        tagged = _colour(first, fmt, say)
    header, end = _headers(listing) if codec == "dpx" else (None, None)
    interlaced = header is not None and header.words.get("interlace") == 1
    if interlaced:
        _check_interlaced(listing, fmt, frame.height, say)
    rate, sentence = _rate(say, header, first)
    assumed = [*tagged.assumed, *([sentence] if sentence else [])]
    if header is not None and end is not None:
        assumed += dpx.remarks(header, say)
        counted = timecode_at(header.timecode, len(files) - 1, rate)
        if counted != end.timecode and counted is not None:
            assumed.append(
                f"the timecodes of the DPX headers do not run on from {header.timecode} to {counted}, the last one is "
                f"{end.timecode}: the rows count on from the first"
            )
    reel = Reel(
        name=name,
        uri=uri,
        source_id=listing.identity,
        bytes=listing.bytes,
        container=codec,
        stream=0,
        codec=codec,
        width=frame.width,
        height=frame.height,
        format=fmt,
        rate=rate,
        time_base=1 / rate,
        sample_aspect=first.sample_aspect,
        colour=replace(tagged, assumed=tuple(assumed)),
        field_order="tt" if interlaced else "progressive",
        timecode=header.timecode if header else first.frame.metadata.get("timecode"),
        others=(),
        tags=tuple(header.tags() if header else _tags(first, codec)),
        sequence=replace(sequence, header=header.shape if header else "", left_out=_passed_over(listing, header)),
    )
    images.check_picture(reel, len(files) - 1, last)
    return reel


def build(reel: Reel) -> FrameIndex:
    """As ``index.build``: one entry a file, from the listing alone."""
    files = _unchanged(reel).files
    names = [f.uri.rpartition("/")[2] for f in files]
    count = len(files)
    return FrameIndex(
        pts=np.arange(count, dtype=np.int64),
        key=np.ones(count, np.bool_),
        position=np.zeros(count, np.int64),
        size=np.array([f.bytes for f in files], np.int64),
        time_base=reel.time_base,
        rate=reel.rate,
        constant=True,
        found_by="listing",
        version=np.array(
            [numbered.version(n, f.bytes, f.version) for n, f in zip(names, files, strict=True)], np.int64
        ),
    )


def check_unchanged(reel: Reel) -> None:
    """As ``probe.check_unchanged``: the listing is as it was. ``frames`` checks each file that it reads by itself."""
    _unchanged(reel)


def _listed(uri: str) -> numbered.Listing:
    folder = store.absolute(uri)
    return numbered.sort_out(folder, store.list_files(folder))


def _unchanged(reel: Reel) -> numbered.Listing:
    listing = _listed(reel.uri)
    if listing.identity != reel.source_id:
        raise SourceError(
            "the folder's images changed since it was probed",
            where=reel.uri,
            todo="Run again when nothing writes to it any more: a changed film is restored from its start",
        )
    return listing


def _picture(listing: numbered.Listing, number: int) -> picture.Picture:
    file = listing.files[number]
    data = store.read_bytes(file.uri, limit=file.bytes)
    with images.of_file(file.uri, number):
        return picture.decode(data, picture.codec_of(listing.sequence.suffix), threads=1)


def _headers(listing: numbered.Listing) -> tuple[dpx.Header, dpx.Header]:
    """The first and the last file's header; those of some more, spread over the film, are held against it."""
    count = len(listing.files)
    looked_at = sorted({round(i * (count - 1) / (_LOOKED_AT - 1)) for i in range(_LOOKED_AT)})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        heads = list(pool.map(lambda n: images.head(listing.files[n].uri), looked_at))
    found = []
    for n, head in zip(looked_at, heads, strict=True):
        with images.of_file(listing.files[n].uri, n):
            found.append(dpx.parse(head))
            images.check_shape(found[0].shape, found[-1].shape)
    if not found[0].words.get("encoding"):
        least = listing.files[0].bytes - int(found[0].words.get("user_bytes", 0))
        short = next((n for n, f in enumerate(listing.files) if f.bytes < least), None)
        if short is not None:
            raise SourceError(
                f"the file has {listing.files[short].bytes} bytes, the first one {listing.files[0].bytes}: it is cut "
                "short, or of another size of picture",
                where=listing.files[short].uri,
                frame=short,
                todo=picture.COPY_AGAIN,
            )
    if count > 1 and found[0].timecode == found[-1].timecode:
        # A clock that stands still is none: many scanners leave it at 00:00:00:00.
        found[0].words.pop("time_code", None)
    return found[0], found[-1]


def _check_interlaced(listing: numbered.Listing, fmt: PixelFormat, height: int, say: spec.Source) -> None:
    """SourceError where two fields in a frame are not to be restored, or cannot. Which is the first one matters to no
    pass, and DPX does not say it of a frame."""
    with images.of_file(listing.files[0].uri, 0):
        if say.interlaced == "refuse":
            raise SourceError(
                "its header says interlaced: a frame is two pictures, which no net may mix",
                todo="Say source.interlaced: per_field to restore each field by itself, or correct the header",
            )
        if height % 2 or not fmt.parts_into_fields(height):
            raise SourceError(f"the {height} lines of interlaced {fmt.name} do not part into two fields")


def _passed_over(listing: numbered.Listing, header: dpx.Header | None) -> tuple[str, ...]:
    if header is not None:
        return dpx.passed_over(header)
    file = listing.files[0]
    return exr.passed_over(store.read_bytes(file.uri, limit=file.bytes)) if file.uri.lower().endswith(".exr") else ()


def _rate(say: spec.Source, header: dpx.Header | None, first: picture.Picture) -> tuple[Fraction, str | None]:
    """The rate, and a sentence where nothing says it."""
    if say.rate is not None:
        return Fraction(say.rate), None
    if header is not None and header.rate is not None:
        return header.rate, None
    if rates.SLOWEST <= first.rate <= rates.FASTEST:
        return rates.snap(first.rate), None
    return (
        _ASSUMED_RATE,
        f"no header names a frame rate: {_ASSUMED_RATE} frames a second are taken (source.rate says another)",
    )


def _colour(found: picture.Picture, fmt: PixelFormat, say: spec.Source) -> Colour:
    frame = found.frame
    return colour.resolve(
        fmt,
        matrix=colour.matrix_name(int(frame.colorspace)),
        range_=colour.range_name(int(frame.color_range)),
        primaries=colour.primaries_name(int(frame.color_primaries)),
        transfer=colour.transfer_name(int(frame.color_trc)),
        location="unknown",
        height=frame.height,
        say=say,
    )


def _tags(found: picture.Picture, codec: str) -> Iterator[tuple[str, str]]:
    """What an image says of itself in words, of TIFF without what describes its bytes."""
    for name, text in itertools.islice(found.frame.metadata.items(), _MOST_TAGS):
        if codec != "tiff" or name in _TIFF_WORDS:
            yield name[:_MOST_CHARACTERS], text.strip()[:_MOST_CHARACTERS]
