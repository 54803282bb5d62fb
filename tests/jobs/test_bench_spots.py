"""What ``dirt`` takes and leaves, spot by spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs import bench_spots
from jobs.bench_clips import Size, damaged, pictures
from jobs.bench_movers import flies, swings
from jobs.bench_spots import Asked, Told, asking, run_bench_spots, shown, spots_of
from jobs.bench_traps import Make
from pipeline.errors import CallError
from pipeline.restore.passes.evidence import NAMES
from pipeline.restore.passes.judge import read
from pipeline.train.clips import Clip
from pipeline.train.spots import Spots

SMALL = Size(160, 120, 12)


def spots(gain: list[float], sound: float = 0) -> Spots:
    n = len(gain)
    none = np.zeros((n, 2), np.float32)
    return Spots(none, np.array(gain, np.float32), np.full(n, sound, np.float32), np.zeros(n, np.int64))


def test_a_spot_of_dirt_is_worth_what_it_spoils() -> None:
    case = damaged(pictures([], None), SMALL, only=("pan",))[0]
    found = spots_of(case, Asked("pan", 7, "clean", SMALL))
    assert len(found.gain) > 3
    assert found.evidence.shape == (len(found.gain), len(NAMES))
    assert (found.clip == 7).all()
    inner = slice(2, -2)
    spoilt = np.square(case.damaged - case.truth)[inner].mean(1)[case.dirt[inner]].sum()
    # In px of the first size. Some are not found, and what is found takes grain and flicker with it.
    assert 0.3 * spoilt < found.gain.sum() * (SMALL.width / Size().width) ** 2 < 1.5 * spoilt
    damage = found.sound == 0
    assert damage.sum() > 3
    assert (found.gain[damage] > 0).mean() > 0.8, "but for what lies beside an edge that moves"
    assert (found.gain[~damage] < 0).any(), "things move in it too"


def test_a_spot_of_what_moves_is_sound_all_over() -> None:
    asked = Asked("swings", 7, "clean", SMALL)
    found = spots_of(bench_spots._case(pictures([], None), asked), asked)
    assert found.gain.sum() < 0
    assert found.sound.min() >= (Size().width / SMALL.width) ** 2, "in px of the first size"


def test_a_copy_is_flatter_and_softer_as_its_truth_is_and_lossy() -> None:
    case, copy = (
        bench_spots._case(pictures([], None), Asked("swings", 7, "clean", SMALL, copied)) for copied in (False, True)
    )
    assert np.array_equal(case.damaged, case.truth)
    assert copy.damaged.shape == case.damaged.shape
    assert np.ptp(copy.truth) < 0.8 * np.ptp(case.truth)

    def fine(clip: Clip) -> float:
        return float(np.abs(np.diff(clip, axis=3)).mean() / np.ptp(clip))

    assert fine(copy.truth) < fine(case.truth)
    assert 0 < np.abs(copy.damaged - copy.truth).mean() < 0.03, "what the codec leaves"


def test_the_table_parts_what_could_be_had_by_kind_and_by_what_was_done() -> None:
    told = [
        Told(Asked("pan", 1, "clean", SMALL), spots([4, 2, -1])),
        Told(Asked("rain", 2, "clean", SMALL), spots([-8])),
        Told(Asked("pan", 3, "clean", SMALL), spots([3])),
        Told(Asked("rain", 4, "clean", SMALL, copied=True), spots([1], sound=200)),
    ]
    page = shown(told, np.array([-1, 1, -1, 1, -1.0, -1]))
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in page.split("\n")]
    touched = ["rain, copied", "1", "0", "0", "5", "5"]
    assert rows[2:] == [["pan", "4", "9", "2", "1", "1"], ["rain", "1", "0", "0", "8", "0"], touched]


def test_clips_are_asked_for_in_every_look_and_size_and_none_twice() -> None:
    clips = list(asking(9))
    assert len({c.number for c in clips}) == len(clips)
    wanted = {(look, size.width) for look in bench_spots._LOOKS for size in bench_spots._SIZES}
    for copied in (False, True):
        assert {(c.look, c.size.width) for c in clips if c.copied == copied} == wanted
    assert {c.kind for c in clips if c.copied} == set(bench_spots._COPIED) < {c.kind for c in clips if not c.copied}


@pytest.mark.parametrize("make", [swings, flies])
def test_things_move_and_leave_the_clip_in_range(make: Make) -> None:
    clip = np.full((6, 3, 60, 80), 0.5, np.float32)
    out = make(clip.copy(), np.random.default_rng(0))
    assert out.min() >= 0
    assert out.max() <= 1
    assert (out != clip).any((1, 2, 3)).all()
    assert (out[0] != out[2]).any()


@pytest.mark.slow
def test_it_learns_and_measures_by_what_it_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_spots, "_SIZES", (SMALL,))
    assert run_bench_spots([], None, which="trained", rounds=1, into=tmp_path / "spots.safetensors") == 0
    assert "| swings" in capsys.readouterr().out
    assert read(tmp_path / "spots.safetensors").first.shape[1] == len(NAMES) + 1


def test_a_folder_that_is_not_there_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="no such folder"):
        run_bench_spots([], None, which="trained", rounds=1, into=tmp_path / "none" / "spots.safetensors")
