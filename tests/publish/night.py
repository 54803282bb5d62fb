"""Small reels whose tiles are all in the ledger, made by the real rooms: what there is before a reel is published."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipeline import tables
from pipeline.plan import make_plan, to_json
from pipeline.publish import layout
from pipeline.publish.finish import finish
from pipeline.reel.decode import decode
from pipeline.reel.encode import encode_segment
from pipeline.reel.formats import hash_planes
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.reel.residual import encode_residual
from pipeline.spec import RESIDUAL, Spec
from pipeline.storage import records, store
from pipeline.storage.ledger import Ledger
from pipeline.types import FrameIndex, FrameRow, Frames, Plan, Segment, Tile, TileRecord
from tests.reel.films import make_film

MASTER = {"name": "master"}
PROXY = {"name": "proxy", "codec": "h264"}
START = datetime.datetime(2026, 3, 1, 22, 0, tzinfo=datetime.UTC)


def film(path: Path, frames: int = 20, **more: Any) -> Path:
    """A source with sound, 18 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make_film(
        path,
        frames=frames,
        size=(48, 32),
        **{"rate": Fraction(18), "audio": "pcm_s16le", "options": {"g": "1"}, **more},
    )
    return path


def spec(outputs: Sequence[Mapping[str, Any]] = (MASTER,), tile: int = 8, residual: bool = False, **more: Any) -> Spec:
    """Without a net: publishing does not care who changed the pictures."""
    deliver = {"outputs": list(outputs), "residual": residual}
    return Spec.model_validate({"chain": [], "tiles": {"frames": tile}, "deliver": deliver, **more})


def planned(source: str, name: str, said: Spec, frames: tuple[int, int] | None = None) -> tuple[Plan, FrameIndex]:
    reel = probe(source, name, said.source)
    index = build(reel)
    return make_plan(reel, index, said, {}, frames), index


def restore(
    plan: Plan, index: FrameIndex, out: str, scratch: Path, *, tiles: Sequence[int] | None = None, seconds: float = 2.0
) -> Ledger:
    """Put tiles (all, where none are named) of a plan into the ledger, one every ``seconds`` by their records.

    The pictures are the source's with the lowest bit of the first plane turned over, so that output and source differ.
    """
    ledger = Ledger(layout.work_dir(out, plan.reel.name))
    ledger.keep_plan(plan.id, to_json(plan))
    said = Spec.model_validate(plan.spec)
    for tile, tile_id in zip(plan.tiles, plan.tile_ids, strict=True):
        if tiles is not None and tile.number not in tiles:
            continue
        frames = decode(plan.reel, index, tile.first, tile.last, threads=1)
        new = Frames((frames.planes[0] ^ 1, *frames.planes[1:]), frames.format, frames.first, frames.pts)
        stem = records.stem(tile.number, tile.first, tile.last)
        segments, hashes = [], []
        for output in said.deliver.written:
            path = scratch / f"made-{output.name}{layout.suffix(output)}"
            if output == RESIDUAL:
                md5s = [hash_planes(frames.frame(n), frames.format) for n in range(tile.first, tile.last)]
                found = encode_residual(frames, new, plan.reel, md5s, path, threads=1)
            else:
                found = encode_segment([new], plan.reel, output, path, threads=1)
            hashes = hashes or found
            segments.append(Segment(output.name, *ledger.put(path, f"{stem}-{output.name}"), tuple(found)))
            path.unlink()
        path = scratch / "made-rows.parquet"
        tables.write_rows(path, rows(plan, index, tile, frames, hashes))
        name, sha256, _ = ledger.put(path, f"{stem}-rows")
        path.unlink()
        ledger.record(
            TileRecord(
                tile_id=tile_id,
                number=tile.number,
                first=tile.first,
                last=tile.last,
                segments=tuple(segments),
                rows=name,
                rows_sha256=sha256,
                host=f"node-{tile.number % 2}",
                device="cpu",
                seconds={"decode": 0.5, "restore": 1.0, "encode": 0.25},
                tries=1,
                finished=(START + datetime.timedelta(seconds=seconds * (tile.number + 1))).isoformat(),
            )
        )
    return ledger


def rows(plan: Plan, index: FrameIndex, tile: Tile, frames: Frames, output_md5: Sequence[str]) -> list[FrameRow]:
    figures = dict.fromkeys(
        ("luma_source", "luma_output", "noise_source", "noise_output", "sharpness_source", "sharpness_output"), 0.25
    )
    earlier = ("flicker_source", "flicker_output", "ydif_source", "ydif_output")
    return [
        FrameRow(
            reel=plan.reel.name,
            frame=n,
            pts=int(index.pts[n]),
            time_s=float(index.time(n)),
            timecode=None,
            shot=0,
            tile=tile.number,
            cut=n == 10,
            source_md5=hash_planes(frames.frame(n), frames.format),
            output_md5=output_md5[n - tile.first],
            psnr_db=48.0,
            ssim=0.99,
            touched_fraction=1.0,
            changed_fraction=0.0,
            net=None,
            weights_sha256=None,
            device="cpu",
            seconds=0.05,
            flags=("seam",) if n == 3 else (),
            **figures,
            **dict.fromkeys(earlier, None if n in (0, 10) else 0.5),
        )
        for n in range(tile.first, tile.last)
    ]


def publish(
    source: str,
    name: str,
    out: str,
    scratch: Path,
    said: Spec | None = None,
    frames: tuple[int, int] | None = None,
    **more: Any,
) -> tuple[Plan, dict[str, Any]]:
    """From a source to a published reel."""
    plan, index = planned(source, name, said or spec(), frames)
    restore(plan, index, out, scratch)
    return plan, finish(plan, index, out, scratch=scratch, **more)


def contents(folder: str) -> dict[str, str]:
    """sha256 of every file below a folder, by name below it."""
    root = store.absolute(folder) + "/"
    return {s.uri[len(root) :]: hashlib.sha256(store.read_bytes(s.uri)).hexdigest() for s in store.list_files(folder)}


def provenance_of(out: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.read_bytes(layout.published(out, name, layout.PROVENANCE)))
    return found
