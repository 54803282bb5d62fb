"""Every name below OUT, and a listing of OUT sorted into what it shows. No I/O.

A reel's name may hold slashes, so that a reel's folder may lie inside another's (reels ``a`` and ``a/b``). Whatever
counts, hashes or deletes files of a reel therefore goes by ``sort_out`` or ``is_ours``, never by a prefix alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.reel.deliver import SUFFIX
from pipeline.spec import Output
from pipeline.storage.store import Stat, absolute, join
from pipeline.types import Sha256

PROVENANCE = "provenance.json"
MANIFEST = "manifest-sha256.txt"
SOURCE_MD5 = "source.framemd5"
OUTPUT_MD5 = "output.framemd5"
FRAMES = "report/frames.parquet"
SHOTS = "report/shots.parquet"
TILES = "report/tiles.parquet"
SUMMARY = "report/reel.json"
PAGE = "report/index.html"
STILLS = "report/frames"
"""Folder of the pictures that the page shows."""
NIGHT = "index.html"
"""Below OUT: the page of all reels."""
REPORTS = (FRAMES, SHOTS, TILES, SOURCE_MD5, OUTPUT_MD5)
"""What is published before the deliverables, in this order. The summary, which tells of these, follows them."""

_WORK = ".work"
_INDEX_VERSION = 1
"""Raised whenever an index comes out otherwise, so that an older one is not taken for it."""
_QUARANTINE = "quarantine"
_PLAN = re.compile(r"^plan-([0-9a-f]{64})\.json$")
_TILE = re.compile(r"^(\d{6,})-(\d{7,})-(\d{7,})-([0-9a-f]{64})\.json$")
_DELIVERABLE = re.compile(r"(\.[a-z][a-z0-9_-]{0,31})?(" + "|".join(map(re.escape, SUFFIX.values())) + ")")
"""What follows a reel's base name in the name of a deliverable."""
_MARKS = (PROVENANCE, MANIFEST, SOURCE_MD5, OUTPUT_MD5, SUMMARY)
"""A folder that holds one of these is a reel's."""


def reel_dir(out: str, reel: str) -> str:
    """Folder of what is published of a reel."""
    return join(out, *reel.split("/"))


def published(out: str, reel: str, name: str) -> str:
    """URI of one published file of a reel, by its name as the manifest has it."""
    return join(out, *reel.split("/"), *name.split("/"))


def work_dir(out: str, reel: str) -> str:
    """Folder of a reel's ledger and segments."""
    return join(out, _WORK, *reel.split("/"))


def source_dir(out: str, source_id: Sha256) -> str:
    """Folder of what was found out about a source: kept until ``reelmend clean``."""
    return join(out, _WORK, f"source-{source_id}")


def source_index(out: str, source_id: Sha256, rate: str | None) -> str:
    """The source's frame index, as this version builds it. rate: what the spec says of it, for the index holds it."""
    said = f"-rate-{rate.replace('/', '_')}" if rate else ""
    return join(source_dir(out, source_id), f"index-{_INDEX_VERSION}{said}.parquet")


def work_root(out: str) -> str:
    """Folder of all that is under way."""
    return join(out, _WORK)


def quarantine_root(out: str) -> str:
    """Folder of the quarantine records."""
    return join(out, _QUARANTINE)


def quarantine(out: str, reel: str) -> str:
    """The record that says why a reel could not be restored."""
    *folders, base = reel.split("/")
    return join(out, _QUARANTINE, *folders, f"{base}.json")


def suffix(output: Output) -> str:
    """Suffix of a deliverable's file, with its dot."""
    return SUFFIX[output.codec]


def deliverables(base: str, outputs: Sequence[Output]) -> dict[str, str]:
    """Deliverable → file name below the reel's folder: ``<base>.mkv``, then ``<base>.<deliverable>.mp4``…"""
    return {o.name: f"{base}{suffix(o)}" if n == 0 else f"{base}.{o.name}{suffix(o)}" for n, o in enumerate(outputs)}


def below(folder: str, files: Iterable[Stat]) -> list[tuple[str, Stat]]:
    """A listing of a folder as names below it."""
    root = absolute(folder).rstrip("/") + "/"
    return [(f.uri[len(root) :], f) for f in files if f.uri.startswith(root)]


def is_ours(reel: str, name: str) -> bool:
    """Whether a name below a reel's folder is one that some job publishes: such a file may be replaced or removed."""
    base = reel.rsplit("/", 1)[-1]
    if name in (PROVENANCE, MANIFEST, SOURCE_MD5, OUTPUT_MD5) or name.startswith("report/"):
        return True
    return name.startswith(f"{base}.") and _DELIVERABLE.fullmatch(name, len(base)) is not None


@dataclass(slots=True)
class Work:
    """What a listing shows of a reel's work folder."""

    plans: list[Sha256] = field(default_factory=list)
    tiles: dict[Sha256, tuple[int, int, int, Stat]] = field(default_factory=dict)
    """Tile id → number, first, last and the record's file."""


@dataclass(slots=True)
class Sorted:
    """A listing of OUT by what its files are."""

    reels: dict[str, dict[str, Stat]] = field(default_factory=dict)
    """Reel → name below its folder → file. The reel is ``""`` where OUT itself is a reel's folder."""
    work: dict[str, Work] = field(default_factory=dict)
    """Reel → what is under way or was kept of it."""
    quarantined: dict[str, Stat] = field(default_factory=dict)


def sort_out(files: Iterable[tuple[str, Stat]]) -> Sorted:
    """Sort a whole listing of OUT. ``files``: names below OUT, with slashes, and their stats."""
    found = Sorted()
    rest: list[tuple[str, Stat]] = []
    for name, stat in files:
        top, _, below = name.partition("/")
        if top == _WORK:
            _sort_work(found.work, below, stat)
        elif top == _QUARANTINE and below.endswith(".json"):
            found.quarantined[below.removesuffix(".json")] = stat
        else:
            rest.append((name, stat))
    found.reels = _by_reel(rest)
    return found


def own_files(files: Iterable[tuple[str, Stat]]) -> dict[str, Stat]:
    """A listing of one reel's folder without what belongs to reels in folders below it."""
    return _by_reel(list(files), {""}).get("", {})


def _by_reel(files: Sequence[tuple[str, Stat]], folders: Iterable[str] = ()) -> dict[str, dict[str, Stat]]:
    """Files by the innermost reel's folder that they lie in; files in none are left out."""
    reels: dict[str, dict[str, Stat]] = {folder: {} for folder in folders}
    for name, _ in files:
        for mark in _MARKS:
            if name == mark or name.endswith(f"/{mark}"):
                reels.setdefault(name[: -len(mark)].rstrip("/"), {})
    for name, stat in files:
        folder = name.rpartition("/")[0]
        while folder and folder not in reels:
            folder = folder.rpartition("/")[0]
        if folder in reels:
            reels[folder][name[len(folder) :].lstrip("/")] = stat
    return reels


def _sort_work(work: dict[str, Work], name: str, stat: Stat) -> None:
    folder, _, base = name.rpartition("/")
    if plan := _PLAN.match(base):
        work.setdefault(folder, Work()).plans.append(plan[1])
    elif (tile := _TILE.match(base)) and folder.endswith("/tiles"):
        number, first, last = (int(n) for n in tile.groups()[:3])
        work.setdefault(folder.removesuffix("/tiles"), Work()).tiles[tile[4]] = (number, first, last, stat)
