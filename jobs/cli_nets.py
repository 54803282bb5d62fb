"""``reelmend nets``: the nets that a chain can name."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli_options import Json, end

app = typer.Typer(help="The nets that a chain can name.", no_args_is_help=True)


@app.command("list")
def nets_list(as_json: Json = False) -> None:
    """The nets of the registry."""
    from jobs.nets import show_nets

    end(show_nets(as_json=as_json))


@app.command("check")
def nets_check(
    net: Annotated[str, typer.Argument(metavar="NET", help="A name of the registry, a path or a URI.")],
    sha256: Annotated[str | None, typer.Option("--sha256", help="Hash that the file must have.")] = None,
    as_json: Json = False,
) -> None:
    """Check a net's hash, keys and one forward pass, and show its card."""
    from jobs.nets import check_net

    end(check_net(net, sha256, as_json=as_json))


@app.command("fetch")
def nets_fetch(
    uri: Annotated[str, typer.Argument(metavar="URI")],
    sha256: Annotated[str, typer.Option("--sha256", help="Hash that the file must have.")],
    as_json: Json = False,
) -> None:
    """Fetch weights into the cache of this machine."""
    from jobs.nets import fetch_net

    end(fetch_net(uri, sha256, as_json=as_json))
