"""The benchmark of restoration: its clips know their truth, its scores are right, and who is missing is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from jobs import bench_clips, bench_peers, bench_quality, bench_speed, bench_traps
from jobs.bench_clips import Size, damaged, pictures, worn, woven
from jobs.bench_peers import aligned, peers
from jobs.bench_quality import Results, astray, means, measured, of_the_film, wrongly
from jobs.bench_quality_page import goals, write_page
from jobs.bench_seen import about
from jobs.bench_traps import clean, traps
from jobs.common import load_spec
from pipeline.errors import CallError
from pipeline.reel.still import read_picture
from pipeline.train.clips import Clip
from pipeline.train.pictures import Item
from tests.motion.test_motion import scene, view

SMALL = Size(96, 80, 8)


def noise(frames: int = 8) -> Clip:
    return np.random.default_rng(3).random((frames, 3, 24, 32)).astype(np.float32)


def test_clips_hold_their_truth_and_are_the_same_every_time() -> None:
    found = pictures([], None)
    assert found.chosen == "shipped"
    one, again = (damaged(found, SMALL, only=("pan",))[0] for _ in range(2))
    assert np.array_equal(one.damaged, again.damaged)
    assert one.damaged.shape == one.truth.shape == (8, 3, 80, 96)
    apart = np.abs(one.damaged - one.truth).max(axis=1)
    assert one.dirt.any()
    assert one.lines.any()
    assert (one.seen <= one.dirt).all()
    assert apart[one.seen].mean() > 2 * apart[~one.mask].mean(), "dirt is where the mask says"
    weaves = woven(found, SMALL)[0]
    assert astray(weaves.damaged, weaves.truth) > 0.2
    assert astray(weaves.truth, weaves.truth) == pytest.approx(0, abs=1e-3)


def test_dirt_is_seen_by_what_it_changes_itself() -> None:
    """Grain and flicker beneath a faint spot make it no plainer."""
    found = pictures([], None)
    for case in worn(found, SMALL):
        assert (case.seen <= case.dirt).all()
    case = damaged(found, SMALL, only=("pan",))[0]
    quiet = replace(bench_clips._WORN, grain=0.0, flicker=0.0, flicker_local=0.0, flicker_offset=0.0)
    same = bench_clips.made("pan", "", found, SMALL, 0, bench_clips.MOVING, quiet)
    assert np.array_equal(case.seen, same.seen)
    assert case.seen.any()


def test_traps_and_clean_film_are_their_own_truth() -> None:
    found = pictures([], None)
    for case in (*traps(found, SMALL), clean(found, SMALL)):
        assert np.array_equal(case.damaged, case.truth), case.name
        assert not case.mask.any()
        assert float(np.abs(np.diff(case.truth, axis=0)).mean()) > 0 or case.name == "intertitle"


def test_pictures_that_training_holds_out_are_told_from_those_it_sees(tmp_path: Path) -> None:
    from pipeline.reel.still import write_png
    from pipeline.train.pictures import find
    from pipeline.train.spec import Data, DataSource

    for n in range(5):
        write_png(tmp_path / f"{n}.png", np.full((20, 24, 3), 20 * n, np.uint8))
    held = pictures([str(tmp_path)], None)
    assert held.chosen == "held out"
    split = find(Data(sources=(DataSource(uri=str(tmp_path)),)), 1)
    assert [i.name for i in held.items] == [i.name for i in split.validation]
    every = pictures([str(tmp_path)], None, "all")
    assert every.chosen == "all"
    assert [i.name for i in every.items] == [f"{n}.png" for n in range(5)]
    with pytest.raises(CallError, match="made from stills"):
        pictures([f"films={tmp_path}"], None)


def test_the_page_says_what_the_nets_have_seen_by_their_cards() -> None:
    def told(weights: str, names: Sequence[str], chosen: Literal["shipped", "held out", "all"] = "held out") -> str:
        items = [Item(f"below/{n}", "stills", ()) for n in names]
        spec = load_spec("clean", [f"chain=[{{pass: net, weights: {weights}}}]"])
        return about(replace(pictures([], None), items=items, chosen=chosen), {"clean": spec})

    held = told("nafnet-film", ["Dune.jpg", "fog.jpg"])
    assert "`nafnet-film` itself was trained on 0 of them, and held 2 out" in held
    assert "it began from `nafnet-film-seed`, whose card lists 2 of them as trained on" in held
    assert "all of them have been seen on the way" in held
    assert "1 of the 2 have been seen" in told("nafnet-film-small", ["fog.jpg", "Dune.jpg"])
    mine = told("nafnet-film", ["mine.jpg"], "all")
    assert mine.startswith("1, all of `--data`.")
    assert "names none of them, nor that of `nafnet-film-seed`" in mine
    for other in ("/lab/other.safetensors", "nafnet-sidd-w32"):
        assert f"What `{other}` was trained on is not known here" in told(other, ["Dune.jpg"])
    assert "Training has seen it" in told("nafnet-film", ["seeding.jpg"], "shipped")


def test_a_pixel_that_comes_out_further_from_the_truth_is_wrongly_repaired() -> None:
    truth = np.full((2, 3, 10, 10), 0.5, np.float32)
    before = truth + np.float32(0.02)
    after = before.copy()
    after[1, 0, :2, :5] = 0.3
    after[1, :, 5] = 0.5  # nearer: no harm
    assert wrongly(before, after, truth) == [0, 0.1]


@pytest.mark.parametrize("by", [-2, 0, 1])
def test_frames_of_others_are_put_where_they_belong(by: int) -> None:
    source = np.stack([np.repeat(view(scene(), 3.0 * k, 0, 48, 64)[None], 3, 0) for k in range(8)]).astype(np.float32)
    given = source[max(0, by) :] if by >= 0 else np.concatenate([source[:1]] * -by + [source])
    out = aligned(given * np.float32(0.8), source)
    for n in range(2, 6):
        assert np.allclose(out[n], 0.8 * source[n])
    with pytest.raises(CallError, match="are wanted"):
        aligned(given[..., :5], source)


def test_who_lacks_a_filter_or_a_plugin_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [p.name for p in peers(None)]
    assert "FFmpeg: deflicker, tmedian" in names
    assert not any("VapourSynth" in n for n in names)
    monkeypatch.setattr(bench_peers, "available", lambda chain: "tmedian" not in set(chain))
    assert not any("tmedian" in p.name for p in peers(None))
    assert "tmedian" in bench_peers.missing()
    lacking = tmp_path / "python"
    lacking.write_text("#!/bin/sh\necho 'No attribute with the name mv exists' >&2\nexit 3\n")
    lacking.chmod(0o755)
    with pytest.raises(CallError, match="lacks a plugin: No attribute"):
        next(p for p in peers(str(lacking)) if "VapourSynth" in p.name).restore(noise(14))
    with pytest.raises(CallError, match="cannot be asked"):
        next(p for p in peers(str(tmp_path / "none")) if "VapourSynth" in p.name).restore(noise(14))


def test_the_largest_blotch_is_a_share_of_the_films_picture() -> None:
    spec = load_spec("clean")
    was, now = (next(p.largest for p in s.chain if p.kind == "dirt") for s in (spec, of_the_film(spec, Size())))
    assert now == pytest.approx(was * (Size().film / Size().width) ** 2)


def test_everything_is_measured_and_written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A clip, a trap and a clip that weaves, through short chains."""
    for module, name, kept in (
        (bench_clips, "DAMAGED", "pan"),
        (bench_clips, "_WOVEN", "weave"),
        (bench_clips, "WRECKED", "worn pan"),
        (bench_traps, "TRAPS", "rain"),
    ):
        monkeypatch.setattr(module, name, {kept: getattr(module, name)[kept]})
    monkeypatch.setattr(bench_peers, "_FFMPEG", [("tmedian", (*bench_peers._WIDE, *bench_peers._MEDIAN))])
    monkeypatch.setattr(bench_quality, "speeds", lambda *_, **__: [bench_speed.Speed("clean", SMALL, 1.5, 1.0)])
    chain = "chain=[{pass: stabilise},{pass: deflicker},{pass: dirt},{pass: scratches}]"
    specs = {name: load_spec(name, [chain]) for name in ("archive", "clean")}
    found: Results = measured(pictures([], None), SMALL, specs, None)
    page = write_page(found, tmp_path / "q.md", command="reelmend bench film --quick")
    assert (tmp_path / "q.md").read_text() == page
    assert read_picture(tmp_path / "q" / "pan.jpg").shape[:2] == (80, 4 * 96 + 3 * 6)
    assert {f.met for f in goals(found)} >= {True, False}, "what is missed is said"
    for told in (
        "the one that ships with the project",
        "No real film was given",
        "**missed**",
        "VapourSynth: none was given",
        "FFmpeg: deflicker, tmedian (best other)",
        "| rain ",
    ):
        assert told in page
    by = means(found.scored)
    assert by["clean"].psnr_db == found.scored[0].by["clean"].psnr_db
    assert means(found.worn)["clean"].psnr_db != by["clean"].psnr_db, "heavily worn film stands by itself"
    assert (tmp_path / "q" / "worn-pan.jpg").is_file()
    assert set(by) == {"damaged", "archive", "clean", "FFmpeg: deflicker, tmedian"}
