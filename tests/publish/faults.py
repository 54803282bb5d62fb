"""A store that dies at a chosen step, as a process does under kill -9 or a machine without power."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.storage import store

_CHANGES = ("put_bytes", "put_bytes_once", "put_file", "put_file_once", "delete", "delete_tree")


class Killed(BaseException):
    """Nothing that the code under test may catch."""


@dataclass
class Steps:
    """The changes that were made to storage, in order."""

    done: list[tuple[str, str]] = field(default_factory=list)
    """(function, URI)"""

    def puts(self) -> list[str]:
        return [uri for what, uri in self.done if what.startswith("put")]


@contextmanager
def watched(
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: Callable[[int, str, str], None] | None = None,
    after: Callable[[int, str, str], None] | None = None,
) -> Iterator[Steps]:
    """Every change to storage goes through ``before`` and ``after``: (number from 0, function, URI)."""
    steps = Steps()

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            uri = next(a for a in args if isinstance(a, str))
            number = len(steps.done)
            if before:
                before(number, name, uri)
            steps.done.append((name, uri))
            result = real(*args)
            if after:
                after(number, name, uri)
            return result

        return call

    with monkeypatch.context() as patch:
        for name in _CHANGES:
            patch.setattr(store, name, wrap(name, getattr(store, name)))
        yield steps


def kill_at(step: int) -> Callable[[int, str, str], None]:
    def strike(number: int, _what: str, _uri: str) -> None:
        if number == step:
            raise Killed

    return strike
