"""The few errors that a user can meet. Each says what was found, where, what was expected and what to do, in one line.

They cross process borders, so every field survives pickling.
"""

from __future__ import annotations

from typing import Any


class ReelmendError(Exception):
    """Base of all errors that are told to a user as one line."""

    def __init__(self, what: str, *, where: str | None = None, frame: int | None = None, todo: str | None = None):
        self.what = what
        """What was found, and what was expected."""
        self.where = where
        """URI of the file, or the config field."""
        self.frame = frame
        self.todo = todo
        super().__init__(what)

    def __str__(self) -> str:
        place = self.where or ""
        if self.frame is not None:
            place = f"{place} frame {self.frame}".strip()
        text = f"{place}: {self.what}" if place else self.what
        # One line, whatever a hostile file put into it.
        text = " ".join(f"{text}. {self.todo}".split()) if self.todo else " ".join(text.split())
        return "".join(c if c.isprintable() else "�" for c in text)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.what, dict(self.__dict__)))


def _rebuild(kind: type[ReelmendError], what: str, state: dict[str, Any]) -> ReelmendError:
    error = kind.__new__(kind)
    Exception.__init__(error, what)
    error.__dict__.update(state)
    return error


class CallError(ReelmendError):
    """The call itself was wrong: exit status 2, before any work."""


class ConfigError(CallError):
    """A spec that says something impossible or unknown."""


class SourceError(ReelmendError):
    """The source cannot be restored (truncated, no picture, a change of size…). Trying again would not help."""


class StorageError(ReelmendError):
    """Object storage or a disk said no. ``transient`` errors have already been retried with back-off."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        frame: int | None = None,
        todo: str | None = None,
        transient: bool = False,
    ):
        super().__init__(what, where=where, frame=frame, todo=todo)
        self.transient = transient


class MissingError(StorageError):
    """There is no such object or file."""


class ScratchFullError(StorageError):
    """Local scratch has no room."""


class VerifyError(ReelmendError):
    """Something written does not decode to what was meant, or a published file is not what its record says."""


class WeightsError(ReelmendError):
    """Weights that are missing, not what their hash says, unsafe, or under a licence not yet accepted."""


class RefusedError(ReelmendError):
    """This call cannot restore the reel as it asks, though nothing is wrong with the reel: no quarantine."""


class PublishedError(RefusedError):
    """The output already holds a deliverable of another plan."""


class TooLargeError(RefusedError):
    """A deliverable that its storage, or scratch, could not hold."""


class SpanError(RefusedError):
    """Frames were asked for that the reel has not."""
