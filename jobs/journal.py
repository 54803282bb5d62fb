"""A run's events as JSON lines, for machines: what ``restore --log`` writes."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

from pipeline.cluster.progress import Event
from pipeline.errors import CallError

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


class Journal:
    """A listener that appends one JSON object a line: ``time`` (ISO 8601, UTC), ``event``, and what the event says.

    Whatever is about a reel or a tile names it as ``reel``, ``tile`` (its number) and ``tile_id``, as the ledger does.
    """

    def __init__(self, target: str):
        """target: a file, which is appended to, or ``-`` for stderr. Raises CallError where it cannot be opened."""
        self._own = target != "-"
        try:
            self._file: IO[str] = Path(target).open("a", encoding="utf-8") if self._own else sys.stderr  # noqa: SIM115
        except OSError as error:
            raise CallError(f"cannot be written: {error.strerror}", where=f"--log {target}") from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._own:
            self._file.close()

    def __call__(self, event: Event) -> None:
        name = _WORDS.sub("_", type(event).__name__).lower()
        said = dataclasses.asdict(event)
        outcome = said.pop("outcome", None)
        if outcome is not None:
            outcome.pop("detail")  # it stands in reel.json
            said |= {"reel": outcome.pop("name"), **outcome}
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        # ASCII: whatever a name holds, a line stays one line.
        print(json.dumps({"time": now, "event": name, **said}, allow_nan=False), file=self._file, flush=True)
