"""What in a folder's listing is one film of numbered images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.storage import numbered
from pipeline.storage.look import Stat

FOLDER = "s3://films/reel 1"


def listed(*names: str, size: int = 10) -> list[Stat]:
    return [Stat(f"{FOLDER}/{name}", size, f"v-{name}") for name in sorted(names)]


@given(
    prefix=st.sampled_from(["", "scan_", "a.b ", "x1_", "ü#%"]),
    suffix=st.sampled_from([".dpx", ".DPX", "_left.tif", ".exr"]),
    first=st.integers(0, 100_000),
    digits=st.integers(1, 9),
    count=st.integers(1, 30),
)
def test_names_are_found_again(prefix: str, suffix: str, first: int, digits: int, count: int) -> None:
    names = [f"{prefix}{n:0{digits}d}{suffix}" for n in range(first, first + count)]
    found = numbered.sort_out(FOLDER, listed(*names))
    assert [found.sequence.file(n) for n in range(count)] == names
    assert [f.uri for f in found.files] == [f"{FOLDER}/{name}" for name in names]


def test_numbers_are_ordered_as_numbers() -> None:
    found = numbered.sort_out(FOLDER, listed("8.tif", "9.tif", "10.tif", "11.tif"))
    assert [f.uri.rpartition("/")[2] for f in found.files] == ["8.tif", "9.tif", "10.tif", "11.tif"]


def test_what_else_lies_in_a_folder() -> None:
    names = ["a_1.dpx", "a_2.dpx", "sound.wav", ".DS_Store", "._a_1.dpx", "sub/a_7.dpx", "cover.png"]
    found = numbered.sort_out(FOLDER, listed(*names))
    assert len(found.files) == 2
    assert found.sequence.beside == ("cover.png", "sound.wav")


def test_the_identity_is_of_every_name_size_and_version() -> None:
    plain = listed("a_1.dpx", "a_2.dpx")
    identity = numbered.sort_out(FOLDER, plain).identity
    assert numbered.sort_out(FOLDER, reversed(plain)).identity == identity
    others = [
        listed("a_1.dpx", "a_2.dpx", "a_3.dpx"),
        listed("b_1.dpx", "b_2.dpx"),
        listed("a_1.dpx", "a_2.dpx", size=11),
        [plain[0], Stat(plain[1].uri, 10, "new")],
    ]
    assert identity not in {numbered.sort_out(FOLDER, other).identity for other in others}


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a_1.dpx", "a_4.dpx"], "2 images are missing after a_1.dpx: the next is a_4.dpx, expected was a_2.dpx"),
        (["a_1.dpx", "a_01.dpx"], "the number 1 is there twice"),
        (["a_01.dpx", "a_2.dpx"], "its number is written with 2 digits"),
        (["a_1.dpx", "a_2.DPX"], "it belongs to another sequence"),
        (["a_1.dpx", "b_2.dpx"], "it belongs to another sequence"),
        (["readme.txt"], "there are no numbered images"),
        ([f"a_{10**20}.dpx"], "there are no numbered images"),
    ],
)
def test_what_is_no_film(names: list[str], what: str) -> None:
    with pytest.raises(SourceError) as told:
        numbered.sort_out(FOLDER, listed(*names))
    assert what in str(told.value)
    assert str(told.value).startswith(FOLDER)
    assert told.value.todo


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="at most 2147483648 are read"):
        numbered.sort_out(FOLDER, listed("a_1.dpx", size=numbered.MOST_BYTES + 1))
    monkeypatch.setattr(numbered, "MOST_IMAGES", 2)
    with pytest.raises(SourceError, match="at most 2 are read"):
        numbered.sort_out(FOLDER, listed("a_1.dpx", "a_2.dpx", "a_3.dpx"))
