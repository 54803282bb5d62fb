"""The motion-compensated error on films whose movement is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import motion
from pipeline.quality import measures
from pipeline.quality.figures import Meter
from pipeline.quality.warps import WIDTH
from pipeline.reel.formats import pixel_format
from pipeline.types import FrameFigures
from tests.motion.test_motion import scene, view
from tests.quality.pictures import colour, tensors
from tests.quality.test_figures import no_change

Picture = NDArray[np.float64]
W, H = 320, 240
FORMAT = pixel_format("gray")


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    motion.settle(1)


def pan(frames: int, step: tuple[float, float] = (4.0, 1.5), seed: int = 0) -> list[Picture]:
    """A camera that goes over a still scene, in 8-bit codes."""
    whole = scene(seed)
    return [255.0 * view(whole, step[0] * n, step[1] * n) for n in range(frames)]


def figures(
    source: Sequence[Picture],
    output: Sequence[Picture],
    cuts: Sequence[int] = (),
    shifts: Sequence[tuple[float, float]] | None = None,
    first: int = 0,
) -> list[FrameFigures]:
    meter = Meter(FORMAT, colour(True))
    for n, (a, b) in enumerate(zip(source, output, strict=True), first):
        planes = [tensors((np.clip(p, 0, 255).round().astype(np.uint8),)) for p in (a, b)]
        still = no_change(*a.shape)
        meter.see(n, *planes, still, still, shift=shifts[n - first] if shifts else (0.0, 0.0))
    return meter.figures(first, first + len(source), cuts)


def errors(told: Sequence[FrameFigures]) -> tuple[float, float]:
    """The means of source and output from the second frame on."""
    both = [(f.warp_error_source, f.warp_error_output) for f in told[1:]]
    source, output = np.mean(np.array(both, np.float64), axis=0)
    return float(source), float(output)


def test_a_pan_is_no_error_and_what_a_frame_does_by_itself_is() -> None:
    film = pan(6)
    told = figures(film, film)
    source, output = errors(told)
    assert np.mean([f.ydif_source for f in told[1:] if f.ydif_source is not None]) > 10, "it moves"
    assert source == output < 2.0
    # Brightness that jumps from frame to frame, by 16 codes.
    source, output = errors(figures(film, [p + 8 * (-1) ** n for n, p in enumerate(film)]))
    assert source < 2.0
    assert output == pytest.approx(16, abs=1.5)
    # An after-image that stands while the scene goes on.
    assert errors(figures(film, [0.7 * p + 0.3 * film[0] for p in film]))[1] > 5
    # A patch that the net drew elsewhere in every frame.
    drawn = [p.copy() for p in film]
    for n, p in enumerate(drawn):
        p[60:180, 40 * n : 40 * n + 80] = 255
    assert errors(figures(film, drawn))[1] > 10


def test_grain_does_not_count_as_much_as_it_shows() -> None:
    rng = np.random.default_rng(1)
    film = [np.kron(p, np.ones((2, 2))) + rng.normal(0, 10, (2 * H, 2 * W)) for p in pan(4)]
    told = figures(film, film)
    assert all((f.ydif_source or 0) > 14 for f in told[1:])
    assert errors(told)[0] < 7


def test_nothing_is_told_across_a_cut_or_of_a_first_frame() -> None:
    film = [*pan(3), *pan(3, seed=9)]
    told = figures(film, [p + 1 for p in film], cuts=[3])
    for stream in ("source", "output"):
        found = [getattr(f, f"warp_error_{stream}") for f in told]
        assert [e is None for e in found] == [True, False, False, True, False, False]
        assert max(e for e in found if e is not None) < 2.0
    # The same frames without knowledge of the cut: what it would have been.
    assert (figures(film, film)[3].warp_error_source or 0) > 10


def test_a_tile_tells_what_the_whole_film_does() -> None:
    film = pan(7)
    other = [p + 3 * (n % 3) for n, p in enumerate(film)]
    whole = figures(film, other)
    for first, last in ((1, 4), (4, 7)):
        # From the overlap frame on.
        assert figures(film[first - 1 : last], other[first - 1 : last], first=first - 1)[1:] == whole[first:last]


def test_a_film_that_was_steadied_is_measured_along_its_own_movement() -> None:
    rng, whole = np.random.default_rng(2), scene()
    way = rng.uniform(-6, 6, (6, 2))
    trembling = [255.0 * view(whole, x, y) for x, y in way]
    steady = [255.0 * view(whole, 0, 0)] * 6
    told = figures(trembling, steady, shifts=[(-float(x), -float(y)) for x, y in way])
    source, output = errors(told)
    assert source < 2.0
    assert output < 2.0
    assert errors(figures(trembling, steady))[1] > 5, "without the shifts the flow would lead astray"


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (24, 24), (33, 47), (91, 700)])
def test_every_size_has_one(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    film = [rng.uniform(0, 255, size) for _ in range(2)]
    found = figures(film, film)[1].warp_error_source
    assert found is not None
    assert 0 <= found <= 255


@pytest.mark.parametrize(("width", "factor"), [(200, 1), (479, 1), (720, 2), (2048, 6)])
def test_it_is_taken_on_about_as_many_pixels_of_every_film(width: int, factor: int) -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (32, width)).astype(np.float32)
    assert max(1, round(width / WIDTH)) == factor
    small = measures.reduced(*tensors((picture,)), factor).numpy()
    h, w = 32 // factor, width // factor
    expected = picture[: h * factor, : w * factor].reshape(h, factor, w, factor).mean((1, 3))
    assert small == pytest.approx(expected, abs=1e-3)
