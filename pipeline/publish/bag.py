"""A published reel as a bag: BagIt 1.0 (RFC 8493), below ``OUT/bags``, for the shelf or for another house.

The payload is the reel's folder, file for file, with its own manifest. It is copied by the storage itself (on a disk,
by a second name of the same file), so that a bag costs no transfer. The hashes are those that the reel's manifest has.

``bagit.txt``, without which a folder is no bag, is written last. Of several runs of one plan each writes the same
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import ReelmendError, StorageError, VerifyError
from pipeline.publish import layout, manifest, provenance
from pipeline.publish.findings import Finding
from pipeline.publish.publication import hash_file
from pipeline.publish.state import own_files, read_if_there, state
from pipeline.storage import store
from pipeline.types import Sha256

DECLARATION = "bagit.txt"
_INFO, _TAGS, _PAYLOAD = "bag-info.txt", "tagmanifest-sha256.txt", "data/"
_DECLARED = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_TAG_BYTES = 16 << 20
_COPIES_AT_ONCE = 16
_ANEW = "Delete the bag's folder and run `restore --bag` again: the reel is not restored anew for it"


def make(out: str, reel: str) -> str:
    """Make a whole published reel's bag, where it does not stand already; gives its folder.

    Raises StorageError where the reel is not whole or storage says no, VerifyError where its files are not those of its
    manifest.
    """
    folder = layout.bag_dir(out, reel)
    tags = _tag_files(out, reel)
    declared = f"{folder}/{DECLARATION}"
    if read_if_there(declared, _TAG_BYTES) == _DECLARED:
        if all(read_if_there(f"{folder}/{name}", manifest.MAX_BYTES) == data for name, data in tags.items()):
            return folder
        store.delete(declared)  # of an earlier publication: from here on it is none
    wanted = [layout.MANIFEST, *_listed(out, reel)]
    # On an object store each copy is a request that takes its time, and of a large file a long one.
    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        copies = [pool.submit(store.copy, layout.published(out, reel, n), f"{folder}/{_PAYLOAD}{n}") for n in wanted]
        try:
            for one in copies:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for name, data in tags.items():
        if name != DECLARATION:
            store.put_bytes(f"{folder}/{name}", data)
    keep = {*tags, *(f"{_PAYLOAD}{name}" for name in wanted)}
    there = dict(layout.below(folder, store.list_files(folder)))
    for name, stat in there.items():
        if name not in keep:
            store.delete(stat.uri)
    sizes = {name: stat.bytes for name, stat in own_files(out, reel).items()}
    for name in wanted:
        found = there.get(f"{_PAYLOAD}{name}")
        if found is None or found.bytes != sizes.get(name):
            raise VerifyError(
                f"{found.bytes if found else 'no'} bytes arrived of {sizes.get(name, 'none')}",
                where=f"{folder}/{_PAYLOAD}{name}",
                todo="Let one job at a time write to this output, then run it again",
            )
    store.put_bytes(declared, _DECLARED)
    return folder


def _listed(out: str, reel: str) -> dict[str, Sha256]:
    uri = layout.published(out, reel, layout.MANIFEST)
    return manifest.parse(store.read_bytes(uri, limit=manifest.MAX_BYTES), where=uri)


def _tag_files(out: str, reel: str) -> dict[str, bytes]:
    """The bag's own files, in the order in which they are written. They follow from what is published alone."""
    if not state(out, reel).whole:
        raise StorageError(
            "only a whole reel goes into a bag", where=layout.reel_dir(out, reel), todo="Run its job to the end"
        )
    uri = layout.published(out, reel, layout.PROVENANCE)
    said = provenance.read(store.read_bytes(uri, limit=provenance.MAX_BYTES), where=uri)
    text = store.read_bytes(layout.published(out, reel, layout.MANIFEST), limit=manifest.MAX_BYTES)
    hashes = {**_listed(out, reel), layout.MANIFEST: hashlib.sha256(text).hexdigest()}
    files = own_files(out, reel)
    gone = sorted(set(hashes) - set(files))
    if gone:
        raise VerifyError("its manifest names it, and it is not there", where=layout.published(out, reel, gone[0]))
    try:
        info = [
            ("Bag-Software-Agent", f"reelmend {said['software']['reelmend']}"),
            # When it was published: two runs that make this bag write the same.
            ("Bagging-Date", str(said["events"][-1]["eventDateTime"])[:10]),
            ("External-Identifier", reel),
            ("External-Description", f"Frames {said['frames'][0]} to {said['frames'][1]} of {said['source']['uri']}"),
            ("Internal-Sender-Identifier", str(said["plan_id"])),
            ("Payload-Oxum", f"{sum(files[name].bytes for name in hashes)}.{len(hashes)}"),
        ]
    except (KeyError, IndexError, TypeError) as error:
        raise StorageError(f"it does not say what it should ({error!r})", where=uri) from None
    tags = {
        _INFO: "".join(f"{label}: {' '.join(value.split())}\n" for label, value in info).encode(),
        layout.MANIFEST: manifest.write({f"{_PAYLOAD}{name}": digest for name, digest in hashes.items()}).encode(),
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in {**tags, DECLARATION: _DECLARED}.items()}
    return {**tags, _TAGS: manifest.write(digests, may_name_itself=True).encode(), DECLARATION: _DECLARED}


