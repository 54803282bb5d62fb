"""A survey's spans join to the same signals wherever they begin; what it says of levels and shifts is so."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from pipeline import tables
from pipeline.errors import MissingError, StorageError
from pipeline.reel.formats import pixel_format
from pipeline.survey.signals import Look
from pipeline.survey.spans import HALO, SPAN, join, spans
from pipeline.types import Colour, Frames, Survey
from tests.motion.test_motion import scene, view

FULL = Colour("unknown", "unknown", "unknown", "unknown", "unknown", "gray", True)
LIMITED = Colour("unknown", "unknown", "unknown", "unknown", "left", "bt709", False)


def film(frames: int = 24) -> Frames:
    """Gray, trembling and flickering; another scene from frame 15 on."""
    rng = np.random.default_rng(3)
    ways = rng.normal(0, 1, (frames, 2))
    clip = np.stack([view(scene(0 if n < 15 else 7), *ways[n]) * rng.uniform(0.8, 1.1) for n in range(frames)])
    codes = np.clip(np.round(clip * 65535), 0, 65535).astype(np.uint16)
    return Frames((codes,), pixel_format("gray16le"), 0, np.arange(frames, dtype=np.int64))


def look(frames: Frames, first: int, last: int, at_once: int = 5) -> Survey:
    seen = Look(first, last, FULL, 320)
    begin, end = max(0, first - HALO), min(len(frames), last + HALO)
    for a in range(begin, end, at_once):
        seen.see(frames.span(a, min(a + at_once, end)))
    return seen.result()


def test_spans_cover_a_reel_whatever_its_length() -> None:
    for total in (1, SPAN - 1, SPAN, 3 * SPAN // 2, 200_000):
        found = spans(total)
        assert [a for a, _ in found] == [0, *(b for _, b in found[:-1])]
        assert found[-1][1] == total
        assert max(b - a for a, b in found) <= 1.5 * SPAN


def test_where_spans_begin_leaves_no_trace() -> None:
    frames = film()
    whole = look(frames, 0, 24)
    assert np.flatnonzero(whole.cut).tolist() == [15]
    for borders in ((0, 1, 15, 24), (0, 14, 16, 24)):
        parts = [look(frames, a, b, at_once=3) for a, b in itertools.pairwise(borders)]
        joined = join(parts)
        for name in Survey.signals():
            assert np.array_equal(getattr(joined, name), getattr(whole, name)), name
    with pytest.raises(ValueError, match="followed by"):
        join([look(frames, 0, 5), look(frames, 6, 9)])
    with pytest.raises(ValueError, match="were seen"):
        Look(0, 3, FULL, 320).result()


def test_levels_are_the_pictures_own_and_shifts_are_in_px_of_the_film() -> None:
    ramp = np.tile(np.linspace(16, 235, 1280, dtype=np.uint8), (2, 96, 1))
    ramp[1] = np.roll(ramp[1], 0)
    chroma = np.full((2, 48, 640), 128, np.uint8)
    seen = Look(0, 2, LIMITED, 1280)
    seen.see(Frames((ramp, chroma, chroma), pixel_format("yuv420p"), 0, np.arange(2, dtype=np.int64)))
    found = seen.result()
    assert np.allclose(found.levels[0], [0.005, 0.02, 0.05, *np.arange(1, 10) / 10, 0.95, 0.98, 0.995], atol=0.01)
    assert np.allclose(found.colours[0].reshape(3, 5), [0.005, 0.02, 0.5, 0.98, 0.995], atol=0.012)
    picture = scene(h=500, w=1400)
    pair = np.stack([view(picture, 0, 0, 300, 1200), view(picture, 5, -4, 300, 1200)])
    seen = Look(0, 2, FULL, 1200)
    codes = np.round(np.clip(pair, 0, 1) * 255).astype(np.uint8)
    seen.see(Frames((codes,), pixel_format("gray"), 0, np.arange(2, dtype=np.int64)))
    assert np.abs(seen.result().shift[1] - (5, -4)).max() < 0.1


def test_it_is_kept_as_parquet_and_anything_else_is_refused(tmp_path: Path) -> None:
    part = look(film(), 3, 9)
    tables.write_survey(tmp_path / "a.parquet", part)
    again = tables.read_survey(tmp_path / "a.parquet", 3, 9)
    for name in Survey.signals():
        assert np.array_equal(getattr(again, name), getattr(part, name)), name
        assert getattr(again, name).dtype == getattr(part, name).dtype
    with pytest.raises(StorageError, match="no survey of the frames 3:10"):
        tables.read_survey(tmp_path / "a.parquet", 3, 10)
    with pytest.raises(MissingError):
        tables.read_survey(tmp_path / "b.parquet", 3, 9)
    garbled = bytearray((tmp_path / "a.parquet").read_bytes())
    garbled[len(garbled) // 2] ^= 0xFF
    (tmp_path / "a.parquet").write_bytes(garbled)
    with pytest.raises(StorageError):
        tables.read_survey(tmp_path / "a.parquet", 3, 9)


@pytest.mark.parametrize("width", [320, 960])
def test_floats_and_log_scans_are_looked_at_as_they_are_shown(width: int) -> None:
    from pipeline.survey.luma import small

    rng = np.random.default_rng(5)
    light = rng.uniform(0.0, 1.0, (120, width)).astype(np.float32)
    broken = light.copy()
    broken[0, :2] = (np.nan, np.inf)
    linear = Colour("unknown", "unknown", "unknown", "unknown", "unknown", "rgb", True, (), "linear")
    found, rgb = small((light,) * 3, pixel_format("gbrpf32le"), linear, width)
    assert rgb.shape[1:] == found.shape
    # Half of the light is shown brighter than half: the sRGB curve.
    assert 0.55 < float(found.mean()) < 0.75
    assert np.isfinite(small((broken,) * 3, pixel_format("gbrpf32le"), linear, width)[0]).all()
    for code, white in ((685, 1.0), (95, 0.0)):
        scan = np.full((120, width), code, np.uint16)
        log = Colour("unknown", "unknown", "unknown", "unknown", "unknown", "rgb", True, (), "log")
        assert small((scan,) * 3, pixel_format("gbrp10le"), log, width)[0] == pytest.approx(white, abs=1e-3)
