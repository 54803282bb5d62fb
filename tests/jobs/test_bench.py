"""That the measurements measure: on small things whose size is known. None of these tests asks how fast anything is."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import bench, bench_memory, bench_orchestration, bench_reads, bench_start
from jobs.bench_film import write_film
from jobs.bench_planning import planning
from jobs.bench_processes import Cpu, Seen, Watch
from jobs.bench_report import Figure, Measured, Part, at_most, cores, document
from jobs.bench_run import Run, restore
from jobs.bench_steps import STEPS, Alone
from jobs.common import load_spec
from pipeline.cluster.steps import prepare
from pipeline.cluster.work import Job
from pipeline.errors import CallError
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.spec import Source
from pipeline.storage import store

WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("bench") / "film.mkv", frames=30, width=WIDTH, height=HEIGHT)


@pytest.fixture(scope="module")
def run(film: Path) -> Run:
    """One real run, seen from outside; the parts below are given it in place of their own."""
    return restore(film, film.parent / "out", "--set", "tiles.frames=8")


def _figures(part: Part) -> dict[str, str]:
    return {f.what: f.came for f in part.figures}


def _number(text: str) -> float:
    found = re.search(r"-?\d+(\.\d+)?", text)
    assert found, text
    return float(found[0])


def test_the_film_has_the_frames_and_the_size_that_are_asked_for(film: Path) -> None:
    reel = probe(str(film), "film", Source())
    assert (reel.width, reel.height, reel.format.name) == (64, 48, "gbrp10le")
    assert len(build(reel)) == 30
    assert [p.name for p in film.parent.glob("*.mkv")] == ["film.mkv"]


def test_planning_plans_as_many_frames_as_it_says() -> None:
    figures = planning(Path(), frames=2400, shots=10, times=1).figures
    assert [re.search(r"\d+ tiles", f.what) is not None for f in figures] == [True] * 3
    assert figures[0].what.endswith(": 101 tiles")  # the last one in two
    assert all(_number(f.came) >= 0 for f in figures)


def test_a_step_counts_once_for_every_frame_that_goes_through_it(film: Path, tmp_path: Path) -> None:
    spec = load_spec("archive", ["chain=[]", "tiles.frames=8"])
    job = Job(((str(film), "film"),), str(tmp_path), spec, {})
    prepared = prepare(job, 0)
    alone, tiles = Alone(job, prepared), prepared.plan.tiles
    began = time.process_time()
    alone.measure(1)
    spent = time.process_time() - began
    one = alone.totals([tiles[1]])
    assert list(one) == list(STEPS)
    assert all(s >= 0 for s in one.values())
    # Each step is somewhere within what was spent; encoding is done twice to tell its parts apart.
    assert 0 < sum(one.values()) <= spent * 1.05
    assert sum(alone.totals([tiles[1]] * 5).values()) == pytest.approx(5 * sum(one.values()))
    assert alone.once(8) < sum(one.values())


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose own child takes 64 MiB and a third of a second of CPU, then waits."""
    work = (
        "import time; b = b'x' * (64 << 20)\nwhile time.process_time() < 0.3: pass\nprint(flush=True); time.sleep(60)"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def test_memory_and_cpu_of_descendants_are_seen(child: subprocess.Popen[bytes]) -> None:
    watch = Watch(child.pid, 0.02).start()
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.5)
    watch.stop()
    (driver,) = watch.of("driver")
    (below,) = watch.of("Ray")
    assert below.private_peak - driver.private_peak == pytest.approx(64 << 20, rel=0.1)
    assert below.cpu_s == pytest.approx(0.3, abs=0.15)
    assert watch.cpu[-1].by_role["Ray"] == below.cpu_s


