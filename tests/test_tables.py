from __future__ import annotations

import io
import itertools
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import tables
from pipeline.errors import StorageError, VerifyError
from pipeline.tables import rows as rows_module
from pipeline.types import FrameRow, Segment, Shot, TileRecord

COLUMNS = """
reel frame pts time_s timecode shot tile source_md5 output_md5 psnr_db ssim touched_fraction changed_fraction
luma_source luma_output flicker_source flicker_output ydif_source ydif_output tout_source tout_output brng_source
brng_output noise_source noise_output sharpness_source sharpness_output warp_error_source warp_error_output
dirt_fraction scratch_columns shift_x_px shift_y_px gain_stops SIGNALS black_fraction unsupported_fraction
seam_space seam_time flags net weights_sha256 device seconds
"""
SIGNAL_NAMES = """
ymin ylow yhigh ymax umin ulow uavg uhigh umax vmin vlow vavg vhigh vmax satmin satlow satavg sathigh satmax
huemed hueavg udif vdif vrep
"""
NAMES = COLUMNS.replace("SIGNALS", " ".join(f"{n}_source {n}_output" for n in SIGNAL_NAMES.split())).split()


def row(n: int, **other: Any) -> FrameRow:
    r = np.random.default_rng(n)
    f = [float(v) for v in r.random(14, np.float32)]
    plain = FrameRow(
        reel="night/reel",
        frame=n,
        pts=42 * n,
        time_s=n / 24,
        timecode=None,
        shot=0,
        tile=n // 24,
        cut=False,
        source_md5=f"{n * 7919:032x}",
        output_md5=f"{n * 104729:032x}",
        psnr_db=f[0],
        ssim=f[1],
        touched_fraction=f[2],
        changed_fraction=f[3],
        luma_source=f[4],
        luma_output=f[5],
        flicker_source=f[6],
        flicker_output=f[7],
        ydif_source=f[8],
        ydif_output=f[9],
        noise_source=f[10],
        noise_output=f[11],
        sharpness_source=f[12],
        sharpness_output=f[13],
        net="nafnet-film",
        weights_sha256="ab" * 32,
        device="cpu",
        seconds=0.5,
    )
    return replace(plain, **other)


def chunks(rows: Sequence[FrameRow], size: int = 24) -> Iterator[Sequence[FrameRow]]:
    for i in range(0, len(rows), size):
        yield rows[i : i + size]


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_figure = st.floats(width=32, allow_nan=False, allow_infinity=False)
_maybe = st.none() | _figure
_int = st.integers(-(2**63), 2**63 - 1)
_rows = st.builds(
    row,
    st.integers(0, 1000),
    reel=_text,
    pts=_int,
    time_s=st.floats(allow_nan=False),
    timecode=st.none() | _text,
    tile=_int,
    cut=st.booleans(),
    psnr_db=_figure,
    flicker_source=_maybe,
    tout_output=_maybe,
    scratch_columns=_int,
    signals_source=st.tuples(*[_maybe] * len(SIGNAL_NAMES.split())),
    seam_time=_maybe,
    flags=st.lists(_text, max_size=3).map(tuple),
    net=st.none() | _text,
    device=_text,
)


