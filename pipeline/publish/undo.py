"""From a published reel back to its source's frames, each proven by ``source.framemd5``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import CallError, MissingError, StorageError, VerifyError
from pipeline.publish import layout, parts, provenance
from pipeline.publish.parts import Part
from pipeline.reel import framemd5
from pipeline.reel.assemble import assemble
from pipeline.reel.encode import encode_segment
from pipeline.reel.formats import pixel_format
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.reel.residual import Undone
from pipeline.reel.residual import undo as decode_both
from pipeline.spec import RESIDUAL, Output, Source
from pipeline.storage import store
from pipeline.types import Frames, Md5, PixelFormat

_HASHES_BYTES = 1 << 30
_COPY = "Restore the file from a copy"
Step = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A frame of the source that does not come back."""

    frame: int
    """In the source's numbers."""
    file: str
    """URI of what is at fault."""
    found: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What ``undo`` did."""

    frames: int
    first: int
    """Number of the first one, in the source's numbers."""
    faults: tuple[Fault, ...]
    """None where every frame came back as it was."""
    written: str | None
    """URI of the film that was written; of a split one, of its first part."""
    files: tuple[str, ...] = ()
    """URIs of all that was written."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of a reel that can be undone."""

    folder: str
    first: int
    last: int
    format: PixelFormat
    """Of the source."""
    outputs: tuple[Part, ...]
    residuals: tuple[Part, ...]
    """The files of the first deliverable and of the residual, the same frames in each pair."""
    source_md5: tuple[Md5, ...]
    output_md5: tuple[Md5, ...]

    def uri(self, name: str) -> str:
        return layout.published(self.folder, "", name)

    @property
    def pairs(self) -> tuple[tuple[Part, Part], ...]:
        """Each file of the deliverable with its residual."""
        return tuple(zip(self.outputs, self.residuals, strict=True))

    def fault(self, pair: tuple[Part, Part], place: int, one: Undone) -> Fault | None:
        """What is wrong with the frame at this place (from 0) of two files, if anything is."""
        output, residual = (part.file for part in pair)
        frame = pair[0].first + place
        place = frame - self.first
        wanted = self.source_md5[place]
        if one.output_md5 != self.output_md5[place]:
            found = f"decodes to {one.output_md5}" if one.output_md5 else "has no such frame"
            said = f"{layout.OUTPUT_MD5} says {self.output_md5[place]}"
            return Fault(frame, self.uri(output), f"{found}, {said}")
        if one.source_md5 is None:
            return Fault(frame, self.uri(residual), "has no such frame")
        if one.source_md5 != wanted:
            said = f"gives {one.source_md5} back, {layout.SOURCE_MD5} says {wanted}"
            return Fault(frame, self.uri(residual), f"with {output} it {said}")
        return None


def residual_of(said: dict[str, Any]) -> dict[str, Any] | None:
    """What a provenance says of the residual, where there is one."""
    return next((d for d in said["deliverables"] if d.get("name") == RESIDUAL.name), None)


def read(folder: str) -> Published:
    """What a reel's folder holds. Raises CallError where there is no restored reel, or none that can be undone."""
    uri = layout.published(folder, "", layout.PROVENANCE)
    try:
        said = provenance.read(store.read_bytes(uri, limit=provenance.MAX_BYTES), where=uri)
    except MissingError:
        raise CallError("there is no restored reel here", where=folder, todo="Name its folder: OUT/REEL") from None
    try:
        first, last = (int(n) for n in said["frames"])
        residual = residual_of(said)
        outputs = parts.read(said["deliverables"][0], first, last)
        residuals = parts.read(residual, first, last) if residual is not None else ()
        fmt = pixel_format(str(said["source"]["format"]["name"]))
        if residual is not None and [(p.first, p.last) for p in outputs] != [(p.first, p.last) for p in residuals]:
            raise ValueError("its residual has other parts than the deliverable")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StorageError(f"it does not say what it should ({error!r})", where=uri, todo=_COPY) from None
    if residual is None:
        raise CallError(
            "this reel was restored without a residual, so its source cannot be rebuilt from it",
            where=folder,
            todo="Take the source itself; a job with `deliver.residual: true` can be undone",
        )
    md5s = []
    for name in (layout.SOURCE_MD5, layout.OUTPUT_MD5):
        where = layout.published(folder, "", name)
        text = store.read_bytes(where, limit=_HASHES_BYTES).decode("ascii", "replace")
        md5s.append(framemd5.parse(text, where=where).md5s)
        if len(md5s[-1]) != last - first:
            raise VerifyError(
                f"it has {len(md5s[-1])} frames, the provenance says {last - first}", where=where, todo=_COPY
            )
    return Published(folder, first, last, fmt, outputs, residuals, md5s[0], md5s[1])


