"""From a published reel back to its source's frames, each proven by ``source.framemd5``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import CallError, MissingError, StorageError, VerifyError
from pipeline.publish import layout, provenance
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
    """URI of the film that was written."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of a reel that can be undone."""

    folder: str
    first: int
    last: int
    format: PixelFormat
    """Of the source."""
    output: str
    residual: str
    """Names below the folder."""
    source_md5: tuple[Md5, ...]
    output_md5: tuple[Md5, ...]

    def uri(self, name: str) -> str:
        return layout.published(self.folder, "", name)

    def fault(self, place: int, one: Undone) -> Fault | None:
        """What is wrong with the frame at this place (from 0), if anything is."""
        frame, wanted = self.first + place, self.source_md5[place]
        if one.output_md5 != self.output_md5[place]:
            found = f"decodes to {one.output_md5}" if one.output_md5 else "has no such frame"
            said = f"{layout.OUTPUT_MD5} says {self.output_md5[place]}"
            return Fault(frame, self.uri(self.output), f"{found}, {said}")
        if one.source_md5 is None:
            return Fault(frame, self.uri(self.residual), "has no such frame")
        if one.source_md5 != wanted:
            said = f"gives {one.source_md5} back, {layout.SOURCE_MD5} says {wanted}"
            return Fault(frame, self.uri(self.residual), f"with {self.output} it {said}")
        return None


def residual_of(said: dict[str, Any]) -> str | None:
    """Name of the residual that a provenance tells of."""
    return next((str(d["file"]) for d in said["deliverables"] if d.get("name") == RESIDUAL.name), None)


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
        output, fmt = str(said["deliverables"][0]["file"]), pixel_format(str(said["source"]["format"]["name"]))
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
    return Published(folder, first, last, fmt, output, residual, md5s[0], md5s[1])


def undo(folder: str, *, to: str | None = None, threads: int = 1, notify: Step | None = None) -> Rebuilt:
    """Rebuild the source's frames of a published reel, and hold each against ``source.framemd5``.

    to: URI of a film to write them to, in FFV1/Matroska in the source's pixel format, with times, sound and all else as
    the deliverable carries them; it must not be there yet. It is written only where every frame is right: else
    VerifyError names the first that is not. Without it, every frame that does not come back is told. notify: told
    ``(frames done, of)``. Raises CallError where there is nothing to undo.
    """
    reel = read(folder)
    if to is not None:
        return _write(reel, to, threads, notify)
    faults = [f for f in (fault for _, fault in _frames(reel, threads, notify)) if f is not None]
    return Rebuilt(reel.last - reel.first, reel.first, tuple(faults), None)


def _frames(reel: Published, threads: int, notify: Step | None) -> Iterator[tuple[Undone, Fault | None]]:
    """Every frame that ought to be there, and what is wrong with it."""
    total = reel.last - reel.first
    place = 0
    for one in decode_both(reel.uri(reel.output), reel.uri(reel.residual), reel.format, threads=threads):
        if place >= total:
            longer = reel.output if one.output_md5 else reel.residual
            raise VerifyError(f"it has more than the {total} frames that were published", where=reel.uri(longer))
        yield one, reel.fault(place, one)
        place += 1
        if notify:
            notify(place, total)
    for missing in range(place, total):
        nothing = Undone(None, None, None)
        yield nothing, reel.fault(missing, nothing)


def _write(reel: Published, to: str, threads: int, notify: Step | None) -> Rebuilt:
    made = probe(reel.uri(reel.output), reel.folder.rstrip("/").rpartition("/")[2], Source(interlaced="per_field"))
    index = build(made)
    source = replace(made, format=reel.format)

    def frames() -> Iterator[Frames]:
        for place, (one, fault) in enumerate(_frames(reel, threads, notify)):
            if fault is not None or one.planes is None:
                assert fault is not None  # a frame without planes has one
                raise VerifyError(fault.found, where=fault.file, frame=fault.frame, todo=_COPY)
            pts = np.array([index.pts[place]], np.int64)
            yield Frames(tuple(p[None] for p in one.planes), reel.format, place, pts)

    with tempfile.TemporaryDirectory(prefix="reelmend-undo-", ignore_cleanup_errors=True) as folder:
        segment, film = Path(folder) / "segment.mkv", Path(folder) / "film.mkv"
        encode_segment(frames(), source, Output(), segment, threads=threads)
        assemble(source, index, 0, len(index), Output(), iter([segment]), film)
        if not store.put_file_once(film, to):
            raise CallError("there is a file already", where=to, todo="Give --to another name")
    return Rebuilt(len(index), reel.first, (), to)
