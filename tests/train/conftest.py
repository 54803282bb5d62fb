"""A folder of small photographs for training jobs that take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.reel.still import write_png


def photo(seed: int, height: int = 72, width: int = 96) -> np.ndarray:
    """Soft colours with edges, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 12, width // 12, 3)).repeat(12, axis=0).repeat(12, axis=1)
    ramp = np.linspace(0, 1, width)[None, :, None]
    return np.rint((0.7 * coarse + 0.3 * ramp) * 255).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photographs ``p0.png`` … ``p5.png`` and a manifest of the first three."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        write_png(folder / f"p{number}.png", photo(number))
    rows = "".join(f"p{n}.png,museum {n},CC-BY-4.0\n" for n in range(3))
    (folder / "MANIFEST.csv").write_text("path,source,licence\n" + rows)
    return folder
