"""``reelmend train``: a net from a config and a folder of clean pictures, or on from where it was stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import resources

from jobs.common import print_json, say
from pipeline.errors import ConfigError, MissingError, StorageError
from pipeline.storage import store
from pipeline.train.fit import fit, left
from pipeline.train.spec import TrainSpec, parse

_MAX_CONFIG_BYTES = 1 << 20


def train(
    config: str,
    out: str,
    *,
    data: Sequence[str],
    overlays: str | None,
    overrides: Sequence[str],
    minutes: float | None,
    as_json: bool,
    workers: int = 1,
    address: str = "local",
) -> int:
    """Train until the steps are made, a signal comes or so many minutes are over. Status 130 after a signal.

    ``workers`` above 1: on as many GPUs of a Ray cluster; a signal then ends it with what the last checkpoint holds.
    """
    spec = load(config, data=data, overlays=overlays, overrides=overrides)
    if workers > 1:
        from pipeline.cluster.training import spread  # Ray comes with it

        spread(partial(_one_of_many, spec, out, minutes), workers=workers, address=address)
        found, interrupted = left(spec, out), False
    else:
        with _signals() as told:
            found = fit(spec, out, say=say, stopped=told.is_set, limit_s=None if minutes is None else 60 * minutes)
        interrupted = told.is_set()
    if as_json:
        print_json({"step": found.step, "done": found.done, "weights": found.weights, **found.row})
    else:
        say(f"{'done' if found.done else 'stopped; the same call goes on'} at step {found.step} of {spec.steps}")
        print(found.weights)
    return 130 if interrupted and not found.done else 0


def _one_of_many(spec: TrainSpec, out: str, minutes: float | None) -> None:
    """One process of several: the first tells what happens."""
    fit(spec, out, say=say, limit_s=None if minutes is None else 60 * minutes)


def presets() -> list[str]:
    """Names of the shipped training configs."""
    folder = resources.files("configs") / "train"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load(config: str, *, data: Sequence[str], overlays: str | None, overrides: Sequence[str]) -> TrainSpec:
    """The spec of a preset's name, or of a YAML file's path or URI; ``data`` and ``overlays`` stand for its own."""
    if config in presets():
        where = f"preset train/{config}"
        text = (resources.files("configs") / "train" / f"{config}.yaml").read_text("utf-8")
    else:
        where = config
        try:
            text = store.read_bytes(config, limit=_MAX_CONFIG_BYTES).decode("utf-8")
        except MissingError:
            raise ConfigError(
                "there is neither such a file nor such a preset",
                where=config,
                todo=f"Give a YAML file, or one of: {', '.join(presets())}",
            ) from None
        except (StorageError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot be read as UTF-8 text ({error})", where=config) from None
    said = list(overrides)
    if data:
        sources = ", ".join(f"{{{_source(d)}}}" for d in data)
        said.insert(0, f"data.sources=[{sources}]")
    if overlays is not None:
        said.insert(0, f"data.overlays={_quoted(overlays)}")
    return parse(text, where=where, overrides=said)


def _source(said: str) -> str:
    """``URI``, or ``KIND=URI`` with one of the kinds of folders."""
    kind, sign, uri = said.partition("=")
    if sign and kind in ("stills", "frames", "films"):
        return f"uri: {_quoted(uri)}, kind: {kind}"
    return f"uri: {_quoted(said)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """The first SIGINT or SIGTERM asks for an end after the step under way; the next one ends at once."""
    told = threading.Event()

    def tell(number: int, _frame: object) -> None:
        told.set()
        signal.signal(number, before[signal.Signals(number)])
        say("stopping after this step; once more ends at once, with what the last checkpoint holds")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, tell)
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
