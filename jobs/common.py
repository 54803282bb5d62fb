"""What the jobs share: the spec, the sources and the nets of a call."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from rich.console import Console

from pipeline.errors import CallError, ConfigError, MissingError, ReelmendError, StorageError
from pipeline.plan.document import storable
from pipeline.plan.make import chain_of
from pipeline.spec import NetPass, Spec, parse
from pipeline.storage import sources, store
from pipeline.types import NetInfo

Sources = tuple[tuple[str, str], ...]
"""(uri, reel name) of every reel, in order."""
_MAX_CONFIG_BYTES = 1 << 20
_WIDE = 200
"""Columns of a table that no terminal bounds."""


def presets() -> list[str]:
    """Names of the shipped configs."""
    return sorted(
        p.name.removesuffix(".yaml") for p in resources.files("configs").iterdir() if p.name.endswith(".yaml")
    )


def load_spec(config: str, overrides: Sequence[str] = ()) -> Spec:
    """The spec of ``-c``: a preset's name, or the path or URI of a YAML file, with ``--set`` values over it.

    Raises ConfigError, also where it asks for deliverables that no source can have.
    """
    from pipeline.reel.deliver import check_asked  # FFmpeg comes with it

    spec = _read_spec(config, overrides)
    for output in spec.deliver.outputs:
        check_asked(output)
    return spec


def _read_spec(config: str, overrides: Sequence[str]) -> Spec:
    if config in presets():
        text = resources.files("configs").joinpath(f"{config}.yaml").read_text("utf-8")
        return parse(text, where=f"preset {config}", overrides=overrides)
    try:
        raw = store.read_bytes(config, limit=_MAX_CONFIG_BYTES)
        return parse(raw.decode("utf-8"), where=config, overrides=overrides)
    except MissingError:
        raise ConfigError(
            "there is neither such a file nor such a preset",
            where=f"-c {config}",
            todo=f"Give a YAML file, or one of: {', '.join(presets())}",
        ) from None
    except StorageError as error:
        raise ConfigError(error.what, where=f"-c {config}", todo=error.todo) from None
    except UnicodeDecodeError:
        raise ConfigError("a config is UTF-8 text, this is not", where=config) from None


def find_sources(given: Sequence[str], *, out: str | None = None) -> Sources:
    """(uri, reel name) of every reel of a call; what lies below ``out``, or was published elsewhere, is no source.

    Raises CallError where there is no film, or the output would be written over one.
    """
    try:
        return tuple((_absolute(uri), name) for uri, name in sources.expand(given, out=out, tell=say))
    except StorageError as error:
        raise CallError(error.what, where=error.where, todo=error.todo) from None


def check_shots(spec: Spec, reels: Sequence[str]) -> None:
    """Raises ConfigError where ``shots:`` names a reel that the call has not: it would do nothing, silently."""
    for shot in spec.shots:
        if shot.reel is not None and shot.reel not in reels:
            near = difflib.get_close_matches(shot.reel, reels, n=1)
            raise ConfigError(
                f"{shot.frames} is for the reel {shot.reel!r}, which this call has not",
                where="shots",
                todo=f"Did you mean {near[0]!r}?" if near else f"Its reels are {', '.join(reels[:5])}",
            )


def take_shard(found: Sources, shard: str | None) -> Sources:
    """With i/n every n-th reel, from the i-th (from 1); else all. Raises CallError."""
    if shard is None:
        return found
    i, _, n = shard.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise CallError(f"got {shard!r}, wanted i/n with 1 ≤ i ≤ n", where="--shard")
    return found[int(i) - 1 :: int(n)]


def _absolute(uri: str) -> str:
    """The same file for every process; the file's own name stays, should it be a link. A folder keeps its slash."""
    local = store.local_path(uri)
    if local is None:
        return uri
    return f"{local.parent.resolve() / local.name}{'/' if uri.endswith('/') else ''}"


def find_nets(spec: Spec) -> Mapping[str, NetInfo]:
    """Pass name → weights, for every net of the chain.

    Raises CallError: without them, or with a chain that does not fit them, no reel could be restored.
    """
    from pipeline.restore import weights  # torch comes with it, and most commands do without

    try:
        named = zip(spec.chain, spec.pass_names(), strict=True)
        nets = {name: weights.resolve(p) for p, name in named if isinstance(p, NetPass)}
        chain_of(spec, nets)
        return nets
    except ReelmendError as error:
        raise CallError(error.what, where=error.where, todo=error.todo) from None


def find_span(text: str | None) -> tuple[int, int] | None:
    """``A:B`` as a half-open span of frames. Raises CallError."""
    if text is None:
        return None
    a, _, b = text.partition(":")
    if not (a.isdecimal() and b.isdecimal() and int(a) < int(b)):
        raise CallError(f"got {text!r}, wanted A:B with A below B (half-open, from 0)", where="--frames")
    return int(a), int(b)


def console() -> Console:
    """Where tables go: stdout. Into a file or a pipe they are as wide as they need, not as a terminal would be."""
    found = Console()
    return found if found.is_terminal else Console(width=_WIDE)


def say(text: str) -> None:
    """A line for people, on stderr: stdout is for what was asked for."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """The one JSON document of ``--json``, on stdout."""
    print(storable(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)))


def human_bytes(count: float) -> str:
    """Bytes for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable: TiB is the last unit")


def human_time(seconds: float) -> str:
    """A length of time for people: ``3 h 12 min``, ``4 min 08 s``, ``12 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"
