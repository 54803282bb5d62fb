"""``reelmend clean OUT``: delete what runs keep for later ones."""

from __future__ import annotations

from jobs.common import human_bytes, print_json, say
from pipeline.publish import layout
from pipeline.storage import store


def clean(out: str, *, as_json: bool) -> int:
    """Delete OUT/.work: indexes, and what is there of reels that were not finished. Nothing published is touched."""
    root = layout.work_root(out)
    files = store.list_files(root)
    size = sum(f.bytes for f in files)
    store.delete_tree(root)
    if as_json:
        print_json({"out": out, "deleted": len(files), "bytes": size})
    else:
        say(f"{root}: {len(files)} files deleted, {human_bytes(size)}")
    return 0
