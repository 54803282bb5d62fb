"""Fixtures that every room's tests share."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3 import Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """The real S3 server, one a test session, with the buckets ``films`` and ``out``.

    It touches no environment: a fixture of wider scope (a cluster) passes ``s3_server.env()`` to what it starts.
    """
    # A short path: the server puts unix sockets beside its data, and those are bounded to about 100 characters.
    directory = Path(tempfile.mkdtemp(prefix="reelmend-s3-"))
    server = Server(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()  # in good order would take seconds, and its data goes anyway
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The same server with this process's environment set to it. A test may stop, kill and start it."""
    s3_server.start()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "FSSPEC_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.env().items():
        monkeypatch.setenv(name, value)
    yield s3_server
    s3_server.start()


@pytest.fixture
def s3_folder(s3: Server) -> str:
    """URI of a folder in the bucket ``out`` that no other test uses."""
    return s3.uri("out", f"t-{uuid.uuid4().hex[:12]}")
