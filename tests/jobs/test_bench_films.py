"""Real films in the benchmark: their figures are right where the answer is known, and what got worse is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.bench_films import Figures, Mended, mended
from jobs.bench_films_page import rows, section, sheet
from jobs.common import load_spec
from pipeline.reel.formats import pixel_format
from pipeline.reel.sample import write_sample
from pipeline.reel.still import read_picture
from pipeline.spec import Spec
from pipeline.types import Frames
from tests.motion.test_motion import scene, view

FRAMES, DIRTY = 24, 13
WIDTH, HEIGHT = 160, 120


def film(
    path: Path, *, flicker: float = 0.0, weave: float = 0.0, dirt: bool = False, pan: float = 0.0
) -> NDArray[np.uint8]:
    """A still scene whose every other frame is so much brighter and lies so far to the right than the others; with
    dirt, 8×8 px of one frame are black. Its luma, (N, H, W)."""
    codes = np.empty((FRAMES, HEIGHT, WIDTH), np.uint8)
    for n in range(FRAMES):
        seen = view(scene(), weave * (n % 2) + pan * n, 0, HEIGHT, WIDTH)
        codes[n] = np.rint(np.clip(seen * 160 + 40 + flicker * (n % 2), 0, 255))
    if dirt:
        codes[DIRTY, 60:68, 100:108] = 0
    frames = Frames((codes,), pixel_format("gray"), 0, np.arange(FRAMES, dtype=np.int64))
    write_sample(path, frames, rate=Fraction(18), sound=np.zeros(1, np.int16), sound_rate=48_000)
    return codes


def through(path: Path, chain: str, most: int = FRAMES) -> Mended:
    found, lacking = mended([(str(path), path.stem)], specs(chain), most, workers=1)
    assert not lacking
    return found[0]


def specs(chain: str) -> Mapping[str, Spec]:
    return {"clean": load_spec("clean", [f"chain={chain}"])}


def test_figures_are_those_that_the_film_was_made_with(tmp_path: Path) -> None:
    """And equal before and after a chain that does nothing."""
    film(tmp_path / "flickers.mkv", flicker=5)
    found = through(tmp_path / "flickers.mkv", "[]")
    assert found.before == found.after
    assert found.before.flicker == pytest.approx(5, abs=0.05)
    assert found.before.dirt == 0
    assert found.before.weave == pytest.approx(0, abs=0.01)
    film(tmp_path / "weaves.mkv", weave=1)
    found = through(tmp_path / "weaves.mkv", "[]")
    assert found.before.weave == pytest.approx(0.5, abs=0.03), "half a px to either side of where it lies on the whole"
    film(tmp_path / "dirty.mkv", dirt=True)
    found = through(tmp_path / "dirty.mkv", "[]")
    assert found.before.dirt == pytest.approx(64 / (WIDTH * HEIGHT) / (FRAMES - 2), rel=0.05)
    assert found.at == DIRTY


def test_passes_lower_what_they_are_for(tmp_path: Path) -> None:
    film(tmp_path / "all.mkv", flicker=5, weave=1, dirt=True)
    found = through(tmp_path / "all.mkv", "[{pass: stabilise}, {pass: deflicker}, {pass: dirt}]")
    for name in ("weave", "flicker"):
        assert getattr(found.after, name) < 0.2 * getattr(found.before, name), name
    assert found.after.dirt == 0
    assert found.shift[0] == pytest.approx(-0.5, abs=0.1), "an odd frame lies to the right"
    assert found.repaired[60:68, 100:108].mean() > 0.9


def test_weave_means_nothing_where_the_camera_moves(tmp_path: Path) -> None:
    film(tmp_path / "pans.mkv", weave=0.6, pan=1.5)
    found = through(tmp_path / "pans.mkv", "[]")
    assert found.before.weave is None
    assert found.after.weave is None
    assert "–" in rows([found])[0]


def test_no_more_frames_are_taken_than_said_from_the_middle(tmp_path: Path) -> None:
    codes = film(tmp_path / "long.mkv", dirt=True)
    found = through(tmp_path / "long.mkv", "[{pass: dirt}]", most=8)
    assert (found.span, found.total) == ((8, 16), FRAMES)
    assert found.at == DIRTY
    before, after = found.pictures
    assert np.array_equal(before[..., 0], codes[DIRTY])
    changed = (before != after).any(axis=-1)
    assert (changed & ~found.repaired).sum() == 0
    whole = through(tmp_path / "long.mkv", "[{pass: dirt}]")
    assert np.array_equal(after, whole.pictures[1]), "the frames around the span were read"


def test_the_section_holds_table_and_sheets(tmp_path: Path) -> None:
    film(tmp_path / "dirty.mkv", dirt=True)
    found, lacking = mended(
        [(str(tmp_path / "dirty.mkv"), "dirty"), (str(tmp_path / "none.mkv"), "none")],
        specs("[{pass: dirt}]"),
        FRAMES,
        workers=1,
    )
    assert len(found) == 1
    assert "none" in lacking[0]
    folder = tmp_path / "page"
    folder.mkdir()
    text = "\n".join(section(found, folder, FRAMES))
    for told in ("## Real films", "| dirty | `clean` |", "0.0152 → 0.0000", "No figure got worse", f"frame {DIRTY}"):
        assert told in text, text
    assert "![dirty](page/film-dirty.png)" in text
    picture = read_picture(folder / "film-dirty.png")
    assert picture.shape == (HEIGHT, 3 * WIDTH + 2 * 6, 3)
    assert np.array_equal(picture, sheet(found))
    difference = picture[:, -WIDTH:]
    assert (difference[62:66, 102:106] == 255).all(), "what was black came out brighter"
    assert (difference[:40] == 128).all(), "grey where nothing changed"


def test_what_got_worse_says_so_and_without_films_there_is_a_line(tmp_path: Path) -> None:
    film(tmp_path / "still.mkv")
    found = replace(
        through(tmp_path / "still.mkv", "[]", most=6),
        before=Figures(1.0, 2.0, 0.1, 0.0),
        after=Figures(1.5, 1.0, 0.1, 0.00002),
    )
    text = "\n".join(section([found], None, 6))
    assert "1.00 → 1.50 **worse**" in text
    assert "0.0000 → 0.0020 **worse**" in text
    assert "2.00 → 1.00 **worse**" not in text
    assert "Worse than before: still, `clean`: warp error; still, `clean`: dirt." in text
    assert "No real film was given" in "\n".join(section([], tmp_path, 6))
