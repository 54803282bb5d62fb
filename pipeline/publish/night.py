"""``OUT/index.html``: written anew from what is published, whenever a reel is published or given up.

There is no lock. Whoever has written it looks again at what is published, and writes once more where that has changed
meanwhile: so the last one to write has seen all that was published before.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import MissingError, ReelmendError, StorageError
from pipeline.publish import layout, quarantine
from pipeline.publish.documents import read_object
from pipeline.publish.state import look, read_if_there
from pipeline.report.night import NightReel, reel_of, render
from pipeline.storage import store

_ROUNDS = 5
_AT_ONCE = 16
_SUMMARY_BYTES = 16 << 20
_PAGE_BYTES = 64 << 20
_MOST_SENTENCE = 500


def write(out: str) -> None:
    """Write the page of all reels below an output.

    Raises StorageError where storage does not answer; what is wrong with one reel is told on the page.
    """
    seen = look(out)
    for _ in range(_ROUNDS):
        uri, text = store.join(out, layout.NIGHT), _page(out, seen).encode(errors="replace")
        if _standing(uri) != text:
            store.put_bytes(uri, text)
        again = look(out)
        if _mark(again) == _mark(seen):
            return
        seen = again


def _standing(uri: str) -> bytes | None:
    try:
        return read_if_there(uri, _PAGE_BYTES)
    except StorageError as error:
        if getattr(error, "transient", False):
            raise
        return None


def _mark(files: layout.Sorted) -> list[tuple[str, str]]:
    """What the page was made from: it changes where that does."""
    found = [(reel, names[layout.SUMMARY].version) for reel, names in _whole(files).items()]
    return sorted(found + [(f"quarantine/{reel}", stat.version) for reel, stat in files.quarantined.items()])


def _whole(files: layout.Sorted) -> dict[str, dict[str, store.Stat]]:
    return {
        reel: names
        for reel, names in files.reels.items()
        if reel and layout.SUMMARY in names and layout.MANIFEST in names
    }


def _page(out: str, files: layout.Sorted) -> str:
    whole = _whole(files)

    def read(reel: str) -> NightReel | str | None:
        uri = layout.published(out, reel, layout.SUMMARY)
        try:
            said = read_object(store.read_bytes(uri, limit=_SUMMARY_BYTES), where=uri)
            return reel_of(reel, said, has_page=layout.PAGE in whole[reel])
        except MissingError:
            return None  # it is being published anew
        except ReelmendError as error:
            if getattr(error, "transient", False):
                raise
            return f"{reel}: {error.what}"[:_MOST_SENTENCE]

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(read, sorted(whole)))
    return render(
        [r for r in found if isinstance(r, NightReel)],
        [(q.reel, q.message) for q in quarantine.read_all(files)],
        [p for p in found if isinstance(p, str)],
    )
