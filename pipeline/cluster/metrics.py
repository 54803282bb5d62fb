"""A run's figures for Prometheus, through Ray's own metrics: every node's agent exports them, with the cluster's.

``reelmend_frames_total``, ``reelmend_tiles_total``, ``reelmend_tries_total`` (by reel), ``reelmend_reels_total`` (by
how they ended), ``reelmend_queue_bytes``, ``reelmend_queue_tiles`` and ``reelmend_device_busy_share``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from pipeline.cluster.progress import Event, Load, ReelEnded, TileDone, TileRetried


class Counts(Protocol):
    def inc(self, value: float, tags: dict[str, str]) -> None: ...


class Shows(Protocol):
    def set(self, value: float) -> None: ...


class Metrics:
    """A listener of a run's events."""

    def __init__(
        self,
        counter: Callable[[str, str, tuple[str, ...]], Counts] | None = None,
        gauge: Callable[[str, str], Shows] | None = None,
    ):
        """counter, gauge: make one of a name, a description and (of a counter) tag keys; None: Ray's."""
        counter, gauge = counter or _ray_counter, gauge or _ray_gauge
        # Ray's exporter adds `_total` to the names of counters.
        self._frames = counter("reelmend_frames", "Frames that were restored and recorded", ("reel",))
        self._tiles = counter("reelmend_tiles", "Tiles that were recorded", ("reel",))
        self._tries = counter("reelmend_tries", "Steps that failed and were tried again", ("reel",))
        self._reels = counter("reelmend_reels", "Reels that ended, by how they did", ("status",))
        self._bytes = gauge("reelmend_queue_bytes", "Bytes of pictures under way")
        self._waiting = gauge("reelmend_queue_tiles", "Tiles under way")
        self._busy = gauge("reelmend_device_busy_share", "Share of the restorers' time spent computing, 0 to 1")

    def __call__(self, event: Event) -> None:
        match event:
            case TileDone():
                self._frames.inc(event.frames, _tags(reel=event.reel))
                self._tiles.inc(1, _tags(reel=event.reel))
            case TileRetried():
                self._tries.inc(1, _tags(reel=event.reel))
            case ReelEnded():
                self._reels.inc(1, _tags(status=event.outcome.status))
            case Load():
                self._bytes.set(event.in_flight_bytes)
                self._waiting.set(event.in_flight_tiles)
                self._busy.set(event.busy)
            case _:
                pass


_MOST_CHARACTERS = 200


def _tags(**said: str) -> dict[str, str]:
    """Names come from file names: one line each, of a bounded length. Ray takes ASCII alone: ``ü`` is ``\\xfc``."""
    tags: Mapping[str, str] = said
    lines = {k: "".join(c if c.isprintable() else "?" for c in v) for k, v in tags.items()}
    return {k: v.encode("ascii", "backslashreplace").decode()[:_MOST_CHARACTERS] for k, v in lines.items()}


def _ray_counter(name: str, description: str, tags: tuple[str, ...]) -> Counts:
    from ray.util.metrics import Counter

    found: Counts = Counter(name, description=description, tag_keys=tags)
    return found


def _ray_gauge(name: str, description: str) -> Shows:
    from ray.util.metrics import Gauge

    found: Shows = Gauge(name, description=description)
    return found
