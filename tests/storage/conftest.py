"""What the tests of storage share."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage import retry
from tests.s3 import Server
from tests.storage.proxy import Proxy, proxy


@pytest.fixture(params=["disk", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder of its own, on each kind of storage."""
    if request.param == "disk":
        return str(tmp_path / "a folder #1")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/a folder #1"
    return f"{request.getfixturevalue('s3_folder')}/a folder #1"


@pytest.fixture(scope="session")
def _wire(s3_server: Server) -> Iterator[Proxy]:
    with proxy(s3_server.endpoint) as made:
        yield made


@pytest.fixture
def wire(_wire: Proxy, s3: Server, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """The S3 server behind a wire that counts and can be told to fail; the library goes through it."""
    _wire.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", _wire.endpoint)
    return _wire


@pytest.fixture(scope="session")
def _closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        yield int(taken.getsockname()[1])


@pytest.fixture
def nobody_there(_closed_port: int, s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that cannot be reached."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{_closed_port}")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after half a second."""
    monkeypatch.setattr(retry, "PATIENCE_S", 0.5)
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.05)
