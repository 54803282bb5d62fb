"""Single pictures: PNG without loss, and clear words about what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.reel import still
from pipeline.reel.still import read_picture, write_png


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_png_round_trip(tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("png") / "picture.png"
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    write_png(path, rgb)
    assert np.array_equal(read_picture(path), rgb)
    before = path.read_bytes()
    write_png(path, rgb)
    assert path.read_bytes() == before


def test_takes_a_view_that_is_not_contiguous(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write_png(tmp_path / "a.png", rgb[::2, ::-1])
    assert np.array_equal(read_picture(tmp_path / "a.png"), rgb[::2, ::-1])


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_refuses_other_arrays(tmp_path: Path, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        write_png(tmp_path / "a.png", wrong)
    assert not (tmp_path / "a.png").exists()


def test_says_what_cannot_be_read(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    for path in (text, tmp_path / "missing.png"):
        with pytest.raises(SourceError, match=path.name):
            read_picture(path)


def test_a_picture_beyond_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    write_png(path, np.zeros((20, 21, 3), np.uint8))
    monkeypatch.setattr(still, "_MOST_PIXELS", 10_000)
    assert read_picture(path).shape == (20, 21, 3)
    monkeypatch.setattr(still, "_MOST_PIXELS", 100)
    with pytest.raises(SourceError, match=r"large\.png"):
        read_picture(path)
