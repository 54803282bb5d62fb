"""Films of every format through one Ray: an empty chain changes nothing, a net can be undone, and FFmpeg agrees."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline import tables
from pipeline.cluster.progress import Event
from pipeline.cluster.run import RunResult
from pipeline.publish import layout
from pipeline.publish.verify import verify
from pipeline.reel import framemd5
from tests.reel import judge
from tests.reel.axes import FRAMES, Film, films, make
from tests.reel.test_corrupt import FILMS as BROKEN
from tests.reel.test_corrupt import VARIANTS
from tests.reel.test_films import FEW

pytestmark = pytest.mark.cluster
Run = Callable[..., tuple[RunResult, list[Event]]]
REFUSED = ("ya16be", "ya16le")
SAY = "source: {interlaced: per_field}\ntiles: {frames: 5}\n"
NET = SAY + "chain: [{pass: net}]\ndeliver: {residual: true}\n"


def made(chosen: Sequence[Film], folder: Path) -> dict[str, Film]:
    """Films in one folder, by the names of their reels."""
    named = {}
    for number, film in enumerate(chosen):
        here = folder / "making"
        here.mkdir(parents=True)
        path = make(film, here)
        name = f"{number:03d}-{film.codec}-{film.pixel_format}"
        path.rename(folder / f"{name}{path.suffix}")
        shutil.rmtree(here)
        named[name] = film
    return named


def source_of(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"{name}.*")
    return path


def check(folder: Path, out: Path, named: dict[str, Film], *, changed: bool) -> None:
    """What holds for every film of a run."""
    for name, film in named.items():
        path, source = out / name / f"{name}.mkv", source_of(folder, name)
        ours = framemd5.parse((out / name / layout.OUTPUT_MD5).read_text())
        theirs = judge.framemd5(source)
        found = judge.framemd5(path)
        assert found.md5s == list(ours.md5s), film
        assert len(found.rows) == FRAMES
        said = framemd5.parse((out / name / layout.SOURCE_MD5).read_text())
        assert list(said.md5s) == theirs.md5s, film
        assert found.times == [Fraction(int((2 * t * 1000 + 1) // 2), 1000) for t in theirs.times], film
        if film.timing == "constant" and film.rotation == "0":
            plain = [line for line in judge.plain_framemd5(path).text.splitlines() if not line.startswith("#")]
            text = (out / name / layout.OUTPUT_MD5).read_text().splitlines()
            assert plain == [line for line in text if not line.startswith("#")], film
        if film.sound != "none":
            assert judge.stream_hash(path, "a") == judge.stream_hash(source, "a"), film
        rows = tables.read_columns(out / name / layout.FRAMES, ["touched_fraction", "psnr_db"])
        if not changed:
            assert set(rows["touched_fraction"]) == {0.0}, film
            assert set(rows["psnr_db"]) == {100.0}, film
        assert judge.tags(path).sample_aspect == judge.tags(source).sample_aspect


def through(run: Run, chosen: Sequence[Film], folder: Path, chains: Sequence[str]) -> None:
    named = made(chosen, folder / "in")
    refused = {n for n, f in named.items() if f.pixel_format in REFUSED}
    kept = {n: f for n, f in named.items() if n not in refused}
    for number, text in enumerate(chains):
        out = folder / f"out{number}"
        result, _ = run([folder / "in"], out, text)
        ended = {o.name: o.status for o in result.outcomes}
        assert ended == {n: "quarantined" if n in refused else "done" for n in named}, result.outcomes
        check(folder / "in", out, kept, changed="chain: []" not in text)
        report = verify([str(out)])
        assert [f for f in report.findings if f.kind != "quarantined"] == []
        # With the residual every frame of the source has come back on the way.
        assert sum(r.frames for r in report.reels) == FRAMES * len(kept)
        shutil.rmtree(out)


def test_a_few_films_with_a_net_and_their_residual(run: Run, tmp_path: Path) -> None:
    through(run, FEW[1:3], tmp_path, [NET])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("third", range(3))
def test_every_film_with_an_empty_chain_and_with_a_net(run: Run, tmp_path: Path, third: int) -> None:
    through(run, films()[third::3], tmp_path, [SAY + "chain: []\n", NET])


@pytest.mark.slow
def test_broken_films_of_every_container_are_never_published(run: Run, tmp_path: Path) -> None:
    """And nothing of them is left lying about on scratch."""
    folder, scratch = tmp_path / "in", tmp_path / "scratch"
    folder.mkdir()
    names = {"good"}
    for container, film in BROKEN.items():
        whole = make(film, tmp_path)
        data = whole.read_bytes()
        for variant in ("bytes flipped", "tail cut", "header wiped"):
            name = f"{container}-{variant.replace(' ', '-')}"
            (folder / f"{name}.{container}").write_bytes(VARIANTS[variant](data))
            names.add(name)
        if container == "mkv":
            whole.rename(folder / "good.mkv")
    text = f"{SAY}chain: []\ncluster: {{scratch: {scratch}}}\n"
    result, _ = run([folder], tmp_path / "out", text)
    ended = {o.name: o.status for o in result.outcomes}
    assert ended == {name: "done" if name == "good" else "quarantined" for name in names}
    files = {p.relative_to(tmp_path / "out").parts[0] for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert files == {"good", "quarantine", ".work", layout.NIGHT}
    assert {p.stem for p in (tmp_path / "out/quarantine").iterdir()} == names - {"good"}
    assert [p for p in scratch.rglob("*") if p.is_file()] == []
    assert not list((tmp_path / "out").rglob(".reelmend-part-*"))
