"""From a ledger whose tiles are all recorded to a published reel.

What is written depends on the plan, the ledger's records and the provenance that stands, and on nothing else: of two
runs that finish one reel at the same time each writes the same bytes. Whoever misses a file that was cleared away looks
for the manifest before calling it an error.
"""

from __future__ import annotations

import datetime
import errno
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import ScratchFullError, StorageError, VerifyError
from pipeline.publish import kept, layout, provenance, quarantine, recorded, reports
from pipeline.publish.bag import make as make_bag
from pipeline.publish.documents import read_object
from pipeline.publish.parts import Part, as_said, parts_of
from pipeline.publish.publication import Publication, WholeAlready
from pipeline.publish.ready import Ready, ReadyImages, others, ready
from pipeline.publish.reports import Step
from pipeline.reel.assemble import Assembled
from pipeline.reel.beside import Beside, lay_beside
from pipeline.reel.deliver import IMAGES
from pipeline.reel.parted import Parted
from pipeline.report import page
from pipeline.spec import RESIDUAL, Deliver, Output
from pipeline.storage import store
from pipeline.storage.ledger import Ledger
from pipeline.types import FrameIndex, NetInfo, Plan, Sha256, TileRecord

_ROWS_AT_ONCE = 8
_SUMMARY_BYTES = 16 << 20


def finish(
    plan: Plan,
    index: FrameIndex,
    out: str,
    *,
    scratch: Path,
    threads: int = 1,
    overwrite: bool = False,
    bag: bool = False,
    local: Path | None = None,
    nets: Mapping[str, NetInfo] | None = None,
    code_sha256: Sha256 | None = None,
    notify: Step | None = None,
) -> dict[str, Any]:
    """Assemble the deliverables of a reel whose tiles are all in the ledger, and publish them with their reports.

    scratch: a local folder; it holds at most one film, two segments, the images of one and the reports at a time.
    threads: small files that are fetched at once, beyond a few. overwrite: replace another plan's publication. bag:
    also make a bag of it. local: a copy of the source on this machine. nets: pass name → weights, for their licences.
    code_sha256: over reelmend's source files. notify: told of progress.

    Returns what ``report/reel.json`` says, with ``folder`` (URI) and ``already`` (a publication by this plan was there
    whole). Calling it again after any interruption goes on to the same end.

    Raises PublishedError where another plan's files are there, StorageError or MissingError where the ledger lacks
    something, VerifyError where something is not what its hash or record says, ScratchFullError.
    """
    tell = notify or (lambda _what, _done, _of: None)
    publication = Publication(out, plan, overwrite=overwrite)
    try:
        with tempfile.TemporaryDirectory(prefix="publish-", dir=scratch, ignore_cleanup_errors=True) as folder:
            publication.check()
            _publish(
                plan,
                index,
                out,
                publication,
                Path(folder),
                max(threads, _ROWS_AT_ONCE),
                nets or {},
                code_sha256,
                local,
                tell,
            )
        already = False
    except WholeAlready:
        already = True
    except (StorageError, VerifyError) as error:
        if isinstance(error, ScratchFullError) or getattr(error, "transient", False):
            raise
        if not publication.published_by_another():
            # Told once: the next try, or the next run, restores the tiles of broken records anew.
            recorded.forget_broken(plan, Ledger(layout.work_dir(out, plan.reel.name)))
            raise
        already = True
    except OSError as error:
        # Storage's own errors come as StorageError: this is scratch.
        kind = ScratchFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(
            f"the scratch folder cannot be written: {error.strerror or error}",
            where=str(scratch),
            todo="Free some, or name another folder as cluster.scratch",
        ) from error
    if bag:
        make_bag(out, plan.reel.name)
    tidy(plan, out)
    return _summary(plan, out, already=already)


def tidy(plan: Plan, out: str) -> None:
    """Remove what a published reel needs no more: its work, unless the spec keeps it, and a quarantine record."""
    if not plan.spec.get("keep_work"):
        Ledger(layout.work_dir(out, plan.reel.name)).clear()
    quarantine.delete(out, plan.reel.name)


