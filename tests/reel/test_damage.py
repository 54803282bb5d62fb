"""Damaged pictures: all of them named, or flagged where the job goes on with them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.reel.damage import Finding, refuse
from pipeline.reel.decode import decode
from pipeline.reel.formats import hash_planes
from pipeline.types import FrameIndex, Frames, Reel
from tests.reel import axes
from tests.reel.films import ARCHIVE, damage, make_film, packet_spans
from tests.reel.rich import opened

COUNT = 14


def hashes(frames: Frames) -> list[str]:
    return [hash_planes(frames.frame(n), frames.format) for n in range(frames.first, frames.last)]


def broken(path: Path, numbers: list[int], **how: Any) -> tuple[Reel, FrameIndex, list[str]]:
    """A film with so many damaged pictures, and the hashes that it had when it was whole."""
    make_film(path, frames=COUNT, size=(96, 64), **how)
    before = hashes(decode(*opened(path), 0, COUNT, threads=1))
    spans = packet_spans(path)
    for n in numbers:
        position, size = spans[n]
        damage(path, position + size // 2, 3)
    return *opened(path), before


def test_every_damaged_picture_of_a_span_is_named(tmp_path: Path) -> None:
    reel, about, _ = broken(tmp_path / "a.mkv", [3, 4, 9], options=ARCHIVE)
    with pytest.raises(SourceError, match=r"1 of its 16 slices fail their CRC; among the frames 0:14 so are 4, 9") as e:
        decode(reel, about, 0, COUNT, threads=2)
    assert e.value.frame == 3
    with pytest.raises(SourceError, match="fail their CRC") as e:
        decode(reel, about, 5, COUNT, threads=2)
    assert (e.value.frame, "among" in e.value.what) == (9, False)
    # One that is decoded only on the way to others is no matter of theirs.
    decode(reel, about, 5, 9, threads=1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("crc", ["1", "0"])
def test_damage_is_noted_where_the_job_goes_on(tmp_path: Path, crc: str, threads: int) -> None:
    reel, about, before = broken(tmp_path / "a.mkv", [0, 6, 7], options=ARCHIVE | {"slicecrc": crc, "slices": "4"})
    found: dict[int, Finding] = {}
    after = hashes(decode(reel, about, 0, COUNT, threads=threads, damage=found))
    assert {n: f.root for n, f in found.items()} == {0: 0, 6: 6, 7: 7}
    # Of a first picture there may be nothing to conceal it with: it is then as its slice decodes.
    assert {6, 7} <= {n for n in range(COUNT) if after[n] != before[n]} <= {0, 6, 7}


@settings(max_examples=40, deadline=None)
@given(first=st.integers(0, COUNT - 1), length=st.integers(1, 6), threads=st.sampled_from([1, 3]))
def test_what_is_concealed_does_not_depend_on_the_span(
    concealed: tuple[Reel, FrameIndex, list[str]], first: int, length: int, threads: int
) -> None:
    """FFV1 fills a lost slice from the picture before: a tile that begins with it must fill it with the same."""
    reel, about, whole = concealed
    last = min(COUNT, first + length)
    found: dict[int, Finding] = {}
    assert hashes(decode(reel, about, first, last, threads=threads, damage=found)) == whole[first:last]
    assert set(found) >= {n for n in (5, 6, 7, 10) if first <= n < last}


@pytest.fixture(scope="module")
def concealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reel, FrameIndex, list[str]]:
    path = tmp_path_factory.mktemp("concealed") / "a.mkv"
    reel, about, before = broken(path, [5, 6, 7, 10], options=ARCHIVE)
    whole = hashes(decode(reel, about, 0, COUNT, threads=1, damage={}))
    assert [n for n in range(COUNT) if whole[n] != before[n]] == [5, 6, 7, 10]
    return reel, about, whole


def test_what_builds_on_a_damaged_picture_is_damaged_too(tmp_path: Path) -> None:
    reel, about, before = broken(tmp_path / "a.mkv", [7], options=ARCHIVE | {"g": "6"})
    found: dict[int, Finding] = {}
    after = hashes(decode(reel, about, 2, COUNT, threads=2, damage=found))
    assert {n: f.root for n, f in found.items()} == {7: 7, 8: 7, 9: 7, 10: 7, 11: 7}
    assert "builds on the damaged frame 7" in found[9].what
    assert {n for n in range(2, COUNT) if after[n - 2] != before[n]} <= set(found)
    # From a later place in the same run of pictures, too.
    late: dict[int, Finding] = {}
    assert hashes(decode(reel, about, 9, 13, threads=1, damage=late)) == after[7:11]
    assert {n for n in late if n >= 9} == {9, 10, 11}


def test_a_picture_that_gives_nothing_ends_the_film_all_the_same(tmp_path: Path) -> None:
    """Going on is for pictures; where there is none, one would have to be invented."""
    path = axes.make(axes.Film("png", "rgb24", "mkv"), tmp_path)
    position, _ = packet_spans(path)[3]
    reel, about = opened(path)
    damage(path, position, 8)
    with pytest.raises(SourceError) as told:
        decode(reel, about, 0, 6, threads=1, damage={})
    assert told.value.frame == 3


@pytest.mark.parametrize("codec", sorted(axes.FORMATS))
def test_damage_somewhere_in_a_picture(tmp_path: Path, codec: str) -> None:
    """FFV1 and PNG tell of it wherever it is; others where they can: then no other picture than its own has it."""
    path = axes.make(axes.Film(codec, axes.FORMATS[codec][-1], "mkv"), tmp_path)
    before = hashes(decode(*opened(path), 0, axes.FRAMES, threads=1))
    position, size = packet_spans(path)[4]
    whole = path.read_bytes()
    draw = random.Random(4)
    for _ in range(8):
        data = bytearray(whole)
        at = position + draw.randrange(size - 4)
        for i in range(3):
            data[at + i] ^= draw.randrange(1, 256)
        path.write_bytes(bytes(data))
        numbers = None
        try:
            after = hashes(decode(*opened(path), 0, axes.FRAMES, threads=2))
            numbers = [n for n in range(axes.FRAMES) if after[n] != before[n]]
        except SourceError as error:
            told = error.frame
        if numbers is None:
            assert told == 4
        else:
            assert codec not in ("ffv1", "png")
            assert numbers in ([4], [])


def test_the_refusal_names_at_most_fifty() -> None:
    found = {n: Finding(n, "x") for n in range(300)}
    with pytest.raises(SourceError, match=r"48, 49, …\. Take") as told:
        refuse("a.mkv", found, 0, 300)
    assert len(told.value.what) < 300
    refuse("a.mkv", found, 300, 301)
