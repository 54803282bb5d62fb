"""The other streams of what is published, demuxed and hashed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.publish import layout
from pipeline.publish.told import Told
from pipeline.reel import streamhash
from pipeline.storage import store

_LINES_BYTES = 16 << 20


def check_streams(told: Told, files: Sequence[str], hashes: str) -> None:
    """Sound and all else beside the picture of a film, or of a split one's parts in order: over all of them, and each.

    ``files``: names below the reel's folder. ``hashes``: name of the ``streamhash`` that is of all of them.
    """
    if hashes not in told.there:
        return
    wanted = _lines(told, hashes)
    before = len(told.findings)
    running: dict[int, Any] = {}
    letters: dict[int, str] = {}
    for name in files:
        if name not in told.there:
            continue  # missed already
        own = layout.hashes_of_part(name, "streamhash")
        with told.about("streams", name):
            found = streamhash.stream_hashes(told.uri(name), [s.index for s in wanted], running)
            letters |= {s.index: s.letter for s in found}
            if len(files) == 1:
                _held_against(told, name, found, hashes, wanted)
            elif own in told.there:
                _held_against(told, name, found, own, _lines(told, own))
    if len(files) > 1 and len(told.findings) == before and all(name in told.there for name in files):
        whole = [streamhash.StreamHash(i, letters[i], h.hexdigest()) for i, h in running.items()]
        _held_against(told, files[0], whole, hashes, wanted)


def _lines(told: Told, hashes: str) -> Sequence[streamhash.StreamHash]:
    with told.about("streams", hashes):
        data = store.read_bytes(told.uri(hashes), limit=_LINES_BYTES)
        return streamhash.parse(data.decode("ascii", "replace"), where=told.uri(hashes))
    return ()


def _held_against(
    told: Told,
    name: str,
    streams: Sequence[streamhash.StreamHash],
    hashes: str,
    wanted: Sequence[streamhash.StreamHash],
) -> None:
    found = {s.index: s for s in streams}
    for one in wanted:
        has = found.get(one.index)
        if has != one:
            what = f"the sha256 {has.sha256}" if has and has.letter == one.letter else "no such stream"
            told.found("streams", name, f"its stream {one.index} ({one.letter}) has {what}, {hashes} says {one.sha256}")
