"""Trying again: exponential back-off with jitter, bounded in total."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import TypeVar

from pipeline.storage.faults import LIBRARY_ERRORS, explain, is_transient

T = TypeVar("T")

PATIENCE_S = 30.0
"""Seconds after the first failure in which a call is tried again. Counted from there, so that a long transfer that
fails at its end still has its second try."""
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0


def waits(patience: float | None = None) -> Iterator[float]:
    """Seconds to wait before each further try, ending when patience (default ``PATIENCE_S``) is used up.

    Each is drawn between half and the whole of a length that doubles: many workers that met one fault do not come
    back in step. To be advanced right after a failure; the waiting is the caller's.
    """
    until = monotonic() + (PATIENCE_S if patience is None else patience)
    length = FIRST_WAIT_S
    while True:
        wait = length * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        if monotonic() + wait > until:
            return
        yield wait
        length = min(2 * length, LONGEST_WAIT_S)


def retrying(work: Callable[[], T], uri: str, doing: str, *, patience: float | None = None) -> T:
    """What ``work`` gives; tried again while its error is transient and patience lasts.

    Raises StorageError (or one of its kinds) with the URI for whatever a library or the system raised; programming
    errors pass. ``doing`` reads like ``read it``.
    """
    pauses: Iterator[float] | None = None
    while True:
        try:
            return work()
        except LIBRARY_ERRORS as error:
            if not is_transient(error):
                raise explain(error, uri, doing) from error
            pauses = pauses or waits(patience)
            wait = next(pauses, None)
            if wait is None:
                raise explain(error, uri, doing) from error
        sleep(wait)
