"""What is known of whether the nets that are measured have seen the benchmark's photographs: by the weights' cards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from jobs.bench_clips import Pictures
from pipeline.restore.weights.registry import Entry, entries
from pipeline.spec import NetPass, Spec

_BEGAN = re.compile(r"^\| began from \| ([\w-]+)", re.MULTILINE)
_ROW = re.compile(r"^\| ([^|]+\.\w+) \| (?:(trained on|held out) \| )?", re.MULTILINE)
"""A card's table of pictures: name, then what it was used for; without that all were trained on."""
_CHOSEN = {
    "shipped": "the one that ships with the project",
    "held out": "those that the split of `reelmend train nafnet-film` holds out of `--data`",
    "all": "all of `--data`",
}
_DAMAGE = (
    "Of the damage nothing is held out: what is made is made by the code that makes it for training, and overlays that "
    "a net was trained with it has seen: the bundled ones those of FilmDamageSimulator."
)


def about(found: Pictures, specs: Mapping[str, Spec]) -> str:
    """Sentences of Markdown about the photographs, and which of them each net of these specs has seen."""
    count = len(found.items)
    nets = dict.fromkeys(p.weights for s in specs.values() for p in s.chain if isinstance(p, NetPass))
    shown = [item.name.rpartition("/")[2] for item in found.items]
    if found.chosen == "shipped":
        # On the cards it has its author's name; it was trained on.
        told = ["Training has seen it." for n in nets if n in entries()][:1]
        told += [_unknown(n) for n in nets if n not in entries()]
    else:
        told = [_told(n, shown) for n in nets]
    return " ".join([f"{count}, {_CHOSEN[found.chosen]}.", *told, _DAMAGE])


def _told(weights: str, shown: Sequence[str]) -> str:
    """What the cards say of one net, and of those that it began from."""
    line = list(_line(weights))
    if not line or any(e.card is None for e in line):
        return _unknown(weights)
    seen = {e.name: _used(e) for e in line}
    own, before = line[0], line[1:]
    said = []
    for e in line:
        trained = sum(seen[e.name].get(name) == "trained on" for name in shown)
        held = sum(seen[e.name].get(name) == "held out" for name in shown)
        said.append((e.name, trained, held))
    if not any(trained or held for _, trained, held in said):
        others = f", nor that of `{'`, `'.join(e.name for e in before)}`, which it began from" if before else ""
        return f"The card of `{own.name}` names none of them{others}: as far as is known it has not seen them."
    _, trained, held = said[0]
    told = f"By its card, `{own.name}` itself was trained on {trained} of them, and held {held} out"
    for name, trained, _ in said[1:]:
        told += f"; but it began from `{name}`, whose card lists {trained} of them as trained on"
    touched = {name for name in shown for e in line if seen[e.name].get(name) == "trained on"}
    return f"{told} (by file name): {_all(len(touched), len(shown))} been seen on the way to it."


def _all(some: int, of: int) -> str:
    if not some:
        return "none of them has"
    return "all of them have" if some == of else f"{some} of the {of} have"


def _unknown(weights: str) -> str:
    return f"What `{weights}` was trained on is not known here: it may have seen any of them."


def _line(weights: str) -> Iterator[Entry]:
    """A net of the registry, then what it began from, and so on; nothing for weights of other people."""
    past: set[str] = set()
    name: str | None = weights
    while name is not None and name in entries() and name not in past:
        past.add(name)
        entry = entries()[name]
        yield entry
        began = _BEGAN.search(entry.card or "")
        name = began[1] if began else None


def _used(entry: Entry) -> Mapping[str, str]:
    """Picture's file name → ``trained on`` or ``held out``."""
    return {m[1].strip(): m[2] or "trained on" for m in _ROW.finditer(entry.card or "")}
