"""The pictures of a training job: found, told apart, held out, and read when they are wanted."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import CallError, MissingError, StorageError
from pipeline.storage import sources, store
from pipeline.train.spec import Data, DataSource

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"))
_MOST = 1_000_000
"""Files of a folder that are taken at all."""
_MAX_MANIFEST = 64 << 20
_MAX_HASHED = 256 << 20


@dataclass(frozen=True, slots=True)
class Item:
    """One picture, clip or film: what is held out, or not, as a whole."""

    name: str
    """Path below its source's folder."""
    kind: str
    """``stills``, ``frames`` or ``films``."""
    uris: tuple[str, ...]
    """Its files, in order."""
    damaged: tuple[str, ...] = ()
    """Their damaged counterparts; none: damage is made."""
    origin: str = "not stated"
    licence: str = "not stated"


@dataclass(frozen=True, slots=True)
class Split:
    train: tuple[Item, ...]
    validation: tuple[Item, ...]


def find(data: Data, seed: int) -> Split:
    """All pictures of the sources, split. Equal arguments and folders give an equal split.

    The same file under two names is one picture. Raises CallError where a source has none, a counterpart is missing, or
    there are fewer than two to split; StorageError where a folder cannot be listed.
    """
    if not data.sources:
        raise CallError("there is nothing to train on", where="data.sources", todo="Give a folder with --data")
    found = [item for source in data.sources for item in _items(source, data.manifest)]
    groups = _same(found)
    if len(groups) < 2:
        raise CallError(
            f"there is {len(groups)} picture; two are wanted, one of them to measure on",
            where=data.sources[0].uri,
            todo="Give more, or cut a film in two",
        )
    order = sorted(groups, key=lambda g: hashlib.sha256(f"{seed}/{g[0].name}".encode()).digest())
    held = min(max(1, round(data.validation * len(order))), len(order) - 1)

    def flat(part: Iterable[list[Item]]) -> tuple[Item, ...]:
        return tuple(sorted((item for group in part for item in group), key=lambda i: i.name))

    return Split(train=flat(order[held:]), validation=flat(order[:held]))


def files_below(uri: str, suffixes: Iterable[str]) -> list[store.Stat]:
    """The files of a folder with one of these suffixes, or the file itself. Raises CallError, StorageError."""
    wanted = frozenset(suffixes)
    try:
        listed = [store.stat(uri)] if store.exists(uri) else store.list_files(uri)
    except StorageError as error:
        raise CallError(error.what, where=uri, todo=error.todo) from None
    files = [f for f in listed if _suffix(f.uri) in wanted and "/." not in f.uri[len(uri) :]]
    if not files or len(files) > _MOST:
        raise CallError(
            f"there are {len(files)} files of the kinds {', '.join(sorted(wanted))[:120]}; 1 to {_MOST} are wanted",
            where=uri,
            todo="Check the name and `kind:`",
        )
    return files


def stated(base: str, uris: Sequence[str], manifest: str | None) -> list[tuple[str, str]]:
    """Source and licence of each file below a folder, as the manifest has them."""
    known = _manifest(store.absolute(base), manifest)
    return [_stated(known, uri) for uri in uris]


def _items(source: DataSource, manifest: str | None) -> list[Item]:
    suffixes = sources.FILM_SUFFIXES if source.kind == "films" else PICTURE_SUFFIXES
    base = store.absolute(source.uri)
    files = files_below(base, suffixes)
    known = _manifest(base, manifest)
    pairs = _counterparts(base, source.damaged, files)
    groups: dict[str, list[store.Stat]] = defaultdict(list)
    for file in files:
        name = file.uri.removeprefix(base).lstrip("/") or file.uri.rsplit("/", 1)[-1]
        groups[name.rpartition("/")[0] or "." if source.kind == "frames" else name].append(file)
    found = []
    for name, members in sorted(groups.items()):
        members.sort(key=lambda f: _natural(f.uri))
        origin, licence = _stated(known, members[0].uri)
        uris = tuple(f.uri for f in members)
        found.append(Item(name, source.kind, uris, tuple(pairs[u] for u in uris) if pairs else (), origin, licence))
    return found


def _counterparts(base: str, damaged: str | None, files: Sequence[store.Stat]) -> dict[str, str]:
    if damaged is None:
        return {}
    other = store.absolute(damaged)
    there = {f.uri for f in files_below(other, PICTURE_SUFFIXES)}
    pairs = {f.uri: store.join(other, f.uri.removeprefix(base)) for f in files}
    lacking = sorted(clean for clean, spoilt in pairs.items() if spoilt not in there)
    if lacking:
        raise CallError(
            f"{len(lacking)} pictures have no counterpart of the same name in {damaged}",
            where=lacking[0],
            todo="Name the damaged pictures as the clean ones, suffix included",
        )
    return pairs


def _same(items: Sequence[Item]) -> list[list[Item]]:
    """Items that hold the same picture, together. Only files of equal size are read for it."""
    sizes: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        sizes[store.stat(item.uris[0]).bytes].append(item)
    groups: dict[str, list[Item]] = defaultdict(list)
    for size, members in sizes.items():
        for item in members:
            key = item.uris[0]
            if len(members) > 1 and size <= _MAX_HASHED:
                key = hashlib.sha256(store.read_bytes(item.uris[0], limit=_MAX_HASHED)).hexdigest()
            groups[key].append(item)
    return list(groups.values())


def _manifest(base: str, said: str | None) -> dict[str, tuple[str, str]]:
    """URI of a file, or of the folder that holds it → (source, licence)."""
    above = base.rstrip("/").rpartition("/")[0]
    for uri in (said,) if said else (store.join(base, "MANIFEST.csv"), store.join(above, "MANIFEST.csv")):
        try:
            text = store.read_bytes(uri, limit=_MAX_MANIFEST).decode("utf-8")
        except (MissingError, UnicodeDecodeError):
            if said:
                raise CallError("no manifest that can be read", where=said, todo="Check data.manifest") from None
            continue
        folder = store.absolute(uri).rpartition("/")[0]
        rows = csv.DictReader(io.StringIO(text))
        if not {"path", "source", "licence"} <= set(rows.fieldnames or ()):
            if said:
                raise CallError("a manifest has the columns path, source, licence", where=said)
            continue
        # A row may stand for a folder, with a remark behind its name: ``dirt/ (120 files)``.
        named = ((re.sub(r"/? \(.*\)$", "", row["path"] or "").rstrip("/"), row) for row in rows)
        return {f"{folder}/{path}": (row["source"] or "", row["licence"] or "") for path, row in named if path}
    return {}


def _stated(known: dict[str, tuple[str, str]], uri: str) -> tuple[str, str]:
    while uri and known:
        if uri in known:
            return known[uri]
        uri = uri.rpartition("/")[0]
    return "not stated", "not stated"


def _suffix(uri: str) -> str:
    name = uri.rsplit("/", 1)[-1]
    return name[name.rfind(".") :].lower() if "." in name else ""


def _natural(uri: str) -> list[tuple[int, str]]:
    """Numbers in names by their value: 9 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", uri)]
