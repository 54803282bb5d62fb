"""From what a person names (files, folders, patterns) to reels: a URI and a name each."""

from __future__ import annotations

import glob
import re
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from fsspec.utils import glob_translate

from pipeline.errors import CallError, StorageError
from pipeline.storage import store
from pipeline.storage.filesystems import Place, place
from pipeline.storage.numbered import is_image, is_numbered

FILM_SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gxf", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".qt", ".rm", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip
"""What counts as a film in a folder, or under a pattern that names no suffix. A file that is named is always taken."""

_MAGIC = re.compile(r"[*?\[]")
PUBLISHED = ("provenance.json", "output.framemd5")
"""A folder with both of these holds what a run published. Either alone may be somebody else's."""
_AT_ONCE = 16
_RESERVED = ("quarantine", "bags", "index.html")


@dataclass(frozen=True, slots=True)
class _Found:
    uri: str
    parts: tuple[str, ...]
    """Kind of storage, then the path's parts."""
    anchor: tuple[str, ...]
    """The folder that the source named, in the same form: names are told from there, whatever lies in it today."""
    published: str | None = None
    """The folder of an earlier publication that it was found in."""
    folder: bool = False
    """A folder of numbered images, which are one film; its URI ends with a slash."""


def expand(
    sources: Sequence[str], *, out: str | None = None, tell: Callable[[str], None] = lambda _line: None
) -> list[tuple[str, str]]:
    """The reels of a call as ``(uri, name)``, in the order of the sources, each file once.

    A source is a file (taken whatever its suffix, and also where it is not there: that is told later, for that reel
    alone), a folder (every film below it, hidden ones left out) or a pattern (``*``, ``?``, ``[…]``, ``**``; a folder
    that it fits stands for the films below). A name that exists is never a pattern. A folder right in which numbered
    images lie (``numbered.is_numbered``), and no film file, is itself a film, whose URI ends with a slash; images
    cannot be named one by one. What lies below ``out`` is left
    out, so that a folder which also holds the output gives its own films only; so is what an earlier run published
    elsewhere, which ``tell`` is told in one line.

    A reel's name is its path below the common folder of the sources, without suffix (a folder's: whole). CallError,
    before any work, where two names are one, one would lie inside the other's folder, a name cannot be one, or the
    output would be written over a source; StorageError where a folder or pattern cannot be listed.
    """
    if not sources:
        raise CallError("no source was named", todo="Name a file, a folder or a pattern")
    places = [_place(source) for source in sources]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        each = list(pool.map(_expand, places))
    apart = _parts(_place(out)) if out else None
    found: dict[str, _Found] = {}
    left_out: set[str] = set()
    for source, files in zip(sources, each, strict=True):
        files = [f for f in files if not (apart and _is_below(f.parts[:-1], apart) and not _is_below(f.anchor, apart))]
        films = [f for f in files if f.published is None]
        if files and not films:
            raise CallError(
                "there is nothing but what an earlier run published", where=source, todo="Name the files to restore"
            )
        if not files:
            raise CallError("no film was found", where=source, todo="Check the name; a folder is searched to any depth")
        left_out |= {f.published for f in files if f.published is not None}
        for film in films:
            found.setdefault(film.uri, film)
    named = _named(list(found.values()))
    if out:
        _check_out(_place(out), named)
    if left_out:
        some = ", ".join(sorted(left_out)[:3]) + (", …" if len(left_out) > 3 else "")
        what = f"{len(left_out)} folders" if len(left_out) > 1 else "a folder"
        tell(f"left out of the sources: {what} that an earlier run published ({some})")
    return named


def _place(source: str) -> Place:
    try:
        return place(source)
    except StorageError as error:
        raise CallError(error.what, where=source or "sources", todo=error.todo) from None


