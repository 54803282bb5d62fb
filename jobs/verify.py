"""``reelmend verify``: hash and decode again what runs have published."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.common import human_bytes, print_json, say
from pipeline.publish.verify import verify


def show_verify(outs: Sequence[str], *, as_json: bool) -> int:
    """Print what is not as it was published; status 1 where there is anything."""
    found = verify(outs, notify=None if as_json else lambda what, n, of: say(f"{n + 1}/{of} {what}"))
    if as_json:
        print_json(found.record())
        return 0 if found.ok else 1
    for finding in found.findings:
        print(finding)
    good = [r for r in found.reels if r.ok]
    size = human_bytes(sum(r.bytes for r in found.reels))
    frames = sum(r.frames for r in found.reels)
    print(f"{len(good)} of {len(found.reels)} reels are as they were published: {size} hashed, {frames} frames decoded")
    return 0 if found.ok else 1
