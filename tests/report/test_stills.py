"""Which frames are kept, and how they come to the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import tables
from pipeline.errors import StorageError, VerifyError
from pipeline.plan import make_plan
from pipeline.plan.memory import STILLS_A_TILE
from pipeline.publish import kept, layout
from pipeline.reel.still import jpeg, read_picture
from pipeline.report.stills import choose, of_tile, sample
from pipeline.restore import view
from pipeline.spec import Spec, parse
from pipeline.storage.ledger import Ledger
from pipeline.types import Plan, StillsFile, Tile, TileRecord
from tests.plan import made_up
from tests.report.test_judge import frame
from tests.storage.test_ledger import _record

SPEC = parse("{chain: [], stills: {most: 8}}")


def plan_of(frames: int, spec: Spec = SPEC) -> Plan:
    return make_plan(made_up.reel(), made_up.index(frames), spec, {})


class TestChoice:
    def test_the_sample_is_even_and_bounded(self) -> None:
        for frames, most in ((1, 8), (5, 8), (100, 8), (99_999, 48), (10, 1)):
            found = sample(plan_of(frames), most)
            assert 0 < len(found) <= max(1, most - most // 2)
            assert 0 <= found[0] < frames
        assert list(sample(plan_of(100), 8)) == [12, 37, 62, 87]
        assert list(sample(plan_of(100), 0)) == []

    def test_of_a_tile_the_sample_and_the_worst_of_each_flag(self) -> None:
        plan = plan_of(100)
        tile = Tile(0, 0, 24, 0, 0, 0)
        figures = [frame(n) for n in range(24)]
        figures[3] = frame(3, changed_fraction=0.7)
        figures[7] = frame(7, changed_fraction=0.9)
        figures[9] = frame(9, black_fraction=1.0)
        raised: list[tuple[str, ...]] = [()] * 24
        raised[20] = ("memory-ladder",)
        assert of_tile(plan, SPEC, tile, figures, raised) == [7, 12, 20]  # of a black source there is nothing to see
        assert of_tile(plan, parse("{chain: [], stills: {most: 0}}"), tile, figures, raised) == []

    def test_a_tile_keeps_a_few_at_most(self) -> None:
        worst: dict[str, Any] = {
            0: {"changed_fraction": 1.0},
            1: {"unsupported_fraction": 1.0},
            2: {"sharpness_output": 0.01},
            3: {"noise_output": 0.1},
            4: {"flicker_output": 90.0},
            5: {"seam_space": 9.0},
        }
        figures = [frame(n, **worst.get(n, {})) for n in range(8)]
        found = of_tile(plan_of(8), SPEC, Tile(0, 0, 8, 0, 0, 0), figures, [()] * 8)
        assert len(found) == STILLS_A_TILE

    def test_of_the_reel_the_worst_of_each_flag_in_turn(self) -> None:
        plan = plan_of(100)
        severities = {
            **{n: {} for n in sample(plan, 8)},
            1: {"heavy-change": 1.1},
            2: {"heavy-change": 9.0},
            3: {"heavy-change": 5.0},
            4: {"seam": 1.0},
            5: {"duplicate": 1.0},
        }
        assert choose(plan, 8, severities) == [1, 2, 3, 4, 12, 37, 62, 87]
        assert choose(plan, 6, severities) == [1, 2, 3, 4]  # its own even sample was not kept


class TestPictures:
    def test_jpeg_is_bounded_and_the_same_for_the_same_picture(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (241, 321, 3), np.uint8)
        data = jpeg(noise, 40_000)
        assert len(data) <= 40_000
        assert data == jpeg(noise, 40_000)
        flat = np.full((37, 53, 3), (200, 60, 20), np.uint8)
        (tmp_path / "a.jpg").write_bytes(jpeg(flat, 1 << 20))
        got = read_picture(tmp_path / "a.jpg")[:37, :53].astype(int)
        assert np.abs(got - flat).max() <= 4

    def test_small_pictures_count_every_pixel(self) -> None:
        rgb = torch.rand(3, 480, 640)
        small = view.smaller(rgb, 64)
        assert small.shape == (48, 64, 3)
        expected = rgb.reshape(3, 48, 10, 64, 10).mean((2, 4)).permute(1, 2, 0) * 255
        assert float((small - expected).abs().max()) <= 0.51
        assert view.smaller(rgb, 2048).shape == (480, 640, 3)

    def test_the_piece_is_where_most_changed(self) -> None:
        before = torch.zeros(3, 480, 640)
        after = before.clone()
        after[1, 400:420, 600:630] = 1
        x, y, w, h = view.most_changed(before, after, (320, 240))
        assert (w, h) == (320, 240)
        assert x <= 600 < 630 <= x + w
        assert y <= 400 < 420 <= y + h
        assert view.most_changed(before[:, :9, :7], after[:, :9, :7], (320, 240)) == (0, 0, 7, 9)


class TestPublishing:
    picture = jpeg(np.zeros((8, 8, 3), np.uint8), 1 << 20)

    def record(self, ledger: Ledger, folder: Path, frames: list[int], jpeg_bytes: bytes | None = None) -> TileRecord:
        path = folder / "stills.parquet"
        data = self.picture if jpeg_bytes is None else jpeg_bytes
        tables.write_stills(
            path, [tables.Still(n, kind, 0, 0, 8, 8, data) for n in frames for kind in ("before", "after")]
        )
        name, sha256, size = ledger.put(path, "000000-0000000-0000024-stills")
        return replace(_record(0), stills=StillsFile(name, sha256, size, tuple(frames)))

    def test_the_chosen_ones_are_written_and_no_others(self, tmp_path: Path) -> None:
        ledger = Ledger(str(tmp_path / "work"))
        # A record may name frames that are not its own: it lies where others may write.
        record = self.record(ledger, tmp_path, [2, 5, 99])
        assert kept.watched([record]) == {2, 5}
        found = kept.publish(plan_of(100), [record], {2: {"seam": 1.0}, 5: {}, 99: {"seam": 9.0}}, ledger, tmp_path)
        assert [(k.frame, k.flags) for k in found] == [(2, ("seam",))]
        assert sorted(p.name for p in (tmp_path / layout.STILLS).iterdir()) == [
            "0000002-after.jpg",
            "0000002-before.jpg",
        ]

    @pytest.mark.parametrize("broken", ["changed", "no picture", "large"])
    def test_a_file_that_is_none_is_an_error_that_has_its_tile_restored_anew(self, tmp_path: Path, broken: str) -> None:
        ledger = Ledger(str(tmp_path / "work"))
        record = self.record(ledger, tmp_path, [2], b"<html>" if broken == "no picture" else None)
        assert record.stills is not None
        if broken == "changed":
            (tmp_path / "work" / record.stills.name).write_bytes(b"PAR1")
        if broken == "large":
            record = replace(record, stills=replace(record.stills, bytes=1 << 40))
        with pytest.raises((VerifyError, StorageError)):
            kept.publish(plan_of(100), [record], {2: {"seam": 1.0}}, ledger, tmp_path)

    def test_a_record_with_stills_comes_back_as_it_was(self, tmp_path: Path) -> None:
        ledger = Ledger(str(tmp_path / "work"))
        record = self.record(ledger, tmp_path, [2, 5])
        assert ledger.record(record) == record
        assert Ledger(str(tmp_path / "work")).read([record.tile_id]) == [record]