def _expand(source: Place) -> list[_Found]:
    named_folder = source.uri.endswith("/")
    pattern = _MAGIC.search(source.path) is not None
    if source.local is None and _MAGIC.search(source.bucket):
        raise CallError("a pattern cannot stand in a bucket's name", where=source.uri, todo="Name the bucket")
    plain = [_found(store.absolute(source.uri), _parts(source)[:-1])]
    try:
        if not named_folder and store.exists(source.uri):
            _refuse_image(source.uri)
            return plain
        films = _films_below(source.uri, _parts(source))
    except StorageError as error:
        # What is wrong with one file is told for its reel alone; storage that cannot be reached ends the call at once.
        if error.transient or named_folder or pattern:
            raise
        return plain
    if films or (named_folder and not pattern) or (source.local and source.local.is_dir()):
        return films
    return _fitting(source) if pattern else plain


def _films_below(uri: str, anchor: tuple[str, ...]) -> list[_Found]:
    found = _told_apart(_gathered(uri, anchor))
    return [f for f in found if (f.folder or _is_film(f.parts[-1])) and not _hidden(f.parts[len(anchor) :])]


def _gathered(uri: str, anchor: tuple[str, ...]) -> list[_Found]:
    """A whole listing, with one entry in place of all the images of a folder."""
    found: list[_Found] = []
    of_images: dict[str, None] = {}
    of_films: set[str] = set()
    for file in store.list_files(uri):
        folder, _, name = file.uri.rpartition("/")
        if is_numbered(name):
            of_images[folder] = None
            continue
        if _is_film(name) and not name.startswith("."):
            of_films.add(folder)
        found.append(_found(file.uri, anchor))
    for folder in of_images:
        if folder not in of_films:
            one = _found(folder, anchor)
            # The folder that was named: it has its own name, not an empty one.
            above = anchor[:-1] if one.parts == anchor else anchor
            found.append(replace(one, uri=f"{folder}/", anchor=above, folder=True))
    return sorted(found, key=lambda f: f.uri)


def _refuse_image(uri: str) -> None:
    if is_image(uri):
        raise CallError(
            "this is one image, a film was expected", where=uri, todo="Name the folder that holds its sequence"
        )


def _told_apart(listing: list[_Found]) -> list[_Found]:
    """A whole listing, each file with the folder of the publication that it lies in."""
    marks = {f.parts[:-1] for f in listing if f.parts[-1] == PUBLISHED[0]}
    marks &= {f.parts[:-1] for f in listing if f.parts[-1] == PUBLISHED[1]}
    if not marks:
        return listing
    return [
        replace(f, published=_uri(place(f.uri), f.parts[:n])) if n is not None else f
        for f in listing
        for n in [next((n for n in range(len(f.parts) - 1, 0, -1) if f.parts[:n] in marks), None)]
    ]


def _fitting(source: Place) -> list[_Found]:
    """What fits a pattern."""
    parts = _parts(source)
    first = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    base, rest = parts[:first], parts[first:]
    suffix = PurePosixPath(rest[-1]).suffix
    any_suffix = bool(suffix) and not _MAGIC.search(suffix)
    folders_only = source.uri.endswith("/")
    if source.local is not None:
        found: list[_Found] = []
        for name in sorted(glob.glob(source.path, recursive=True)):  # noqa: PTH207 - the pattern is absolute
            if Path(name).is_dir():
                found += [f if f.published else _of_a_publication(f) for f in _films_below(name, base)]
            elif not folders_only and (any_suffix or _is_film(name)):
                _refuse_image(name)
                found.append(_of_a_publication(_found(name, base)))
        return found
    try:
        fits = re.compile(glob_translate("/".join(rest)))
    except ValueError as error:
        raise CallError(str(error), where=source.uri, todo="Correct the pattern") from None
    found = []
    for f in _told_apart(_gathered(_uri(source, base), base)):
        below = f.parts[first:]
        if _hidden(below):
            continue
        whole = (f.folder or not folders_only) and fits.match("/".join(below)) is not None
        folder = any(fits.match("/".join(below[:n])) for n in range(1, len(below)))
        if (whole and any_suffix) or ((whole or folder) and (f.folder or _is_film(below[-1]))):
            found.append(f)
    return found


def _of_a_publication(file: _Found) -> _Found:
    """A file on a disk, with the folder of the publication that it lies in; not looked for above the anchor."""
    here = Path(file.uri).parent
    for _ in range(len(file.parts) - len(file.anchor)):
        if all((here / mark).is_file() for mark in PUBLISHED):
            return replace(file, published=str(here))
        here = here.parent
    return file


