"""The demo without a cluster: its reel, and the arithmetic of its gains, with restorers whose result is known."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from jobs import demo
from pipeline.errors import VerifyError
from pipeline.plan import cuts
from pipeline.reel.decode import decode
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.reel.sample import write_sample
from pipeline.reel.still import read_picture
from pipeline.spec import Source, Spec


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> demo.MadeReel:
    return demo.build_reel(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def damaged(made: demo.MadeReel) -> demo.Clip:
    return demo._read(made.source, Spec())


@pytest.fixture
def once(made: demo.MadeReel, damaged: demo.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run takes the reel that is made already, and what was read of it."""
    read = demo._read
    monkeypatch.setattr(demo, "build_reel", lambda _folder: made)
    monkeypatch.setattr(demo, "_read", lambda path, spec: damaged if path == made.source else read(path, spec))


def copy(source: Path, out: Path, _spec: Spec) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(source, out / "copy.mkv"))


def test_the_reel_is_what_the_demo_says(made: demo.MadeReel) -> None:
    reel = probe(str(made.source), "seeding", Source())
    index = build(reel)
    assert (len(index), reel.rate, reel.width, reel.height) == (48, Fraction(18), 320, 240)
    assert (reel.codec, reel.format.name) == ("ffv1", "gbrp10le")
    assert [o.codec for o in reel.others] == ["pcm_s16le"]
    assert made.truth.shape == (48, 3, 240, 320)
    assert 0.0005 < made.dirt.mean() < 0.02
    assert made.dirt.any(axis=(1, 2)).mean() > 0.9, "hardly any frame has dirt"
    assert reel.bytes < 30_000_000


def test_its_one_cut_is_found_through_the_damage(made: demo.MadeReel) -> None:
    reel = probe(str(made.source), "seeding", Source())
    frames = decode(reel, build(reel), 0, 48, threads=1)
    assert np.flatnonzero(cuts.find(cuts.signature(frames))).tolist() == [demo.SHOT_FRAMES]


def test_made_again_it_is_left_alone(made: demo.MadeReel) -> None:
    before = made.source.stat()
    demo.build_reel(made.source.parent)
    assert made.source.stat().st_mtime_ns == before.st_mtime_ns
    assert [p.name for p in made.source.parent.iterdir()] == ["seeding.mkv"]


@pytest.mark.usefixtures("once")
def test_a_copy_gains_nothing(tmp_path: Path) -> None:
    result = demo.run(tmp_path, Spec(), copy)
    whole, inside, outside = result.gains
    for gain in result.gains:
        assert gain.after == gain.before
    assert inside.before < whole.before < outside.before
    assert inside.pixels + outside.pixels == pytest.approx(1)
    sheet = read_picture(result.picture)
    assert sheet.shape == (240, 3 * 320 + 2 * 8, 3)
    assert np.array_equal(sheet[:, :320], sheet[:, 328:648])
    assert not np.array_equal(sheet[:, :320], sheet[:, 656:])


@pytest.mark.usefixtures("once")
def test_the_truth_gains_all(made: demo.MadeReel, tmp_path: Path) -> None:
    def perfect(_source: Path, out: Path, _spec: Spec) -> Path:
        out.mkdir(parents=True)
        frames = demo._as_frames(made.truth)
        write_sample(out / "t.mkv", frames, rate=demo.RATE, sound=demo._sound(48), sound_rate=48_000)
        return out / "t.mkv"

    result = demo.run(tmp_path, Spec(), perfect)
    for gain in result.gains:
        # What is left is the rounding to 10 bit.
        assert gain.after > 60
    sheet = read_picture(result.picture)
    assert np.abs(sheet[:, 328:648].astype(int) - sheet[:, 656:]).max() <= 1


@pytest.mark.usefixtures("once")
def test_lost_frames_are_no_result(tmp_path: Path) -> None:
    def shorter(source: Path, out: Path, spec: Spec) -> Path:
        out.mkdir(parents=True, exist_ok=True)
        reel = probe(str(source), "seeding", spec.source)
        frames = decode(reel, build(reel), 0, 5, threads=1)
        write_sample(out / "short.mkv", frames, rate=demo.RATE, sound=demo._sound(5), sound_rate=48_000)
        return out / "short.mkv"

    with pytest.raises(VerifyError, match=r"short\.mkv.*5 frames.*48"):
        demo.run(tmp_path, Spec(), shorter)


def test_the_table_shows_the_gains_and_the_paths(tmp_path: Path) -> None:
    result = demo.DemoResult(
        source=tmp_path / "a [b].mkv",
        deliverable=tmp_path / "c.mkv",
        picture=tmp_path / "d.png",
        frame=7,
        gains=(demo.Gain("whole picture", 1.0, 30.004, 33.25), replace(demo.Gain("x", 0.001, 12, 11.5))),
    )
    out = io.StringIO()
    demo.show(result, Console(file=out, width=80))
    text = out.getvalue()
    for part in ("whole picture", "30.00", "33.25", "+3.25", "-0.50", "0.10%", str(result.source), "frame 7"):
        assert part in text


@pytest.mark.cluster
def test_the_command_restores_and_then_finds_its_work_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run_demo(tmp_path) == 0
    first = capsys.readouterr().out
    film = tmp_path / "restored" / "seeding" / "seeding.mkv"
    gains = re.findall(r"([+-]\d+\.\d\d) ", first)
    whole, inside, _ = (float(g) for g in gains)
    assert whole > 1.5
    assert inside > 4
    before = film.stat()
    assert demo.run_demo(tmp_path) == 0
    assert film.stat().st_mtime_ns == before.st_mtime_ns
    assert capsys.readouterr().out == first
