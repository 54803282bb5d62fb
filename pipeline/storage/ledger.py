"""What is done of a reel: a record for every tile, in storage, readable with ``ls`` and ``cat``.

::

    OUT/.work/<reel>/plan-<plan id>.json
                     tiles/000012-0000288-0000312-<tile id>.json     number, frames [first, last), id
                     segments/<stem>-<sha256>.mkv                    named by what is in them

The record alone decides: two attempts may both upload, one record wins, and what no record names is scratch.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.errors import MissingError, StorageError, VerifyError
from pipeline.storage import records, store
from pipeline.types import TileRecord

_RECORD = re.compile(r"\d{6,}-\d{7,}-\d{7,}-([0-9a-f]{64})\.json")
_PLAN = re.compile(r"plan-([0-9a-f]{64})\.json")
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,16})?")
_RECORD_BYTES = 1 << 20
_PLAN_BYTES = 512 << 20
_AT_ONCE = 32


class Ledger:
    """The ledger of one reel, at ``work`` = OUT/.work/<reel>. Any number of processes may use one at the same time."""

    def __init__(self, work: str):
        self.work = work
        self._tiles = store.join(work, "tiles")
        self._names: dict[str, str] = {}

    def done(self) -> set[str]:
        """Ids of the tiles that are recorded: one listing, names only."""
        names: dict[str, str] = {}
        for name in store.list_names(self._tiles):
            found = _RECORD.fullmatch(name)
            if found:
                # Excerpts number their tiles otherwise, so one tile may be recorded twice. The first name counts.
                names.setdefault(found[1], name)
        self._names = names
        return set(names)

    def read(self, tile_ids: Sequence[str]) -> list[TileRecord]:
        """The records of tiles that are done, in the order asked. MissingError where one has none, VerifyError where
        one cannot be read."""
        if any(t not in self._names for t in tile_ids):
            self.done()
        for t in tile_ids:
            if t not in self._names:
                raise MissingError(f"the tile {t} is not recorded", where=self._tiles)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._read, (self._names[t] for t in tile_ids)))

    def record(self, record: TileRecord) -> TileRecord:
        """Say that a tile is done, unless it was said before. Returns the record that stands: ours or an earlier."""
        name = f"{records.stem(record.number, record.first, record.last)}-{record.tile_id}.json"
        if not _RECORD.fullmatch(name):
            raise ValueError(f"{record.tile_id!r} is no tile id")
        if store.put_bytes_once(store.join(self._tiles, name), records.to_text(record).encode()):
            return record
        return self._read(name)

    def put(self, local: Path, stem: str) -> tuple[str, str, int]:
        """Upload a file under a name that carries its sha256; one that is there already is not sent again.

        Returns (name below the work folder, sha256, bytes).
        """
        if not _STEM.fullmatch(stem) or not _SUFFIX.fullmatch(local.suffix):
            raise ValueError(f"no name can be made of {stem!r} and {local.suffix!r}")
        sha256, size = _hash(local)
        name = f"segments/{stem}-{sha256}{local.suffix}"
        uri = store.join(self.work, name)
        try:
            there = store.stat(uri).bytes == size
        except MissingError:
            there = False
        if not there:
            store.put_file(local, uri)
        return name, sha256, size

    def fetch(self, name: str, sha256: str, local: Path) -> None:
        """Get a file that a record names. VerifyError where it is not what its hash says; nothing is left then."""
        if not records.is_place(name):
            raise StorageError(f"{name[:200]!r} is no name of this ledger", where=self.work)
        uri = store.join(self.work, name)
        store.fetch(uri, local)
        found, _ = _hash(local)
        if found != sha256:
            local.unlink(missing_ok=True)
            raise VerifyError(
                f"its sha256 is {found}, its record says {sha256}",
                where=uri,
                todo=records.ANEW,
            )

    def forget_broken(
        self, tile_ids: Sequence[str], *, fits: Callable[[TileRecord], bool] = lambda _record: True
    ) -> int:
        """Delete the records that cannot be read, whose files are not theirs or not there whole, or that do not fit.

        fits: asked of each record that is whole. Returns how many were deleted. A file of the right size with other
        bytes is deleted with its record. Where storage does not answer, its error is raised: that says nothing about a
        record.
        """
        known = self.done()
        sizes = {f.uri.rpartition("/")[2]: f.bytes for f in store.list_files(store.join(self.work, "segments"))}
        broken = [t for t in tile_ids if t in known and not self._is_right(self._names[t], sizes, fits)]
        for t in broken:
            store.delete(store.join(self._tiles, self._names[t]))
        return len(broken)

    def _is_right(self, record: str, sizes: Mapping[str, int], fits: Callable[[TileRecord], bool]) -> bool:
        try:
            found = self._read(record)
        except (VerifyError, MissingError):
            return False
        if not records.is_named_for(found):
            return False
        named = [(s.name, s.sha256, s.bytes) for s in found.segments]
        if found.stills is not None:
            named.append((found.stills.name, found.stills.sha256, found.stills.bytes))
        for name, sha256, size in [*named, (found.rows, found.rows_sha256, None)]:
            base = name.rpartition("/")[2]
            if base not in sizes or (size is not None and sizes[base] != size):
                return False
            with tempfile.TemporaryDirectory(prefix="reelmend-") as folder:
                try:
                    self.fetch(name, sha256, Path(folder) / "file")
                except VerifyError:
                    store.delete(store.join(self.work, name))
                    return False
        return fits(found)

    def keep_plan(self, plan_id: str, text: str) -> None:
        """Put the plan beside its tiles, once: a plan's id says all that is in it."""
        store.put_bytes_once(self._plan(plan_id), text.encode())

    def plans(self) -> list[str]:
        """Ids of the plans that this work folder has seen, sorted."""
        found = (_PLAN.fullmatch(name) for name in store.list_names(self.work))
        return sorted(f[1] for f in found if f)

    def read_plan(self, plan_id: str) -> str:
        """The text that ``keep_plan`` put."""
        uri = self._plan(plan_id)
        try:
            return store.read_bytes(uri, limit=_PLAN_BYTES).decode()
        except UnicodeDecodeError as error:
            raise StorageError(f"this is no plan: {error}", where=uri, todo="Delete it and run again") from None

    def clear(self) -> None:
        """Delete what the ledger keeps, records first: one without its segments would be a promise broken.

        Only what a ledger keeps: the work of a reel with a longer name may lie in the same folder.
        """
        store.delete_tree(self._tiles)
        for plan_id in self.plans():
            store.delete(self._plan(plan_id))
        store.delete_tree(store.join(self.work, "segments"))
        path = store.local_path(self.work)
        if path is not None:
            with contextlib.suppress(OSError):
                path.rmdir()  # unless something else lies in it
        self._names = {}

    def _plan(self, plan_id: str) -> str:
        if not records.is_sha256(plan_id):
            raise ValueError(f"{plan_id!r} is no plan's id")
        return store.join(self.work, f"plan-{plan_id}.json")

    def _read(self, name: str) -> TileRecord:
        uri = store.join(self._tiles, name)
        record = records.from_bytes(store.read_bytes(uri, limit=_RECORD_BYTES), uri)
        if not name.endswith(f"-{record.tile_id}.json"):
            raise VerifyError(
                f"the record says it is of the tile {record.tile_id}, its name says another",
                where=uri,
                todo=records.ANEW,
            )
        return record


def _hash(local: Path) -> tuple[str, int]:
    with store.open_read(str(local)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