def undo(folder: str, *, to: str | None = None, threads: int = 1, notify: Step | None = None) -> Rebuilt:
    """Rebuild the source's frames of a published reel, and hold each against ``source.framemd5``.

    to: URI of a film to write them to, in FFV1/Matroska in the source's pixel format, with times, sound and all else as
    the deliverable carries them; it must not be there yet. Of a split deliverable as many parts are written, named
    as its own are: ``<to>.part001.mkv``. Nothing is written but where every frame is right: else VerifyError names the
    first that is not. Without it, every frame that does not come back is told. notify: told ``(frames done, of)``.
    Raises CallError where there is nothing to undo.
    """
    reel = read(folder)
    if to is not None:
        return _write(reel, to, threads, notify)
    faults = [f for pair in reel.pairs for _, f in _frames(reel, pair, threads, notify) if f is not None]
    return Rebuilt(reel.last - reel.first, reel.first, tuple(faults), None)


def _frames(
    reel: Published, pair: tuple[Part, Part], threads: int, notify: Step | None
) -> Iterator[tuple[Undone, Fault | None]]:
    """Every frame that ought to be in two files, and what is wrong with it."""
    made, taken = (reel.uri(part.file) for part in pair)
    before, total = pair[0].first - reel.first, pair[0].last - pair[0].first
    place = 0
    for one in decode_both(made, taken, reel.format, threads=threads):
        if place >= total:
            longer = made if one.output_md5 else taken
            raise VerifyError(f"it has more than the {total} frames that were published", where=longer)
        yield one, reel.fault(pair, place, one)
        place += 1
        if notify:
            notify(before + place, reel.last - reel.first)
    for missing in range(place, total):
        nothing = Undone(None, None, None)
        yield nothing, reel.fault(pair, missing, nothing)


def _write(reel: Published, to: str, threads: int, notify: Step | None) -> Rebuilt:
    split = len(reel.pairs) > 1
    named = [layout.part(to, n if split else None) for n in range(1, len(reel.pairs) + 1)]
    with tempfile.TemporaryDirectory(prefix="reelmend-undo-", ignore_cleanup_errors=True) as folder:
        # All of them first: nothing is written where a frame does not come back.
        films = [_film(reel, pair, n, Path(folder), threads, notify) for n, pair in enumerate(reel.pairs)]
        for film, name in zip(films, named, strict=True):
            if not store.put_file_once(film, name):
                raise CallError("there is a file already", where=name, todo="Give --to another name")
    return Rebuilt(reel.last - reel.first, reel.first, (), named[0], tuple(named))


def _film(
    reel: Published, pair: tuple[Part, Part], number: int, folder: Path, threads: int, notify: Step | None
) -> Path:
    """The source's frames of two files, as a film on scratch."""
    output = reel.uri(pair[0].file)
    made = probe(output, reel.folder.rstrip("/").rpartition("/")[2], Source(interlaced="per_field"))
    index = build(made)
    source = replace(made, format=reel.format)

    def frames() -> Iterator[Frames]:
        for place, (one, fault) in enumerate(_frames(reel, pair, threads, notify)):
            if fault is not None or one.planes is None:
                assert fault is not None  # a frame without planes has one
                raise VerifyError(fault.found, where=fault.file, frame=fault.frame, todo=_COPY)
            pts = np.array([index.pts[place]], np.int64)
            yield Frames(tuple(p[None] for p in one.planes), reel.format, place, pts)

    segment, film = folder / "segment.mkv", folder / f"film-{number}.mkv"
    encode_segment(frames(), source, Output(), segment, threads=threads)
    assemble(source, index, 0, len(index), Output(), iter([segment]), film)
    segment.unlink()
    return film
