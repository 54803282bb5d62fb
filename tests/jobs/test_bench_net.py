"""``reelmend bench net`` and ``--only actors``: what they tell, and what they refuse."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs import bench_net
from jobs.bench import run_bench_net
from jobs.bench_net import Apart, actors, layouts
from jobs.cli import app
from pipeline.errors import CallError, ReelmendError


def test_restorers_and_threads_fill_the_cores() -> None:
    assert layouts(1) == [(1, 1)]
    assert layouts(2) == [(2, 1), (1, 2)]
    assert layouts(12) == [(12, 1), (6, 2), (3, 4), (1, 8)]


@pytest.mark.parametrize("size", ["64", "x", "64x", "-8x8", "0x8", "99999x99999", "9" * 40 + "x1"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(CallError):
        run_bench_net(None, size, ["nafnet-film"], precision="fast", kernels="torch", device="cpu", threads=1, rounds=1)


def test_a_process_that_dies_or_cannot_begin_is_told() -> None:
    with (
        pytest.raises(ReelmendError, match="no weights of this name"),
        Apart(net="no-net", form="plain", width=8, height=8),
    ):
        pass
    with Apart(net="nafnet-film", form="exact", width=32, height=32) as one:
        assert one.ask("about")["width"] == 32
        with pytest.raises(ReelmendError, match="AttributeError"):
            one.ask("nothing")
        one.begin("seconds", 10**9)
        os.kill(one._process.pid or 0, 9)
        with pytest.raises(ReelmendError, match="died"):
            one.end()


@pytest.mark.slow
def test_a_net_is_told_of(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    said = ["bench", "net", "nafnet-film", "--size", "64x48", "--rounds", "2", "--out", str(page)]
    done = CliRunner().invoke(app, said)
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert text.split("## ")[1] in done.output
    rates = [float(re.findall(rf"\| {what} +\| ([\d.]+)", text)[0]) for what in ("frames a second", "· the plain form")]
    ratio = float(re.findall(r"\| ratio to the plain form +\| ([\d.]+)", text)[0])
    assert ratio == pytest.approx(rates[0] / rates[1], rel=0.02)
    for what in ("share of the ceiling", "peak memory a megapixel", "error against float64", "time in aten::mkldnn"):
        assert what in text
    assert "`reelmend bench net nafnet-film --size 64x48 --precision fast" in text


@pytest.mark.slow
def test_the_best_layout_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_net, "cores", lambda: 2)
    figures = {f.what: f.came for f in actors(tmp_path, width=64, height=48, calls=2).figures}
    rates = {what: float(came.split()[0]) for what, came in figures.items() if "×" in what}
    assert len(rates) == 2
    number, threads = re.findall(r"\d+", max(rates, key=lambda k: rates[k]))
    assert figures["suits this machine"] == f"cluster.restorers: {number}, engine.cpu_threads: {threads}"


def test_bench_alone_still_measures_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr("jobs.bench.run_bench", lambda out, only: called.append((out, only)) or 0)
    assert CliRunner().invoke(app, ["bench"]).exit_code == 0
    assert CliRunner().invoke(app, ["bench", "--only", "planning", "--out", "x.md"]).exit_code == 0
    assert called == [(None, None), (Path("x.md"), ["planning"])]
