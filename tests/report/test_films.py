"""A film that went well, one that was restored by a wrong net, one with seams and flicker: each its own flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jobs.audit import show_audit
from pipeline import tables
from pipeline.publish import layout
from pipeline.publish.verify import verify
from pipeline.restore import weights
from pipeline.rules import Flags
from pipeline.spec import NetPass
from tests.report import films
from tests.restore import test_passes as made


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films.source(tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def good(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Restored by the bundled net, in spatial tiles, with five frames kept."""
    return films.restore(film, tmp_path_factory.mktemp("good"), "engine.tile=128", "stills={most: 6, side: 128}")


def test_a_film_that_went_well_has_no_flags(good: Path) -> None:
    assert films.flags(good) == {}
    said = json.loads((good / layout.SUMMARY).read_text())
    assert (said["flags"], said["flagged_frames"], said["rules"]) == ({}, 0, [])
    columns = tables.read_columns(good / layout.FRAMES, ["seam_space", "seam_time", "ydif_source", "tout_source"])
    assert max(columns["seam_space"]) < Flags().seam.above
    # In `exact` the overlap frame comes out the same in both tiles.
    assert [n for n, v in enumerate(columns["seam_time"]) if v is not None] == [films.TILE]
    assert {v for v in columns["seam_time"] if v is not None} == {0.0}
    assert None not in columns["tout_source"]


def test_every_measured_column_is_filled_whatever_the_chain_holds(good: Path, film: Path, tmp_path: Path) -> None:
    """But for what is not there: a timecode, a net, a border between spatial tiles."""
    between = {c.name for c in tables.FRAME_COLUMNS if "null at the reel's start and after a cut" in c.meaning}
    assert {"warp_error_source", "warp_error_output", "flicker_output", "unsupported_fraction"} <= between
    empty = films.restore(film, tmp_path / "out", "chain=[]", "stills.most=0", "tiles.frames=4")
    of_nets = {"net", "weights_sha256", "seam_space"}
    for reel, none in ((good, set()), (empty, of_nets)):
        got = tables.read_columns(reel / layout.FRAMES, [c.name for c in tables.FRAME_COLUMNS])
        assert len(got["frame"]) == films.FRAMES
        nulls = {name: [n for n, v in enumerate(values) if v is None] for name, values in got.items()}
        assert {name for name, at in nulls.items() if len(at) == films.FRAMES} == none | {"timecode"}
        assert {name for name, at in nulls.items() if at == [0]} == between
        assert {name for name, at in nulls.items() if at and len(at) < films.FRAMES} == between | {"seam_time"}
    # What is said of the source depends on neither chain nor tiles.
    names = [c.name for c in tables.FRAME_COLUMNS if c.name.endswith("_source")]
    assert "warp_error_source" in names
    names += ["dirt_fraction", "scratch_columns", "shift_x_px", "shift_y_px"]
    one, other = (tables.read_columns(reel / layout.FRAMES, names) for reel in (good, empty))
    assert one == other
    assert one["dirt_fraction"][0] == 0.0 < min(one["dirt_fraction"][1:-1])
    assert {*one["scratch_columns"], *one["shift_x_px"], *one["shift_y_px"]} == {0}
    got = tables.read_columns(good / layout.FRAMES, ["warp_error_source", "warp_error_output", "ydif_source"])
    source, output, moved = (sum(v[1:]) / (films.FRAMES - 1) for v in got.values())
    assert output < source < 0.7 * moved  # a pan, of which grain and dirt are left


@pytest.mark.slow  # tests/quality asks the same of clips
def test_what_is_measured_without_a_pass_is_what_the_pass_finds(tmp_path: Path) -> None:
    """Within a factor of two of dirt, and of three of a scratch, of which the pass counts the faint sides too; over all
    frames, whatever the tiles."""
    film = films.scratched(tmp_path)
    names = ["dirt_fraction", "scratch_columns"]
    chains = ("[]", "[{pass: dirt}, {pass: scratches}]")
    measured, passed = (
        tables.read_columns(
            films.restore(film, tmp_path / str(n), f"chain={chain}", "stills.most=0", f"tiles.frames={6 + n}")
            / layout.FRAMES,
            names,
        )
        for n, chain in enumerate(chains)
    )
    dirt = [sum(got["dirt_fraction"]) for got in (measured, passed)]
    assert 0.5 < dirt[0] / dirt[1] < 2
    assert dirt[0] > 0.001 * len(measured["dirt_fraction"])
    assert min(measured["scratch_columns"]) > 0 < min(passed["scratch_columns"])
    assert 0.33 < sum(measured["scratch_columns"]) / sum(passed["scratch_columns"]) < 2


