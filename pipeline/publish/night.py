"""``OUT/index.html``: written once a run, at its end or when it is stopped, from what is published by then.

There is no lock. Whoever has written it looks again at what is published, and writes once more where that has changed
meanwhile: so the last one to write has seen all that was published before. Of a run that was killed the next one tells.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.errors import MissingError, ReelmendError, StorageError
from pipeline.publish import layout, quarantine
from pipeline.publish.documents import read_object
from pipeline.publish.reels import Published, published, quarantined
from pipeline.publish.state import read_if_there
from pipeline.report.night import NightReel, reel_of, render
from pipeline.storage import store

_ROUNDS = 5
_AT_ONCE = 16
_SUMMARY_BYTES = 16 << 20
_PAGE_BYTES = 64 << 20
_MOST_SENTENCE = 500


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the page is made from."""

    reels: tuple[Published, ...]
    quarantined: layout.Sorted

    @property
    def any(self) -> bool:
        return bool(self.reels or self.quarantined.quarantined)

    @property
    def mark(self) -> object:
        """Another one where the page has to be."""
        reels = [(r.name, r.report[layout.SUMMARY].version, layout.PAGE in r.report) for r in self.reels]
        return reels, sorted((reel, stat.version) for reel, stat in self.quarantined.quarantined.items())


def write(out: str) -> None:
    """Write the page of all reels below an output.

    Of every reel its summary alone is read, and no deliverable is listed (``reels.published``). Where there is neither
    a reel nor a page, none is written. Raises StorageError where storage does not answer; what is wrong with one reel
    is told on the page.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = _look(out, pool)
        for _ in range(_ROUNDS):
            uri, text = store.join(out, layout.NIGHT), _page(out, seen, pool).encode(errors="replace")
            standing = _standing(uri)
            if standing != text and (seen.any or standing is not None):
                store.put_bytes(uri, text)
            again = _look(out, pool)
            if again.mark == seen.mark:
                return
            seen = again


def _look(out: str, pool: Executor) -> _Seen:
    reels = (r for r in published(out, pool) if r.name and layout.SUMMARY in r.report)
    return _Seen(tuple(reels), quarantined(out))


def _standing(uri: str) -> bytes | None:
    try:
        return read_if_there(uri, _PAGE_BYTES)
    except StorageError as error:
        if getattr(error, "transient", False):
            raise
        return b""  # something that is no page of ours


def _page(out: str, seen: _Seen, pool: Executor) -> str:
    def read(reel: Published) -> NightReel | str | None:
        uri = layout.published(out, reel.name, layout.SUMMARY)
        try:
            said = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri)
            return reel_of(reel.name, said, has_page=layout.PAGE in reel.report)
        except MissingError:
            return None  # it is being published anew
        except ReelmendError as error:
            if getattr(error, "transient", False):
                raise
            return f"{reel.name}: {error.what}"[:_MOST_SENTENCE]

    found = list(pool.map(read, seen.reels))
    return render(
        [r for r in found if isinstance(r, NightReel)],
        [(q.reel, q.message) for q in quarantine.read_all(seen.quarantined)],
        [p for p in found if isinstance(p, str)],
    )
