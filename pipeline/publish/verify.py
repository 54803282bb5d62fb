"""Everything that runs published below OUT, hashed and decoded again: what is not as it was, and which frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.publish import bag, layout, quarantine
from pipeline.publish.check import ReelCheck
from pipeline.publish.findings import Checked, Finding, Report
from pipeline.publish.state import look
from pipeline.storage import store

Step = Callable[[str, int, int], None]


def verify(outs: Sequence[str], *, threads: int = 1, notify: Step | None = None) -> Report:
    """Check every reel below each OUT (or at it: the folder of one reel will do).

    Every file that a manifest names is hashed, none may be missing or too many; every deliverable is decoded and every
    frame compared with its ``framemd5`` (the first one's also with ``frames.parquet``), its other streams with its
    ``streamhash``; with the residual every frame of the source must come back; bags must be valid; counts and plan ids
    must agree. threads: of the decoder. notify: told ``(reel's URI, done, of)``. Raises StorageError where an OUT
    cannot be listed at all.
    """
    reels: list[Checked] = []
    findings: list[Finding] = []
    for out in outs:
        files = look(out)
        for n, (reel, there) in enumerate(sorted(files.reels.items())):
            if notify:
                notify(store.join(out, reel), n, len(files.reels))
            check = ReelCheck(out, reel, there, threads)
            check.run()
            reels.append(check.result())
            findings += check.findings
        for reel, there in sorted(files.bags.items()):
            findings += bag.check(out, reel, there)
        for entry in quarantine.read_all(files):
            uri = layout.quarantine(out, entry.reel)
            findings.append(Finding(out, entry.reel, "quarantined", uri, entry.frame, entry.message, entry.todo))
        if not (files.reels or files.quarantined or files.bags):
            findings.append(
                Finding(
                    out, None, "empty", None, None, "nothing is published below it", "Name a folder that a run wrote to"
                )
            )
    return Report(tuple(reels), tuple(findings))