@pytest.mark.slow  # tests/quality asks the same of clips
def test_a_copied_film_is_measured_alike_whatever_its_tiles(tmp_path: Path) -> None:
    """Dirt, a scratch and a cut, with no pass whose halo would be at hand."""
    film = films.written(tmp_path / "worn.mkv", made.worn(20))
    names = ["shot", "dirt_fraction", "scratch_columns", "warp_error_source"]
    one, other = (
        tables.read_columns(
            films.restore(film, tmp_path / str(n), "chain=[]", "stills.most=0", f"tiles.frames={n}") / layout.FRAMES,
            names,
        )
        for n in (3, 48)
    )
    assert one == other
    assert sorted(set(one["shot"])) == [0, 1]
    assert max(one["dirt_fraction"]) > 0
    assert max(one["scratch_columns"]) > 0


@pytest.mark.slow  # weights that no preset names any more
def test_the_first_weights_leave_less_than_half_a_code_at_a_border(film: Path, tmp_path: Path) -> None:
    seed = "chain=[{pass: net, weights: nafnet-film-seed}]"
    reel = films.restore(film, tmp_path, seed, "engine.tile=128", "stills.most=0")
    assert max(tables.read_columns(reel / layout.FRAMES, ["seam_space"])["seam_space"]) < 0.5


def test_tiles_say_what_they_took(good: Path) -> None:
    names = ["bytes", "tries", "host", "device", "peak_bytes", "device_peak_bytes", "decode_s", "restore_s", "encode_s"]
    got = tables.read_columns(good / layout.TILES, names)
    assert all(v > 0 for name in ("bytes", "tries", "restore_s", "encode_s", "decode_s") for v in got[name])
    assert min(got["peak_bytes"]) > 100 << 20
    assert got["device_peak_bytes"] == [0, 0]


def test_stills_are_kept_published_and_bounded(good: Path) -> None:
    said = json.loads((good / layout.SUMMARY).read_text())
    assert [s["frame"] for s in said["stills"]] == [2, 6, 10]  # the even sample: half of six, and no flag
    files = sorted(p.name for p in (good / layout.STILLS).iterdir())
    assert files == sorted(f for s in said["stills"] for f in s["files"].values())
    for name in files:
        data = (good / layout.STILLS / name).read_bytes()
        assert data[:3] == b"\xff\xd8\xff"
        assert len(data) <= tables.MAX_JPEG // 4
    assert f"{layout.STILLS}/{files[0]}" in (good / layout.MANIFEST).read_text()
    assert verify([str(good.parent)]).ok


def test_a_wrong_net_is_found_out(film: Path, tmp_path: Path) -> None:
    """A bundled net's weights with noise on them: it runs, and what it gives is not the film. Without its guard."""
    tensors = weights.load(weights.resolve(NetPass(weights="nafnet-film-seed")), tlc=False).state_dict()
    torch.manual_seed(0)
    path = tmp_path / "wrong.safetensors"
    save_file({k: v + 0.5 * v.std(correction=0) * torch.randn_like(v) for k, v in tensors.items()}, path)
    reel = films.restore(
        film, tmp_path / "out", f"chain=[{{pass: net, weights: {path}, guard: null}}]", "stills.most=8"
    )
    found = films.flags(reel)
    assert found["heavy-change"] >= 11
    assert found["possible-invention"] >= 6
    assert found["colour-shift"] >= 6
    assert set(found) <= {"heavy-change", "possible-invention", "colour-shift", "lost-sharpness", "grain-gone"}
    said = json.loads((reel / layout.SUMMARY).read_text())
    assert {f for s in said["stills"] for f in s["flags"]} >= {"heavy-change", "possible-invention"}
    assert len(said["stills"]) <= 8


def test_seams_and_flicker_are_found_and_nothing_else(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "engine.tile=128",
        "engine.halo=32",
        "flags.seam.fail=true",
        "flags.flicker_added.above=2",
        "stills.most=0",
    )
    reel = films.restore(film, tmp_path / "out", *words, factories={"net": films.faulty})
    found = films.flags(reel)
    assert found.keys() == {"seam", "flicker-added"}
    assert found["seam"] == films.FRAMES
    assert found["flicker-added"] >= films.FRAMES // 2  # where the film's own flicker does not go the other way
    columns = tables.read_columns(reel / layout.FRAMES, ["seam_space", "seam_time"])
    assert columns["seam_space"] == pytest.approx([films.SPACE_STEP * 255] * films.FRAMES, abs=0.2)
    assert [v for v in columns["seam_time"] if v is not None] == pytest.approx([films.TIME_STEP * 255], abs=0.1)
    assert not list(reel.glob(f"{layout.STILLS}/*"))
    assert show_audit([str(tmp_path / "out")], worst=3, as_json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["failing"] == {"film": ["seam"]}
    assert said["shots"][0]["fails"]


def test_other_thresholds_redo_no_tile_and_are_another_plan(film: Path, tmp_path: Path) -> None:
    from tests.cluster import alone

    plans = []
    for words in ([], ["flags.black.above=0.5"], ["stills.side=128"], ["engine.cpu_threads=2"]):
        job = alone.make_job([str(film)], str(tmp_path), config="archive", overrides=[alone.NET, *words])
        plans.append(alone.steps.prepare(job, 0).plan)
    assert plans[0].tile_ids == plans[1].tile_ids == plans[2].tile_ids != plans[3].tile_ids
    assert len({p.id for p in plans}) == 4
