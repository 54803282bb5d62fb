"""``OUT/index.html``: written once a run, at its end or when it is stopped, from what is published by then.

There is no lock. Whoever has written it looks again at what is published, and writes once more where that has changed
meanwhile: so the last one to write has seen all that was published before. Of a run that was killed the next one tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.errors import MissingError, ReelmendError, StorageError
from pipeline.publish import layout, quarantine
from pipeline.publish.documents import read_object
from pipeline.publish.state import read_if_there
from pipeline.report.night import NightReel, reel_of, render
from pipeline.storage import store

_ROUNDS = 5
_AT_ONCE = 16
_SUMMARY_BYTES = 16 << 20
_PAGE_BYTES = 64 << 20
_MOST_SENTENCE = 500
_DEPTH = 16
"""Folders in a reel's name, at most: a link that leads back is not followed for ever."""


@dataclass(frozen=True, slots=True)
class _Reel:
    """A published reel."""

    name: str
    version: str
    """Of its summary."""
    has_page: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the page is made from."""

    reels: tuple[_Reel, ...]
    quarantined: dict[str, store.Stat]

    @property
    def any(self) -> bool:
        return bool(self.reels or self.quarantined)

    @property
    def mark(self) -> object:
        """Another one where the page has to be."""
        return self.reels, sorted((reel, stat.version) for reel, stat in self.quarantined.items())


def write(out: str) -> None:
    """Write the page of all reels below an output.

    Folders are listed one level at a time, those of work, of images and of stills not at all, and of every reel its
    summary alone is read: what it costs does not hang on how many files a deliverable has. Where there is neither a
    reel nor a page, none is written. Raises StorageError where storage does not answer; what is wrong with one reel is
    told on the page.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = _look(out, pool)
        for _ in range(_ROUNDS):
            uri, text = store.join(out, layout.NIGHT), _page(out, seen, pool).encode(errors="replace")
            standing = _standing(uri)
            if standing != text and (seen.any or standing is not None):
                store.put_bytes(uri, text)
            again = _look(out, pool)
            if again.mark == seen.mark:
                return
            seen = again


def _look(out: str, pool: Executor) -> _Seen:
    records = layout.below(out, store.list_files(layout.quarantine_root(out)))
    reels: list[_Reel] = []
    level = [""]
    for _ in range(_DEPTH):
        below: list[str] = []
        for reel, inside in pool.map(lambda name: _folder(out, name), level):
            reels += [reel] if reel else []
            below += inside
        if not below:
            break
        level = below
    return _Seen(tuple(sorted(reels, key=lambda r: r.name)), layout.sort_out(records).quarantined)


def _folder(out: str, name: str) -> tuple[_Reel | None, list[str]]:
    """The reel whose folder this is, if it is one; and the names of the folders in it that may hold more."""
    files, folders = store.list_level(layout.reel_dir(out, name) if name else out)
    if not name:
        return None, [folder for folder in folders if layout.may_be_reels(folder)]
    inside = [f"{name}/{folder}" for folder in folders if layout.may_be_reel(name, folder)]
    if "report" not in folders or layout.MANIFEST not in _names(files):
        return None, inside
    report, _ = store.list_level(layout.published(out, name, "report"))
    there = {f"report/{name}": stat for name, stat in _names(report).items()}
    summary = there.get(layout.SUMMARY)
    return _Reel(name, summary.version, layout.PAGE in there) if summary else None, inside


def _names(files: Iterable[store.Stat]) -> dict[str, store.Stat]:
    return {f.uri.rsplit("/", 1)[-1]: f for f in files}


def _standing(uri: str) -> bytes | None:
    try:
        return read_if_there(uri, _PAGE_BYTES)
    except StorageError as error:
        if getattr(error, "transient", False):
            raise
        return b""  # something that is no page of ours


def _page(out: str, seen: _Seen, pool: Executor) -> str:
    def read(reel: _Reel) -> NightReel | str | None:
        uri = layout.published(out, reel.name, layout.SUMMARY)
        try:
            said = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri)
            return reel_of(reel.name, said, has_page=reel.has_page)
        except MissingError:
            return None  # it is being published anew
        except ReelmendError as error:
            if getattr(error, "transient", False):
                raise
            return f"{reel.name}: {error.what}"[:_MOST_SENTENCE]

    found = list(pool.map(read, seen.reels))
    return render(
        [r for r in found if isinstance(r, NightReel)],
        [(q.reel, q.message) for q in quarantine.read_all(layout.Sorted(quarantined=seen.quarantined))],
        [p for p in found if isinstance(p, str)],
    )
