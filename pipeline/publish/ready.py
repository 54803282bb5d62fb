"""A deliverable between the ledger's segments and its published name: a film put together on scratch, or images.

A film is assembled whole and checked before it is put. Images lie in the segments as they are published, each decoded
when it was encoded: a segment's hash is checked, and its files go up several at once, so that scratch holds two
segments and the files of one, however long the film.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.errors import ScratchFullError, VerifyError
from pipeline.publish import layout
from pipeline.publish.parts import Part
from pipeline.publish.publication import Publication
from pipeline.publish.reports import Step
from pipeline.reel import image_writing, residual
from pipeline.reel.assemble import Assembled, assemble, assemble_others
from pipeline.reel.deliver import IMAGES
from pipeline.reel.parted import Parted
from pipeline.reel.source import open_source
from pipeline.spec import RESIDUAL, Deliver, Output
from pipeline.storage.ledger import Ledger
from pipeline.types import FrameIndex, Plan, Segment, Sha256, TileRecord

_PUTS_AT_ONCE = 16


class Ready:
    """A film on scratch."""

    def __init__(self, name: str, held: Assembled, path: Path):
        self.name = name
        """Below the reel's folder."""
        self.held = held
        self.path = path
        """The film; of images the first one."""

    def put(self, publication: Publication, tell: Step) -> Sha256:
        """Publish it, and leave nothing of it on scratch."""
        tell(f"upload {self.name}", 0, 1)
        digest = publication.put(self.name, self.path)
        self.path.unlink()
        tell(f"upload {self.name}", 1, 1)
        return digest


class ReadyImages(Ready):
    """Images in the ledger's segments."""

    def __init__(self, name: str, held: Assembled, path: Path, ledger: Ledger, segments: Sequence[Segment]):
        super().__init__(name, held, path)
        self._ledger, self._segments = ledger, segments

    def put(self, publication: Publication, tell: Step) -> Sha256:
        """As ``Ready.put``; gives the sha256 over the lines ``<sha256>  <file>`` of its images, in order."""
        folder = self.path.parent
        self.path.unlink()
        lines = hashlib.sha256()
        count = 0
        source = segments_of(self._ledger, self._segments, folder, self.name, tell)
        with ThreadPoolExecutor(_PUTS_AT_ONCE) as pool:
            try:
                for tar in source:
                    files = {}
                    with image_writing.opened(tar) as images:
                        for place, (name, data) in enumerate(images):
                            files[f"{self.name}{name}"] = folder / f"image-{place}"
                            files[f"{self.name}{name}"].write_bytes(data)
                    for name, digest in publication.put_all(files, pool).items():
                        lines.update(f"{digest}  {name.rpartition('/')[2]}\n".encode())
                    for path in files.values():
                        path.unlink()
                    count += len(files)
            finally:
                source.close()
        if count != self.held.frames:
            raise VerifyError(f"{count} images are in the segments, {self.held.frames} were expected", where=self.name)
        return lines.hexdigest()


def ready(
    plan: Plan,
    index: FrameIndex,
    ledger: Ledger,
    records: Sequence[TileRecord],
    output: Output,
    part: Part,
    folder: Path,
    tell: Step,
    *,
    local: Path | None = None,
    parted: Parted | None = None,
) -> Ready:
    """One deliverable, or the next part of one, ready to be put. ``folder``: local scratch. ``local``: a copy of the
    source on this machine. ``parted``: of a split deliverable, what its parts hold together. Raises as ``assemble``
    does."""
    name = part.file
    segments = [next(s for s in r.segments if s.deliverable == output.name) for r in records[slice(*part.tiles)]]
    _want_room(folder, segments, whole=output.codec not in IMAGES)
    if output.codec in IMAGES:
        return _images(plan, ledger, output, name, segments, folder, tell)
    path = folder / f"assembled{layout.suffix(output)}"
    source = segments_of(ledger, segments, folder, name, tell)
    reel = residual.reel_of(plan.reel) if output == RESIDUAL else plan.reel
    try:
        held = assemble(reel, index, part.first, part.last, output, source, path, local=local, parted=parted)
        return Ready(name, held, path)
    finally:
        source.close()


def others(plan: Plan, index: FrameIndex, folder: Path, *, local: Path | None = None) -> Ready | None:
    """What a film holds beside its pictures, as a file of its own; None where there is nothing that Matroska takes."""
    path = folder / layout.others("others")
    held = assemble_others(plan.reel, index, plan.first, plan.last, path, local=local)
    return Ready(layout.others(plan.reel.base_name), held, path) if held else None


def _images(
    plan: Plan, ledger: Ledger, output: Output, name: str, segments: Sequence[Segment], folder: Path, tell: Step
) -> ReadyImages:
    sample = folder / f"sample-{output.name}{IMAGES[output.codec]}"
    source = segments_of(ledger, segments[:1], folder, name, tell)
    try:
        with image_writing.opened(next(source)) as images:
            sample.write_bytes(next(images)[1])
    finally:
        source.close()
    outputs = Deliver.model_validate(plan.spec["deliver"]).written
    base = plan.reel.base_name
    first = layout.others(base) if outputs[0].codec in IMAGES else layout.deliverables(base, outputs)[outputs[0].name]
    said = (*image_writing.not_in_images(plan.reel, output, first), *_chapters(plan))
    held = Assembled(plan.last - plan.first, sum(s.bytes for s in segments), (), said)
    return ReadyImages(name, held, sample, ledger, segments)


def _chapters(plan: Plan) -> list[str]:
    """A sentence on the chapters of a film that has nothing else beside its pictures: no file carries them then."""
    if plan.reel.sequence is not None or plan.reel.others:
        return []
    with open_source(plan.reel.uri, stream=plan.reel.stream) as source:
        count = len(source.container.chapters())
    return [f"The film's {count} chapters are not in the images"] if count else []


def segments_of(
    ledger: Ledger, segments: Sequence[Segment], folder: Path, file: str, tell: Step
) -> Generator[Path, None, None]:
    """The segments' local copies, in order: the next is fetched while one is read, and each is gone after use."""

    def get(n: int) -> Path:
        path = folder / f"segment-{n % 2}{Path(segments[n].name).suffix}"
        ledger.fetch(segments[n].name, segments[n].sha256, path)
        return path

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(get, 0)
        for n in range(len(segments)):
            path = ahead.result()
            if n + 1 < len(segments):
                ahead = pool.submit(get, n + 1)
            yield path
            path.unlink(missing_ok=True)
            tell(f"assemble {file}", n + 1, len(segments))


def _want_room(folder: Path, segments: Sequence[Segment], *, whole: bool) -> None:
    """Told before the first byte, not after the last hour."""
    sizes = sorted(s.bytes for s in segments)
    wanted = (sum(sizes) if whole else sizes[-1]) + sum(sizes[-2:])
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise ScratchFullError(
            f"{wanted / 2**30:.2f} GiB are wanted to put the deliverable together, {free / 2**30:.2f} GiB are free",
            where=str(folder),
            todo="Free some, or name a larger folder as cluster.scratch",
        )