def _check_out(out: Place, named: list[tuple[str, str]]) -> None:
    """CallError where the output, or a reel's folder in it, would be a source, or would hold one that it replaces."""
    todo = "Give another --out"
    base = _real(out)
    folders = {(*base, *name.split("/")): name for _, name in named}
    for uri, _ in named:
        parts = _real(place(uri), link=True)
        if base[: len(parts)] == parts:
            raise CallError(f"it is, or lies below, the source {uri}", where=f"--out {out.uri}", todo=todo)
        reel = next((folders[parts[:n]] for n in range(len(parts), 0, -1) if parts[:n] in folders), None)
        if reel is not None:
            raise CallError(
                f"the source {uri} lies where the reel {reel!r} would be published", where=f"--out {out.uri}", todo=todo
            )
    if out.local is not None:
        file = next((p for p in (out.local, *out.local.parents) if p.exists() and not p.is_dir()), None)
        if file is not None:
            raise CallError(f"{file} is a file, a folder was expected", where=f"--out {out.uri}", todo=todo)


def _real(where: Place, *, link: bool = False) -> tuple[str, ...]:
    """A place's parts, on a disk without links on the way. link: its own name stays, should it be one."""
    path = where.local
    if path is None:
        return _parts(where)
    return _parts(place(str(path.parent.resolve() / path.name if link else path.resolve())))


def _named(found: list[_Found]) -> list[tuple[str, str]]:
    common = found[0].anchor
    for f in found:
        same = (i for i, (a, b) in enumerate(zip(common, f.anchor, strict=False)) if a != b)
        common = common[: next(same, min(len(common), len(f.anchor)))]
    # Where not even the kind of storage is common, it is no part of a name.
    start = max(len(common), 1)
    names: dict[tuple[str, ...], str] = {}
    for f in found:
        *folders, file = f.parts[start:]
        name = (*folders, file if f.folder else _stem(file))
        _check(name, f.uri)
        if name in names:
            raise CallError(
                f"two reels would be called {'/'.join(name)!r}: this and {names[name]}",
                where=f.uri,
                todo="Rename one, or restore them into different outputs",
            )
        names[name] = f.uri
    for name, uri in names.items():
        for n in range(1, len(name)):
            if name[:n] in names:
                raise CallError(
                    f"the reel {'/'.join(name)!r} would lie inside the folder of the reel {'/'.join(name[:n])!r} "
                    f"({names[name[:n]]})",
                    where=uri,
                    todo="Rename one, or restore them into different outputs",
                )
    return [(uri, "/".join(name)) for name, uri in names.items()]


def _check(name: tuple[str, ...], uri: str) -> None:
    text = "/".join(name)
    wrong = None
    if name[0].startswith("."):
        wrong = "starts with a dot"
    elif any(part in ("", ".", "..") for part in name):
        wrong = "leads out of the output's folder"
    elif name[0] in _RESERVED:
        wrong = f"is taken: the output keeps {name[0]!r} for itself"
    elif "report" in name[1:]:
        wrong = "is taken: a reel's folder keeps 'report' for itself"
    elif any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        wrong = "has a control character, or bytes that are no text"
    if wrong:
        raise CallError(f"the reel's name {text!r} {wrong}", where=uri, todo="Rename the source")


def _stem(file: str) -> str:
    """Without the last suffix; a name that is all suffix (``.mkv``) stays."""
    stem, dot, _ = file.rpartition(".")
    return stem if dot and stem else file


def _found(uri: str, anchor: tuple[str, ...]) -> _Found:
    return _Found(uri, _parts(place(uri)), anchor)


def _parts(where: Place) -> tuple[str, ...]:
    return (where.protocol, *where.path.strip("/").split("/")) if where.path.strip("/") else (where.protocol,)


def _uri(like: Place, parts: tuple[str, ...]) -> str:
    return f"{like.root}{'' if like.root else '/'}{'/'.join(parts[1:])}"


def _is_below(parts: tuple[str, ...], folder: tuple[str, ...]) -> bool:
    return parts[: len(folder)] == folder


def _is_film(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in FILM_SUFFIXES


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") for part in parts)
