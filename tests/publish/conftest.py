"""One source for all tests of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.publish import night


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A film of 20 frames with sound."""
    return str(night.film(tmp_path_factory.mktemp("films") / "reel one.mkv"))


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "out")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path