def test_a_run_is_told_by_its_lines_and_its_processes(tmp_path: Path) -> None:
    watch = Watch(1, 0.0)
    watch.seen = {
        1: Seen("driver", 0.0),
        2: Seen("restorer", 2.0, ready=5.0, working=(10.0, 20.0)),
        3: Seen("restorer", 2.0, ready=8.0, working=(10.0, 30.0)),
    }
    watch.cpu = [Cpu(float(t), {"driver": t / 10, "restorer": t * 1.5}, t * 2.0) for t in range(40)]
    lines = [(3.0, "1 reel, 2 restorers on cpu"), (4.0, "a: 9 frames in 2 tiles"), (35.0, "a: done, 9 frames in 31 s")]
    run = Run(0.0, 36.0, lines, watch, ())
    assert (run.planned, run.handed_out, run.done) == (4.0, 5.0, 35.0)
    roles, others = run.cpu_between(10.2, 19.8)
    assert roles == pytest.approx({"driver": 1.0, "restorer": 15.0})
    assert others == pytest.approx(4.0)
    assert run.idle_share == 1.0  # no record says that anything was computed


@pytest.mark.cluster
@pytest.mark.slow  # a Ray of its own, for what no user's film hangs on
def test_every_part_tells_of_a_real_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bench_memory, bench_orchestration, bench_start):
        monkeypatch.setattr(module, "restore", lambda *_, **__: run)
    assert [(r.first, r.last) for r in run.records] == [(0, 8), (8, 16), (16, 24), (24, 30)]

    start = {
        k: _number(v)
        for k, v in _figures(bench_start.first_tile(tmp_path, frames=2, width=WIDTH, height=HEIGHT, times=1)).items()
    }
    total = start.pop("from the command to the first tile")
    parts = [v for k, v in start.items() if not k.startswith("·")]
    assert sum(parts) == pytest.approx(total, abs=0.1)
    assert all(v >= 0 for k, v in start.items() if k != "between its steps")

    memory = bench_memory.memory(tmp_path, frames=2, times=2, width=WIDTH, height=HEIGHT)
    assert all(_number(f.came) > 20 for f in memory.figures)  # MiB: Python alone
    assert [f.met for f in memory.figures] == [True, True, True, None]  # one run, seen twice

    cost = _figures(bench_orchestration.orchestration(tmp_path, frames=12, width=WIDTH, height=HEIGHT, samples=2))
    wall, work = _number(cost["wall"]), _number(cost["steps, alone"])
    assert 0 < wall < run.ended - run.began
    assert _number(cost["wall ÷ (steps ÷ cores)"]) == pytest.approx(wall / work * cores(), rel=0.2)
    assert 0 <= _number(cost["restorers without computing"]) < 100

    part = bench_start.task_cores(tmp_path, frames=30, width=WIDTH, height=HEIGHT, cores=(1,))
    rate, waited = (_number(f.came) for f in part.figures)
    assert rate > 0
    assert 0 <= waited < 100

    idle = _figures(bench_start.restorer_idle(tmp_path, frames=2, width=WIDTH, height=HEIGHT))
    assert idle["tiles"] == "4"


def test_bytes_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def restore(source: str, out: Path, *words: str) -> None:
        asked.append(words)
        store.fetch(source, tmp_path / f"{out.name}.mkv")

    monkeypatch.setattr(bench_reads, "restore", restore)
    part = bench_reads.reads(tmp_path, frames=6, width=WIDTH, height=HEIGHT)
    plan, *runs = (_number(f.came) for f in part.figures)
    assert plan > 0
    assert runs == [1.0] * 3, "each fetched the whole film once"
    assert len(asked) == 3
    assert (tmp_path / "staged.mkv").read_bytes() == (tmp_path / "reads.mkv").read_bytes()


def test_a_part_that_there_is_not_is_refused() -> None:
    with pytest.raises(CallError, match="no part 'tile-first'"):
        bench.run_bench(None, ["planning", "tile-first"])


def test_the_page_holds_every_figure_and_the_printed_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = Part("made", "Made up", "How.", [at_most("slow", 3.0, 2.0, lambda s: f"{s:.1f} s"), Figure("a|b", "7 %")])
    monkeypatch.setattr(bench, "PARTS", {"made": lambda _: part})
    page = tmp_path / "page.md"
    assert bench.run_bench(page, None) == 0
    text, printed = page.read_text(), capsys.readouterr().out
    assert "| slow   | 3.0 s | ≤ 2.0 s | **missed** |" in text
    assert "a\\|b" in text
    assert text.split("## Made up")[1].strip() == printed.split("## Made up")[1].strip()
    assert document([Measured(part, 1.0, 0.5)], when="today").startswith("# Performance")
    assert "cores" in text
    assert "torch" in text