def check(out: str, reel: str, there: Mapping[str, store.Stat]) -> list[Finding]:
    """What makes a bag no valid one; nothing where it is. ``there``: name below its folder → file."""
    folder = layout.bag_dir(out, reel)
    return [
        Finding(out, reel, "bag", f"{folder}/{name}" if name else folder, None, found, _ANEW)
        for name, found in _faults(out, reel, folder, there)
    ]


def _faults(out: str, reel: str, folder: str, there: Mapping[str, store.Stat]) -> Iterator[tuple[str, str]]:
    if DECLARATION not in there:
        yield DECLARATION, "an unfinished bag: there is no declaration"
        return
    listed: dict[str, Sha256] = {}
    for name in (_TAGS, layout.MANIFEST):
        data = read_if_there(f"{folder}/{name}", manifest.MAX_BYTES)
        if data is None:
            yield name, "there is no such file, and every bag of ours has it"
            return
        try:
            # The payload's manifest has the same name as a reel's.
            found = manifest.parse(data, where=name, may_name_itself=name == _TAGS)
        except ReelmendError as error:
            yield name, error.what
            return
        wrong = [n for n in found if n.startswith(_PAYLOAD) != (name == layout.MANIFEST)]
        if wrong:
            yield name, f"it names {wrong[0]!r}, which is not its to name"
        listed |= found
    for name, digest in sorted(listed.items()):
        if name not in there:
            yield name, "there is no such file, though a manifest of the bag names it"
        elif (has := hash_file(there[name].uri)) != digest:
            yield name, f"its sha256 is {has}, the bag's manifest says {digest}"
    for name in sorted(set(there) - set(listed) - {_TAGS}):
        yield name, "no manifest of the bag names it"
    payload = [stat.bytes for name, stat in there.items() if name.startswith(_PAYLOAD)]
    oxum = f"Payload-Oxum: {sum(payload)}.{len(payload)}"
    info = read_if_there(f"{folder}/{_INFO}", _TAG_BYTES)
    if info is not None and oxum not in info.decode("utf-8", "replace").splitlines():
        yield _INFO, f"it does not say {oxum!r}, which is what the bag holds"
    inner = f"{_PAYLOAD}{layout.MANIFEST}"
    standing = read_if_there(layout.published(out, reel, layout.MANIFEST), manifest.MAX_BYTES)
    if standing is not None and listed.get(inner) != hashlib.sha256(standing).hexdigest():
        yield "", "it holds another publication than the one that now stands"
