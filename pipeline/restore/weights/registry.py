"""The nets that a spec can call by name: ``registry.yaml``, read once."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from pipeline.errors import WeightsError
from pipeline.restore import nets

FOLDER = Path(__file__).parent
"""Where the bundled files are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One net that has a name."""

    name: str
    task: str
    """What it was trained for, in a few words for people."""
    config: nets.NetConfig
    train_size: tuple[int, int]
    """[height, width] in px of the training crops."""
    licence: str
    restricted: bool
    """The licence must be accepted in the spec before use."""
    source: str
    """``bundled``, or the page where a person gets the file."""
    file: str | None
    """Its name in this folder; None where it is not shipped."""
    sha256: str | None
    """None where it is not shipped: the user then states it."""
    card: str | None
    """Markdown: data, recipe, figures, licence."""


@functools.cache
def entries() -> Mapping[str, Entry]:
    """Name → entry, in the file's order."""
    data: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "registry.yaml").read_text("utf-8"))
    return MappingProxyType({name: _entry(name, fields) for name, fields in data.items()})


def names() -> list[str]:
    """Every name of the registry, the bundled ones first."""
    return list(entries())


def named(name: str) -> Entry:
    """The entry of a name. Raises WeightsError naming the nearest where there is none."""
    found = entries().get(name)
    if found is None:
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        raise WeightsError(
            f"there are no weights of this name{f' (did you mean {near[0]!r}?)' if near else ''}",
            where=name,
            todo=f"Known are {', '.join(names())}; a file is given by its path or URI, ending in .safetensors or .pth",
        )
    return found


def _entry(name: str, fields: dict[str, Any]) -> Entry:
    card = fields.get("card")
    height, width = fields["train_size"]
    return Entry(
        name=name,
        task=fields["task"],
        config=nets.parse(fields["config"]),
        train_size=(height, width),
        licence=fields["licence"],
        restricted=fields["restricted"],
        source=fields["source"],
        file=fields.get("file"),
        sha256=fields.get("sha256"),
        card=None if card is None else (FOLDER / card).read_text("utf-8"),
    )
