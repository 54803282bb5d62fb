"""One published reel, hashed and decoded again."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipeline import tables
from pipeline.errors import VerifyError
from pipeline.publish import layout, manifest, parts, provenance
from pipeline.publish.check_streams import check_streams
from pipeline.publish.documents import read_object
from pipeline.publish.findings import Checked
from pipeline.publish.publication import hash_file
from pipeline.publish.state import read_if_there
from pipeline.publish.told import Told
from pipeline.publish.undo import residual_of
from pipeline.reel import framemd5
from pipeline.reel.formats import pixel_format
from pipeline.reel.residual import undo
from pipeline.spec import RESIDUAL
from pipeline.storage import store
from pipeline.types import Md5, Sha256

_SUMMARY_BYTES = 16 << 20
_HASHES_BYTES = 1 << 30
_HASHES_AT_ONCE = 8


class ReelCheck(Told):
    """One reel: ``run``, then ``result`` and ``findings``."""

    def __init__(self, out: str, reel: str, there: dict[str, store.Stat], threads: int):
        super().__init__(out, reel, there)
        self._threads = threads
        self._plan_id: Sha256 | None = None
        self._frames = 0

    def result(self) -> Checked:
        size = sum(s.bytes for s in self.there.values())
        return Checked(self.out, self.reel, self._plan_id, len(self.there), size, self._frames, not self.findings)

    def run(self) -> None:
        said = self._provenance()
        listed = self._manifest()
        if listed is None:
            return
        self._files(listed)
        for name in sorted(set(self.there) - set(listed) - {layout.MANIFEST}):
            self.found("extra", name, "the manifest does not name it", "Move it elsewhere")
        for name in (layout.PROVENANCE, *layout.REPORTS, layout.SUMMARY):
            if name not in listed:
                self.found("manifest", name, "the manifest does not name it, though every publication has it")
        if said is not None:
            with self.about("frames", layout.SUMMARY):
                self._summary(said)
            self._pictures(said, listed)
            for one in said["deliverables"][1:]:
                with self.about("provenance", layout.PROVENANCE):
                    self._further(said, one)

    def _provenance(self) -> dict[str, Any] | None:
        """The provenance, once it says what the further checks need."""
        data = read_if_there(self.uri(layout.PROVENANCE), provenance.MAX_BYTES)
        if data is None:
            return None  # the manifest names it, so that it is missed there
        with self.about("provenance", layout.PROVENANCE):
            said = provenance.read(data, where=self.uri(layout.PROVENANCE))
            self._plan_id = str(said["plan_id"])
            first, last = (int(n) for n in said["frames"])
            files = [parts.read(d, first, last) for d in said["deliverables"]]
            if not 0 <= first < last or not files:
                raise ValueError(f"frames {first}:{last} in {len(files)} deliverables")
            return said
        return None

    def _manifest(self) -> dict[str, Sha256] | None:
        data = read_if_there(self.uri(layout.MANIFEST), manifest.MAX_BYTES)
        if data is None:
            of = f" of the plan {self._plan_id[:12]}" if self._plan_id else ""
            self.found(
                "half",
                layout.MANIFEST,
                f"an unfinished publication{of}: there is no manifest",
                "Run the same job again: it finishes what it began",
            )
            return None
        with self.about("manifest", layout.MANIFEST):
            return manifest.parse(data, where=self.uri(layout.MANIFEST))
        return None

    def _files(self, listed: dict[str, Sha256]) -> None:
        """Hash every file, several at once; what is wrong is told in the manifest's order."""
        with ThreadPoolExecutor(_HASHES_AT_ONCE) as pool:
            ahead: deque[tuple[str, Sha256, Future[Sha256]]] = deque()
            for name, digest in listed.items():
                ahead.append((name, digest, pool.submit(hash_file, self.uri(name))))
                if len(ahead) > 2 * _HASHES_AT_ONCE:
                    self._file(*ahead.popleft())
            for one in ahead:
                self._file(*one)

    def _file(self, name: str, digest: Sha256, hashed: Future[Sha256]) -> None:
        with self.about("unreadable", name):
            found = hashed.result()
            if found != digest:
                self.found("changed", name, f"its sha256 is {found}, the manifest says {digest}")

    def _summary(self, said: dict[str, Any]) -> None:
        uri = self.uri(layout.SUMMARY)
        summary = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri)
        if summary.get("plan_id") != self._plan_id:
            self.found(
                "provenance",
                layout.SUMMARY,
                f"it is of the plan {str(summary.get('plan_id'))[:12]}, the provenance of {str(self._plan_id)[:12]}",
            )
        first, last = said["frames"]
        if (summary.get("first"), summary.get("last"), summary.get("frames")) != (first, last, last - first):
            self.found("frames", layout.SUMMARY, f"it does not say the frames {first}:{last} of the provenance")

    def _pictures(self, said: dict[str, Any], listed: dict[str, Sha256]) -> None:
        """Tables against each other, and the decoded deliverable against both."""
        first, last = said["frames"]
        rows: dict[str, list[Any]] = {"frame": [], "source_md5": [], "output_md5": []}
        with self.about("frames", layout.FRAMES), store.open_read(self.uri(layout.FRAMES)) as file:
            rows = tables.read_columns(file, list(rows))
            self.count(layout.FRAMES, len(rows["frame"]), last - first)
            self.differs(
                layout.FRAMES, rows["frame"], range(first, last), first, "it is the row of frame {}, expected {}"
            )
        text = "its line says {}, frames.parquet {}"
        output: Sequence[Md5] = rows["output_md5"]
        for name, column in ((layout.SOURCE_MD5, "source_md5"), (layout.OUTPUT_MD5, "output_md5")):
            with self.about("frames", name):
                md5s = self._hashes(name)
                self.count(name, len(md5s), last - first)
                if rows[column]:
                    self.differs(name, md5s, rows[column], first, text)
                if name == layout.OUTPUT_MD5:
                    output = md5s
        leading, *_ = said["deliverables"]
        files = parts.read(leading, first, last)
        residual = residual_of(said)
        back = [p.file for p in parts.read(residual, first, last)] if residual else []
        for number, part in enumerate(files):
            if not _within(part.file, listed):
                what = f"it does not name the deliverable {part.file}"
                self.found("manifest", layout.MANIFEST, what)
            elif _within(part.file, self.there):  # else missed already
                span = slice(part.first - first, part.last - first)
                taken = back[number] if len(back) == len(files) and back[number] in self.there else None
                self._part(said, part, taken, output[span], rows["source_md5"][span])
                if len(files) > 1:
                    self._own_hashes(part, output[span])
        # Beside images, which hold none, a film of its own has them.
        if files[0].file.endswith("/"):
            check_streams(self, [layout.others(layout.base_of(said["reel"]))], layout.OUTPUT_STREAMS)
        else:
            check_streams(self, [p.file for p in files], layout.OUTPUT_STREAMS)

    def _part(
        self, said: dict[str, Any], part: parts.Part, residual: str | None, output: Sequence[Md5], source: Sequence[Md5]
    ) -> None:
        """The first deliverable, or a part of it, with what its residual gives back."""
        decoded: list[Md5] = []
        if residual is not None:
            with self.about("pixels", residual, part.first):
                decoded = self._undone(said, part, residual, output, source)
        with self.about("pixels", part.file, part.first):
            decoded = decoded or list(self._decoded(part.file))
            self.count(part.file, len(decoded), part.last - part.first)
            text = f"it decodes to {{}}, {layout.OUTPUT_MD5} says {{}}"
            self.differs(part.file, decoded, output, part.first, text, "pixels")

    def _own_hashes(self, part: parts.Part, output: Sequence[Md5]) -> None:
        """A part's own framemd5, which FFmpeg's of that file is held against."""
        name = layout.hashes_of_part(part.file, "framemd5")
        if name in self.there:
            with self.about("frames", name):
                md5s = self._hashes(name)
                self.count(name, len(md5s), part.last - part.first)
                self.differs(name, md5s, output, part.first, f"its line says {{}}, {layout.OUTPUT_MD5} {{}}")

    def _further(self, said: dict[str, Any], one: dict[str, Any]) -> None:
        """Another deliverable than the first."""
        if one["name"] == RESIDUAL.name:
            return  # undone with the first
        files = parts.read(one, *said["frames"])
        for part in files:
            if not _within(part.file, self.there):
                continue  # missed already
            if len(files) > 1:
                names = [layout.hashes_of_part(part.file, kind) for kind in ("framemd5", "streamhash")]
            else:
                base = layout.base_of(said["reel"])
                names = [layout.hashes_of(base, str(one["name"]), kind) for kind in ("framemd5", "streamhash")]
            wanted: Sequence[Md5] = ()
            if names[0] in self.there:
                with self.about("frames", names[0]):
                    wanted = self._hashes(names[0])
                    self.count(names[0], len(wanted), part.last - part.first)
            with self.about("pixels", part.file, part.first):
                decoded = list(self._decoded(part.file))
                self.count(part.file, len(decoded), part.last - part.first)
                text = f"it decodes to {{}}, {names[0]} says {{}}"
                self.differs(part.file, decoded, wanted, part.first, text, "pixels")
            check_streams(self, [part.file], names[1])

    def _undone(
        self, said: dict[str, Any], part: parts.Part, residual: str, output: Sequence[Md5], source: Sequence[Md5]
    ) -> list[Md5]:
        """Hashes of the decoded deliverable; on the way, what comes back of the source is held against its hashes."""
        fmt = pixel_format(str(said["source"]["format"]["name"]))
        decoded: list[Md5] = []
        back: list[Md5] = []
        for n, one in enumerate(undo(self.uri(part.file), self.uri(residual), fmt, threads=self._threads)):
            if one.output_md5 is not None:
                self._frames += 1
                decoded.append(one.output_md5)
            if one.source_md5 is not None:
                # Where the deliverable's own frame is wrong the residual is not to blame.
                blameless = one.output_md5 != (output[n] if n < len(output) else None) and n < len(source)
                back.append(source[n] if blameless else one.source_md5)
        if len(back) < len(decoded):
            self.found("pixels", residual, "it has no such frame", frame=part.first + len(back))
        text = f"with {part.file} it gives {{}} back, {layout.SOURCE_MD5} says {{}}"
        self.differs(residual, back, source, part.first, text, "pixels")
        return decoded

    def _hashes(self, name: str) -> tuple[Md5, ...]:
        data = store.read_bytes(self.uri(name), limit=_HASHES_BYTES)
        try:
            return framemd5.parse(data.decode("ascii"), where=self.uri(name)).md5s
        except UnicodeDecodeError as error:
            raise VerifyError(f"not ASCII at byte {error.start}", where=self.uri(name)) from None

    def _decoded(self, name: str) -> Iterator[Md5]:
        for _, md5 in framemd5.decoded_hashes(self.uri(name), self._threads):
            self._frames += 1
            yield md5


def _within(name: str, files: Collection[str]) -> bool:
    """Whether files hold a deliverable: the file itself, or of a folder of images any of them; those are counted."""
    return any(f.startswith(name) for f in files) if name.endswith("/") else name in files
