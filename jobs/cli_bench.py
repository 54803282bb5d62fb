"""``reelmend bench``: the commands that measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import Kernels, Precision, Set, end

app = typer.Typer()


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures there, as Markdown.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only these parts.")] = None,
) -> None:
    """Measure orchestration, memory, planning, start-up and restorers on this machine."""
    if context.invoked_subcommand is not None:
        return
    from jobs.bench import run_bench

    end(run_bench(out, only))


@app.command("net")
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

    end(
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


@app.command("film")
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
    end(
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


@app.command("spots")
def bench_spots(
    data: Annotated[
        list[str] | None, typer.Option("--data", metavar="URI", help="Photographs: those that training takes.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All of them: for photographs that nothing was learned from.")
    ] = False,
    overlays: Annotated[str | None, typer.Option("--overlays", help="Pictures of real dirt, with alpha.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Of some thirty clips each.")] = 3,
    learn: Annotated[
        Path | None, typer.Option("--learn", metavar="FILE", help="Learn from the clips, and write the nets there.")
    ] = None,
) -> None:
    """Measure what `dirt` takes and leaves, spot by spot, on many damaged clips and traps; or learn it from them."""
    from jobs.bench_spots import run_bench_spots

    end(run_bench_spots(data or [], overlays, which="all" if every else "trained", rounds=rounds, into=learn))
