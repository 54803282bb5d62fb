"""The reports of one reel, made from the ledger's records and rows alone: the same ones give the same bytes."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipeline import tables
from pipeline.plan.document import plain
from pipeline.publish import layout
from pipeline.publish.documents import as_json
from pipeline.publish.kept import watched
from pipeline.publish.parts import Part
from pipeline.publish.recorded import check_rows
from pipeline.reel import framemd5, streamhash
from pipeline.reel.assemble import Assembled
from pipeline.reel.beside import Beside
from pipeline.reel.deliver import IMAGES, output_pts
from pipeline.reel.formats import pixel_format
from pipeline.reel.picture import shape_of
from pipeline.reel.probe import check_unchanged
from pipeline.reel.source import open_source
from pipeline.report.judge import Fired, Judge
from pipeline.report.page import KeptFrame
from pipeline.rules import WORDS, Flags, threshold, words
from pipeline.spec import Output
from pipeline.storage.ledger import Ledger
from pipeline.types import Edge, FrameIndex, FrameRow, Md5, Plan, Sha256, Tile, TileRecord

Step = Callable[[str, int, int], None]
"""Told of progress: what is being done, how far it is, and of how many."""


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """What the rows of all tiles came to."""

    summary: tables.JoinSummary
    source_md5: list[Md5]
    output_md5: list[Md5]
    """A hash a frame, in order."""
    fired: Mapping[str, Fired]
    """Flag → where it stands."""
    severities: Mapping[int, Mapping[str, float]]
    """Frame of which stills were kept → its flags, and how bad each is."""


def join(
    plan: Plan, records: Sequence[TileRecord], ledger: Ledger, folder: Path, *, at_once: int, notify: Step
) -> Joined:
    """Write frames.parquet, shots.parquet and tiles.parquet below ``folder`` (under their names as published).

    Raises VerifyError where a tile's rows are not those of its frames.
    """
    (folder / layout.FRAMES).parent.mkdir(parents=True, exist_ok=True)
    source: list[Md5] = []
    output: list[Md5] = []

    def seen() -> Iterator[list[FrameRow]]:
        for n, rows in enumerate(_rows(plan, records, ledger, folder, at_once)):
            source.extend(r.source_md5 for r in rows)
            output.extend(r.output_md5 for r in rows)
            notify("rows", n + 1, len(records))
            yield rows

    judge = Judge(Flags.model_validate(plan.spec["flags"]), plan.reel.rate, watched=watched(records))
    summary = tables.join_rows(folder / layout.FRAMES, judge.rows(seen()))
    tables.write_shots(folder / layout.SHOTS, summary)
    tables.write_tiles(folder / layout.TILES, records, reel=plan.reel.name)
    return Joined(summary, source, output, judge.fired, judge.severities)


def _rows(
    plan: Plan, records: Sequence[TileRecord], ledger: Ledger, folder: Path, at_once: int
) -> Iterator[list[FrameRow]]:
    """The tiles' rows in order, fetched some tiles ahead: the files are small, and a round trip takes longer.

    They are read on this thread: on several, each keeps buffers of its own, and none of it gets faster.
    """

    def get(tile: Tile, record: TileRecord) -> Path:
        path = folder / f"rows-{tile.number}.parquet"
        ledger.fetch(record.rows, record.rows_sha256, path)
        return path

    before: list[Edge] = []
    """The last frame of the tile before, as it was restored there."""

    def read(path: Path, tile: Tile, record: TileRecord) -> list[FrameRow]:
        rows, edges = tables.read_tile(path)
        path.unlink()
        check_rows(rows, tile, plan, where=f"{ledger.work}/{record.rows}")
        seam = None
        if edges is not None and edges.overlap is not None and before and before[-1].frame == edges.overlap.frame:
            seam = tables.apart(before[-1], edges.overlap)
        before[:] = [edges.last] if edges is not None else []
        rows[0] = dataclasses.replace(rows[0], seam_time=seam)
        return [r if r.tile == tile.number else dataclasses.replace(r, tile=tile.number) for r in rows]

    with ThreadPoolExecutor(at_once) as pool:
        ahead: deque[tuple[Future[Path], Tile, TileRecord]] = deque()
        todo = iter(zip(plan.tiles, records, strict=True))
        try:
            while True:
                for tile, record in todo:
                    ahead.append((pool.submit(get, tile, record), tile, record))
                    if len(ahead) > at_once:
                        break
                if not ahead:
                    return
                future, tile, record = ahead.popleft()
                yield read(future.result(), tile, record)
        finally:
            for future, _, _ in ahead:
                future.cancel()


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """A deliverable as it was published."""

    name: str
    file: str
    sha256: Sha256
    held: Assembled
    """Its frames and bytes, the source's other streams in it, and what it could not carry."""


