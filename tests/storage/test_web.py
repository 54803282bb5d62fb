"""Files on a web server, which may know no ranges and say little."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import MissingError, StorageError
from pipeline.storage import store

DATA = os.urandom(20 << 20)  # more than the parts that other storages are asked for


class Web(http.server.ThreadingHTTPServer):
    """Serves DATA in the ways that servers do."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures = 0
        self.asked: list[str] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that has seen enough hangs up


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        if self.path == "/no-head":
            self.send_error(405)
        else:
            self._answer(body=False)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/there?signed=a%2Fb")
            self.end_headers()
        elif self.path == "/none":
            self.send_error(404)
        elif self.path == "/forbidden":
            self.send_error(403)
        elif body and self.server.failures:
            self.server.failures -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA[: 9 << 20])
        else:
            self.send_response(200)
            if self.path != "/unknown-size":
                self.send_header("Content-Length", str(len(DATA) - (self.path == "/grows" and not body)))
            self.end_headers()
            if body:
                self.wfile.write(DATA)


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["there", "there?token=a%20b&x=/", "moved", "no-head", "a%20b"])
def test_a_file_is_fetched_whole(web: Web, name: str, tmp_path: Path) -> None:
    assert store.stat(web.url(name)).bytes == len(DATA)
    store.fetch(web.url(name), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA


def test_the_uri_stays_what_it_is(web: Web) -> None:
    assert store.absolute(web.url("a/b?c=d/")) == web.url("a/b?c=d/")
    assert store.local_path(web.url("a")) is None


def test_a_line_that_breaks_is_tried_again_from_the_start(web: Web, tmp_path: Path, hasty: None) -> None:
    web.failures = 1
    store.fetch(web.url("there"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA
    assert web.asked == ["/there", "/there"]


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("none", MissingError, "no such file"),
        ("forbidden", StorageError, "403"),
        ("unknown-size", StorageError, "how large"),
        ("grows", StorageError, "more came"),
    ],
)
def test_what_cannot_be_had_is_said(
    web: Web, name: str, kind: type[StorageError], word: str, tmp_path: Path, hasty: None
) -> None:
    with pytest.raises(kind, match=word) as error:
        store.fetch(web.url(name), tmp_path / "copy")
    assert web.url(name) in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_down_is_not_a_missing_file(nobody_there: None, hasty: None) -> None:
    with pytest.raises(StorageError, match="trying again did not help") as error:
        store.stat(f"{os.environ['AWS_ENDPOINT_URL']}/there")
    assert not isinstance(error.value, MissingError)


def test_parts_from_a_server_that_gives_none(web: Web) -> None:
    """It answers every range with the whole file, or with less than was asked for: an error, never other bytes."""
    with store.open_read(web.url("there")) as file:
        file.seek(5 << 20)
        with pytest.raises(StorageError, match="parts of a file"):
            file.read(10)


def test_a_web_server_is_not_written_to(web: Web) -> None:
    with pytest.raises(StorageError, match="not written"):
        store.put_bytes(web.url("there"), b"x")
