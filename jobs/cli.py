"""The command ``reelmend``. Each command's work lies in a file of its own; this one only joins them.

Imports of Ray and torch wait until a command needs them: ``reelmend --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from jobs import cli_bench, cli_nets
from jobs.cli_options import (
    DEFAULT_SERVER,
    Address,
    Bag,
    Config,
    JobId,
    Json,
    Out,
    Outs,
    Overwrite,
    Server,
    Set,
    Shard,
    Sources,
    Span,
    end,
)
from pipeline.errors import CallError, ReelmendError

app = typer.Typer(
    name="reelmend",
    help="Restores archival film in bulk: reels in, restored masters and a record of every frame out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_nets.app, name="nets")
app.add_typer(cli_bench.app, name="bench")


@app.command()
def demo(out: Annotated[Path, typer.Option("--out", help="Folder for the demo's files.")] = Path("demo-out")) -> None:
    """Make a small damaged reel whose truth is known, restore it, and show what came of it."""
    from jobs.demo import run_demo

    end(run_demo(out))


@app.command()
def probe(source: Annotated[str, typer.Argument(metavar="SOURCE")], as_json: Json = False) -> None:
    """Say what a film is: picture, rate, colour, other streams."""
    from jobs.plan import show_probe

    end(show_probe(source, as_json=as_json))


@app.command()
def plan(
    sources: Sources,
    out: Out,
    config: Config = "archive",
    overrides: Set = None,
    frames: Span = None,
    shard: Shard = None,
    fps: Annotated[float | None, typer.Option("--fps", min=0.001, help="Frames/s of a restorer, if known.")] = None,
    as_json: Json = False,
) -> None:
    """The dry run: tiles, memory, work left, cores and GB/s wanted, time."""
    from jobs.plan import show_plan
    from jobs.restore import make_job

    job = make_job(sources, out, config=config, overrides=overrides or (), frames=frames, shard=shard)
    end(show_plan(job, as_json=as_json, fps=fps))


@app.command()
def restore(
    sources: Sources,
    out: Out,
    config: Config = "archive",
    overrides: Set = None,
    frames: Span = None,
    overwrite: Overwrite = False,
    bag: Bag = False,
    address: Address = "local",
    shard: Shard = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="FILE", help="Append the run's events as JSON lines; -: to stderr.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Restore reels. A run that was stopped goes on where it was; a reel that is done is not touched."""
    from jobs.restore import make_job
    from jobs.restore import restore as run

    job = make_job(
        sources,
        out,
        config=config,
        overrides=overrides or (),
        frames=frames,
        overwrite=overwrite,
        shard=shard,
        bag=bag,
    )
    end(run(job, address=address, as_json=as_json, log=log))


@app.command()
def preview(
    source: Annotated[str, typer.Argument(metavar="SOURCE")],
    at: Annotated[int, typer.Option("--at", min=0, help="Number of the frame, from 0.")],
    out: Annotated[Path, typer.Option("--out", help="The picture to write (PNG).")],
    configs: Annotated[
        list[str] | None, typer.Option("-c", "--config", help="A preset's name, or a YAML file; may be repeated.")
    ] = None,
) -> None:
    """One frame as the source has it and as configs would restore it, side by side."""
    from jobs.preview import show_preview

    end(show_preview(source, at, configs or (), out))


@app.command()
def submit(
    sources: Sources,
    out: Out,
    address: Server = DEFAULT_SERVER,
    config: Config = "archive",
    overrides: Set = None,
    frames: Span = None,
    overwrite: Overwrite = False,
    bag: Bag = False,
    shard: Shard = None,
    as_json: Json = False,
) -> None:
    """Restore reels as a job of a Ray cluster."""
    from jobs.submit import submit as hand_in

    end(
        hand_in(
            sources,
            out,
            address=address,
            config=config,
            overrides=overrides or (),
            frames=frames,
            overwrite=overwrite,
            bag=bag,
            shard=shard,
            as_json=as_json,
        )
    )


