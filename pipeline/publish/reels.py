"""The published reels of an output, found without listing deliverables: one of images has a file for every frame."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from pipeline.publish import layout
from pipeline.storage import store

_DEPTH = 16
"""Folders in a reel's name, at most: a link that leads back is not followed for ever."""


@dataclass(frozen=True, slots=True)
class Published:
    """A reel whose manifest stands."""

    name: str
    """Empty where OUT itself is the reel's folder."""
    report: Mapping[str, store.Stat]
    """The files of its report, stills left out, by name below its folder."""


def published(out: str, pool: Executor) -> list[Published]:
    """Every published reel, by name.

    Folders are listed one level at a time; those of work, of images and of stills are not. Raises StorageError.
    """
    reels: list[Published] = []
    level = [""]
    for _ in range(_DEPTH):
        below: list[str] = []
        for reel, inside in pool.map(lambda name: _folder(out, name), level):
            reels += [reel] if reel else []
            below += inside
        if not below:
            break
        level = below
    return sorted(reels, key=lambda r: r.name)


def quarantined(out: str) -> layout.Sorted:
    """The quarantine records of an output, and nothing else of it. Raises StorageError."""
    return layout.sort_out(layout.below(out, store.list_files(layout.quarantine_root(out))))


def _folder(out: str, name: str) -> tuple[Published | None, list[str]]:
    """The reel whose folder this is, if it is one; and the names of the folders in it that may hold more."""
    files, folders = store.list_level(layout.reel_dir(out, name))
    is_reel = "report" in folders and any(_base(f.uri) == layout.MANIFEST for f in files)
    if not name:
        folders = [folder for folder in folders if layout.may_be_reels(folder)]
    if name or is_reel:
        own = _base(name or store.absolute(out))
        folders = [folder for folder in folders if layout.may_be_reel(own, folder)]
    inside = [f"{name}/{folder}".lstrip("/") for folder in folders]
    if not is_reel:
        return None, inside
    report, _ = store.list_level(layout.published(out, name, "report"))
    return Published(name, {f"report/{_base(f.uri)}": f for f in report}), inside


def _base(path: str) -> str:
    return path.rsplit("/", 1)[-1]
