"""Every name below OUT, and a listing of OUT sorted into what it shows. No I/O.

A reel's name may hold slashes, so that a reel's folder may lie inside another's (reels ``a`` and ``a/b``). Whatever
counts, hashes or deletes files of a reel therefore goes by ``sort_out`` or ``is_ours``, never by a prefix alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.reel.deliver import IMAGES, SUFFIX
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
SOURCE_STREAMS = "source.streamhash"
OUTPUT_STREAMS = "output.streamhash"
SUMMARY = "report/reel.json"
PAGE = "report/index.html"
STILLS = "report/frames"
"""Folder of the pictures that the page shows."""
NIGHT = "index.html"
"""Below OUT: the page of all reels."""
REPORTS = (FRAMES, SHOTS, TILES, SOURCE_MD5, OUTPUT_MD5)
"""What is published before the deliverables, in this order. The summary, which tells of these, follows them."""

_WORK = ".work"
_INDEX_VERSION = 2
"""Raised whenever an index comes out otherwise, so that an older one is not taken for it."""
_QUARANTINE = "quarantine"
_BAGS, _BAG = "bags", ".bag"
_PLAN = re.compile(r"^plan-([0-9a-f]{64})\.json$")
_TILE = re.compile(r"^(\d{6,})-(\d{7,})-(\d{7,})-([0-9a-f]{64})\.json$")
OTHERS = ".mka"
"""Suffix of the file with what a film holds beside its pictures, where these are delivered as images."""
_FILE = "|".join(map(re.escape, SUFFIX.values()))
_FOLDER = "|".join(map(re.escape, IMAGES.values()))
_PART = r"(\.part\d{3,9})?"
_DELIVERABLE = re.compile(rf"(\.[a-z][a-z0-9_-]{{0,31}})?({_PART}({_FILE})|({_FOLDER})/[^/]+({_FOLDER}))")
"""What follows a reel's base name in the name of a deliverable, or of an image of one."""
_ABOUT_ONE = re.compile(rf"\.[a-z][a-z0-9_-]{{0,31}}{_PART}\.(framemd5|streamhash)")
"""The same in the name of the hashes of a further deliverable, or of a part."""
_BESIDE = re.compile(r"\.\d{2,3}-(audio|subtitle|video|data|attachment)\.[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The same in the name of what lies beside, because the first deliverable cannot carry it."""
_MARKS = (PROVENANCE, MANIFEST, SOURCE_MD5, OUTPUT_MD5, SUMMARY)
"""A folder that holds one of these is a reel's."""


def reel_dir(out: str, reel: str) -> str:
    """Folder of what is published of a reel."""
    return join(out, *reel.split("/"))


def published(out: str, reel: str, name: str) -> str:
    """URI of one published file of a reel, by its name as the manifest has it; a folder's keeps its slash."""
    return join(out, *reel.split("/"), *name.split("/")) + ("/" if name.endswith("/") else "")


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


def source_survey(out: str, source_id: Sha256, key: str) -> str:
    """The source's whole survey. key: what it depends on beside the source."""
    return join(source_dir(out, source_id), f"survey-{key}.parquet")


def survey_part(out: str, source_id: Sha256, key: str, first: int, last: int) -> str:
    """What was found in the frames ``[first, last)``: there while a survey is under way."""
    return join(source_dir(out, source_id), f"survey-{key}", f"{first:09d}-{last:09d}.parquet")


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


def bag_dir(out: str, reel: str) -> str:
    """Folder of a reel's bag. Its name has a suffix, so that no bag lies inside another (reels ``a`` and ``a/b``)."""
    *folders, base = reel.split("/")
    return join(out, _BAGS, *folders, f"{base}{_BAG}")


def suffix(output: Output) -> str:
    """Suffix of a deliverable's segments, with its dot; of images a tar."""
    return ".tar" if output.codec in IMAGES else SUFFIX[output.codec]


def deliverables(base: str, outputs: Sequence[Output]) -> dict[str, str]:
    """Deliverable → its name below the reel's folder: ``<base>.mkv``, then ``<base>.<deliverable>.mp4``…; of numbered
    images that of their folder, with a slash at the end: ``<base>.dpx/``."""
    names = {}
    for n, o in enumerate(outputs):
        end = f"{IMAGES[o.codec]}/" if o.codec in IMAGES else SUFFIX[o.codec]
        names[o.name] = f"{base}{end}" if n == 0 else f"{base}.{o.name}{end}"
    return names


def part(file: str, number: int | None) -> str:
    """Name of a part of a split deliverable, counted from 1: ``<base>.part001.mkv``. None: there is one file alone."""
    if number is None:
        return file
    stem, dot, end = file.rpartition(".")
    return f"{stem}.part{number:03d}.{end}" if dot and "/" not in end else f"{file}.part{number:03d}"


def hashes_of_part(file: str, kind: str) -> str:
    """Name of a part's own ``framemd5`` or ``streamhash``."""
    return f"{file.rpartition('.')[0]}.{kind}"


def others(base: str) -> str:
    """Name of the file with the sound and all else that numbered images, as the first deliverable, cannot hold."""
    return f"{base}{OTHERS}"


def below(folder: str, files: Iterable[Stat]) -> list[tuple[str, Stat]]:
    """A listing of a folder as names below it."""
    root = absolute(folder).rstrip("/") + "/"
    return [(f.uri[len(root) :], f) for f in files if f.uri.startswith(root)]


def is_ours(reel: str, name: str) -> bool:
    """Whether a name below a reel's folder is one that some job publishes: such a file may be replaced or removed."""
    base = base_of(reel)
    if name in (PROVENANCE, MANIFEST, SOURCE_MD5, OUTPUT_MD5, SOURCE_STREAMS, OUTPUT_STREAMS):
        return True
    if name.startswith("report/"):
        return True
    kinds = (_DELIVERABLE, _ABOUT_ONE, _BESIDE)
    return name.startswith(f"{base}.") and any(kind.fullmatch(name, len(base)) for kind in kinds)


def may_be_reels(folder: str) -> bool:
    """Whether a folder right below OUT may be a reel's, or hold reels: it is none that is kept for something else."""
    return not folder.startswith(".") and folder not in (_QUARANTINE, _BAGS)


def may_be_reel(reel: str, folder: str) -> bool:
    """Whether a folder right below a reel's may hold other reels: it is neither its report nor its images."""
    images = any(is_ours(reel, f"{folder}/0{suffix}") for suffix in IMAGES.values())
    return folder != "report" and not images


def base_of(reel: str) -> str:
    """What the names of a reel's files begin with."""
    return reel.rsplit("/", 1)[-1]


def hashes_of(base: str, output: str, kind: str) -> str:
    """Name of a further deliverable's own ``framemd5`` or ``streamhash``."""
    return f"{base}.{output}.{kind}"


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
    bags: dict[str, dict[str, Stat]] = field(default_factory=dict)
    """Reel → name below its bag's folder → file."""


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
        elif top == _BAGS and f"{_BAG}/" in below:
            reel, _, inside = below.rpartition(f"{_BAG}/")
            found.bags.setdefault(reel, {})[inside] = stat
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
