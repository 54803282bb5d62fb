"""What a pass found of the pictures in its window, kept as long as they are in it: a flow serves several frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")
Picture = NDArray[np.float32]

_WEIGHTS = (0.2126, 0.7152, 0.0722)


class Kept:
    """Answers by question and pictures. A picture is known by being the same object; none is looked into to compare."""

    def __init__(self) -> None:
        self._held: dict[int, Tensor] = {}
        self._answers: dict[tuple[Any, ...], Any] = {}

    def hold(self, window: Sequence[Tensor]) -> None:
        """Go on with these pictures; what is known of others is forgotten.

        They are held until the next call, so that none of a later window can stand where an older one stood in memory.
        """
        self._held = {id(p): p for p in window}
        self._answers = {k: v for k, v in self._answers.items() if all(i in self._held for i in k[1:])}

    def of(self, what: str, make: Callable[..., T], *pictures: Tensor) -> T:
        """``make(*pictures)``, once for the same question and the same pictures of the window."""
        key = (what, *(id(p) for p in pictures))
        if key not in self._answers:
            self._answers[key] = make(*pictures)
        return cast(T, self._answers[key])

    def luma(self, picture: Tensor) -> Picture:
        """(H, W) of (3, H, W), in the picture's own levels."""
        return self.of("luma", _luma, picture)


def _luma(picture: Tensor) -> Picture:
    r, g, b = picture.unbind(0)
    luma = (r * _WEIGHTS[0]).add_(g, alpha=_WEIGHTS[1]).add_(b, alpha=_WEIGHTS[2])
    return np.asarray(luma.cpu().numpy(), np.float32)
