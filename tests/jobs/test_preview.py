"""A preview: the source and each config side by side, as a run would restore the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.preview import show_preview
from pipeline.errors import CallError
from pipeline.reel.still import read_picture
from tests.motion.test_motion import scene, view
from tests.reel.films import make_film


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of 128×96 whose brightness jumps, with a spot in frame 9."""
    path = tmp_path_factory.mktemp("films") / "p.mkv"
    frames = []
    for n in range(20):
        shown = view(scene(), -n, 0, 96, 128) * (0.8 if n % 2 else 1.0)
        if n == 9:
            shown[40:44, 60:64] = 0.02
        frames.append((np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8),))
    make_film(path, pixel_format_name="gray", planes=frames)
    return path


def test_source_and_configs_stand_side_by_side(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, chain in (("even", "[{pass: deflicker}, {pass: dirt}]"), ("copy", "[]")):
        (tmp_path / f"{name}.yaml").write_text(f"chain: {chain}\n")
    out = tmp_path / "p.png"
    assert show_preview(str(film), 9, [str(tmp_path / "even.yaml"), str(tmp_path / "copy.yaml")], out) == 0
    picture = read_picture(out)
    assert picture.shape == (96, 3 * 128 + 2 * 8, 3)
    source, even, copy = (picture[:, i * 136 : i * 136 + 128].astype(float) for i in range(3))
    assert np.array_equal(source, copy)
    assert even.mean() > source.mean() + 8, "the dark frame is lifted to its neighbours"
    assert source[40:44, 60:64].max() < 10
    assert even[40:44, 60:64].min() > 40, "and the spot is filled"
    assert "dirt_fraction" in capsys.readouterr().err


def test_a_frame_that_is_not_there_is_the_calls_fault(film: Path, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="frame 20 was asked for, the reel has the frames 0:20"):
        show_preview(str(film), 20, [], tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()
    with pytest.raises(CallError, match="there is no such folder"):
        show_preview(str(film), 9, [], tmp_path / "none" / "p.png")
