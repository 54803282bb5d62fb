"""The ledger's records of a plan's tiles: read and held against the plan; those that do not fit are forgotten.

A ledger is a folder of small files that people can reach, so that anything may stand in it. What does not fit costs the
restoration of its tile, never the reel.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline import tables
from pipeline.errors import MissingError, ScratchFullError, StorageError, VerifyError
from pipeline.publish.documents import moment
from pipeline.spec import Deliver
from pipeline.storage.ledger import Ledger
from pipeline.storage.records import ANEW
from pipeline.types import FrameRow, Plan, Tile, TileRecord


def read(plan: Plan, ledger: Ledger) -> list[TileRecord]:
    """The records of the plan's tiles, in order, each of them of the frames and deliverables that the plan says.

    Raises MissingError where one is lacking, VerifyError where one cannot be read or does not fit.
    """
    done = ledger.done()
    lacking = [t.number for t, tile_id in zip(plan.tiles, plan.tile_ids, strict=True) if tile_id not in done]
    if lacking:
        raise MissingError(
            f"{len(lacking)} of {len(plan.tiles)} tiles are not recorded, the first of them {lacking[0]}",
            where=ledger.work,
            todo="Run the job again: it restores what is missing",
        )
    found = ledger.read(plan.tile_ids)
    wanted = _deliverables(plan)
    for tile, record in zip(plan.tiles, found, strict=True):
        if not _is_of(record, tile, wanted):
            raise VerifyError(
                f"the record of tile {tile.number} is of the frames {record.first}:{record.last} and of "
                f"{', '.join(s.deliverable for s in record.segments) or 'no deliverable'}; expected were "
                f"{tile.first}:{tile.last} and {', '.join(wanted)}",
                where=ledger.work,
                todo=ANEW,
            )
    # A tile that an excerpt of the reel restored had another number there.
    return [dataclasses.replace(r, number=t.number) for t, r in zip(plan.tiles, found, strict=True)]


def forget_broken(plan: Plan, ledger: Ledger) -> int:
    """Forget the records of the plan's tiles that are broken or do not fit. Returns how many.

    Reads every file that they name: for when a publication has failed.
    """
    tiles, wanted = dict(zip(plan.tile_ids, plan.tiles, strict=True)), _deliverables(plan)

    def fits(record: TileRecord) -> bool:
        tile = tiles[record.tile_id]
        return _is_of(record, tile, wanted) and _has_its_rows(record, tile, plan, ledger) and _is_dated(record)

    return ledger.forget_broken(plan.tile_ids, fits=fits)


def check_rows(rows: Sequence[FrameRow], tile: Tile, plan: Plan, *, where: str) -> None:
    """Raise VerifyError where a tile's rows are not those of its frames."""
    if [r.frame for r in rows] != list(range(tile.first, tile.last)) or {r.reel for r in rows} != {plan.reel.name}:
        raise VerifyError(
            f"its rows are not those of the frames {tile.first}:{tile.last} of {plan.reel.name}", where=where, todo=ANEW
        )


def _deliverables(plan: Plan) -> list[str]:
    return [o.name for o in Deliver.model_validate(plan.spec["deliver"]).written]


def _is_of(record: TileRecord, tile: Tile, deliverables: Sequence[str]) -> bool:
    frames_fit = (record.first, record.last) == (tile.first, tile.last)
    return frames_fit and [s.deliverable for s in record.segments] == deliverables


def _has_its_rows(record: TileRecord, tile: Tile, plan: Plan, ledger: Ledger) -> bool:
    with tempfile.TemporaryDirectory(prefix="reelmend-") as folder:
        path = Path(folder) / "rows.parquet"
        ledger.fetch(record.rows, record.rows_sha256, path)
        try:
            check_rows(tables.read_rows(path), tile, plan, where=record.rows)
        except ScratchFullError:
            raise
        except (VerifyError, StorageError):
            return False
    return True


def _is_dated(record: TileRecord) -> bool:
    try:
        moment(record.finished, where="")
    except StorageError:
        return False
    return True
