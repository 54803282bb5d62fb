"""Interlaced film: each field by itself, as if it were a film of half the height."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reel.formats import pixel_format
from pipeline.restore import chain
from pipeline.restore.chroma import Filter
from pipeline.restore.fields import LOWER, UPPER, FieldConverter, FieldPass, weave
from pipeline.restore.passes import Job, Restored, Spared, Through
from pipeline.types import Colour, Frames, Tile
from tests.restore.test_colour import SITES, batch, colour_of, position, random_planes
from tests.restore.toys import Mix, cut_at, engine, film, plan, tiles

NAMES = ["gray16le", "ya8", "yuv420p", "nv12", "yuv422p10le", "p010le", "yuv411p", "yuva444p16le", "gbrp12le", "rgb24"]


class Smear(Mix):
    """Mixes each line with the one above it, as a net does."""

    def one(self, window: Sequence[Any]) -> Any:
        total = super().one(window)
        return (total + total.roll(1, 1)) / 2


def run(frames: Frames, tile: Tile, colour: Colour, cuts: Any, *, fields: bool, seen: Any = None) -> Frames:
    factories: Any = {"toy": lambda p, b: Smear(p.radius)}
    restorer = chain.Restorer([plan("a", 1), plan("b", 2)], engine(), {}, "cpu", factories=factories)
    observe: Callable[..., None] = seen or (lambda *_: None)
    return restorer.run(
        frames, tile, cuts, lambda n: {"a": {"strength": 1.0}, "b": {"strength": 0.5}}, colour, observe, fields=fields
    )


def half(frames: Frames, lines: slice) -> Frames:
    return Frames(tuple(p[:, lines] for p in frames.planes), frames.format, frames.first, frames.pts)


@pytest.mark.parametrize("name", ["gray16le", "yuv422p10le", "yuva444p16le", "gbrp12le", "rgb24"])
@pytest.mark.parametrize("height", [8, 7])
def test_interlaced_film_is_two_films(name: str, height: int) -> None:
    frames = film(9, name, 10, height)
    colour = colour_of(frames.format)
    (whole,), cuts = tiles(9, 9, 3), cut_at(9, [4])
    found = run(frames, whole, colour, cuts, fields=True)
    for lines in (UPPER, LOWER):
        alone = run(half(frames, lines), whole, colour, cuts, fields=False)
        assert all(np.array_equal(a[:, lines], b) for a, b in zip(found.planes, alone.planes, strict=True))
    as_frames = run(frames, whole, colour, cuts, fields=False)
    assert not all(map(np.array_equal, found.planes, as_frames.planes))


def test_the_observer_sees_whole_frames_and_tiles_leave_no_trace() -> None:
    frames = film(10, "yuv420p", 12, 8)
    colour = colour_of(frames.format, "bt601")
    cuts = cut_at(10, [])
    seen: dict[int, tuple[int, ...]] = {}

    def observe(n: int, before: Any, after: Any, rgb_before: torch.Tensor, rgb_after: torch.Tensor) -> None:
        seen[n] = tuple(rgb_after.shape)
        assert rgb_before.shape == rgb_after.shape
        assert [p.shape for p in before] == [p.shape for p in after]

    (whole,) = tiles(10, 10, 3)
    found = run(frames, whole, colour, cuts, fields=True, seen=observe)
    assert seen == dict.fromkeys(range(10), (3, 8, 12))
    for tile in tiles(10, 4, 3):
        span = frames.span(tile.read_first, tile.read_last)
        part = run(span, tile, colour, cuts[tile.read_first : tile.read_last], fields=True)
        for n in range(tile.first, tile.last):
            assert all(map(np.array_equal, part.frame(n), found.frame(n)))


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32 - 1), location=st.sampled_from(sorted(SITES)))
def test_no_change_in_is_no_change_out(name: str, seed: int, location: str) -> None:
    fmt = pixel_format(name)
    converter = FieldConverter(fmt, colour_of(fmt, location=location), "cpu")
    planes = random_planes(fmt, 11, 12, seed)
    on_device = batch(converter.upload(planes))
    rgb = converter.to_rgb(on_device)
    assert rgb.shape == (1, 3, 12, 11)
    for before, after in zip(planes, converter.delta(rgb, rgb.clone(), on_device), strict=True):
        assert np.array_equal(before, after[0].numpy())


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32 - 1), line=st.integers(0, 11))
def test_a_field_never_touches_the_other(name: str, seed: int, line: int) -> None:
    """Also not by way of chroma that both would share if a frame were taken for one picture."""
    fmt = pixel_format(name)
    converter = FieldConverter(fmt, colour_of(fmt), "cpu")
    on_device = batch(converter.upload(random_planes(fmt, 11, 12, seed)))
    rgb = converter.to_rgb(on_device)
    out = rgb.clone()
    out[0, :, line] += torch.tensor([0.9, -0.7, 0.8])[:, None]
    after = converter.delta(rgb, out, on_device)
    other = LOWER if line % 2 == 0 else UPPER
    assert all(torch.equal(a[:, other], b[:, other]) for a, b in zip(after, on_device, strict=True))
    assert not all(map(torch.equal, after, on_device))
    # And what a field shows does not depend on the other one's samples.
    mixed = batch(converter.upload(random_planes(fmt, 11, 12, seed + 1)))
    for a, b in zip(mixed, on_device, strict=True):
        a[:, UPPER] = b[:, UPPER]
    assert torch.equal(converter.to_rgb(mixed)[:, :, UPPER], rgb[:, :, UPPER])


@pytest.mark.parametrize(("site", "share"), [("upper", 0.25), ("lower", 0.75)])
def test_chroma_of_a_field_lies_at_a_quarter_of_its_lines(site: Any, share: float) -> None:
    """ITU-T H.262, figure 6-2: in 4:2:0 the chroma lines of both fields are evenly apart in the woven frame."""
    f = Filter(2, site)
    chroma = torch.arange(8, dtype=torch.float32)
    up = f.up(chroma, 0, 16).numpy()
    wanted = np.interp(np.arange(16), position(8, 2, share), np.arange(8))
    np.testing.assert_allclose(up, wanted, atol=1e-6)
    assert torch.equal(f.down(torch.full((16,), 0.3), 0), torch.full((8,), 0.3))
    # Lines of the frame that chroma line k of the field lies on: 0.5, 4.5, … and 2.5, 6.5, ….
    lines = 2 * position(8, 2, share) + (site == "lower")
    assert np.array_equal(lines, np.arange(8) * 4 + (2.5 if site == "lower" else 0.5))


def test_weaving_takes_fields_of_odd_frames() -> None:
    whole = torch.arange(7 * 3).view(1, 7, 3)
    assert torch.equal(weave(whole[:, UPPER], whole[:, LOWER], 1), whole)


@pytest.mark.parametrize(
    ("name", "height", "parts"),
    [("yuv420p", 576, True), ("yuv420p", 486, False), ("yuv422p10le", 486, True), ("gray", 7, True)],
)
def test_which_pictures_part_into_fields(name: str, height: int, parts: bool) -> None:
    assert pixel_format(name).parts_into_fields(height) == parts


def test_each_field_has_a_pass_of_its_own() -> None:
    built: list[Mix] = []
    factories: Any = {"toy": lambda p, b: built.append(Mix(p.radius)) or built[-1]}
    restorer = chain.Restorer([plan("a", 1)], engine(), {}, "cpu", factories=factories)
    frames = film(4, "gray", 6, 4)
    colour, (tile,) = colour_of(frames.format), tiles(4, 4, 1)
    for fields in (True, False, True):
        restorer.run(frames, tile, cut_at(4, []), lambda n: {"a": {}}, colour, lambda *_: None, fields=fields)
    assert [b.resets for b in built] == [3, 2]
    assert len(built[1].numbers) == 8


def test_a_still_is_of_fields_whatever_film_the_restorer_had_before() -> None:
    frames = film(1, "yuv420p", 12, 8)
    colour = colour_of(frames.format, "bt601")
    used, fresh = (chain.Restorer([], engine(), {}, "cpu") for _ in range(2))
    as_film = used.rgb(frames, 0, colour)
    still = used.rgb(frames, 0, colour, fields=True)
    assert torch.equal(still, fresh.rgb(frames, 0, colour, fields=True))
    assert not torch.equal(still, as_film)


def test_what_passes_before_tell_of_a_frame_goes_field_by_field() -> None:
    class Told(Mix):
        def restore(self, jobs: Sequence[Job]) -> list[Restored]:
            for j in jobs:
                assert j.spared is not None
                assert j.before is not None
                assert j.before.shape == j.window[0].shape
                assert j.spared.plain.shape == j.window[0].shape[1:]
                self.numbers.append(int(j.spared.things.sum()))
            return [Restored(j.window[0], spared=j.spared) for j in jobs]

    rgb = torch.rand(3, 5, 4)
    things = torch.zeros(5, 4, dtype=torch.bool)
    things[1] = True
    upper, lower = Told(0), Told(0)
    job = Job(0, (rgb,), {}, (Through(torch.rand(3, 5, 4), rgb),), Spared(~things, things))
    (found,) = FieldPass(upper, lower).restore([job])
    assert (upper.numbers, lower.numbers) == ([0], [4])
    assert found.spared is not None
    assert torch.equal(found.spared.things, things)
    assert torch.equal(found.spared.plain, ~things)
