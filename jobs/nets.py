"""``reelmend nets``: the nets that a chain can name."""

from __future__ import annotations

from rich.table import Table

from jobs.common import console, print_json, say
from pipeline.restore import weights


def show_nets(*, as_json: bool) -> int:
    """Print the registry."""
    found = weights.listing()
    if as_json:
        print_json(found)
        return 0
    table = Table("net", "family", "task", "frames", "licence", "where to get it")
    for net in found:
        table.add_row(*(str(net[k]) for k in ("name", "family", "task", "frames", "licence", "source")))
    console().print(table)
    return 0


def check_net(net: str, sha256: str | None, *, as_json: bool) -> int:
    """Print what came of checking a net, and its card; status 1 where it cannot be used. Raises WeightsError."""
    found = weights.check(net, sha256=sha256)
    status = 0 if found["status"] == "ok" else 1
    if as_json:
        print_json(found)
        return status
    card = found.pop("card", None)
    for key, value in found.items():
        if value is not None:
            print(f"{key}: {value}")
    if card:
        print(f"\n{card}")
    return status


def fetch_net(uri: str, sha256: str, *, as_json: bool) -> int:
    """Fetch weights into the cache, under their hash."""
    path = weights.fetch(uri, sha256)
    if as_json:
        print_json({"uri": uri, "sha256": sha256, "path": str(path)})
    else:
        print(path)
        say(f"name it in a chain by its URI and sha256: {uri}")
    return 0
