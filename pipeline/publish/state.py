"""What OUT holds of a reel: nothing, an unfinished publication, or a whole one; and of which plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import MissingError, ReelmendError
from pipeline.publish import layout, manifest, provenance
from pipeline.storage import store
from pipeline.types import Sha256

UNKNOWN = "unknown"
"""Stands for the id of a plan where files are there that no readable provenance names."""


@dataclass(frozen=True, slots=True)
class State:
    """What is published of a reel."""

    kind: Literal["absent", "half", "whole"]
    """``whole``: there is a manifest, and it names the provenance as it stands."""
    plan_id: Sha256 | None = None
    """None where nothing is there; ``unknown`` where what is there names no plan."""
    problem: str | None = None
    """Why the plan is unknown."""

    @property
    def whole(self) -> bool:
        return self.kind == "whole"


def state(out: str, reel: str) -> State:
    """Look at a reel's folder. A garbled provenance or manifest is no error, it makes the publication a half one."""
    # The manifest first: were it read last, a run that publishes meanwhile would show a manifest without provenance.
    listed = read_if_there(layout.published(out, reel, layout.MANIFEST), manifest.MAX_BYTES)
    held = read_if_there(layout.published(out, reel, layout.PROVENANCE), provenance.MAX_BYTES)
    if held is None:
        names = own_files(out, reel) if listed is None else [layout.MANIFEST]
        ours = next((n for n in sorted(names) if layout.is_ours(reel, n)), None)
        if ours is None:
            return State("absent")
        # Its provenance is the first of a publication: a run may have begun since the look at it.
        held = read_if_there(layout.published(out, reel, layout.PROVENANCE), provenance.MAX_BYTES)
    if held is None:
        return State("half", UNKNOWN, f"{ours} is there without a {layout.PROVENANCE} that says by which plan")
    try:
        plan_id = provenance.plan_id(held, where=layout.PROVENANCE)
    except ReelmendError as error:
        return State("half", UNKNOWN, f"its {layout.PROVENANCE} cannot be read: {error.what}")
    try:
        hashes = manifest.parse(listed, where=layout.MANIFEST) if listed is not None else {}
    except ReelmendError:
        hashes = {}
    whole = hashes.get(layout.PROVENANCE) == provenance.digest(held)
    return State("whole" if whole else "half", plan_id)


def read_if_there(uri: str, limit: int) -> bytes | None:
    """A small file's bytes, or None where there is none."""
    try:
        return store.read_bytes(uri, limit=limit)
    except MissingError:
        return None


def own_files(out: str, reel: str) -> dict[str, store.Stat]:
    """Every file of a reel's folder, by its name below it; not those of reels in folders inside it."""
    folder = layout.reel_dir(out, reel)
    return layout.own_files(layout.below(folder, store.list_files(folder)))


def look(out: str) -> layout.Sorted:
    """All of OUT, sorted by what it is: one listing."""
    return layout.sort_out(layout.below(out, store.list_files(out)))
