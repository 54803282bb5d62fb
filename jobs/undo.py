"""``reelmend undo``: the source's frames again, from a reel's deliverable and residual."""

from __future__ import annotations

import dataclasses

from jobs.common import print_json, say
from pipeline.publish.undo import undo

_EVERY = 100


def show_undo(folder: str, *, to: str | None, as_json: bool) -> int:
    """Rebuild the source's frames and prove them; status 1 where one does not come back."""

    def tell(done: int, of: int) -> None:
        if done % _EVERY == 0 or done == of:
            say(f"{done}/{of} frames")

    found = undo(folder, to=to, notify=None if as_json else tell)
    if as_json:
        print_json({"ok": not found.faults, **dataclasses.asdict(found)})
        return 1 if found.faults else 0
    for fault in found.faults:
        print(f"{fault.file} frame {fault.frame}: {fault.found}")
    print(f"{found.frames - len(found.faults)} of {found.frames} frames came back as source.framemd5 has them")
    for uri in found.files:
        print(f"written to {uri}")
    return 1 if found.faults else 0
