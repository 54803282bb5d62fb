"""Counts the bytes of live tensors, to learn what a pass takes and to stop what takes too much."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TooManyBytesError(Exception):
    """More bytes live than were allowed."""


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every storage that an operation gives, from its birth to its death, on any device, ``meta`` too.

    What a kernel needs for itself is not seen.
    """

    def __init__(self, known: Iterable[Tensor] = (), *, limit: int | None = None):
        """known: tensors that are there already and do not count. limit: bytes above which TooManyBytesError is raised,
        right after the allocation, before anything is written into it."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        """The most bytes that were live at once."""
        self._now = 0
        self._limit = limit
        self._sizes: dict[int, int] = {t.untyped_storage()._cdata: 0 for t in known}

    def count(self, tensor: Tensor) -> None:
        """Count a tensor that was made before."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._drop, storage._cdata)
            if self._limit is not None and self._now > self._limit:
                raise TooManyBytesError(f"{self._now} bytes of tensors; {self._limit} are allowed")

    def _drop(self, at: int) -> None:
        self._now -= self._sizes.pop(at)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return out