def write_summary(
    plan: Plan,
    records: Sequence[TileRecord],
    joined: Joined,
    deliverables: Sequence[Made],
    laid: Sequence[Beside],
    kept: Sequence[KeptFrame],
    to: Path,
) -> dict[str, Any]:
    """``reel.json``: the reel in one page, which is given back too. Units and meanings stand in frames.parquet."""
    summary, reel = joined.summary, plan.reel
    said: dict[str, Any] = plain(
        {
            "format": "reelmend-reel",
            "version": 1,
            "reel": reel.name,
            "source": reel.uri,
            "plan_id": plan.id,
            "deliverables": deliverables,
            "beside": laid,
            "first": plan.first,
            "last": plan.last,
            "frames": summary.frames,
            "source_frames": plan.total,
            "rate": reel.rate,
            "width": reel.width,
            "height": reel.height,
            "pixel_format": reel.format.name,
            "shots": len(summary.shots),
            "tiles": len(records),
            "touched_frames": summary.touched_frames,
            "flagged_frames": summary.flagged_frames,
            "flags": summary.flags,
            "rules": rules_of(plan, joined.fired),
            "stills": [{"frame": k.frame, "flags": k.flags, "files": k.files} for k in kept],
            "psnr_min_db": summary.psnr_min_db,
            "means": summary.means,
            "assumed": reel.colour.assumed,
            "restored": {
                "seconds": _seconds(records),
                "tries": sum(r.tries for r in records),
                "peak_bytes": max(r.peak_bytes for r in records),
                "device_peak_bytes": max(r.device_peak_bytes for r in records),
                "hosts": sorted({r.host for r in records}),
                "devices": sorted({r.device for r in records}),
                "finished": max(r.finished for r in records),
            },
        }
    )
    to.write_text(as_json(said), encoding="utf-8")
    return said


def rules_of(plan: Plan, fired: Mapping[str, Fired]) -> list[dict[str, Any]]:
    """Every rule that fired, or that would fail an audit: what it says, its thresholds, and where it fired."""
    flags = Flags.model_validate(plan.spec["flags"])
    order = [*WORDS, *sorted(fired.keys() - WORDS.keys())]
    return [
        {
            "flag": flag,
            "title": words(flag).title,
            "sentence": words(flag).sentence,
            "about": words(flag).about,
            "threshold": threshold(flags, flag),
            "fail": flag in flags.failing,
            "frames": fired[flag].frames if flag in fired else 0,
            "runs": fired[flag].runs if flag in fired else [],
        }
        for flag in order
        if flag in fired or flag in flags.failing
    ]


def _seconds(records: Sequence[TileRecord]) -> dict[str, float]:
    """Wall seconds of each step, summed over the tiles."""
    steps = sorted({s for r in records for s in r.seconds})
    return {s: round(sum(r.seconds.get(s, 0.0) for r in records), 3) for s in steps}


def write_hashes(
    plan: Plan, index: FrameIndex, joined: Joined, output: Output, deliverable: Path, folder: Path
) -> None:
    """``source.framemd5`` and ``output.framemd5``: the lines that FFmpeg's own framemd5 gives for these files.

    ``deliverable``: the first one, assembled; of images its first image, of a split one its first part. Of an
    excerpt, the source's lines are those of its frames.
    """
    source_pts = index.pts[plan.first : plan.last].tolist()
    times = (index.time_base, source_pts)
    if plan.reel.sequence is not None:
        source = _hashes_of_images(plan, joined.source_md5)
    else:
        source = _hashes(plan.reel.uri, index, times, joined.source_md5, stream=plan.reel.stream)
    check_unchanged(plan.reel)
    made = _hashes_of_output(plan, index, output, (plan.first, plan.last), deliverable, joined.output_md5)
    for name, film in ((layout.SOURCE_MD5, source), (layout.OUTPUT_MD5, made)):
        (folder / name).write_text(framemd5.framemd5_text(film), encoding="ascii")


def _hashes_of_images(plan: Plan, md5s: Sequence[Md5]) -> framemd5.FrameHashes:
    """As FFmpeg's ``image2`` reads the folder, at the reel's rate: numbered from 0."""
    reel = plan.reel
    size = (reel.width, reel.height)
    return framemd5.of_constant_rate(
        reel.rate, size, reel.sample_aspect, reel.format.frame_bytes(*size), md5s, start=plan.first
    )


