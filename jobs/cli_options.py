"""Options and arguments that several commands share."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

Sources = Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Films, folders or globs: any fsspec URI.")]
Out = Annotated[str, typer.Option("--out", help="Where the restored reels go: any fsspec URI.")]
Config = Annotated[str, typer.Option("-c", "--config", help="A preset's name, or a YAML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Put a value over the config's (YAML).")]
Span = Annotated[str | None, typer.Option("--frames", metavar="A:B", help="Only these frames, half-open, from 0.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace deliverables of another plan.")]
Bag = Annotated[bool, typer.Option("--bag", help="Also make a BagIt bag of every reel, in OUT/bags.")]
Shard = Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Only every N-th reel, from the I-th.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Address = Annotated[str, typer.Option("--address", help="local, auto, HOST:PORT or ray://HOST:PORT.")]
Server = Annotated[str, typer.Option("--address", help="The cluster's job server, http://HEAD:8265.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id that `submit` printed.")]
Outs = Annotated[list[str], typer.Argument(metavar="OUT…", help="Outputs of runs.")]


class Precision(enum.StrEnum):
    """As ``engine.precision`` of a config."""

    exact = "exact"
    fast = "fast"


class Kernels(enum.StrEnum):
    """As ``engine.kernels`` of a config."""

    torch = "torch"
    compiled = "compiled"


DEFAULT_SERVER = "http://127.0.0.1:8265"


def end(status: int) -> None:
    """End the command with this exit status."""
    raise typer.Exit(status)
