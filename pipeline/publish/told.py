"""What is wrong with a published reel, told file by file: so that the other files are looked at too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import MissingError, ReelmendError
from pipeline.publish import layout
from pipeline.publish.findings import Finding, Kind
from pipeline.storage import store

RESTORE = "Restore the file from a copy, or delete the reel's folder and run its job again"


class Told:
    """The findings of one reel."""

    def __init__(self, out: str, reel: str, there: dict[str, store.Stat]):
        self.findings: list[Finding] = []
        self.out = out
        self.reel = reel
        self.there = there
        """Its files, by their names below its folder."""

    def uri(self, name: str) -> str:
        """Of one file."""
        return layout.published(self.out, self.reel, name)

    def found(self, kind: Kind, name: str | None, found: str, todo: str = RESTORE, frame: int | None = None) -> None:
        """One finding."""
        file = self.uri(name) if name else None
        self.findings.append(Finding(self.out, self.reel, kind, file, frame, found, todo))

    def count(self, name: str, found: int, expected: int) -> None:
        """Whether a file has the frames that it should have."""
        if found != expected:
            self.found("frames", name, f"it has {found} frames, the provenance says {expected}")

    def differs(
        self, name: str, found: Sequence[Any], expected: Sequence[Any], first: int, text: str, kind: Kind = "frames"
    ) -> None:
        """Name the first frame that differs. Different lengths are told by ``count``."""
        wrong = [n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b]
        if wrong:
            n = wrong[0]
            more = f"; {len(wrong)} of {len(found)} frames differ" if len(wrong) > 1 else ""
            self.found(kind, name, text.format(found[n], expected[n]) + more, frame=first + n)

    def about(self, kind: Kind, name: str, first: int = 0) -> Telling:
        """A look at one file. first: number of the first frame that it holds."""
        return Telling(self, kind, name, first)


class Telling:
    """Turns what goes wrong with one file into a finding."""

    def __init__(self, told: Told, kind: Kind, name: str, first: int):
        self._told, self._kind, self._name, self._first = told, kind, name, first

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> bool:
        told = self._told
        uri = told.uri(self._name)
        if isinstance(error, MissingError):
            if not any(f.kind == "missing" and f.file == uri for f in told.findings):
                told.found("missing", self._name, "there is no such file, though it was published")
            return True
        if isinstance(error, ReelmendError):
            frame = None if error.frame is None else self._first + error.frame
            if any((f.file, f.found) == (uri, error.what) for f in told.findings):
                return True  # told, when it was read for something else
            told.found(self._kind, self._name, error.what, error.todo or RESTORE, frame)
            return True
        if isinstance(error, KeyError | TypeError | ValueError):
            told.found(self._kind, self._name, f"it does not say what it should ({type(error).__name__}: {error})")
            return True
        return False