def _hashes_of_output(
    plan: Plan, index: FrameIndex, output: Output, span: tuple[int, int], deliverable: Path, md5s: Sequence[Md5]
) -> framemd5.FrameHashes:
    first, last = span
    base, pts = output_pts(index, plan.reel, first, last, output)
    if output.codec in IMAGES:
        # The first of them: as FFmpeg's ``image2`` reads the folder, numbered from 0.
        about = shape_of(deliverable)
        return framemd5.of_constant_rate(index.rate, about.size, about.sample_aspect, about.bytes, md5s)
    return _hashes(str(deliverable), index, (base, pts.tolist()), md5s, stream=None)


def own_md5s(plan: Plan, records: Sequence[TileRecord], output: Output) -> list[Md5]:
    """Of every frame of a further deliverable; none where an earlier version wrote the records, which lack them."""
    md5s = [md5 for r in records for s in r.segments if s.deliverable == output.name for md5 in s.md5s]
    return md5s if len(md5s) == plan.last - plan.first else []


def write_own_hashes(
    plan: Plan,
    index: FrameIndex,
    output: Output,
    part: Part,
    md5s: Sequence[Md5],
    deliverable: Path,
    held: Assembled,
    names: tuple[str, str],
    folder: Path,
) -> list[str]:
    """The ``framemd5`` and ``streamhash`` of a further deliverable or of a part; gives the names of what was written.

    ``md5s``: of all the deliverable's frames, or none. ``deliverable``: this file, assembled; of images the first one.
    ``names``: of the two.
    """
    made, streams = [], _streams_in(held)
    if md5s:
        own = md5s[part.first - plan.first : part.last - plan.first]
        film = _hashes_of_output(plan, index, output, (part.first, part.last), deliverable, own)
        (folder / names[0]).write_text(framemd5.framemd5_text(film), encoding="ascii")
        made.append(names[0])
    if streams:
        (folder / names[1]).write_text(streams, encoding="ascii")
        made.append(names[1])
    return made


def write_streams(held: Assembled, laid: Sequence[Beside], source: Path, output: Path) -> list[str]:
    """``source.streamhash`` and ``output.streamhash``, each where there are such streams; gives their names.

    Of an excerpt, the source's are over the packets that were taken.
    """
    streams = [streamhash.of_kind(s.index, s.kind, s.source_sha256) for s in held.streams]
    # One that is carried in another form also lies beside.
    streams += [
        streamhash.of_kind(b.index, b.kind, b.source_sha256)
        for b in laid
        if b.kind != "attachment" and b.index not in {s.index for s in streams}
    ]
    names = []
    for path, text in ((source, streamhash.streamhash_text(streams)), (output, _streams_in(held))):
        if text:
            path.write_text(text, encoding="ascii")
            names.append(path.name)
    return names


def _streams_in(held: Assembled) -> str:
    return streamhash.streamhash_text(streamhash.of_kind(s.place, s.kind, s.sha256) for s in held.streams)


def _hashes(
    uri: str,
    index: FrameIndex,
    times: tuple[Fraction, Sequence[int]],
    md5s: Sequence[Md5],
    *,
    stream: int | None,
) -> framemd5.FrameHashes:
    """A film's hashes with the header that FFmpeg finds. ``times``: time base, and a pts a frame."""
    with open_source(uri, stream=stream) as film:
        picture, begin = film.stream, film.container.start_time
        size = (picture.width, picture.height)
        aspect = picture.sample_aspect_ratio or Fraction(0)
        frame_bytes = pixel_format(str(picture.codec_context.pix_fmt)).frame_bytes(*size)
        rate = index.rate if index.constant else Fraction(picture.guessed_rate or index.rate)
    base, pts = times
    # FFmpeg counts frames at the rate from where the file starts, which is the sound where that starts earlier.
    start = Fraction(begin or 0, 1_000_000)
    first = round((pts[0] * base - start) * rate)
    if index.constant:
        return framemd5.of_constant_rate(rate, size, aspect, frame_bytes, md5s, start=first)
    ticks = tuple(round((p * base - start) * rate) for p in pts)
    if all(a < b for a, b in itertools.pairwise(ticks)):
        return framemd5.FrameHashes(1 / rate, *size, aspect, frame_bytes, ticks, (1,) * len(ticks), tuple(md5s))
    # At that rate two frames would have one time, and FFmpeg would leave one out: we never do.
    return framemd5.of_times(base, size, aspect, frame_bytes, pts, md5s)