def _publish(
    plan: Plan,
    index: FrameIndex,
    out: str,
    publication: Publication,
    folder: Path,
    at_once: int,
    nets: Mapping[str, NetInfo],
    code_sha256: Sha256 | None,
    local: Path | None,
    tell: Step,
) -> None:
    outputs = Deliver.model_validate(plan.spec["deliver"]).written
    ledger = Ledger(layout.work_dir(out, plan.reel.name))
    records = recorded.read(plan, ledger)
    parts = parts_of(plan, records)
    joined = reports.join(plan, records, ledger, folder, at_once=at_once, notify=tell)
    makers = {o.name: _Maker(plan, index, ledger, records, o, parts[o.name], folder, tell, local) for o in outputs}
    first = makers[outputs[0].name].ready(0)
    # Images hold nothing but pictures: then all else stands in a film of its own.
    rest = others(plan, index, folder, local=local) if outputs[0].codec in IMAGES else None
    held = _with_pictures(plan, first, rest)
    laid = lay_beside(plan.reel, index, plan.first, plan.last, held.lacking, folder, plan.reel.base_name, local=local)
    reports.write_hashes(plan, index, joined, outputs[0], first.path, folder)
    more = reports.write_streams(held, laid, folder / layout.SOURCE_STREAMS, folder / layout.OUTPUT_STREAMS)

    publication.begin(
        lambda: provenance.make(
            plan,
            index,
            records,
            outputs,
            parts,
            when=datetime.datetime.now(datetime.UTC),
            nets=nets,
            not_carried=[*held.left_out, *map(_where, laid)],
            beside=laid,
            streams=more,
            code_sha256=code_sha256,
            others=rest.name if rest is not None else None,
        )
    )
    _check_parts(publication, parts, outputs)
    for name in (*layout.REPORTS, *(file for one in laid for file in one.files)):
        publication.put(name, folder / name)
    stills = kept.publish(plan, records, joined.severities, ledger, folder)
    pictures = [f"{layout.STILLS}/{f}" for still in stills for f in still.files.values()]
    with ThreadPoolExecutor(_ROWS_AT_ONCE) as pool:
        publication.put_all({name: folder / name for name in pictures}, pool)
    made: list[reports.Made] = []
    for n, output in enumerate(outputs):
        maker = makers[output.name]
        md5s = joined.output_md5 if n == 0 else reports.own_md5s(plan, records, output)
        for number, part in enumerate(parts[output.name]):
            one = maker.ready(number) if (n, number) != (0, 0) else first
            own = []
            if output != RESIDUAL and (n > 0 or maker.parted is not None):
                names = _names_of_hashes(plan, output, part, split=maker.parted is not None)
                own = reports.write_own_hashes(plan, index, output, part, md5s, one.path, one.held, names, folder)
            told = _said_once(one.held, [m.held for m in made if m.name == output.name])
            made.append(reports.Made(output.name, part.file, one.put(publication, tell), told))
            for name in own:
                publication.put(name, folder / name)
        if n == 0:
            if maker.parted is not None and more:
                streams = maker.parted.streams(plan.reel, index, plan.first, plan.last, local=local)
                held = replace(held, streams=streams)
                more = reports.write_streams(held, laid, folder / layout.SOURCE_STREAMS, folder / layout.OUTPUT_STREAMS)
            for name in more:
                publication.put(name, folder / name)
        elif maker.parted is not None and maker.parted.any:
            maker.parted.streams(plan.reel, index, plan.first, plan.last, local=local)
    if rest is not None:
        made.append(reports.Made("others", rest.name, rest.put(publication, tell), rest.held))
    said = reports.write_summary(plan, records, joined, made, laid, stills, folder / layout.SUMMARY)
    publication.put(layout.SUMMARY, folder / layout.SUMMARY)
    ran = provenance.read(publication.provenance, where=layout.PROVENANCE).get("software")
    page.write(
        plan,
        said,
        stills,
        software=ran if isinstance(ran, dict) else {},
        frames=folder / layout.FRAMES,
        shots=folder / layout.SHOTS,
        to=folder / layout.PAGE,
    )
    publication.put(layout.PAGE, folder / layout.PAGE)
    publication.end()


class _Maker:
    """One deliverable's files, each made ready when it is its turn."""

    def __init__(
        self,
        plan: Plan,
        index: FrameIndex,
        ledger: Ledger,
        records: Sequence[TileRecord],
        output: Output,
        parts: Sequence[Part],
        folder: Path,
        tell: Step,
        local: Path | None,
    ):
        self._made_of = (plan, index, ledger, records, output)
        self._parts, self._folder, self._tell, self._local = parts, folder, tell, local
        self.parted = Parted([(p.first, p.last) for p in parts]) if len(parts) > 1 else None
        """None where it is one file."""

    def ready(self, number: int) -> Ready:
        """In order, from 0."""
        part = self._parts[number]
        return ready(*self._made_of, part, self._folder, self._tell, local=self._local, parted=self.parted)


def _names_of_hashes(plan: Plan, output: Output, part: Part, *, split: bool) -> tuple[str, str]:
    kinds = ("framemd5", "streamhash")
    if split:
        framemd5, streamhash = (layout.hashes_of_part(part.file, kind) for kind in kinds)
    else:
        framemd5, streamhash = (layout.hashes_of(plan.reel.base_name, output.name, kind) for kind in kinds)
    return framemd5, streamhash


def _said_once(held: Assembled, parts: Sequence[Assembled]) -> Assembled:
    """A part, without what is said of the parts before it already."""
    before = {sentence for one in parts for sentence in one.left_out}
    return replace(held, left_out=tuple(s for s in held.left_out if s not in before))


def _check_parts(publication: Publication, parts: Mapping[str, Sequence[Part]], outputs: Sequence[Output]) -> None:
    """That the provenance which stands, of a run that was killed perhaps, names the parts that this one makes."""
    said = provenance.read(publication.provenance, where=layout.PROVENANCE).get("deliverables")
    standing = [one.get("parts") for one in said if isinstance(one, dict)] if isinstance(said, list) else None
    if standing != [as_said(parts[o.name]).get("parts") for o in outputs]:
        raise VerifyError(
            "it names other parts than this run would make: tiles were encoded anew to other sizes",
            where=layout.PROVENANCE,
            todo="Delete the reel's folder and run the job again",
        )


def _with_pictures(plan: Plan, first: Ready, rest: Ready | None) -> Assembled:
    """What the first deliverable holds of the source, the file with all else taken together with its images."""
    if rest is not None:
        left_out = (*first.held.left_out, *rest.held.left_out)
        return replace(first.held, streams=rest.held.streams, left_out=left_out, lacking=rest.held.lacking)
    if isinstance(first, ReadyImages):
        return replace(first.held, lacking=tuple(o.index for o in plan.reel.others))
    return first.held


def _where(one: Beside) -> str:
    return f"The {one.kind} stream {one.index} lies beside as {' and '.join(one.files)}"


def _summary(plan: Plan, out: str, *, already: bool) -> dict[str, Any]:
    folder = layout.reel_dir(out, plan.reel.name)
    uri = layout.published(out, plan.reel.name, layout.SUMMARY)
    said = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri)
    return {**said, "folder": folder, "already": already}
