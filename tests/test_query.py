"""SQL conditions: what they find, what of a file is read for it, and that they reach nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipeline import tables
from pipeline.errors import CallError
from pipeline.tables import rows as rows_module
from pipeline.tables.query import Condition
from tests.test_tables import row


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """100 frames in four row groups and five shots; from 50 on, ten are changed much and one carries a flag."""
    monkeypatch.setattr(rows_module, "ROW_GROUP", 25)
    made = [
        row(
            n,
            cut=n % 20 == 0,
            changed_fraction=0.5 if 50 <= n < 60 else 0.01,
            seam_time=2.0 if n == 70 else None,
            flags=("seam",) if n == 70 else (),
        )
        for n in range(100)
    ]
    tables.join_rows(tmp_path / "frames.parquet", [made])
    return tmp_path / "frames.parquet"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("changed_fraction > 0.2", {2: (10, 50)}),
        ("changed_fraction > 0.2 and frame >= 55", {2: (5, 55)}),
        ("frame = 99 or frame = 0", {0: (1, 0), 4: (1, 99)}),
        ("list_contains(flags, 'seam')", {3: (1, 70)}),
        ("seam_time IS NOT NULL", {3: (1, 70)}),
        ("seam_time > 1", {3: (1, 70)}),
        ("reel = 'night/reel' AND source_md5 = '00000000000000000000000000001eef'", {0: (1, 1)}),
        ("changed_fraction > 2", {}),
    ],
)
def test_finds_the_shots_of_matching_frames(frames: Path, condition: str, found: dict[int, tuple[int, int]]) -> None:
    got = Condition(condition).shots(frames)
    assert {shot: (m.frames, m.first) for shot, m in got.items()} == found


class Counting(io.FileIO):
    """A file that knows how much of it was read."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        data = super().read(-1 if size is None else size)
        self.read_bytes += len(data)
        return data


def test_reads_only_the_columns_and_row_groups_that_it_needs(frames: Path) -> None:
    def bytes_for(condition: str) -> int:
        with Counting(frames) as file:
            Condition(condition).shots(file)
            return file.read_bytes

    footer = bytes_for("frame > 1000")
    one, all_groups = bytes_for("changed_fraction > 0.2"), bytes_for("abs(changed_fraction) > 0.2")
    assert footer < one < all_groups < frames.stat().st_size
    assert (all_groups - footer) > 2 * (one - footer)


@pytest.mark.parametrize(
    "condition",
    [
        "frame IN (SELECT 1 FROM read_text('{secret}'))",
        "EXISTS (SELECT * FROM read_csv('{secret}'))",
        "EXISTS (SELECT * FROM '{secret}')",
        "EXISTS (SELECT * FROM parquet_scan('{secret}'))",
        "EXISTS (SELECT * FROM glob('/*'))",
        "EXISTS (SELECT * FROM read_text('https://example.org/'))",
        "1=1); COPY (SELECT 1) TO '{target}'; SELECT (1",
        "1=1); ATTACH '{target}'; SELECT (1=1",
        "1=1); INSTALL httpfs; SELECT (1=1",
        "1=1); SET enable_external_access=true; SELECT (1=1",
        "1=1); PRAGMA database_list; --",
        "EXISTS (SELECT * FROM secret_python_table)",
        "COPY",
        "",
        "frame > 'x'",
        "no_such_column > 1",
        "sum(frame) > 3",
        "frame > 1 -- and the rest",
    ],
)
def test_reaches_nothing_but_the_report(frames: Path, tmp_path: Path, condition: str) -> None:
    secret, target = tmp_path / "secret.txt", tmp_path / "target"
    secret.write_text("1\n")
    secret_python_table = tables.read_columns(frames, ["frame"])  # noqa: F841 - a replacement scan would find it
    with pytest.raises(CallError, match="--where"):
        Condition(condition.format(secret=secret, target=target)).shots(frames)
    assert not target.exists()


def test_settings_cannot_be_changed_back() -> None:
    connection = Condition("frame > 1")._connection
    for statement in (
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET memory_limit = '90GB'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "COPY (SELECT 1) TO '/tmp/figures-copy.csv'",
    ):
        with pytest.raises(Exception, match=r"(?i)lock|permission|disabled|cannot"):
            connection.execute(statement)


def test_a_condition_may_not_be_endless(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.tables import query

    condition = Condition("frame >= 0")
    monkeypatch.setattr(query, "_PATIENCE_S", 0.3)
    condition._text = "(SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7) > frame"
    with pytest.raises(CallError):
        condition.shots(frames)