@app.command()
def logs(
    job: JobId,
    address: Server = DEFAULT_SERVER,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
) -> None:
    """Print what a submitted job has printed."""
    from jobs.submit import show_logs

    end(show_logs(job, address=address, follow=follow))


@app.command()
def stop(job: JobId, address: Server = DEFAULT_SERVER) -> None:
    """Stop a submitted job; what is in its ledger is kept."""
    from jobs.submit import stop as ask

    end(ask(job, address=address))


@app.command()
def status(
    target: Annotated[str, typer.Argument(metavar="OUT|JOB", help="An output; with --address: a job's id.")],
    address: Annotated[str | None, typer.Option("--address", help="Ask this job server about a job.")] = None,
    as_json: Json = False,
) -> None:
    """What is done, left and quarantined: from the ledger alone, on any machine that reads the output."""
    if address is not None:
        from jobs.submit import show_job

        end(show_job(target, address=address, as_json=as_json))
    from jobs.status import show_status

    end(show_status(target, as_json=as_json))


@app.command()
def audit(
    outs: Outs,
    worst: Annotated[int, typer.Option("--worst", min=1, max=10_000, help="Shots to list.")] = 20,
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="Only shots with frames of which this is true.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The shots to review first, over all reels of the outputs; status 1 where a rule marked `fail` fired."""
    from jobs.audit import show_audit

    end(show_audit(outs, worst=worst, as_json=as_json, where=where))


@app.command()
def verify(outs: Outs, as_json: Json = False) -> None:
    """Hash and decode again everything that runs have published; status 1 where something is not as it was."""
    from jobs.verify import show_verify

    end(show_verify(outs, as_json=as_json))


@app.command()
def undo(
    reel: Annotated[str, typer.Argument(metavar="OUT/REEL", help="Folder of a reel restored with a residual.")],
    to: Annotated[
        str | None, typer.Option("--to", help="Write the frames to this film (.mkv): any fsspec URI.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rebuild the source's frames from deliverable and residual, and prove each by its hash."""
    from jobs.undo import show_undo

    end(show_undo(reel, to=to, as_json=as_json))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    as_json: Json = False,
) -> None:
    """Figures between two films, frame by frame."""
    from jobs.compare import show_compare

    end(show_compare(a, b, as_json=as_json))


@app.command()
def clean(out: Annotated[str, typer.Argument(metavar="OUT")], as_json: Json = False) -> None:
    """Delete what runs keep below OUT/.work: indexes, and segments of reels that were not finished."""
    from jobs.clean import clean as sweep

    end(sweep(out, as_json=as_json))


@app.command()
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A training preset's name, or a YAML file.")],
    out: Annotated[str, typer.Option("--out", help="Where weights, card, log and checkpoint go: any fsspec URI.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="[KIND=]URI", help="Clean pictures: stills (the default), frames or films."),
    ] = None,
    overlays: Annotated[str | None, typer.Option("--overlays", help="Pictures of real dirt, with alpha.")] = None,
    overrides: Set = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.001, help="End this run after so long.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="GPUs of a Ray cluster that train together.")] = 1,
    address: Address = "local",
    as_json: Json = False,
) -> None:
    """Train a net, or go on where it was stopped; its weights can be named in a chain at once."""
    from jobs.train import train as run

    end(
        run(
            config,
            out,
            data=data or (),
            overlays=overlays,
            overrides=overrides or (),
            minutes=minutes,
            as_json=as_json,
            workers=workers,
            address=address,
        )
    )


def guarded(call: Callable[[], None]) -> int:
    """Run a command; an error that a user can meet is one line on stderr, never a traceback."""
    try:
        call()
    except CallError as error:
        print(f"reelmend: {error}", file=sys.stderr)
        return 2
    except ReelmendError as error:
        print(f"reelmend: {error}", file=sys.stderr)
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    return 0


def main() -> None:
    """Entry point of the command."""
    sys.exit(guarded(app))


if __name__ == "__main__":
    main()
