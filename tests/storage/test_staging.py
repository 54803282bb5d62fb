"""Copies on local scratch: once a node, whole or not there, and no more than fits."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import MissingError, ScratchFullError, StorageError
from pipeline.storage import disk, staging, store
from tests.storage.proxy import Proxy

FILM = random.Random(1).randbytes(20 << 20)
STAGE = "import sys; from pathlib import Path; from pipeline.storage import store;"
STAGE += "print('ready', flush=True); input(); print(store.stage(sys.argv[1], Path(sys.argv[2]), run=sys.argv[3]))"


def _ask(uri: str, scratch: Path, run: str = "one", code: str = STAGE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, uri, str(scratch), run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_stage_one_copy(wire: Proxy, s3_folder: str, tmp_path: Path) -> None:
    uri = f"{s3_folder}/a film [1].mkv"
    store.put_bytes(uri, FILM)
    before = wire.received
    both = [_ask(uri, tmp_path) for _ in range(2)]
    for p in both:
        assert p.stdout
        assert p.stdout.readline() == "ready\n"
    for p in both:
        assert p.stdin
        p.stdin.write("\n")
        p.stdin.flush()
    said = [p.communicate(timeout=60)[0].strip() for p in both]
    assert said[0] == said[1]
    assert Path(said[0]).read_bytes() == FILM
    assert said[0].endswith(".mkv")
    assert wire.received - before < len(FILM) * 1.1
    assert store.stage(uri, tmp_path, run="one") == Path(said[0])
    assert sorted(p.name for p in Path(said[0]).parent.iterdir()) == sorted([Path(said[0]).name, "lock", "run-one"])


def test_a_new_version_is_another_copy(s3_folder: str, tmp_path: Path) -> None:
    uri = f"{s3_folder}/film"
    store.put_bytes(uri, b"one")
    one = store.stage(uri, tmp_path, run="one")
    store.put_bytes(uri, b"two")
    two = store.stage(uri, tmp_path, run="one")
    assert (one.read_bytes(), two.read_bytes()) == (b"one", b"two")
    store.unstage(uri, tmp_path, run="one")
    store.unstage(uri, tmp_path, run="one")
    assert not one.exists()
    assert not two.exists()


def test_a_cut_off_copy_is_made_again(s3_folder: str, tmp_path: Path) -> None:
    uri = f"{s3_folder}/film"
    store.put_bytes(uri, FILM)
    copy = store.stage(uri, tmp_path, run="one")
    os.truncate(copy, 1000)
    assert store.stage(uri, tmp_path, run="one").read_bytes() == FILM


def test_a_killed_process_leaves_neither_copy_nor_lock(wire: Proxy, s3_folder: str, tmp_path: Path) -> None:
    uri = f"{s3_folder}/film"
    store.put_bytes(uri, FILM)
    code = STAGE.replace("print('ready', flush=True); input();", "from pipeline.storage import remote; import time;")
    code = code.replace("print", "remote.download = lambda *a: (print('in', flush=True), time.sleep(60)); print")
    process = subprocess.Popen(
        [sys.executable, "-c", code, uri, str(tmp_path), "one"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "in\n"
    process.kill()
    process.wait()
    left = [p.name for p in tmp_path.rglob("*") if disk.is_part(p.name)]
    assert len(left) == 1
    copy = store.stage(uri, tmp_path, run="one")
    assert copy.read_bytes() == FILM
    assert not [p for p in tmp_path.rglob("*") if disk.is_part(p.name)]


def test_a_file_on_a_disk_is_its_own_copy(tmp_path: Path) -> None:
    (tmp_path / "x.mkv").write_bytes(b"x")
    assert store.stage(f"file://{tmp_path}/x.mkv", tmp_path / "scratch", run="one") == tmp_path / "x.mkv"
    assert not (tmp_path / "scratch").exists()
    with pytest.raises(MissingError):
        store.stage(str(tmp_path / "y.mkv"), tmp_path / "scratch", run="one")


def test_what_does_not_fit_is_told_before_it_is_read(
    wire: Proxy, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{s3_folder}/film"
    store.put_bytes(uri, FILM)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(FILM) - 1))
    before = wire.received
    for call in (lambda: store.fetch(uri, tmp_path / "f"), lambda: store.stage(uri, tmp_path, run="one")):
        with pytest.raises(ScratchFullError, match=r"20\.0 MiB are wanted here, 20\.0 MiB are free") as caught:
            call()
        assert str(tmp_path) in str(caught.value)
    assert wire.received - before < 10_000
    assert not (tmp_path / "f").exists()


FULL = """
import os, shutil, sys
from pathlib import Path
from pipeline.errors import ScratchFullError
from pipeline.storage import disk, store

uri, small = sys.argv[1], Path(sys.argv[2])
room = shutil.disk_usage(small)
disk.shutil.disk_usage = lambda _: room._replace(free=2**40)  # somebody else takes the room after we looked
calls = {
    "fetch": lambda: store.fetch(uri, small / "f"),
    "stage": lambda: store.stage(uri, small, run="one"),
    "put": lambda: store.put_bytes(str(small / "p"), b"x" * (8 << 20)),
    "once": lambda: store.put_bytes_once(str(small / "p"), b"x" * (8 << 20)),
}
for name, call in calls.items():
    try:
        call()
    except ScratchFullError as error:
        assert str(small) in str(error) and not error.transient, str(error)
        print(name)
