"""One reel's way into its folder: provenance first, manifest last, and no lock in between.

Every step looks at what stands before it writes, so that of several runs of one plan each writes the same bytes under
the same names, and a run of another plan stops, or takes over when it was told to, instead of mixing its files in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path

from pipeline.errors import PublishedError, VerifyError
from pipeline.publish import layout, manifest, provenance
from pipeline.publish.state import State, own_files, read_if_there, state
from pipeline.storage import store
from pipeline.types import Plan, Sha256

_ROUNDS = 5
_AT_ONCE = 8
_CHUNK = 4 << 20


class WholeAlready(Exception):  # noqa: N818 - not an error: another run of the same plan was first
    """A whole publication of this very plan is there."""


class Publication:
    """What one run has put into a reel's folder so far."""

    def __init__(self, out: str, plan: Plan, *, overwrite: bool):
        self._out = out
        self._plan = plan
        self._overwrite = overwrite
        self._provenance = b""
        self._met: Sha256 | None = None
        """The plan whose publication stood there at the last look."""
        self._put: dict[str, tuple[Sha256, int, str]] = {}
        """Name → sha256, bytes and the version that the storage gave it."""

    def check(self) -> State:
        """What is there now. Raises WholeAlready, or PublishedError where it is another plan's and is to stay."""
        found = state(self._out, self._plan.reel.name)
        if found.plan_id == self._plan.id and found.whole:
            raise WholeAlready
        if found.plan_id not in (None, self._plan.id) and not self._overwrite:
            raise self._refused(found)
        self._met = found.plan_id
        return found

    def published_by_another(self) -> bool:
        """Why a file of the work may be missing: True where another run of this plan published, and cleared up.

        Raises PublishedError where a job of another plan did so since the last look.
        """
        found = state(self._out, self._plan.reel.name)
        if found.plan_id not in (None, self._plan.id, self._met):
            raise self._overtaken()
        return found.whole and found.plan_id == self._plan.id

    def begin(self, make: Callable[[], bytes]) -> None:
        """Put the provenance, or take up the same plan's that stands there; clear another plan's files away."""
        reel = self._plan.reel.name
        for _ in range(_ROUNDS):
            found = self.check()
            if found.plan_id == self._plan.id:
                # Should a manifest stand there, it does not name this provenance: ``end`` puts the right one over it.
                self._provenance = self._standing()
                return
            if found.kind == "absent":
                store.put_bytes_once(self._uri(layout.PROVENANCE), make())
                continue
            before = own_files(self._out, reel)
            store.delete(self._uri(layout.MANIFEST))
            store.put_bytes(self._uri(layout.PROVENANCE), make())
            # Only what stood there before: a run of the same plan may have begun to put its files meanwhile.
            now = own_files(self._out, reel)
            for name, stat in before.items():
                if name != layout.PROVENANCE and layout.is_ours(reel, name) and now.get(name) == stat:
                    store.delete(stat.uri)
        raise PublishedError(
            "what is published there keeps changing while this run wants to publish",
            where=layout.reel_dir(self._out, reel),
            todo="Let one job at a time write to this output, then run this one again",
        )

    @property
    def provenance(self) -> bytes:
        """What stands there of this plan, whichever run put it; only after ``begin``."""
        return self._provenance or self._standing()

    def put(self, name: str, local: Path) -> Sha256:
        """Copy a local file under its final name, whole; gives its sha256.

        Raises WholeAlready where another run of this plan has meanwhile published everything.
        """
        self._check_turn()
        self._put[name] = self._copy(name, local)
        return self._put[name][0]

    def put_all(self, files: Mapping[str, Path], pool: Executor) -> dict[str, Sha256]:
        """As ``put``, of many small files at once: of the images of a tile."""
        self._check_turn()
        done = list(pool.map(self._copy, files, files.values()))
        self._put |= dict(zip(files, done, strict=True))
        return {name: digest for name, (digest, _, _) in zip(files, done, strict=True)}

    def _copy(self, name: str, local: Path) -> tuple[Sha256, int, str]:
        size, uri = local.stat().st_size, self._uri(name)
        with local.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        store.put_file(local, uri)
        stat = store.stat(uri)
        if stat.bytes != size:
            self._check_turn()
            raise VerifyError(f"{stat.bytes} bytes arrived of {size}", where=uri, todo="Run the job again")
        return digest, size, stat.version

    def end(self) -> dict[str, Sha256]:
        """Check that all of it stands, remove what is no part of it, and write the manifest; gives what it says."""
        reel = self._plan.reel.name
        self._check_turn()
        # As it stands now: a run of the same plan that was told to overwrite may have put its own.
        self._provenance = self._standing()
        hashes = {layout.PROVENANCE: provenance.digest(self._provenance)}
        there = own_files(self._out, reel)
        for name, (digest, size, version) in self._put.items():
            self._recheck(there.get(name), name, digest, size, version)
            hashes[name] = digest
        for name, stat in there.items():
            if name not in hashes and name != layout.MANIFEST and layout.is_ours(reel, name):
                store.delete(stat.uri)
        text = manifest.write(hashes).encode()
        if not store.put_bytes_once(self._uri(layout.MANIFEST), text):
            standing = read_if_there(self._uri(layout.MANIFEST), manifest.MAX_BYTES)
            if standing != text:
                # Of a run that was overtaken between its last look and its manifest; what stands was checked above.
                store.put_bytes(self._uri(layout.MANIFEST), text)
        return hashes

    def _check_turn(self) -> None:
        """That the publication which stands there is still this plan's, and not whole yet."""
        if self.check().plan_id != self._plan.id:
            raise self._overtaken()

    def _recheck(self, stat: store.Stat | None, name: str, digest: Sha256, size: int, version: str) -> None:
        uri = self._uri(name)
        if stat is not None and stat.bytes == size and (stat.version == version or hash_file(stat.uri) == digest):
            return
        what = "is gone again" if stat is None else "is not what this run put there"
        raise VerifyError(
            f"{what}: another run or person writes to this folder",
            where=uri,
            todo="Let one job at a time write to this output, then run this one again",
        )

    def _standing(self) -> bytes:
        data = store.read_bytes(self._uri(layout.PROVENANCE), limit=provenance.MAX_BYTES)
        if provenance.plan_id(data, where=self._uri(layout.PROVENANCE)) != self._plan.id:
            raise self._overtaken()
        return data

    def _uri(self, name: str) -> str:
        return layout.published(self._out, self._plan.reel.name, name)

    def _refused(self, found: State) -> PublishedError:
        where = layout.reel_dir(self._out, self._plan.reel.name)
        if found.problem is not None:
            return PublishedError(
                f"it cannot be told what is published there: {found.problem}",
                where=where,
                todo=f"Put {layout.PROVENANCE} back from a copy, give another --out, or --overwrite what is there",
            )
        kind = "a restoration" if found.whole else "an unfinished publication"
        return PublishedError(
            f"holds {kind} by another plan ({str(found.plan_id)[:12]}, this job's is {self._plan.id[:12]})",
            where=where,
            todo="Give another --out, or --overwrite to replace it",
        )

    def _overtaken(self) -> PublishedError:
        return PublishedError(
            "a job with another plan has published, or begun to publish, this reel while this one did",
            where=layout.reel_dir(self._out, self._plan.reel.name),
            todo="Give each job an --out of its own, then run the one that is wanted again with --overwrite",
        )


def hash_file(uri: str) -> Sha256:
    """sha256 of a file, read a few MiB at a time."""
    h = hashlib.sha256()
    with store.open_read(uri) as file:
        while chunk := file.read(_CHUNK):
            h.update(chunk)
    return h.hexdigest()
