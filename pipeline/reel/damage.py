"""Which pictures of a source are damaged, by their checksums or by what their decoder says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import SourceError
from pipeline.reel.source import TRY_OTHER_COPY

_MOST_NAMED = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a picture is not to be trusted."""

    root: int
    """Number of the picture that is damaged itself: this one, or one that it builds on."""
    what: str
    """What was found there."""


def error(uri: str, what: str, number: int | None) -> SourceError:
    """The refusal of a film with one damaged picture."""
    return SourceError(f"the picture is damaged: {what}", where=uri, frame=number, todo=TRY_OTHER_COPY)


def refuse(uri: str, found: Mapping[int, Finding], first: int, last: int) -> None:
    """SourceError naming every damaged picture that the frames ``[first, last)`` are or build on, if any is."""
    roots = {f.root: f.what for n, f in sorted(found.items()) if first <= n < last}
    if not roots:
        return
    numbers = sorted(roots)
    told = error(uri, roots[numbers[0]], numbers[0])
    if len(numbers) > 1:
        others = ", ".join(map(str, numbers[1:_MOST_NAMED])) + (", …" if len(numbers) > _MOST_NAMED else "")
        told = error(uri, f"{roots[numbers[0]]}; among the frames {first}:{last} so are {others}", numbers[0])
    raise told
