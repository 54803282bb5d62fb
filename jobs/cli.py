"""The command ``reelmend``. Each command's work lies in a file of its own; this one only joins them.

Imports of Ray and torch wait until a command needs them: ``reelmend --help`` answers at once.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import CallError, ReelmendError

app = typer.Typer(
    name="reelmend",
    help="Restores archival film in bulk: reels in, restored masters and a record of every frame out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
nets_app = typer.Typer(help="The nets that a chain can name.", no_args_is_help=True)
app.add_typer(nets_app, name="nets")
bench_app = typer.Typer()
app.add_typer(bench_app, name="bench")

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


def _end(status: int) -> None:
    raise typer.Exit(status)


@app.command()
def demo(out: Annotated[Path, typer.Option("--out", help="Folder for the demo's files.")] = Path("demo-out")) -> None:
    """Make a small damaged reel whose truth is known, restore it, and show what came of it."""
    from jobs.demo import run_demo

    _end(run_demo(out))


@app.command()
def probe(source: Annotated[str, typer.Argument(metavar="SOURCE")], as_json: Json = False) -> None:
    """Say what a film is: picture, rate, colour, other streams."""
    from jobs.plan import show_probe

    _end(show_probe(source, as_json=as_json))


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
    _end(show_plan(job, as_json=as_json, fps=fps))


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
    _end(run(job, address=address, as_json=as_json, log=log))


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

    _end(show_preview(source, at, configs or (), out))


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

    _end(
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

    _end(show_logs(job, address=address, follow=follow))


@app.command()
def stop(job: JobId, address: Server = DEFAULT_SERVER) -> None:
    """Stop a submitted job; what is in its ledger is kept."""
    from jobs.submit import stop as ask

    _end(ask(job, address=address))


@app.command()
def status(
    target: Annotated[str, typer.Argument(metavar="OUT|JOB", help="An output; with --address: a job's id.")],
    address: Annotated[str | None, typer.Option("--address", help="Ask this job server about a job.")] = None,
    as_json: Json = False,
) -> None:
    """What is done, left and quarantined: from the ledger alone, on any machine that reads the output."""
    if address is not None:
        from jobs.submit import show_job

        _end(show_job(target, address=address, as_json=as_json))
    from jobs.status import show_status

    _end(show_status(target, as_json=as_json))


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

    _end(show_audit(outs, worst=worst, as_json=as_json, where=where))


@app.command()
def verify(outs: Outs, as_json: Json = False) -> None:
    """Hash and decode again everything that runs have published; status 1 where something is not as it was."""
    from jobs.verify import show_verify

    _end(show_verify(outs, as_json=as_json))


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

    _end(show_undo(reel, to=to, as_json=as_json))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    as_json: Json = False,
) -> None:
    """Figures between two films, frame by frame."""
    from jobs.compare import show_compare

    _end(show_compare(a, b, as_json=as_json))


@app.command()
def clean(out: Annotated[str, typer.Argument(metavar="OUT")], as_json: Json = False) -> None:
    """Delete what runs keep below OUT/.work: indexes, and segments of reels that were not finished."""
    from jobs.clean import clean as sweep

    _end(sweep(out, as_json=as_json))


@bench_app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures there, as Markdown.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only these parts.")] = None,
) -> None:
    """Measure orchestration, memory, planning, start-up and restorers on this machine."""
    if context.invoked_subcommand is not None:
        return
    from jobs.bench import run_bench

    _end(run_bench(out, only))


@bench_app.command("net")
def bench_net(
    nets: Annotated[list[str] | None, typer.Argument(metavar="[NET]…", help="Names of the registry, or paths.")] = None,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Of the picture, in px.")] = "512x512",
    precision: Annotated[Precision, typer.Option("--precision", help="bfloat16 or float32.")] = Precision.fast,
    kernels: Annotated[Kernels, typer.Option("--kernels", help="As engine.kernels of a config.")] = Kernels.torch,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda:0.")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, max=256, help="Of the CPU.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Calls of each form.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures there, as Markdown.")] = None,
) -> None:
    """Measure nets: speed, against the plain form and the machine's ceiling, memory, error, where the time goes."""
    from jobs.bench import run_bench_net

    _end(
        run_bench_net(
            out,
            size,
            nets or ["nafnet-sidd-w32"],
            precision=precision.value,
            kernels=kernels.value,
            device=device,
            threads=threads,
            rounds=rounds,
        )
    )


@bench_app.command("film")
def bench_film(
    data: Annotated[
        list[str] | None, typer.Option("--data", metavar="URI", help="Photographs: those that training holds out.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All of them: for photographs that no net was trained on.")
    ] = False,
    overlays: Annotated[str | None, typer.Option("--overlays", help="Pictures of real dirt, with alpha.")] = None,
    films: Annotated[
        list[str] | None,
        typer.Option("--films", metavar="SOURCE", help="Real films: before and after."),
    ] = None,
    vapoursynth: Annotated[
        str | None, typer.Option("--vapoursynth", metavar="PYTHON", help="A Python that has VapourSynth and plugins.")
    ] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="In place of the presets' net.")] = None,
    overrides: Set = None,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny clips, for a first look.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write the page there, its pictures beside it.")] = None,
) -> None:
    """Measure how well the presets mend film whose truth is known, beside what others make of it."""
    from jobs.bench_quality import run_bench_film

    said = [("--data", d) for d in data or []] + [("--overlays", overlays)] + [("--films", f) for f in films or []]
    said += [("--vapoursynth", vapoursynth and "PYTHON"), ("--weights", weights)]
    words = [f"{option} {value}" for option, value in said if value]
    words += [option for option, given in (("--all", every), ("--quick", quick)) if given]
    _end(
        run_bench_film(
            out,
            data=data or [],
            every=every,
            overlays=overlays,
            films=films or [],
            vapoursynth=vapoursynth,
            weights=weights,
            overrides=overrides or [],
            quick=quick,
            command=" ".join(["reelmend bench film", *words]),
        )
    )


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

    _end(
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


@nets_app.command("list")
def nets_list(as_json: Json = False) -> None:
    """The nets of the registry."""
    from jobs.nets import show_nets

    _end(show_nets(as_json=as_json))


@nets_app.command("check")
def nets_check(
    net: Annotated[str, typer.Argument(metavar="NET", help="A name of the registry, a path or a URI.")],
    sha256: Annotated[str | None, typer.Option("--sha256", help="Hash that the file must have.")] = None,
    as_json: Json = False,
) -> None:
    """Check a net's hash, keys and one forward pass, and show its card."""
    from jobs.nets import check_net

    _end(check_net(net, sha256, as_json=as_json))


@nets_app.command("fetch")
def nets_fetch(
    uri: Annotated[str, typer.Argument(metavar="URI")],
    sha256: Annotated[str, typer.Option("--sha256", help="Hash that the file must have.")],
    as_json: Json = False,
) -> None:
    """Fetch weights into the cache of this machine."""
    from jobs.nets import fetch_net

    _end(fetch_net(uri, sha256, as_json=as_json))


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
