"""What goes wrong between here and a real S3 server, and what is said of it."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error
from s3fs.utils import FileExpired

from pipeline.errors import MissingError, StorageError
from pipeline.storage import filesystems, remote, retry, store
from tests.s3 import Server
from tests.storage.proxy import Proxy


def _path(uri: str) -> bytes:
    return uri.removeprefix("s3:/").encode()


CALLS: dict[str, Callable[[str, Path], object]] = {
    "stat": lambda uri, _: store.stat(uri),
    "exists": lambda uri, _: store.exists(uri),
    "read": lambda uri, _: store.read_bytes(uri),
    "open": lambda uri, _: store.open_read(uri),
    "fetch": lambda uri, tmp: store.fetch(uri, tmp / "f"),
    "stage": lambda uri, tmp: store.stage(uri, tmp / "scratch", run="one"),
    "list": lambda uri, _: store.list_files(uri),
    "names": lambda uri, _: store.list_names(uri),
    "put": lambda uri, _: store.put_bytes(uri, b"x"),
    "put once": lambda uri, _: store.put_bytes_once(uri, b"x"),
    "put file": lambda uri, tmp: store.put_file(_file(tmp), uri),
    "put file once": lambda uri, tmp: store.put_file_once(_file(tmp), uri),
    "delete": lambda uri, _: store.delete(uri),
    "delete tree": lambda uri, _: store.delete_tree(uri),
}
WRITES = ["put", "put once", "put file", "put file once", "delete", "delete tree"]
FEW = ["stat", "read", "open", "fetch", "names", "put", "put file once", "delete tree"]


def _file(tmp: Path) -> Path:
    path = tmp / "local"
    path.write_bytes(b"x")
    return path


def _refused(call: str, uri: str, tmp: Path) -> str:
    """Make a call that must fail for good: at once, with one line that names the URI and says what to do."""
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        CALLS[call](uri, tmp)
    assert time.monotonic() - began < 5, "what is permanent is not tried again"
    assert not caught.value.transient
    assert not store.is_transient(caught.value)
    assert not isinstance(caught.value, MissingError)
    line = str(caught.value)
    assert "\n" not in line
    assert uri in line
    assert caught.value.todo
    return line


@pytest.mark.parametrize("call", CALLS)
def test_a_missing_bucket(call: str, s3: Server, tmp_path: Path) -> None:
    assert "no such bucket" in _refused(call, "s3://nowhere/x/y.mkv", tmp_path)


@pytest.mark.parametrize("call", FEW)
def test_no_credentials_at_all(call: str, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    line = _refused(call, f"{s3_folder}/x", tmp_path)
    assert "no usable credentials" in line
    assert "AWS_ACCESS_KEY_ID" in line


@pytest.mark.parametrize("call", CALLS)
def test_an_unknown_access_key(call: str, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    line = _refused(call, f"{s3_folder}/x", tmp_path)
    assert "does not know this access key" in line
    assert "AWS_ACCESS_KEY_ID" in line


@pytest.mark.parametrize("call", ["stat", "list", "put once"])
def test_a_wrong_secret(call: str, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    line = _refused(call, f"{s3_folder}/x", tmp_path)
    assert "secret key does not fit" in line
    assert "wrong-secret" not in line


@pytest.mark.parametrize("call", WRITES)
def test_an_identity_that_may_only_read(
    call: str, s3: Server, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_bytes(f"{s3_folder}/x", b"film")
    store.put_bytes(f"{s3_folder}/x/below", b"film")
    for name, value in s3.env("reader").items():
        monkeypatch.setenv(name, value)
    assert "do not allow it (AccessDenied)" in _refused(call, f"{s3_folder}/x", tmp_path)
    assert store.read_bytes(f"{s3_folder}/x") == b"film", "reading goes on, and nothing was changed"
    assert store.read_bytes(f"{s3_folder}/x/below") == b"film"


@pytest.mark.parametrize("call", FEW)
def test_a_server_that_cannot_be_reached(
    call: str, s3_folder: str, tmp_path: Path, hasty: None, nobody_there: None
) -> None:
    began = time.monotonic()
    with pytest.raises(StorageError, match="trying again did not help") as caught:
        CALLS[call](f"{s3_folder}/x", tmp_path)
    assert 0.1 < time.monotonic() - began < 5, "tried again, and given up in time"
    assert caught.value.transient
    assert store.is_transient(caught.value)
    assert f"{s3_folder}/x" in str(caught.value)


@pytest.mark.parametrize("call", FEW)
def test_an_overloaded_server_is_asked_again(
    call: str, wire: Proxy, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.02)
    uri = f"{s3_folder}/x"
    if "once" not in call:
        store.put_bytes(uri, b"film")
    wire.refuse(b"", times=2)
    CALLS[call](uri, tmp_path)
    assert wire.count(b"") >= 3


def test_a_refused_try_is_no_excuse_for_a_lost_race(wire: Proxy, s3_folder: str) -> None:
    uri = f"{s3_folder}/record"
    assert store.put_bytes_once(uri, b"theirs")
    wire.refuse(b"PUT " + _path(uri))
    assert not store.put_bytes_once(uri, b"ours")
    assert store.read_bytes(uri) == b"theirs"


def test_a_put_whose_answer_was_lost_is_not_taken_for_a_lost_race(wire: Proxy, s3_folder: str, tmp_path: Path) -> None:
    uri = f"{s3_folder}/record"
    wire.lose_answer(b"PUT " + _path(uri))
    assert store.put_bytes_once(uri, b"ours")
    assert wire.count(b"PUT") == 2
    assert not store.put_bytes_once(uri, b"ours"), "only the one that wrote it may say so"
    assert store.read_bytes(uri) == b"ours"
    file = f"{s3_folder}/file"
    wire.lose_answer(b"PUT " + _path(file))
    assert store.put_file_once(_file(tmp_path), file)


def test_a_commit_of_parts_whose_answer_was_lost(
    wire: Proxy, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PART_BYTES", 5 << 20)
    local, uri = tmp_path / "x.mkv", f"{s3_folder}/x.mkv"
    local.write_bytes(random.Random(1).randbytes(11 << 20))
    wire.lose_answer(b"POST " + _path(uri) + b"?uploadId")
    assert store.put_file_once(local, uri)
    assert store.stat(uri).bytes == 11 << 20
    assert not store.put_file_once(local, uri)


def test_a_lost_part_costs_one_part(
    wire: Proxy, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PART_BYTES", 5 << 20)
    local, uri = tmp_path / "x.mkv", f"{s3_folder}/x.mkv"
    local.write_bytes(random.Random(1).randbytes(16 << 20))
    wire.refuse(b"PUT " + _path(uri) + b"?partNumber=2")
    wire.lose_answer(b"PUT " + _path(uri) + b"?partNumber=3")
    store.put_file(local, uri)
    assert wire.count(b"PUT") == 4 + 2
    store.fetch(uri, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == local.read_bytes()


def test_the_server_is_killed_and_comes_back_while_we_try(
    s3: Server, s3_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server that is coming up may take a request and never answer it.
    monkeypatch.setattr(filesystems, "_READ_S", 2)
    monkeypatch.setattr(filesystems, "_made", {})
    data = random.Random(1).randbytes(9 << 20)
    store.put_bytes(f"{s3_folder}/film", data)
    said: dict[str, object] = {}

    def use() -> None:
        with store.open_read(f"{s3_folder}/film") as film:
            film.seek(100)
            said["before"] = film.read(10)
            s3.kill()
            down.set()
            said["put"] = store.put_bytes_once(f"{s3_folder}/record", b"ours")
            film.seek(8 << 20)
            said["after"] = film.read(10)

    down = threading.Event()
    worker = threading.Thread(target=use, daemon=True)
    worker.start()
    assert down.wait(30)
    time.sleep(1.0)
    assert "put" not in said
    s3.start()
    worker.join(30)
    assert said == {"before": data[100:110], "put": True, "after": data[8 << 20 : (8 << 20) + 10]}
    assert store.read_bytes(f"{s3_folder}/record") == b"ours"


def test_other_credentials_take_effect_at_once(s3: Server, s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_bytes(f"{s3_folder}/x", b"1")
    with monkeypatch.context() as other:
        for name, value in s3.env("reader").items():
            other.setenv(name, value)
        with pytest.raises(StorageError):
            store.put_bytes(f"{s3_folder}/x", b"2")
    store.put_bytes(f"{s3_folder}/x", b"3")
    assert store.read_bytes(f"{s3_folder}/x") == b"3"


def test_one_random_range_costs_a_block_or_two(wire: Proxy, s3_folder: str) -> None:
    size = 24 << 20
    data = random.Random(1).randbytes(1 << 20) * 24
    uri = f"{s3_folder}/master.mkv"
    store.put_bytes(uri, data)
    before, asked = wire.received, len(wire.requests)
    with store.open_read(uri) as film:
        film.seek(size // 2 + (1 << 20))
        assert film.read(1 << 20) == data[: 1 << 20]
        one = wire.received - before
        assert one <= 4 * 1.01 * 2**20, f"{one} bytes for a read of 1 MiB"
        film.seek(-(1 << 20), 2)
        film.read(1000)
        film.seek(size // 2 + (1 << 20))
        film.read(1 << 20)
        assert wire.received - before <= 8 * 1.01 * 2**20, "going back to a block that is kept costs nothing"
        assert len(wire.requests) - asked <= 3, "a HEAD and two GETs"
        film.seek(0)
        before = wire.received
        assert film.read() == data
        assert wire.received - before <= size * 1.01, "reading on fetches no byte twice"


def test_a_film_that_changes_under_a_reader(s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{s3_folder}/film"
    store.put_bytes(uri, b"a" * (9 << 20))
    with store.open_read(uri) as film:
        film.read(10)
        store.put_bytes(uri, b"b" * (9 << 20))
        film.seek(6 << 20)
        with pytest.raises(StorageError, match="changed while it was being read") as caught:
            film.read(10)
    assert not caught.value.transient

    download = remote.download

    def slowly(*args: object) -> None:
        download(*args)  # type: ignore[arg-type]
        store.put_bytes(uri, b"c" * (9 << 20))

    monkeypatch.setattr(remote, "download", slowly)
    with pytest.raises(StorageError, match="changed while it was being read"):
        store.fetch(uri, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_waits_grow_within_patience_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(retry, "monotonic", lambda: clock[0])

    def lengths() -> list[float]:
        found = []
        clock[0] = 100.0
        for wait in retry.waits(patience=30.0):
            found.append(wait)
            clock[0] += wait
        return found

    one, two = lengths(), lengths()
    assert one != two, "jitter"
    for found in (one, two):
        assert sum(found) <= 30.0
        assert sum(found) >= 24.0, "it does not give up early"
        assert all(0.5 * 0.2 * 2**n <= w <= 0.2 * 2**n for n, w in enumerate(found[:5]))
        assert max(found) <= 5.0
    clock[0] = 100.0
    slow = retry.waits(patience=30.0)
    assert next(slow) > 0
    clock[0] = 200.0
    assert next(slow, None) is None, "time spent in a try counts too"


def _answer(code: str, status: int, message: str = "said the server") -> BaseException:
    error = ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Get"
    )
    return translate_boto_error(error)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (_answer("SlowDown", 503), True),
        (_answer("InternalError", 500), True),
        (_answer("ServiceUnavailable", 503), True),
        (_answer("ConditionalRequestConflict", 409), True),
        (_answer("NoSuchUpload", 404), True),
        (_answer("502", 502), True),
        (_answer("TooManyRequests", 429), True),
        (_answer("NoSuchKey", 404), False),
        (_answer("AccessDenied", 403), False),
        (_answer("PreconditionFailed", 412), False),
        (_answer("InvalidRange", 416), False),
        (boto.EndpointConnectionError(endpoint_url="http://x"), True),
        (boto.ConnectTimeoutError(endpoint_url="http://x"), True),
        (boto.ReadTimeoutError(endpoint_url="http://x"), True),
        (boto.ConnectionClosedError(endpoint_url="http://x"), True),
        (boto.SSLError(endpoint_url="https://x", error="CERTIFICATE_VERIFY_FAILED"), False),
        (boto.NoCredentialsError(), False),
        (boto.ParamValidationError(report="bad bucket"), False),
        (FileExpired("x", "etag"), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (OSError(errno.ESTALE, "stale NFS handle"), True),
        (TimeoutError(), True),
        (OSError(errno.ENOSPC, "full"), False),
        (OSError(errno.EIO, "bad sector"), False),
        (FileNotFoundError(errno.ENOENT, "none"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (StorageError("x", transient=True), True),
        (StorageError("x"), False),
        (ValueError("a fault of ours"), False),
    ],
    ids=lambda v: f"{type(v).__name__}-{v}"[:40] if isinstance(v, BaseException) else "",
)
def test_what_is_worth_another_try(error: BaseException, transient: bool) -> None:
    assert store.is_transient(error) is transient


def test_a_fault_of_our_own_is_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError):
        retry.retrying(lambda: 1 // 0, "s3://out/x", "read it")
