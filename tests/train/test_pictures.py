"""The data of a training job: told apart, held out whole, and read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import CallError, SourceError
from pipeline.reel.formats import pixel_format
from pipeline.reel.sample import write_sample
from pipeline.reel.still import read_alpha, write_png
from pipeline.storage import store
from pipeline.train import pictures
from pipeline.train.bank import Bank
from pipeline.train.pictures import Item
from pipeline.train.spec import Data, DataSource
from pipeline.types import Frames
from tests.train.conftest import photo


def data(folder: Path | str, **more: object) -> Data:
    return Data(sources=(DataSource(uri=str(folder), **more),), validation=0.3)  # type: ignore[arg-type]


def test_the_split_is_seeded_and_no_picture_is_on_both_sides(photos: Path) -> None:
    split = pictures.find(data(photos), 1)
    names = [{i.name for i in part} for part in (split.train, split.validation)]
    assert names[0] & names[1] == set()
    assert names[0] | names[1] == {f"p{n}.png" for n in range(6)}
    assert len(names[1]) == 2
    assert split == pictures.find(data(photos), 1)
    others = {frozenset(i.name for i in pictures.find(data(photos), s).validation) for s in range(8)}
    assert len(others) > 2


def test_one_picture_under_two_names_is_on_one_side(photos: Path) -> None:
    for n in range(6):
        (photos / f"copy{n}.png").write_bytes((photos / f"p{n}.png").read_bytes())
    for seed in range(5):
        split = pictures.find(data(photos), seed)
        sides = [{i.name.replace("copy", "p") for i in part} for part in (split.train, split.validation)]
        assert sides[0] & sides[1] == set()
        assert len(split.train) + len(split.validation) == 12


def test_licences_come_from_the_manifest_beside_or_above(photos: Path) -> None:
    split = pictures.find(data(photos), 0)
    found = {i.name: i for i in (*split.train, *split.validation)}
    assert (found["p1.png"].origin, found["p1.png"].licence) == ("museum 1", "CC-BY-4.0")
    assert found["p4.png"].licence == "not stated"
    manifest = photos / "MANIFEST.csv"
    rows = "path,source,licence\nphotos/ (6 files),archive,CC0\n"
    manifest.unlink()
    (photos.parent / "MANIFEST.csv").write_text(rows)
    split = pictures.find(data(photos), 0)
    assert {i.licence for i in (*split.train, *split.validation)} == {"CC0"}


def test_folders_of_frames_are_clips_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for clip in ("000", "001"):
        (tmp_path / clip).mkdir()
        for n in (0, 2, 10, 1):
            write_png(tmp_path / clip / f"{n}.png", photo(n + 20 * int(clip)))
    split = pictures.find(data(tmp_path, kind="frames"), 0)
    (item,) = split.train
    assert [u.rsplit("/", 1)[1] for u in item.uris] == ["0.png", "1.png", "2.png", "10.png"]
    assert split.validation[0].name != item.name


def test_counterparts_are_found_by_name_and_missed_by_name(photos: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for n in range(5):
        write_png(spoilt / f"p{n}.png", photo(n))
    with pytest.raises(CallError, match=r"p5\.png.*1 pictures have no counterpart"):
        pictures.find(data(photos, damaged=str(spoilt)), 0)
    write_png(spoilt / "p5.png", photo(5))
    split = pictures.find(data(photos, damaged=str(spoilt)), 0)
    assert all(i.damaged == (str(spoilt / i.name),) for i in split.train)


def test_nothing_and_too_little_are_said_at_once(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="nothing to train on"):
        pictures.find(Data(), 0)
    with pytest.raises(CallError, match="there are 0 files"):
        pictures.find(data(tmp_path / "none"), 0)
    for n in range(1, 6):
        (photos / f"p{n}.png").unlink()
    with pytest.raises(CallError, match="two are wanted"):
        pictures.find(data(photos), 0)


def test_stills_come_at_the_sizes_that_are_asked_for(photos: Path) -> None:
    (item, *_) = pictures.find(data(photos), 0).train
    bank = Bank((30, 60), 64)
    widths = {bank.still(item, share / 10).shape[3] for share in range(10)}
    assert widths == {48, 32}
    assert Bank((100, 200), 64).still(item, 0.5).shape == (1, 3, 72, 96), "never enlarged"


def test_pictures_are_read_from_object_storage_too(photos: Path) -> None:
    folder = "memory://train-photos"
    for file in photos.glob("*.png"):
        store.put_file(file, f"{folder}/{file.name}")
    split = pictures.find(data(folder), 0)
    here = {i.name: i for i in pictures.find(data(photos), 0).train}
    assert len(split.train) == 4
    for item in split.train:
        if item.name in here:
            assert np.array_equal(Bank((96, 96), 64).still(item, 0), Bank((96, 96), 64).still(here[item.name], 0))
    store.delete_tree(folder)


def test_windows_of_a_film_stay_in_one_shot(tmp_path: Path) -> None:
    shots = [photo(1), photo(7)]
    rgb = np.stack([shots[0]] * 7 + [shots[1]] * 9)
    # Every frame is told by a dark mark that no cut detector minds.
    for n, frame in enumerate(rgb):
        frame[0, n] = 0
    codes10 = np.rint(rgb * (1023 / 255)).astype(np.uint16)
    planes = tuple(np.ascontiguousarray(codes10[..., c]) for c in (1, 2, 0))
    frames = Frames(planes, pixel_format("gbrp10le"), 0, np.arange(16, dtype=np.int64))
    film = tmp_path / "film.mkv"
    write_sample(film, frames, rate=Fraction(18), sound=np.zeros(1, np.int16), sound_rate=48_000)
    item = Item("film.mkv", "films", (str(film),))
    bank, seen = Bank((16, 1000), 64), set()
    for share in np.linspace(0, 0.999, 25):
        clip, spoilt = bank.window(item, 5, (0.0, float(share)))
        assert spoilt is None
        codes = np.rint(clip * 255).astype(np.uint8).transpose(0, 2, 3, 1)
        start = next(n for n in range(16) if np.array_equal(codes[0], rgb[n]))
        assert np.array_equal(codes, rgb[start : start + 5])
        assert start + 5 <= 7 or start >= 7, "a window crosses the cut"
        seen.add(start)
    assert seen == {0, 1, 2, 7, 8, 9, 10, 11}


def test_memory_is_bounded_and_what_was_dropped_is_read_again(photos: Path) -> None:
    split = pictures.find(data(photos), 0)
    bank = Bank((16, 1000), 64)
    bank._room = 50_000
    first = bank.still(split.train[0], 0)
    for item in (*split.train, *split.validation):
        bank.still(item, 0)
    assert bank._used <= 50_000
    assert np.array_equal(first, bank.still(split.train[0], 0))


def test_alpha_is_read_and_its_absence_told(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(SourceError, match="no alpha channel"):
        read_alpha(photos / "p0.png")
