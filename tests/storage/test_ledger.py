"""The ledger: what is done is recorded once, readable by people, and trusted by nobody."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MissingError, StorageError, VerifyError
from pipeline.storage import records, store
from pipeline.storage.ledger import Ledger
from pipeline.types import Segment, TileRecord
from tests.storage.proxy import Proxy


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _stem(number: int) -> str:
    return f"{number:06d}-{24 * number:07d}-{24 * (number + 1):07d}"


def _record(number: int = 0, host: str = "here", tile: str | None = None) -> TileRecord:
    return TileRecord(
        tile_id=tile or _sha(f"tile {number}"),
        number=number,
        first=24 * number,
        last=24 * (number + 1),
        segments=(Segment("master", f"segments/{_stem(number)}-master-{_sha('s')}.mkv", _sha("s"), 123),),
        rows=f"segments/{_stem(number)}-rows-{_sha('r')}.parquet",
        rows_sha256=_sha("r"),
        host=host,
        device="cpu: Überrechner™",
        seconds={"decode": 0.5, "restore": 12.25},
        tries=1,
        finished="2025-01-01T00:00:00+00:00",
        flags=("memory-tile",),
    )


@pytest.fixture
def work(folder: str) -> str:
    return store.join(folder, ".work/a reel")


def test_what_is_recorded_is_done(work: str) -> None:
    ledger = Ledger(work)
    assert ledger.done() == set()
    made = [_record(n) for n in range(5)]
    for record in made:
        assert ledger.record(record) == record
    store.put_bytes(store.join(work, "tiles/notes.txt"), b"someone was here")
    other = Ledger(work)
    ids = [r.tile_id for r in made]
    assert other.done() == set(ids)
    assert other.read(ids[::-1]) == made[::-1]
    assert Ledger(work).read([]) == []
    with pytest.raises(MissingError, match="is not recorded"):
        other.read([_sha("another")])


def test_names_and_text_are_for_people(tmp_path: Path) -> None:
    Ledger(str(tmp_path)).record(_record(12))
    name = f"000012-0000288-0000312-{_sha('tile 12')}.json"
    assert store.list_names(str(tmp_path / "tiles")) == [name]
    text = (tmp_path / "tiles" / name).read_text()
    assert '\n  "device": "cpu: Überrechner™",\n' in text
    assert text.endswith("}\n")


def test_one_record_stands(work: str) -> None:
    attempts = [_record(3, host=f"node {n}") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        stands = list(pool.map(lambda r: Ledger(work).record(r), attempts))
    assert len({r.host for r in stands}) == 1
    assert Ledger(work).read([attempts[0].tile_id]) == [stands[0]]


def test_a_tile_of_two_excerpts_is_done_once(work: str) -> None:
    ledger = Ledger(work)
    tile = _sha("tile")
    ledger.record(dataclasses.replace(_record(1, tile=tile), host="first excerpt"))
    ledger.record(dataclasses.replace(_record(7, tile=tile), host="second excerpt"))
    assert Ledger(work).done() == {tile}
    assert Ledger(work).read([tile])[0].host == "first excerpt"


def test_a_listing_is_one_request_and_a_record_one_more(wire: Proxy, s3_folder: str) -> None:
    ledger = Ledger(f"{s3_folder}/.work/reel")
    for n in range(4):
        ledger.record(_record(n))
    before = len(wire.requests)
    done = ledger.done()
    assert len(wire.requests) - before == 1
    ledger.read(sorted(done))
    assert len(wire.requests) - before == 1 + 4


def test_files_are_named_by_what_is_in_them(work: str, tmp_path: Path) -> None:
    local = tmp_path / "seg.mkv"
    local.write_bytes(b"picture")
    ledger = Ledger(work)
    name, sha256, size = ledger.put(local, "000001-master")
    assert (name, sha256, size) == (f"segments/000001-master-{_sha('picture')}.mkv", _sha("picture"), 7)
    assert ledger.put(local, "000001-master") == (name, sha256, size)
    ledger.fetch(name, sha256, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"picture"
    for stem in ("../x", "a/b", "", ".x"):
        with pytest.raises(ValueError, match="no name"):
            ledger.put(local, stem)


def test_what_is_there_is_not_sent_again_unless_it_is_not_whole(wire: Proxy, s3_folder: str, tmp_path: Path) -> None:
    local = tmp_path / "seg.mkv"
    local.write_bytes(b"picture" * 1000)
    ledger = Ledger(f"{s3_folder}/.work/reel")
    name, _, _ = ledger.put(local, "1")
    ledger.put(local, "1")
    assert wire.count(b"PUT") == 1
    store.put_bytes(f"{s3_folder}/.work/reel/{name}", b"cut off")
    ledger.put(local, "1")
    assert store.read_bytes(f"{s3_folder}/.work/reel/{name}") == local.read_bytes()


def test_a_file_that_is_not_what_its_record_says(work: str, tmp_path: Path) -> None:
    (tmp_path / "seg.mkv").write_bytes(b"picture")
    ledger = Ledger(work)
    name, sha256, _ = ledger.put(tmp_path / "seg.mkv", "1")
    store.put_bytes(store.join(work, name), b"pictura")
    with pytest.raises(VerifyError, match="its record says") as caught:
        ledger.fetch(name, sha256, tmp_path / "back")
    assert name in str(caught.value)
    assert not (tmp_path / "back").exists()
    for bad in ("../../secret", "/etc/passwd", "segments/../../x", "segments/a/b", ""):
        with pytest.raises(StorageError, match="no name of this ledger"):
            ledger.fetch(bad, sha256, tmp_path / "back")
    with pytest.raises(MissingError):
        ledger.fetch("segments/none", sha256, tmp_path / "back")


def _whole(ledger: Ledger, folder: Path, number: int, **other: Any) -> TileRecord:
    """A tile whose files are there."""
    found = []
    for name in ("master.mkv", "rows.parquet"):
        path = folder / name
        path.write_bytes(f"{number} {name}".encode())
        found.append(ledger.put(path, f"{_stem(number)}-{path.stem}"))
    (segment, rows) = found
    made = dataclasses.replace(
        _record(number), segments=(Segment("master", *segment),), rows=rows[0], rows_sha256=rows[1], **other
    )
    return ledger.record(made)


def test_only_records_that_are_broken_are_forgotten(work: str, tmp_path: Path) -> None:
    ledger = Ledger(work)
    made = [_whole(ledger, tmp_path, n) for n in range(5)]
    ids = [r.tile_id for r in made]
    assert ledger.forget_broken(ids) == 0
    # Another tile's files, whole though they are; a file of the right size with other bytes; one that is gone.
    name = f"{_stem(1)}-{ids[1]}.json"
    store.put_bytes(
        store.join(work, "tiles", name),
        records.to_text(dataclasses.replace(made[1], segments=made[0].segments)).encode(),
    )
    store.put_bytes(store.join(work, made[2].rows), b"2 rows.parquex")
    store.delete(store.join(work, made[3].segments[0].name))
    assert ledger.forget_broken(ids) == 3
    assert Ledger(work).done() == {ids[0], ids[4]}
    assert ledger.forget_broken(ids, fits=lambda r: r.number != 4) == 1
    assert Ledger(work).done() == {ids[0]}


def test_plans_are_kept_once(work: str) -> None:
    ledger = Ledger(work)
    one, two = sorted([_sha("plan one"), _sha("plan two")])
    ledger.keep_plan(two, '{"é": 1}')
    ledger.keep_plan(one, "{}")
    ledger.keep_plan(two, "not this")
    ledger.record(_record())
    assert ledger.plans() == [one, two]
    assert ledger.read_plan(two) == '{"é": 1}'
    with pytest.raises(ValueError, match="no plan's id"):
        ledger.read_plan("../x")
    store.put_bytes(store.join(work, f"plan-{one}.json"), b"\xff\xfe")
    with pytest.raises(StorageError, match="no plan"):
        ledger.read_plan(one)


def test_clear_takes_this_reel_and_no_other(work: str, tmp_path: Path) -> None:
    (tmp_path / "seg.mkv").write_bytes(b"picture")
    below = Ledger(store.join(work, "b"))
    for ledger in (Ledger(work), below):
        ledger.record(_record())
        ledger.put(tmp_path / "seg.mkv", "1")
        ledger.keep_plan(_sha("plan"), "{}")
    Ledger(work).clear()
    Ledger(work).clear()
    assert Ledger(work).done() == set()
    assert {s.uri for s in store.list_files(work)} == {s.uri for s in store.list_files(below.work)}
    assert below.done() == {_record().tile_id}
    below.clear()
    assert store.list_files(work) == []
    if store.local_path(work):
        assert not Path(below.work).exists()


def _garble(text: str, **other: object) -> bytes:
    return json.dumps({**json.loads(text), **other}).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"tile_id": ', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "a mapping was expected"),
        (b"{}", "is missing"),
        (_garble(records.to_text(_record()), number=-1), "'number' is '-1'"),
        (_garble(records.to_text(_record()), number=True), "'number' is 'True'"),
        (_garble(records.to_text(_record()), first=99), "'last' is"),
        (_garble(records.to_text(_record()), rows="../../x"), "'rows' is"),
        (_garble(records.to_text(_record()), rows_sha256="abc"), "'rows_sha256' is"),
        (_garble(records.to_text(_record()), seconds={"decode": float("nan")}), "'seconds' is"),
        (_garble(records.to_text(_record()), seconds={"decode": "long"}), "'seconds' is"),
        (_garble(records.to_text(_record()), segments=[{"name": "/etc/passwd"}]), "is missing"),
        (_garble(records.to_text(_record()), segments=[{}] * 100), "100 entries"),
        (_garble(records.to_text(_record()), flags=[1]), "'flags' is"),
        (_garble(records.to_text(_record()), tile_id=_sha("another")), "its name says another"),
    ],
)
def test_a_garbled_record_is_told_with_its_place(tmp_path: Path, data: bytes, why: str) -> None:
    record = _record()
    ledger = Ledger(str(tmp_path))
    ledger.record(record)
    (path,) = (tmp_path / "tiles").iterdir()
    path.write_bytes(data)
    for call in (lambda: ledger.read([record.tile_id]), lambda: ledger.record(record)):
        with pytest.raises(VerifyError, match=why) as caught:
            call()
        assert str(path) in str(caught.value)
        assert "restored anew" in str(caught.value)
        assert len(str(caught.value)) < 600


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(key=st.sampled_from([f.name for f in dataclasses.fields(TileRecord)]), value=JSON)
def test_any_value_in_any_place_is_read_or_refused(key: str, value: object) -> None:
    try:
        found = records.from_bytes(_garble(records.to_text(_record()), **{key: value}), "s3://x")
    except VerifyError:
        return
    assert records.from_bytes(records.to_text(found).encode(), "s3://x") == found


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(VerifyError):
        records.from_bytes(data, "s3://x")