class TestRows:
    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(_rows, max_size=6))
    def test_come_back_as_they_were(self, tmp_path: Path, rows: list[FrameRow]) -> None:
        tables.write_rows(tmp_path / "rows.parquet", rows)
        assert tables.read_rows(tmp_path / "rows.parquet") == rows
        with (tmp_path / "rows.parquet").open("rb") as file:
            assert tables.read_rows(file) == rows

    def test_equal_rows_give_equal_bytes(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            tables.write_rows(tmp_path / name, [row(n) for n in range(24)])
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_a_column_that_may_not_be_null_never_is(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="device"):
            tables.write_rows(tmp_path / "rows", [row(0, device=None)])

    def test_more_rows_than_a_tile_may_have_are_not_read(self, tmp_path: Path) -> None:
        tables.write_rows(tmp_path / "rows", [row(0)] * 10_001)
        with pytest.raises(StorageError, match="10001 rows, at most 10000"):
            tables.read_rows(tmp_path / "rows")


class TestJoin:
    def test_columns_have_the_documented_order_types_units_and_meanings(self, tmp_path: Path) -> None:
        tables.join_rows(tmp_path / "frames.parquet", [[row(0), row(1)]])
        schema = pq.read_schema(tmp_path / "frames.parquet")
        assert schema.names == NAMES
        integers = {"frame", "pts", "shot", "tile", "scratch_columns"}
        texts = {"reel", "timecode", "source_md5", "output_md5", "net", "weights_sha256", "device"}
        for field in schema:
            if field.name in integers:
                assert field.type == pa.int64()
            elif field.name in texts:
                assert field.type == pa.string()
            elif field.name == "flags":
                assert field.type == pa.list_(pa.field("element", pa.string(), nullable=False))
                assert not field.nullable
            else:
                assert field.type == (pa.float64() if field.name == "time_s" else pa.float32())
            assert b"unit" in field.metadata
            assert len(field.metadata[b"meaning"]) > 5

    def test_shots_are_numbered_from_the_cuts(self, tmp_path: Path) -> None:
        cuts = {30, 31, 47}
        rows = [row(n, cut=n in cuts) for n in range(10, 60)]
        summary = tables.join_rows(tmp_path / "frames.parquet", chunks(rows))
        assert summary.shots == (Shot(0, 10, 30), Shot(1, 30, 31), Shot(2, 31, 47), Shot(3, 47, 60))
        got = tables.read_columns(tmp_path / "frames.parquet", ["frame", "shot"])
        assert got == {
            "frame": list(range(10, 60)),
            "shot": [sum(n >= c for c in cuts) for n in range(10, 60)],
        }

    @settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 50), st.data())
    def test_tiles_and_row_groups_make_no_difference(
        self, tmp_path: Path, cuts: list[bool], group: int, tile: int, data: st.DataObject
    ) -> None:
        none, at_once = data.draw(st.sets(st.integers(0, 39))), data.draw(st.integers(1, 9))
        rows = [
            row(
                n,
                cut=c,
                ydif_source=None if n in none else 1.5,
                flags=("dark", "heavy")[: n % 3],
                touched_fraction=float(n % 2),
            )
            for n, c in enumerate(cuts)
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows_module, "ROW_GROUP", group)
            patch.setattr(rows_module, "_AT_ONCE", at_once)
            a = tables.join_rows(tmp_path / "a", chunks(rows, tile))
            tables.join_rows(tmp_path / "b", [rows])
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        assert pq.ParquetFile(tmp_path / "a").num_row_groups == -(-len(rows) // group)
        shots = list(itertools.accumulate([0, *cuts[1:]], lambda s, c: s + c))
        assert tables.read_columns(tmp_path / "a", ["shot"])["shot"] == shots
        assert (a.first, a.last, a.frames, len(a.shots)) == (0, len(rows), len(rows), shots[-1] + 1)
        for s in a.shots:
            mine = rows[s.first : s.last]
            assert {shots[r.frame] for r in mine} == {s.number}
            assert a.by_shot["psnr_db"][s.number] == pytest.approx(np.mean([r.psnr_db for r in mine]))
            assert a.by_shot["psnr_min_db"][s.number] == min(r.psnr_db for r in mine)
            assert a.by_shot["touched_frames"][s.number] == sum(r.touched_fraction > 0 for r in mine)
            assert a.by_shot["flagged_frames"][s.number] == sum(bool(r.flags) for r in mine)
            assert a.by_shot["time_s"][s.number] == mine[0].time_s
            has = any(r.ydif_source is not None for r in mine)
            assert np.isnan(a.by_shot["ydif_source"][s.number]) != has
        assert a.means["ssim"] == pytest.approx(np.mean([r.ssim for r in rows]))
        assert a.means["ydif_source"] == (1.5 if any(r.ydif_source for r in rows) else None)
        assert a.means["tout_source"] is None
        assert a.psnr_min_db == min(r.psnr_db for r in rows)
        assert a.touched_frames == sum(r.frame % 2 for r in rows)
        assert a.flags.get("dark", 0) == a.flagged_frames == sum(r.frame % 3 > 0 for r in rows)
        assert a.flags.get("heavy", 0) == sum(r.frame % 3 > 1 for r in rows)

    def test_a_long_reel_has_many_row_groups(self, tmp_path: Path) -> None:
        tables.join_rows(tmp_path / "f", ([replace(FIRST, frame=n)] for n in range(5_000)))
        footer = pq.read_metadata(tmp_path / "f")
        assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [4096, 904]

    def test_memory_does_not_grow_with_the_reel(self, tmp_path: Path) -> None:
        peaks = []
        for frames in (600, 600, 6_000):
            tracemalloc.start()
            tables.join_rows(tmp_path / "f", ([row(n)] for n in range(frames)))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[2] < 1.15 * peaks[1]

    @pytest.mark.parametrize(
        ("rows", "what"),
        [
            ([], "no rows"),
            ([row(3), row(5)], r"frame 5: its row comes after that of frame 3"),
            ([row(3), row(3)], r"frame 3: its row comes after that of frame 3"),
            ([row(3), row(4, reel="other")], "other"),
        ],
    )
    def test_every_frame_has_one_row(self, tmp_path: Path, rows: list[FrameRow], what: str) -> None:
        with pytest.raises(VerifyError, match=what):
            tables.join_rows(tmp_path / "f", chunks(rows, 1))


FIRST = row(0)


class TestReports:
    def test_shots(self, tmp_path: Path) -> None:
        rows = [row(n, cut=n == 4, flicker_source=None if n in (0, 4) else 2.0) for n in range(5)]
        tables.write_shots(tmp_path / "shots.parquet", tables.join_rows(tmp_path / "f", [rows]))
        got = pq.read_table(tmp_path / "shots.parquet")
        assert got.schema.names[:9] == [
            "reel",
            "shot",
            "first",
            "last",
            "frames",
            "time_s",
            "touched_frames",
            "flagged_frames",
            "psnr_min_db",
        ]
        assert got["shot"].to_pylist() == [0, 1]
        assert got["first"].to_pylist() == [0, 4]
        assert got["last"].to_pylist() == [4, 5]
        assert got["flicker_source"].to_pylist() == [2.0, None]
        assert got["psnr_db"].to_pylist()[1] == rows[4].psnr_db
        assert got.schema.field("flicker_source").metadata[b"unit"] == b"8-bit code"

    def record(self, n: int, **seconds: float) -> TileRecord:
        segments = (Segment("master", f"m{n}", "a" * 64, 1000), Segment("proxy", f"p{n}", "b" * 64, 10))
        return TileRecord(
            tile_id=f"{n:064x}",
            number=n,
            first=24 * n,
            last=24 * n + 24,
            segments=segments,
            rows="rows",
            rows_sha256="c" * 64,
            host="node",
            device="cpu",
            seconds=seconds,
            tries=1,
            finished="2026-01-02T03:04:05.678+00:00",
            flags=("memory-tile",) if n else (),
        )

    def test_tiles_have_a_column_for_every_step_that_was_timed(self, tmp_path: Path) -> None:
        records = [self.record(0, decode=1.5, restore=8), self.record(1, restore=9)]
        tables.write_tiles(tmp_path / "tiles.parquet", records, reel="night/reel")
        got = tables.read_columns(
            tmp_path / "tiles.parquet", ["tile", "bytes", "frames", "decode_s", "restore_s", "flags"]
        )
        assert got == {
            "tile": [0, 1],
            "bytes": [1010, 1010],
            "frames": [24, 24],
            "decode_s": [1.5, None],
            "restore_s": [8.0, 9.0],
            "flags": [(), ("memory-tile",)],
        }

    @pytest.mark.parametrize("step", ["", "no word", "x" * 33, "a.b", "Ü"])
    def test_a_step_that_is_no_name_is_refused(self, tmp_path: Path, step: str) -> None:
        with pytest.raises(StorageError, match="night/reel: a record names a step"):
            tables.write_tiles(tmp_path / "t", [self.record(0, **{step: 1.0})], reel="night/reel")

    def test_endless_steps_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="65 steps"):
            tables.write_tiles(tmp_path / "t", [self.record(0, **{f"s{i}": 1.0 for i in range(65)})], reel="r")


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        return found


