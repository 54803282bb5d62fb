"""One published reel, hashed and decoded again."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipeline import tables
from pipeline.errors import MissingError, ReelmendError, VerifyError
from pipeline.publish import layout, manifest, parts, provenance
from pipeline.publish.documents import read_object
from pipeline.publish.findings import Checked, Finding, Kind
from pipeline.publish.publication import hash_file
from pipeline.publish.state import read_if_there
from pipeline.publish.undo import residual_of
from pipeline.reel import framemd5, streamhash
from pipeline.reel.formats import pixel_format
from pipeline.reel.residual import undo
from pipeline.spec import RESIDUAL
from pipeline.storage import store
from pipeline.types import Md5, Sha256

_SUMMARY_BYTES = 16 << 20
_HASHES_BYTES = 1 << 30
_HASHES_AT_ONCE = 8
_RESTORE = "Restore the file from a copy, or delete the reel's folder and run its job again"


class ReelCheck:
    """One reel: ``run``, then ``result`` and ``findings``."""

    def __init__(self, out: str, reel: str, there: dict[str, store.Stat], threads: int):
        self.findings: list[Finding] = []
        self._out = out
        self._reel = reel
        self._there = there
        self._threads = threads
        self._plan_id: Sha256 | None = None
        self._frames = 0

    def result(self) -> Checked:
        size = sum(s.bytes for s in self._there.values())
        return Checked(self._out, self._reel, self._plan_id, len(self._there), size, self._frames, not self.findings)

    def run(self) -> None:
        said = self._provenance()
        listed = self._manifest()
        if listed is None:
            return
        self._files(listed)
        for name in sorted(set(self._there) - set(listed) - {layout.MANIFEST}):
            self._found("extra", name, "the manifest does not name it", "Move it elsewhere")
        for name in (layout.PROVENANCE, *layout.REPORTS, layout.SUMMARY):
            if name not in listed:
                self._found(
                    "manifest", name, "the manifest does not name it, though every publication has it", _RESTORE
                )
        if said is not None:
            with _Telling(self, "frames", layout.SUMMARY):
                self._summary(said)
            self._pictures(said, listed)
            for one in said["deliverables"][1:]:
                with _Telling(self, "provenance", layout.PROVENANCE):
                    self._further(said, one)

    def _uri(self, name: str) -> str:
        return layout.published(self._out, self._reel, name)

    def _found(self, kind: Kind, name: str | None, found: str, todo: str, frame: int | None = None) -> None:
        file = self._uri(name) if name else None
        self.findings.append(Finding(self._out, self._reel, kind, file, frame, found, todo))

    def _provenance(self) -> dict[str, Any] | None:
        """The provenance, once it says what the further checks need."""
        data = read_if_there(self._uri(layout.PROVENANCE), provenance.MAX_BYTES)
        if data is None:
            return None  # the manifest names it, so that it is missed there
        with _Telling(self, "provenance", layout.PROVENANCE):
            said = provenance.read(data, where=self._uri(layout.PROVENANCE))
            self._plan_id = str(said["plan_id"])
            first, last = (int(n) for n in said["frames"])
            files = [parts.read(d, first, last) for d in said["deliverables"]]
            if not 0 <= first < last or not files:
                raise ValueError(f"frames {first}:{last} in {len(files)} deliverables")
            return said
        return None

    def _manifest(self) -> dict[str, Sha256] | None:
        data = read_if_there(self._uri(layout.MANIFEST), manifest.MAX_BYTES)
        if data is None:
            of = f" of the plan {self._plan_id[:12]}" if self._plan_id else ""
            self._found(
                "half",
                layout.MANIFEST,
                f"an unfinished publication{of}: there is no manifest",
                "Run the same job again: it finishes what it began",
            )
            return None
        with _Telling(self, "manifest", layout.MANIFEST):
            return manifest.parse(data, where=self._uri(layout.MANIFEST))
        return None

    def _files(self, listed: dict[str, Sha256]) -> None:
        """Hash every file, several at once; what is wrong is told in the manifest's order."""
        with ThreadPoolExecutor(_HASHES_AT_ONCE) as pool:
            ahead: deque[tuple[str, Sha256, Future[Sha256]]] = deque()
            for name, digest in listed.items():
                ahead.append((name, digest, pool.submit(hash_file, self._uri(name))))
                if len(ahead) > 2 * _HASHES_AT_ONCE:
                    self._file(*ahead.popleft())
            for one in ahead:
                self._file(*one)

    def _file(self, name: str, digest: Sha256, hashed: Future[Sha256]) -> None:
        with _Telling(self, "unreadable", name):
            found = hashed.result()
            if found != digest:
                self._found("changed", name, f"its sha256 is {found}, the manifest says {digest}", _RESTORE)

    def _summary(self, said: dict[str, Any]) -> None:
        uri = self._uri(layout.SUMMARY)
        summary = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri)
        if summary.get("plan_id") != self._plan_id:
            self._found(
                "provenance",
                layout.SUMMARY,
                f"it is of the plan {str(summary.get('plan_id'))[:12]}, the provenance of {str(self._plan_id)[:12]}",
                _RESTORE,
            )
        first, last = said["frames"]
        if (summary.get("first"), summary.get("last"), summary.get("frames")) != (first, last, last - first):
            self._found(
                "frames", layout.SUMMARY, f"it does not say the frames {first}:{last} of the provenance", _RESTORE
            )

    def _pictures(self, said: dict[str, Any], listed: dict[str, Sha256]) -> None:
        """Tables against each other, and the decoded deliverable against both."""
        first, last = said["frames"]
        rows: dict[str, list[Any]] = {"frame": [], "source_md5": [], "output_md5": []}
        with _Telling(self, "frames", layout.FRAMES), store.open_read(self._uri(layout.FRAMES)) as file:
            rows = tables.read_columns(file, list(rows))
            self._count(layout.FRAMES, len(rows["frame"]), last - first)
            self._differs(
                layout.FRAMES, rows["frame"], range(first, last), first, "it is the row of frame {}, expected {}"
            )
        text = "its line says {}, frames.parquet {}"
        output: Sequence[Md5] = rows["output_md5"]
        for name, column in ((layout.SOURCE_MD5, "source_md5"), (layout.OUTPUT_MD5, "output_md5")):
            with _Telling(self, "frames", name):
                md5s = self._hashes(name)
                self._count(name, len(md5s), last - first)
                if rows[column]:
                    self._differs(name, md5s, rows[column], first, text)
                if name == layout.OUTPUT_MD5:
                    output = md5s
        leading, *_ = said["deliverables"]
        files = parts.read(leading, first, last)
        residual = residual_of(said)
        back = [p.file for p in parts.read(residual, first, last)] if residual else []
        for number, part in enumerate(files):
            if not _within(part.file, listed):
                what = f"it does not name the deliverable {part.file}"
                self._found("manifest", layout.MANIFEST, what, _RESTORE)
            elif _within(part.file, self._there):  # else missed already
                span = slice(part.first - first, part.last - first)
                taken = back[number] if len(back) == len(files) and back[number] in self._there else None
                self._part(said, part, taken, output[span], rows["source_md5"][span])
                if len(files) > 1:
                    self._own_hashes(part, output[span])
        # Beside images, which hold none, a film of its own has them.
        if files[0].file.endswith("/"):
            self._streams([layout.others(layout.base_of(said["reel"]))], layout.OUTPUT_STREAMS)
        else:
            self._streams([p.file for p in files], layout.OUTPUT_STREAMS)

    def _part(
        self, said: dict[str, Any], part: parts.Part, residual: str | None, output: Sequence[Md5], source: Sequence[Md5]
    ) -> None:
        """The first deliverable, or a part of it, with what its residual gives back."""
        decoded: list[Md5] = []
        if residual is not None:
            with _Telling(self, "pixels", residual, part.first):
                decoded = self._undone(said, part, residual, output, source)
        with _Telling(self, "pixels", part.file, part.first):
            decoded = decoded or list(self._decoded(part.file))
            self._count(part.file, len(decoded), part.last - part.first)
            text = f"it decodes to {{}}, {layout.OUTPUT_MD5} says {{}}"
            self._differs(part.file, decoded, output, part.first, text, "pixels")

    def _own_hashes(self, part: parts.Part, output: Sequence[Md5]) -> None:
        """A part's own framemd5, which FFmpeg's of that file is held against."""
        name = layout.hashes_of_part(part.file, "framemd5")
        if name in self._there:
            with _Telling(self, "frames", name):
                md5s = self._hashes(name)
                self._count(name, len(md5s), part.last - part.first)
                self._differs(name, md5s, output, part.first, f"its line says {{}}, {layout.OUTPUT_MD5} {{}}")

    def _further(self, said: dict[str, Any], one: dict[str, Any]) -> None:
        """Another deliverable than the first."""
        if one["name"] == RESIDUAL.name:
            return  # undone with the first
        files = parts.read(one, *said["frames"])
        for part in files:
            if not _within(part.file, self._there):
                continue  # missed already
            if len(files) > 1:
                names = [layout.hashes_of_part(part.file, kind) for kind in ("framemd5", "streamhash")]
            else:
                base = layout.base_of(said["reel"])
                names = [layout.hashes_of(base, str(one["name"]), kind) for kind in ("framemd5", "streamhash")]
            wanted: Sequence[Md5] = ()
            if names[0] in self._there:
                with _Telling(self, "frames", names[0]):
                    wanted = self._hashes(names[0])
                    self._count(names[0], len(wanted), part.last - part.first)
            with _Telling(self, "pixels", part.file, part.first):
                decoded = list(self._decoded(part.file))
                self._count(part.file, len(decoded), part.last - part.first)
                text = f"it decodes to {{}}, {names[0]} says {{}}"
                self._differs(part.file, decoded, wanted, part.first, text, "pixels")
            self._streams([part.file], names[1])

    def _streams(self, files: Sequence[str], hashes: str) -> None:
        """Sound and all else beside the picture; of a split film over all its parts, and of each part."""
        if hashes not in self._there:
            return
        wanted = self._stream_lines(hashes)
        running: dict[int, Any] = {}
        letters: dict[int, str] = {}
        told = len(self.findings)
        for name in files:
            if name not in self._there:
                continue  # missed already
            own = layout.hashes_of_part(name, "streamhash")
            with _Telling(self, "streams", name):
                found = streamhash.stream_hashes(self._uri(name), [s.index for s in wanted], running)
                letters |= {s.index: s.letter for s in found}
                if len(files) > 1 and own in self._there:
                    self._held_against(name, found, own, self._stream_lines(own))
                if len(files) == 1:
                    self._held_against(name, found, hashes, wanted)
        if len(files) > 1 and len(self.findings) == told and all(name in self._there for name in files):
            whole = [streamhash.StreamHash(i, letters[i], h.hexdigest()) for i, h in running.items()]
            self._held_against(files[0], whole, hashes, wanted)

    def _stream_lines(self, hashes: str) -> Sequence[streamhash.StreamHash]:
        with _Telling(self, "streams", hashes):
            data = store.read_bytes(self._uri(hashes), limit=_SUMMARY_BYTES)
            return streamhash.parse(data.decode("ascii", "replace"), where=self._uri(hashes))
        return ()

    def _held_against(
        self,
        name: str,
        streams: Sequence[streamhash.StreamHash],
        hashes: str,
        wanted: Sequence[streamhash.StreamHash],
    ) -> None:
        found = {s.index: s for s in streams}
        for one in wanted:
            has = found.get(one.index)
            if has != one:
                what = f"the sha256 {has.sha256}" if has and has.letter == one.letter else "no such stream"
                text = f"its stream {one.index} ({one.letter}) has {what}, {hashes} says {one.sha256}"
                self._found("streams", name, text, _RESTORE)

    def _undone(
        self, said: dict[str, Any], part: parts.Part, residual: str, output: Sequence[Md5], source: Sequence[Md5]
    ) -> list[Md5]:
        """Hashes of the decoded deliverable; on the way, what comes back of the source is held against its hashes."""
        fmt = pixel_format(str(said["source"]["format"]["name"]))
        decoded: list[Md5] = []
        back: list[Md5] = []
        for n, one in enumerate(undo(self._uri(part.file), self._uri(residual), fmt, threads=self._threads)):
            if one.output_md5 is not None:
                self._frames += 1
                decoded.append(one.output_md5)
            if one.source_md5 is not None:
                # Where the deliverable's own frame is wrong the residual is not to blame.
                blameless = one.output_md5 != (output[n] if n < len(output) else None) and n < len(source)
                back.append(source[n] if blameless else one.source_md5)
        if len(back) < len(decoded):
            self._found("pixels", residual, "it has no such frame", _RESTORE, part.first + len(back))
        text = f"with {part.file} it gives {{}} back, {layout.SOURCE_MD5} says {{}}"
        self._differs(residual, back, source, part.first, text, "pixels")
        return decoded

    def _hashes(self, name: str) -> tuple[Md5, ...]:
        data = store.read_bytes(self._uri(name), limit=_HASHES_BYTES)
        try:
            return framemd5.parse(data.decode("ascii"), where=self._uri(name)).md5s
        except UnicodeDecodeError as error:
            raise VerifyError(f"not ASCII at byte {error.start}", where=self._uri(name)) from None

    def _decoded(self, name: str) -> Iterator[Md5]:
        for _, md5 in framemd5.decoded_hashes(self._uri(name), self._threads):
            self._frames += 1
            yield md5

    def _count(self, name: str, found: int, expected: int) -> None:
        if found != expected:
            self._found("frames", name, f"it has {found} frames, the provenance says {expected}", _RESTORE)

    def _differs(
        self, name: str, found: Sequence[Any], expected: Sequence[Any], first: int, text: str, kind: Kind = "frames"
    ) -> None:
        """Name the first frame that differs. Different lengths are told by ``_count``."""
        wrong = [n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b]
        if wrong:
            n = wrong[0]
            more = f"; {len(wrong)} of {len(found)} frames differ" if len(wrong) > 1 else ""
            self._found(kind, name, text.format(found[n], expected[n]) + more, _RESTORE, first + n)


def _within(name: str, files: Collection[str]) -> bool:
    """Whether files hold a deliverable: the file itself, or of a folder of images any of them; those are counted."""
    return any(f.startswith(name) for f in files) if name.endswith("/") else name in files


class _Telling:
    """Turns what is wrong with one file into a finding, so that the other files are looked at too."""

    def __init__(self, check: ReelCheck, kind: Kind, name: str, first: int = 0):
        self._check, self._kind, self._name, self._first = check, kind, name, first

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> bool:
        found = self._check._found
        if isinstance(error, MissingError):
            if not any(f.kind == "missing" and f.file == self._check._uri(self._name) for f in self._check.findings):
                found("missing", self._name, "there is no such file, though it was published", _RESTORE)
            return True
        if isinstance(error, ReelmendError):
            frame = None if error.frame is None else self._first + error.frame
            if any((f.file, f.found) == (self._check._uri(self._name), error.what) for f in self._check.findings):
                return True  # told, when it was read for something else
            found(self._kind, self._name, error.what, error.todo or _RESTORE, frame)
            return True
        if isinstance(error, KeyError | TypeError | ValueError):
            found(self._kind, self._name, f"it does not say what it should ({type(error).__name__}: {error})", _RESTORE)
            return True
        return False
