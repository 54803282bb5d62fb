"""Reading and writing whole files, on a disk, in memory and on a real S3 server alike."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import multiprocessing
import os
import random
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import MissingError, ScratchFullError, StorageError
from pipeline.storage import disk, remote, store
from pipeline.storage.filesystems import Place
from tests.s3 import Server

ODD = [
    "a b",
    "a#b",
    "a?b",
    "a%20b",
    "a[1]b",
    "a*b",
    "a+b&c=d",
    'it\'s "x"',
    "a::b",
    "über–日本",
    "é",
    "~a",
    "a;b",
    "x.mkv ",
]


def _in(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


def test_a_file_is_what_was_put_and_the_last_one_put(folder: str) -> None:
    uri = store.join(folder, "deep/er", "x.bin")
    assert not store.exists(uri)
    store.put_bytes(uri, b"one")
    first = store.stat(uri)
    store.put_bytes(uri, b"three")
    second = store.stat(uri)
    assert store.read_bytes(uri) == b"three"
    assert (first.bytes, second.bytes) == (3, 5)
    assert first.version != second.version
    store.delete(uri)
    store.delete(uri)
    assert not store.exists(uri)
    with pytest.raises(MissingError) as caught:
        store.read_bytes(uri)
    assert uri in str(caught.value)
    assert not caught.value.transient


@pytest.mark.parametrize("name", ODD)
def test_no_character_of_a_name_means_anything(folder: str, name: str, tmp_path: Path) -> None:
    if folder.startswith("memory") and "::" in name:
        pytest.skip("fsspec's memory filesystem takes '::' for a chain of storages")
    uri, near = store.join(folder, name), store.join(folder, name.replace("[1]", "1").replace("*", "zz") + "z")
    store.put_bytes(uri, name.encode())
    store.put_bytes(near, b"other")
    assert store.read_bytes(uri) == name.encode()
    assert store.list_names(folder) == sorted(u.rsplit("/", 1)[-1] for u in (uri, near))
    assert [s.uri for s in store.list_files(folder)] == sorted(map(store.absolute, (uri, near)))
    assert store.stat(uri) == next(s for s in store.list_files(folder) if s.uri == store.absolute(uri))
    store.fetch(uri, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == name.encode()
    store.put_file(tmp_path / "fetched", uri)
    with store.open_read(uri) as file:
        assert file.read() == name.encode()
    store.delete(uri)
    assert store.list_names(folder) == [near.rsplit("/", 1)[-1]]


@pytest.mark.parametrize("name", ["a[1]b", "a*", "a?b", "a b"])
def test_delete_tree_takes_that_folder_and_no_other(folder: str, name: str) -> None:
    other = "a1b" if name != "a*" else "ab"
    for parent in (name, other):
        for n in range(3):
            store.put_bytes(store.join(folder, parent, f"sub/{n}"), b"x")
    store.delete_tree(store.join(folder, name))
    store.delete_tree(store.join(folder, name))
    assert [s.uri.removeprefix(store.absolute(folder)) for s in store.list_files(folder)] == [
        f"/{other}/sub/{n}" for n in range(3)
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(
        st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1, max_size=40
    ).filter(lambda n: n.strip(".") and "?versionId=" not in n),
    data=st.binary(max_size=200),
)
@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_any_name_and_any_bytes_come_back(kind: str, name: str, data: bytes, tmp_path: Path, s3: Server) -> None:
    base = str(tmp_path / uuid.uuid4().hex) if kind == "disk" else s3.uri("out", f"any-{uuid.uuid4().hex}")
    uri = store.join(base, name)
    assert store.put_bytes_once(uri, data)
    assert not store.put_bytes_once(uri, data + b"!")
    assert store.read_bytes(uri) == data
    assert store.list_names(base) == [name]
    assert [(s.uri, s.bytes) for s in store.list_files(base)] == [(store.absolute(uri), len(data))]
    store.delete_tree(base)
    assert store.list_files(base) == []


def test_a_folder_or_prefix_is_no_file(folder: str) -> None:
    store.put_bytes(store.join(folder, "a/b"), b"x")
    assert not store.exists(store.join(folder, "a"))
    assert not store.exists(store.join(folder, "a/b/c"))
    assert store.list_names(folder) == ["a"]
    assert store.list_files(store.join(folder, "none")) == []
    assert store.list_names(store.join(folder, "none")) == []
    assert store.list_files(store.join(folder, "a/b")) == [], "a file has nothing below it"
    assert store.list_names(store.join(folder, "a/b")) == []


def test_a_level_is_its_files_and_its_folders(folder: str) -> None:
    for name in ("b/c/d", "b/e", "f [1]", "g"):
        store.put_bytes(store.join(folder, name), name.encode())
    files, folders = store.list_level(folder)
    assert folders == ["b"]
    assert files == [s for s in store.list_files(folder) if s.uri.rsplit("/", 1)[-1] in ("f [1]", "g")]
    assert [s.uri for s in store.list_level(store.join(folder, "b"))[0]] == [store.absolute(store.join(folder, "b/e"))]
    assert store.list_level(store.join(folder, "none")) == store.list_level(store.join(folder, "g")) == ([], [])


def test_a_copy_within_a_storage_is_whole_and_replaces(folder: str, tmp_path: Path) -> None:
    store.put_bytes(f"{folder}/a", b"one")
    for _ in range(2):
        store.copy(f"{folder}/a", f"{folder}/below/b [1]")
        assert store.read_bytes(f"{folder}/below/b [1]") == b"one"
    store.put_bytes(f"{folder}/a", b"two")
    assert store.read_bytes(f"{folder}/below/b [1]") == b"one", "the name, not the file, was replaced"
    store.copy(f"{folder}/a", f"{folder}/below/b [1]")
    assert [(s.uri.rpartition("/")[2], s.bytes) for s in store.list_files(folder)] == [("a", 3), ("b [1]", 3)]
    assert store.read_bytes(f"{folder}/below/b [1]") == b"two"
    with pytest.raises(MissingError):
        store.copy(f"{folder}/none", f"{folder}/c")
    with pytest.raises(StorageError, match="within one storage"):
        store.copy(f"{folder}/a", "http://127.0.0.1/a")


def test_on_a_disk_without_links_a_copy_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_a: object, _b: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    store.put_bytes(f"{tmp_path}/a", b"one")
    monkeypatch.setattr(os, "link", refuse)
    store.copy(f"{tmp_path}/a", f"{tmp_path}/b")
    assert (tmp_path / "b").read_bytes() == b"one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_empty_files_and_the_limit_of_a_read(folder: str, tmp_path: Path) -> None:
    uri = store.join(folder, "empty")
    store.put_bytes(uri, b"")
    assert store.read_bytes(uri) == b""
    assert store.stat(uri).bytes == 0
    store.fetch(uri, tmp_path / "e")
    assert (tmp_path / "e").read_bytes() == b""
    store.put_bytes(uri, b"12345")
    assert store.read_bytes(uri, limit=5) == b"12345"
    with pytest.raises(StorageError, match="more than the 4 bytes"):
        store.read_bytes(uri, limit=4)


def test_join_keeps_to_its_folder() -> None:
    assert store.join("s3://out/", "a/", "/b c/d") == "s3://out/a/b c/d"
    assert store.join("/data", "x") == "/data/x"
    for part in ("..", "a/../../b", "./a"):
        with pytest.raises(StorageError, match="no name below"):
            store.join("s3://out/.work", part)


def test_absolute_and_local_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store.local_path("a b%20c.mkv") == tmp_path / "a b%20c.mkv"
    assert store.local_path(f"file://{tmp_path}/x#1") == tmp_path / "x#1"
    assert store.local_path("s3://films/x") is None
    assert store.absolute("s3a://films/x/") == "s3://films/x"
    assert store.absolute("x") == str(tmp_path / "x")
    with pytest.raises(StorageError, match="bucket"):
        store.stat("s3:///x")
    with pytest.raises(StorageError, match="absolute path"):
        store.stat("file://films/x")
    with pytest.raises(StorageError, match="no kind of storage"):
        store.stat("smurf://x/y")
    with pytest.raises(StorageError, match="versionId"):
        store.put_bytes("s3://out/a?versionId=3", b"x")


def test_seek_and_read(folder: str) -> None:
    data = random.Random(1).randbytes(9 << 20)
    uri = store.join(folder, "film")
    store.put_bytes(uri, data)
    with store.open_read(uri) as file:
        assert file.seekable()
        assert file.seek(0, io.SEEK_END) == len(data)
        assert file.read() == b""
        for first, length in [
            (0, 10),
            ((4 << 20) - 5, 10),
            ((8 << 20) - 1, 300_000),
            (len(data) - 7, 100),
            (5, 9 << 20),
        ]:
            file.seek(first)
            assert file.read(length) == data[first : first + length]


def test_one_of_many_writers_wins(folder: str) -> None:
    uri = store.join(folder, "record")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.put_bytes_once(uri, b"writer %d" % n), range(8)))
    assert sum(won) == 1
    assert store.read_bytes(uri) == b"writer %d" % won.index(True)


def test_equal_bytes_win_only_once_too(folder: str) -> None:
    uri = store.join(folder, "record")
    assert store.put_bytes_once(uri, b"same")
    assert not store.put_bytes_once(uri, b"same")


def test_one_of_two_processes_wins(folder: str) -> None:
    if folder.startswith("memory"):
        pytest.skip("memory is one process's")
    code = (
        "import sys; from pipeline.storage import store; store.exists(sys.argv[1]); print('ready', flush=True);"
        "input(); print(store.put_bytes_once(sys.argv[1], sys.argv[2].encode()))"
    )
    uri = store.join(folder, "record")
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, uri, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    for p in both:
        assert p.stdout
        assert p.stdout.readline() == "ready\n"
    for p in both:
        assert p.stdin
        p.stdin.write("\n")
        p.stdin.flush()
    said = [p.communicate(timeout=60)[0].strip() for p in both]
    assert sorted(said) == ["False", "True"]
    assert store.read_bytes(uri) == (b"one", b"two")[said.index("True")]


def test_large_files_go_up_in_parts_and_still_once(
    s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PART_BYTES", 5 << 20)
    ours, theirs = tmp_path / "ours.mkv", tmp_path / "theirs.mkv"
    ours.write_bytes(random.Random(1).randbytes((16 << 20) + 3))
    theirs.write_bytes(random.Random(2).randbytes(17 << 20))
    uri = f"{s3_folder}/x.mkv"
    assert store.put_file_once(ours, uri)
    assert "-4" in store.stat(uri).version, "four parts"
    assert not store.put_file_once(theirs, uri)
    store.fetch(uri, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == ours.read_bytes()
    store.put_file(theirs, uri)
    store.fetch(uri, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == theirs.read_bytes()


def test_parts_of_a_file_of_a_hundred_gigabytes_are_few_enough() -> None:
    where = Place("s3://b/k", "s3", "b/k")
    for size in (1, 16 << 20, 5 << 30, 200 << 30, 5 << 40):
        part = remote._in_parts(where, size)["chunksize"]
        assert part * 10_000 >= size
        assert 5 << 20 <= part <= 5 << 30


def test_a_lone_file_put_once_on_a_disk_is_a_copy(tmp_path: Path) -> None:
    source, final = tmp_path / "s", tmp_path / "out" / "f"
    source.write_bytes(b"abc")
    assert store.put_file_once(source, str(final))
    assert not store.put_file_once(source, str(final))
    source.write_bytes(b"changed")
    assert final.read_bytes() == b"abc"
    assert _in(final.parent) == ["f"], "nothing is left beside it"


def test_a_missing_local_file_is_named_not_its_destination(tmp_path: Path) -> None:
    for put in (store.put_file, store.put_file_once):
        with pytest.raises(MissingError, match="nowhere"):
            put(tmp_path / "nowhere.mkv", str(tmp_path / "out.mkv"))


@pytest.mark.parametrize("once", [False, True])
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: bool) -> None:
    final = tmp_path / ("new" if once else "old")
    store.put_bytes(str(tmp_path / "old"), b"old")

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "flush", full)
    with pytest.raises(ScratchFullError, match="no room") as caught:
        (store.put_bytes_once if once else store.put_bytes)(str(final), b"new")
    assert str(final) in str(caught.value)
    assert _in(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_writer_killed_midway_leaves_the_old_file(tmp_path: Path) -> None:
    final = tmp_path / "manifest"
    store.put_bytes(str(final), b"old")
    code = "import os, sys; from pipeline.storage import disk, store; disk.flush = lambda f: os.kill(os.getpid(), 9);"
    code += "store.put_bytes(sys.argv[1], b'n' * 100000)"
    assert subprocess.run([sys.executable, "-c", code, str(final)], check=False).returncode == -9
    assert final.read_bytes() == b"old"
    assert len(_in(tmp_path)) == 2, "the half-written file is there, under another name"
    assert store.list_names(str(tmp_path)) == ["manifest"]
    assert [s.uri for s in store.list_files(str(tmp_path))] == [str(final)]


def test_a_disk_without_links_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StorageError, match="no hard links"):
        store.put_bytes_once(str(tmp_path / "x"), b"x")
    assert _in(tmp_path) == []


def test_a_link_whose_answer_was_lost_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(source: Path, final: Path) -> None:
        link(source, final)
        link(source, final)

    monkeypatch.setattr(os, "link", twice)
    assert store.put_bytes_once(str(tmp_path / "x"), b"x")


def test_files_below_follows_links_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x.mkv").write_bytes(b"x")
    (tmp_path / "films").mkdir()
    (tmp_path / "films/link").symlink_to(tmp_path / "real")
    (tmp_path / "real/loop").symlink_to(tmp_path / "films")
    (tmp_path / "films/dead").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "films/pipe")
    assert [s.uri for s in store.list_files(str(tmp_path / "films"))] == [str(tmp_path / "films/link/x.mkv")]
    with pytest.raises(MissingError, match="no plain file"):
        store.stat(str(tmp_path / "films/pipe"))


def test_delete_tree_refuses_a_whole_bucket_or_disk(s3: Server) -> None:
    for uri in ("/", "s3://out", "s3://out/", "memory://"):
        with pytest.raises(StorageError, match="never removed"):
            store.delete_tree(uri)


def test_more_objects_than_one_delete_takes(s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_KEYS_A_DELETE", 4)
    for n in range(10):
        store.put_bytes(f"{s3_folder}/{n} & <[é]>", b"x")
    store.delete_tree(s3_folder)
    assert store.list_files(s3_folder) == []


def test_settings_may_come_as_fsspec_variables(s3: Server, s3_folder: str) -> None:
    given = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    aws = s3.env()
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED"):
        given[name] = aws[name]
    given["FSSPEC_S3_KEY"], given["FSSPEC_S3_SECRET"] = aws["AWS_ACCESS_KEY_ID"], aws["AWS_SECRET_ACCESS_KEY"]
    given["FSSPEC_S3_ENDPOINT_URL"] = s3.endpoint
    code = "import sys; from pipeline.storage import store; store.put_bytes(sys.argv[1], b'x')"
    subprocess.run([sys.executable, "-c", code, f"{s3_folder}/x"], env=given, check=True)
    assert store.read_bytes(f"{s3_folder}/x") == b"x"


def _use(uri: str) -> str:
    store.put_bytes(f"{uri}-child", b"child")
    return hashlib.sha256(store.read_bytes(uri)).hexdigest()


def test_it_works_after_a_fork_in_threads_and_inside_a_running_loop(s3_folder: str) -> None:
    uri = f"{s3_folder}/x"
    store.put_bytes(uri, b"parent")
    want = hashlib.sha256(b"parent").hexdigest()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_use, (uri,)).get(30) == want
    assert store.read_bytes(f"{uri}-child") == b"child"

    async def inside() -> str:
        return _use(uri)

    assert asyncio.run(inside()) == want
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: _use(uri), range(16))) == {want}


def test_the_head_of_a_file_is_read_and_no_more(tmp_path: Path, s3_folder: str) -> None:
    for uri in (str(tmp_path / "a"), f"{s3_folder}/a"):
        store.put_bytes(uri, bytes(range(200)))
        assert store.read_head(uri, 3) == b"\0\1\2"
        assert store.read_head(uri, 4000) == bytes(range(200))
        store.put_bytes(uri, b"")
        assert store.read_head(uri, 3) == b""
        with pytest.raises(MissingError):
            store.read_head(f"{uri}-not", 3)