class TestReadColumns:
    def test_reads_only_what_is_asked_for(self, tmp_path: Path) -> None:
        tables.join_rows(tmp_path / "f", chunks([row(n) for n in range(20_000)]))
        file = Counting((tmp_path / "f").read_bytes())
        got = tables.read_columns(file, ["psnr_db", "frame"])
        assert list(got) == ["psnr_db", "frame"]
        assert got["frame"] == list(range(20_000))
        assert got["psnr_db"][777] == row(777).psnr_db
        columns = pq.read_metadata(tmp_path / "f")
        asked = sum(
            columns.row_group(g).column(i).total_compressed_size
            for g in range(columns.num_row_groups)
            for i in (NAMES.index("psnr_db"), NAMES.index("frame"))
        )
        footer = columns.serialized_size
        assert file.read_bytes < asked + footer + 2 * 65536 + 4096  # pyarrow guesses at the footer's size, twice
        assert file.read_bytes < len(file.getvalue()) / 3

    def test_needs_no_pandas(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pandas", None)
        tables.join_rows(tmp_path / "f", [[row(0, flags=("a", "b")), row(1)]])
        assert tables.read_columns(tmp_path / "f", ["flags", "timecode", "reel"]) == {
            "flags": [("a", "b"), ()],
            "timecode": [None, None],
            "reel": ["night/reel"] * 2,
        }

    def test_names_what_there_is_where_a_column_is_not(self, tmp_path: Path) -> None:
        tables.join_rows(tmp_path / "f", [[row(0)]])
        with pytest.raises(StorageError, match=r"no column 'psnr'; there are reel, frame.*psnr_db"):
            tables.read_columns(tmp_path / "f", ["psnr"])

    def test_errors_of_the_storage_below_come_through(self, tmp_path: Path) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise StorageError("no answer", where="s3://out/f", transient=True)

        tables.join_rows(tmp_path / "f", [[row(0)]])
        with pytest.raises(StorageError, match="s3://out/f: no answer") as caught:
            tables.read_columns(Broken((tmp_path / "f").read_bytes()), ["frame"])
        assert caught.value.transient
