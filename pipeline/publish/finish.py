"""From a ledger whose tiles are all recorded to a published reel.

What is written depends on the plan, the ledger's records and the provenance that stands, and on nothing else: of two
runs that finish one reel at the same time each writes the same bytes. Whoever misses a file that was cleared away looks
for the manifest before calling it an error.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.errors import ScratchFullError, StorageError, VerifyError
from pipeline.publish import kept, layout, night, provenance, quarantine, recorded, reports
from pipeline.publish.documents import read_object
from pipeline.publish.publication import Publication, WholeAlready
from pipeline.publish.reports import Step
from pipeline.reel import residual
from pipeline.reel.assemble import Assembled, assemble
from pipeline.report import page
from pipeline.spec import RESIDUAL, Deliver, Output
from pipeline.storage import store
from pipeline.storage.ledger import Ledger
from pipeline.types import FrameIndex, NetInfo, Plan, Segment, Sha256, TileRecord

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
    nets: Mapping[str, NetInfo] | None = None,
    code_sha256: Sha256 | None = None,
    notify: Step | None = None,
) -> dict[str, Any]:
    """Assemble the deliverables of a reel whose tiles are all in the ledger, and publish them with their reports.

    scratch: a local folder; it holds at most one deliverable, two segments and the reports at a time. threads: small
    files that are fetched at once, beyond a few. overwrite: replace another plan's publication. nets: pass name →
    weights, for their licences. code_sha256: over reelmend's source files. notify: told of progress.

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
                plan, index, out, publication, Path(folder), max(threads, _ROWS_AT_ONCE), nets or {}, code_sha256, tell
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
    tidy(plan, out)
    with contextlib.suppress(StorageError):
        # The reel is published; its night's page is written anew with the next one, too.
        night.write(out)
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
    tell: Step,
) -> None:
    outputs = Deliver.model_validate(plan.spec["deliver"]).written
    files = layout.deliverables(plan.reel.base_name, outputs)
    ledger = Ledger(layout.work_dir(out, plan.reel.name))
    records = recorded.read(plan, ledger)
    joined = reports.join(plan, records, ledger, folder, at_once=at_once, notify=tell)
    path, held = _assemble(plan, index, ledger, records, outputs[0], folder, tell)
    reports.write_hashes(plan, index, joined, outputs[0], path, folder)

    publication.begin(
        lambda: provenance.make(
            plan,
            index,
            records,
            outputs,
            when=datetime.datetime.now(datetime.UTC),
            nets=nets,
            not_carried=held.left_out,
            code_sha256=code_sha256,
        )
    )
    for name in layout.REPORTS:
        publication.put(name, folder / name)
    stills = kept.publish(plan, records, joined.severities, ledger, folder)
    publication.put_all([f"{layout.STILLS}/{f}" for still in stills for f in still.files.values()], folder)
    made: list[reports.Made] = []
    for n, output in enumerate(outputs):
        if n > 0:
            path, held = _assemble(plan, index, ledger, records, output, folder, tell)
        tell(f"upload {files[output.name]}", 0, 1)
        digest = publication.put(files[output.name], path)
        path.unlink()
        tell(f"upload {files[output.name]}", 1, 1)
        made.append(reports.Made(output.name, files[output.name], digest, held))
    said = reports.write_summary(plan, records, joined, made, stills, folder / layout.SUMMARY)
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


def _assemble(
    plan: Plan,
    index: FrameIndex,
    ledger: Ledger,
    records: Sequence[TileRecord],
    output: Output,
    folder: Path,
    tell: Step,
) -> tuple[Path, Assembled]:
    """One deliverable, put together on scratch and checked."""
    files = layout.deliverables(plan.reel.base_name, Deliver.model_validate(plan.spec["deliver"]).written)
    segments = [next(s for s in r.segments if s.deliverable == output.name) for r in records]
    _want_room(folder, segments)
    path = folder / f"assembled{layout.suffix(output)}"
    source = _segments(ledger, segments, folder, files[output.name], tell)
    reel = residual.reel_of(plan.reel) if output == RESIDUAL else plan.reel
    try:
        return path, assemble(reel, index, plan.first, plan.last, output, source, path)
    finally:
        source.close()


def _segments(
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


def _want_room(folder: Path, segments: Sequence[Segment]) -> None:
    """Told before the first byte, not after the last hour."""
    sizes = sorted(s.bytes for s in segments)
    wanted, free = sum(sizes) + sum(sizes[-2:]), shutil.disk_usage(folder).free
    if free < wanted:
        raise ScratchFullError(
            f"{wanted / 2**30:.2f} GiB are wanted to put the deliverable together, {free / 2**30:.2f} GiB are free",
            where=str(folder),
            todo="Free some, or name a larger folder as cluster.scratch",
        )


def _summary(plan: Plan, out: str, *, already: bool) -> dict[str, Any]:
    folder = layout.reel_dir(out, plan.reel.name)
    uri = layout.published(out, plan.reel.name, layout.SUMMARY)
    said = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri)
    return {**said, "folder": folder, "already": already}
