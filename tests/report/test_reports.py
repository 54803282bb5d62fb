"""Reports for others: docs/reports.md is what the schema says, and the Parquet opens wherever Parquet does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.tables import Column
from tests.report.reports_page import PAGE, written
from tests.test_tables import TestReports as _Reports
from tests.test_tables import row

PANDAS = {"int64": "int64", "float": "float32", "double": "float64"}
DUCKDB = {"int64": "BIGINT", "float": "FLOAT", "double": "DOUBLE", "string": "VARCHAR"}
POLARS = {"int64": pl.Int64, "float": pl.Float32, "double": pl.Float64, "string": pl.String}


def test_the_page_says_what_the_schema_says() -> None:
    text = PAGE.read_text("utf-8")
    assert text == written(text), "run `python -m tests.report.reports_page`"
    for column in (*tables.FRAME_COLUMNS, *tables.TILE_COLUMNS):
        assert f"| `{column.name}` " in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports")
    told = {"signals_source": (1.5,) * 24}
    rows = [row(n, cut=n == 5, flags=("seam", "black") if n == 3 else (), scratch_columns=2, **told) for n in range(9)]
    summary = tables.join_rows(path / "frames.parquet", [rows])
    tables.write_shots(path / "shots.parquet", summary)
    record = _Reports().record(1, decode=0.5)
    tables.write_tiles(path / "tiles.parquet", [replace(record, flags=("black", "seam"))], reel="night/reel")
    return path


def named(column: Column) -> str:
    return str(column.type)


TIMED = Column("decode_s", pa.float32(), "s", "wall time of the step decode; null where it did not run", True)


@pytest.mark.parametrize(
    ("name", "columns"),
    [("frames", tables.FRAME_COLUMNS), ("shots", tables.SHOT_COLUMNS), ("tiles", (*tables.TILE_COLUMNS, TIMED))],
)
class TestOpens:
    def test_in_duckdb(self, folder: Path, name: str, columns: tuple[Column, ...]) -> None:
        rows = duckdb.sql(f"DESCRIBE SELECT * FROM '{folder}/{name}.parquet'").fetchall()
        assert [(r[0], r[1]) for r in rows] == [(c.name, DUCKDB.get(named(c), "VARCHAR[]")) for c in columns]
        flagged = duckdb.sql(f"SELECT count(*) FROM '{folder}/{name}.parquet' WHERE list_contains(flags, 'seam')")
        assert flagged.fetchall() == [(1,)]

    def test_in_polars(self, folder: Path, name: str, columns: tuple[Column, ...]) -> None:
        frame = pl.read_parquet(folder / f"{name}.parquet")
        assert dict(frame.schema) == {c.name: POLARS.get(named(c), pl.List(pl.String)) for c in columns}
        assert frame.filter(pl.col("flags").list.contains("black")).height == 1

    def test_in_pandas(self, folder: Path, name: str, columns: tuple[Column, ...]) -> None:
        frame = pd.read_parquet(folder / f"{name}.parquet")
        assert list(frame.columns) == [c.name for c in columns]
        for c in columns:
            usual = PANDAS.get(named(c))
            if usual is not None and not frame[c.name].isna().all():
                assert frame[c.name].dtype == usual, c.name
        flagged = ["seam", "black"] if name == "frames" else ["black", "seam"]
        assert [list(f) for f in frame["flags"] if len(f)] == [flagged]
        exact = pd.read_parquet(folder / f"{name}.parquet", dtype_backend="pyarrow")
        assert [t.pyarrow_dtype for t in exact.dtypes] == [c.type for c in columns]

    def test_units_and_meanings_go_with_it(self, folder: Path, name: str, columns: tuple[Column, ...]) -> None:
        for field, column in zip(pq.read_schema(folder / f"{name}.parquet"), columns, strict=True):
            assert field.metadata == {b"unit": column.unit.encode(), b"meaning": column.meaning.encode()}
