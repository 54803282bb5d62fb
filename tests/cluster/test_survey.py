"""Passes that must know the whole shot, from the survey in storage to the rows: on a cluster, and without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.plan import show_plan
from jobs.restore import make_job
from pipeline import tables
from pipeline.cluster import steps, surveying
from pipeline.cluster.progress import ReelSurveying
from pipeline.cluster.work import Unsurveyed
from pipeline.publish import layout
from pipeline.storage import store
from pipeline.survey import spans as spans_of
from tests.cluster.conftest import framemd5
from tests.motion.test_motion import scene, view
from tests.reel.films import make_film

Run = Callable[..., Any]
CHAIN = "chain: [{pass: stabilise}, {pass: deflicker}, {pass: duplicates}]"


@pytest.fixture(scope="module")
def trembling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of 160×120: two scenes that tremble and flicker, frame 40 repeating frame 39."""
    rng, picture = np.random.default_rng(2), (scene(0), scene(4))
    frames = []
    for n in range(60):
        shown = view(picture[n >= 30], *rng.normal(0, 0.8, 2), 120, 160) * rng.normal(0.95, 0.06)
        frames.append((np.round(np.clip(shown, 0, 1) * 65535).astype(np.uint16),) if n != 40 else frames[-1])
    path = tmp_path_factory.mktemp("films") / "t.mkv"
    make_film(path, pixel_format_name="gray16le", planes=frames)
    return path


@pytest.mark.cluster
def test_whole_shots_are_mended_whatever_the_tiles_and_the_survey_serves_later_runs(
    run: Run, trembling: Path, tmp_path: Path
) -> None:
    result, events = run([trembling], tmp_path / "a", f"{CHAIN}\ntiles: {{frames: 8}}")
    assert [(o.status, o.reason) for o in result.outcomes] == [("done", None)]
    assert [e.frames for e in events if isinstance(e, ReelSurveying)] == [60]
    run([trembling], tmp_path / "b", f"{CHAIN}\ntiles: {{frames: 48}}")
    assert framemd5(tmp_path / "a", "t") == framemd5(tmp_path / "b", "t")

    names = ["frame", "shot", "flicker_source", "flicker_output", "shift_x_px", "shift_y_px", "flags"]
    rows = tables.read_columns(tmp_path / "a/t" / layout.FRAMES, names)
    assert rows["shot"] == [0] * 30 + [1] * 30
    before, after = (
        np.sqrt(np.mean([v * v for v in rows[f"flicker_{w}"] if v is not None])) for w in ("source", "output")
    )
    assert after < 0.2 * before
    assert 0.5 < np.std(rows["shift_x_px"]) < 1.2
    assert [n for n, flags in enumerate(rows["flags"]) if "duplicate" in flags] == [40]

    # Another strength of one shot: the survey is there, and the other shot's tiles keep their ids.
    other = "shots=[{frames: '30:60', set: {deflicker: {strength: 0.5}}}]"
    words = [CHAIN.replace(": ", "=", 1), "tiles.frames=8"]
    plans = []
    for said in (words, [*words, other]):
        job = make_job([str(trembling)], str(tmp_path / "a"), config="demo", overrides=said, overwrite=True)
        made = steps.prepare(job, 0)
        assert not isinstance(made, Unsurveyed)
        plans.append(made.plan)
    same = [a == b for a, b in zip(*(p.tile_ids for p in plans), strict=True)]
    # A tile's id holds the frames that it restores and those that its passes read: with radii of 0, its own.
    assert same == [t.last <= 30 for t in plans[0].tiles]


def test_a_survey_goes_on_where_it_was_killed_and_garbled_parts_are_taken_again(
    trembling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans_of, "SPAN", 20)
    job = make_job([str(trembling)], str(tmp_path / "out"), config="demo", overrides=[CHAIN.replace(": ", "=", 1)])
    found = steps.prepare(job, 0)
    assert isinstance(found, Unsurveyed)
    assert (found.spans, found.done) == (((0, 20), (20, 40), (40, 60)), frozenset())
    work = surveying.SurveyWork(found.reel, job.out, job.spec, stage=False)
    for span in (2, 0):
        surveying.look(work, found.index, span)
    again = steps.prepare(job, 0)
    assert isinstance(again, Unsurveyed)
    assert again.done == {0, 2}
    part = layout.survey_part(job.out, found.reel.source_id, surveying.key(found.reel, found.index), 40, 60)
    store.put_bytes(part, b"PAR1" + b"\0" * 50 + b"PAR1")
    surveying.look(work, found.index, 1)
    third = steps.prepare(job, 0)
    assert isinstance(third, Unsurveyed)
    assert third.done == {0, 1}, "the garbled part was removed"
    made = surveying.prepare_here(job, 0)
    assert made.curves is not None
    assert not store.exists(part), "one file holds it all now"

    whole = make_job([str(trembling)], str(tmp_path / "whole"), config="demo", overrides=[CHAIN.replace(": ", "=", 1)])
    monkeypatch.setattr(spans_of, "SPAN", 480)
    other = surveying.prepare_here(whole, 0)
    assert other.plan.tile_ids == made.plan.tile_ids
    assert other.plan.id == made.plan.id


def test_the_dry_run_says_that_a_survey_is_wanted_and_then_uses_it(
    trembling: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job([str(trembling)], str(tmp_path / "out"), config="demo", overrides=[CHAIN.replace(": ", "=", 1)])
    assert show_plan(job, as_json=False, fps=1.0) == 0
    assert "its chain wants a survey, which is not there yet" in capsys.readouterr().err
    assert not store.list_files(job.out)
    surveying.prepare_here(job, 0)
    assert show_plan(job, as_json=True, fps=1.0) == 0
    assert '"survey": "kept"' in capsys.readouterr().out


def test_a_film_without_such_passes_is_not_looked_at(trembling: Path, tmp_path: Path) -> None:
    job = make_job([str(trembling)], str(tmp_path / "out"), config="demo", overrides=["chain=[]"])
    assert not isinstance(steps.prepare(job, 0), Unsurveyed)
