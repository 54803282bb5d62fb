"""Tables that others wrote: indexes, and files that are garbled, hostile or do not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import tables
from pipeline.errors import MissingError, ScratchFullError, StorageError
from pipeline.types import FrameIndex
from tests.test_tables import row


def index(pts: Sequence[int] = (0, 42, 83), **other: Any) -> FrameIndex:
    n = len(pts)
    plain: dict[str, Any] = {
        "pts": np.array(pts, np.int64),
        "key": np.arange(n) % 2 == 0,
        "position": np.arange(n, dtype=np.int64) * 1000 - 1,
        "size": np.arange(n, dtype=np.int64) + 7,
        "time_base": Fraction(1, 1000),
        "rate": Fraction(24000, 1001),
        "constant": True,
        "found_by": "demux",
    }
    return FrameIndex(**(plain | other))


class TestIndex:
    @settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.sets(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30),
        st.fractions(min_value=Fraction(1, 10**9), max_value=10**6, max_denominator=10**9),
        st.booleans(),
        st.sampled_from(["table", "demux"]),
    )
    def test_comes_back_as_it_was(
        self, tmp_path: Path, pts: set[int], rate: Fraction, constant: bool, found_by: str
    ) -> None:
        said = index(sorted(pts), rate=rate, constant=constant, found_by=found_by)
        tables.write_index(tmp_path / "index", said)
        got = tables.read_index(tmp_path / "index")
        assert got.digest == said.digest
        assert (got.time_base, got.rate, got.constant) == (said.time_base, said.rate, said.constant)
        assert got.found_by == said.found_by
        assert got.pts.dtype == np.int64
        assert got.key.dtype == np.bool_

    def test_equal_indexes_give_equal_bytes(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            tables.write_index(tmp_path / name, index(range(5000)))
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    @pytest.mark.parametrize(
        ("wrong", "what"),
        [
            (index([]), "no frames"),
            (index([0, 5, 5]), "do not rise"),
            (index([-(2**63), 2**63 - 1, 0]), "do not rise"),
            (index(position=np.array([-2, 0, 0])), "impossible places"),
            (index(size=np.array([-2, 0, 0])), "impossible places"),
            (index(rate=Fraction(-24)), "garbled"),
            (index(found_by="guess"), "garbled"),
            (index(constant=1), "garbled"),
        ],
    )
    def test_what_no_film_has_is_refused(self, tmp_path: Path, wrong: FrameIndex, what: str) -> None:
        tables.write_index(tmp_path / "index", wrong)
        with pytest.raises(StorageError, match=what):
            tables.read_index(tmp_path / "index")


class TestHostileFiles:
    def good(self, tmp_path: Path, kind: str) -> Path:
        path = tmp_path / kind
        if kind == "rows":
            tables.write_rows(path, [row(n, flags=("a",)) for n in range(30)])
        elif kind == "frames":
            tables.join_rows(path, [[row(n, flags=("a",)) for n in range(30)]])
        else:
            tables.write_index(path, index(range(30)))
        return path

    def read(self, path: Path, kind: str) -> Any:
        if kind == "rows":
            return tables.read_rows(path)
        if kind == "frames":
            return tables.read_columns(path, ["reel", "frame", "psnr_db", "flags"])
        return tables.read_index(path).digest

    @pytest.mark.parametrize("kind", ["rows", "frames", "index"])
    def test_garbage(self, tmp_path: Path, kind: str) -> None:
        whole = self.good(tmp_path, kind).read_bytes()
        bad = tmp_path / "bad"
        for data in (
            b"",
            b"PAR1",
            b"a film, they said\n" * 1000,
            b"PAR1" + b"\xff" * 5000 + b"PAR1",
            whole[:-1],
            whole[: len(whole) // 2],
            whole[len(whole) // 2 :],
        ):
            bad.write_bytes(data)
            with pytest.raises(StorageError, match=str(bad)):
                self.read(bad, kind)

    @pytest.mark.parametrize("kind", ["rows", "frames", "index"])
    def test_nothing_there_and_a_folder(self, tmp_path: Path, kind: str) -> None:
        with pytest.raises(MissingError, match="no such file"):
            self.read(tmp_path / "nothing", kind)
        with pytest.raises(StorageError):
            self.read(tmp_path, kind)

    @settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(["rows", "frames", "index"]), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
    def test_a_changed_byte_is_an_error_or_harmless(self, tmp_path: Path, kind: str, where: float, flip: int) -> None:
        good = self.good(tmp_path, kind)
        expected = self.read(good, kind)
        data = bytearray(good.read_bytes())
        at = int(where * len(data))
        data[at] ^= flip
        bad = tmp_path / "bad"
        bad.write_bytes(data)
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little") if at < len(data) - 8 else 0
        with contextlib.suppress(StorageError):
            got = self.read(bad, kind)
            # Pages carry checksums; the footer does not, which is why the ledger has a hash of the whole file.
            assert got == expected or at >= footer

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="holds 'index', expected 'rows'"):
            tables.read_rows(self.good(tmp_path, "index"))
        with pytest.raises(StorageError, match="holds 'rows', expected 'index'"):
            tables.read_index(self.good(tmp_path, "rows"))
        with pytest.raises(StorageError, match="holds 'rows', expected one of frames, shots, tiles"):
            tables.read_columns(self.good(tmp_path, "rows"), ["frame"])

    def rewritten(self, tmp_path: Path, kind: str, change: Any) -> Path:
        table = change(pq.read_table(self.good(tmp_path, kind)))
        path = tmp_path / "rewritten"
        pq.write_table(table, path)
        return path

    def test_a_file_that_is_not_ours(self, tmp_path: Path) -> None:
        path = self.rewritten(tmp_path, "rows", lambda t: t.replace_schema_metadata(None))
        with pytest.raises(StorageError, match="not written by reelmend"):
            tables.read_rows(path)

    def test_a_file_of_another_version(self, tmp_path: Path) -> None:
        path = self.rewritten(tmp_path, "frames", lambda t: t.replace_schema_metadata({b"reelmend": b"frames/2"}))
        with pytest.raises(StorageError, match="version '2', known is 1"):
            tables.read_columns(path, ["frame"])

    def test_columns_that_are_lacking_or_of_another_type(self, tmp_path: Path) -> None:
        path = self.rewritten(tmp_path, "rows", lambda t: t.drop_columns(["ssim"]))
        with pytest.raises(StorageError, match=r"lacking \['ssim'\]"):
            tables.read_rows(path)
        words = pa.array(["x"] * 30)
        path = self.rewritten(tmp_path, "rows", lambda t: t.set_column(t.schema.names.index("ssim"), "ssim", words))
        with pytest.raises(StorageError, match=r"ssim: .*string"):
            tables.read_rows(path)
        frames = self.rewritten(tmp_path, "frames", lambda t: t.set_column(9, "psnr_db", words))
        with pytest.raises(StorageError, match=r"column 'psnr_db' is .*, expected float"):
            tables.read_columns(frames, ["psnr_db"])

    def test_a_description_that_is_garbled(self, tmp_path: Path) -> None:
        for said in (b"", b"{", b"[]", b"null", b'{"time_base": "1/0"}', b"[" * 1000, b'{"time_base": [1], "rate": 2}'):
            path = self.rewritten(
                tmp_path,
                "index",
                lambda t, said=said: t.replace_schema_metadata({b"reelmend": b"index/1", b"reelmend.index": said}),
            )
            with pytest.raises(StorageError, match="garbled"):
                tables.read_index(path)

    def test_one_long_word_in_every_row_takes_no_more_room_than_once(self, tmp_path: Path) -> None:
        count, word = 9_000, "x" * (1 << 20)
        schema = pq.read_schema(self.good(tmp_path, "rows"))
        rows = [row(n, device=word, flags=(word,)) for n in range(count)]
        same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([word]))
        made = {"device": same, "flags": pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32)), same)}
        columns = [made.get(f.name) or pa.array([getattr(r, f.name, None) for r in rows], f.type) for f in schema]
        types = [pa.field(f.name, c.type, f.nullable) for f, c in zip(schema, columns, strict=True)]
        types[schema.names.index("flags")] = pa.field(
            "flags", pa.list_(pa.field("element", same.type, nullable=False)), nullable=False
        )
        path = tmp_path / "bomb"
        arrays = [c.cast(t.type) if t.name == "flags" else c for c, t in zip(columns, types, strict=True)]
        pq.write_table(pa.table(arrays, pa.schema(types, schema.metadata)), path)
        assert path.stat().st_size < 10 << 20
        got = tables.read_rows(path)
        assert got[0].device == word
        assert all(r.device is got[0].device and r.flags[0] is got[0].flags[0] for r in got)
        assert pa.default_memory_pool().max_memory() < 1 << 29  # written out it would be 18 GB


class TestNoRoom:
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
    def test_a_full_disk_is_said(self) -> None:
        with pytest.raises(ScratchFullError, match="/dev/full: no room"):
            tables.write_rows(Path("/dev/full"), [row(n) for n in range(100)])

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="cannot be written"):
            tables.write_index(tmp_path / "none" / "index", index())


def test_binary_files_are_sources_too(tmp_path: Path) -> None:
    tables.write_index(tmp_path / "index", index())
    with (tmp_path / "index").open("rb") as file:
        assert tables.read_index(cast(BinaryIO, file)).digest == index().digest