left = [p for p in small.rglob("*") if p.is_file() and p.name not in ("lock", "run-one")]
assert not left, left
"""


def test_a_full_scratch_disk(s3_folder: str, tmp_path: Path) -> None:
    """A real one: a tmpfs of 4 MiB, in a mount namespace of its own."""
    uri, small = f"{s3_folder}/film", tmp_path / "small"
    store.put_bytes(uri, FILM)
    small.mkdir()
    mount = f'mount -t tmpfs -o size=4m none "{small}"'
    own = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    try:
        if subprocess.run([*own, mount], capture_output=True, check=False).returncode != 0:
            pytest.skip("this system mounts nothing for us")
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    script = f'{mount} && exec "{sys.executable}" -c "$0" "{uri}" "{small}"'
    done = subprocess.run([*own, script, FULL], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["fetch", "stage", "put", "once"]


def test_a_fetch_that_fails_leaves_the_older_file(s3_folder: str, tmp_path: Path) -> None:
    local = tmp_path / "weights"
    local.write_bytes(b"old")
    with pytest.raises(MissingError):
        store.fetch(f"{s3_folder}/nowhere", local)
    (tmp_path / "file").write_bytes(b"")
    store.put_bytes(f"{s3_folder}/x", b"x")
    with pytest.raises(StorageError) as caught:
        store.fetch(f"{s3_folder}/x", tmp_path / "file" / "x")
    assert str(tmp_path / "file") in str(caught.value)
    assert local.read_bytes() == b"old"


def test_waiting_for_a_copy_ends_with_its_maker(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from pipeline.storage import disk\n"
            "with disk.lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)",
            str(path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    began = time.monotonic()
    holder.kill()
    with disk.lock(path):
        assert time.monotonic() - began < 10
    holder.wait()


def test_staged_names_are_bounded(tmp_path: Path) -> None:
    assert len(staging._staged("s3://out/" + "é" * 500, tmp_path).name) == 32


HOLD = STAGE + "; input()"


def _staged_by(uri: str, scratch: Path, run: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that has staged a source, and lives on."""
    process = _ask(
        uri, scratch, run, HOLD.replace("print(store", "print('copy', store").replace("))", "), flush=True)", 1)
    )
    assert process.stdout
    assert process.stdin
    process.stdout.readline()
    process.stdin.write("\n")
    process.stdin.flush()
    return process, Path(process.stdout.readline().split(maxsplit=1)[1].strip())


def test_what_a_killed_run_left_is_swept_and_what_another_uses_is_not(s3_folder: str, tmp_path: Path) -> None:
    uris = [f"{s3_folder}/{name}.mkv" for name in "ab"]
    for uri in uris:
        store.put_bytes(uri, b"film")
    (killed, left), (lives, used) = (_staged_by(uri, tmp_path, run) for uri, run in zip(uris, "xy", strict=True))
    store.sweep_staged(tmp_path)
    assert left.exists(), "its run is alive"
    killed.kill()
    killed.wait()
    store.sweep_staged(tmp_path)
    assert not left.exists()
    assert used.exists()
    assert [p.name for p in (tmp_path / "staged").iterdir()] == [used.parent.name]
    store.sweep_staged(tmp_path, run="y")  # of which nobody works any more
    assert not used.exists()
    lives.communicate("\n", timeout=30)
    store.sweep_staged(tmp_path / "nothing was ever staged here")


def test_a_copy_that_another_run_uses_outlives_the_first_ones_end(s3_folder: str, tmp_path: Path) -> None:
    uri = f"{s3_folder}/a.mkv"
    store.put_bytes(uri, b"film")
    (one, copy), (two, same) = (_staged_by(uri, tmp_path, run) for run in ("one", "two"))
    assert copy == same
    store.unstage(uri, tmp_path, run="one")
    assert copy.exists()
    store.unstage(uri, tmp_path, run="two")
    assert not copy.exists()
    for process in (one, two):
        process.communicate("\n", timeout=30)


def test_a_copy_that_is_being_made_is_not_swept(s3_folder: str, tmp_path: Path) -> None:
    uri = f"{s3_folder}/a.mkv"
    store.put_bytes(uri, FILM)
    code = STAGE.replace("print('ready', flush=True); input();", "from pipeline.storage import remote; import time;")
    slow = "remote.download = lambda *a: (print('in', flush=True), time.sleep(60)); print"
    process = _ask(uri, tmp_path, code=code.replace("print", slow))
    assert process.stdout
    assert process.stdout.readline() == "in\n"
    store.sweep_staged(tmp_path, run="one")
    assert [p for p in tmp_path.rglob("*") if disk.is_part(p.name)]
    process.kill()
    process.wait()
    store.sweep_staged(tmp_path)
    assert list((tmp_path / "staged").iterdir()) == []


def test_whoever_waits_for_a_folder_that_is_removed_makes_it_anew(s3_folder: str, tmp_path: Path) -> None:
    uri = f"{s3_folder}/a.mkv"
    store.put_bytes(uri, b"film")
    folder = store.stage(uri, tmp_path, run="one").parent
    with ThreadPoolExecutor(1) as pool:
        with disk.lock(folder / "lock"):
            waiting = pool.submit(store.stage, uri, tmp_path, run="two")
            time.sleep(0.3)
            assert not waiting.done()
            shutil.rmtree(folder)
        copy = waiting.result(timeout=30)
    assert copy.read_bytes() == b"film"
    assert (folder / "run-two").exists()
    store.unstage(uri, tmp_path, run="two")
    assert not folder.exists()
