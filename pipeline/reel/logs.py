"""What FFmpeg only logs: some damage is told in no other way.

``av`` hands a message to the capture of the thread that it was written on. A codec's own slice threads have none; their
messages come here as foreign ones and say only that *some* reader of this process met damage.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av.logging

_LOCK = threading.Lock()


class _Foreign(logging.Handler):
    """Counts errors that were logged on threads without a capture."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002  (only that there was one matters)
        self.count += 1


_FOREIGN = _Foreign()


def install() -> None:
    """Have FFmpeg's errors come to this module. Done before every read, since other code may have turned them off.

    Only codecs with SLICE threads may be used then: with FRAME threads, a thread that logs waits for Python's lock,
    which a caller that flushes or closes the codec holds.
    """
    with _LOCK:
        level = av.logging.get_level()
        if level is None or level < av.logging.ERROR:
            av.logging.set_level(av.logging.ERROR)
        # The second of two equal messages may be another reader's.
        av.logging.set_skip_repeated(False)
        logger = logging.getLogger("libav")
        if _FOREIGN not in logger.handlers:
            logger.addHandler(_FOREIGN)
            # What is damage is told once, in our own words, as an error.
            logger.propagate = False


def foreign_errors() -> int:
    """How many errors were logged so far on threads that nobody listens to."""
    return _FOREIGN.count


@contextmanager
def errors() -> Iterator[list[tuple[str, str]]]:
    """Collect ``(writer, message)`` of the errors that FFmpeg logs on this thread; the list is filled at the end."""
    found: list[tuple[str, str]] = []
    with av.logging.Capture() as logs:
        try:
            yield found
        finally:
            found += [(name, " ".join(text.split())) for level, name, text in logs if level <= av.logging.ERROR]


def describe(container: av.container.InputContainer) -> str:
    """FFmpeg's own description of an input, with what it says of the streams at its ``verbose`` level."""
    with _LOCK:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        av.logging.set_libav_level(av.logging.VERBOSE)
        try:
            return str(container.dumps_format())  # type: ignore[attr-defined]
        finally:
            av.logging.set_level(level)
            av.logging.set_libav_level(av.logging.INFO)
