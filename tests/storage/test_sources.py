"""What a call's sources mean, and what the reels are called."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CallError, StorageError
from pipeline.publish import layout
from pipeline.storage import sources, store
from tests.s3 import Server

TREE = [
    "night/a.mkv",
    "night/b.MOV",
    "night/b.mov.md5",
    "night/deep/c [1].mp4",
    "night/deep/über 2.mkv",
    "night/.hidden.mkv",
    "night/.work/x/y.mkv",
    "day/a.mkv",
    "notes.txt",
]


@pytest.fixture(params=["disk", "s3"])
def films(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    base = str(tmp_path / "films") if request.param == "disk" else f"{request.getfixturevalue('s3_folder')}/films"
    for name in TREE:
        store.put_bytes(f"{base}/{name}", b"film")
    return base


def _names(found: list[tuple[str, str]]) -> list[str]:
    return [name for _, name in found]


def test_a_folder_is_every_film_below_it(films: str) -> None:
    for folder in (films, films + "/"):
        found = sources.expand([folder])
        assert found == [
            (f"{films}/day/a.mkv", "day/a"),
            (f"{films}/night/a.mkv", "night/a"),
            (f"{films}/night/b.MOV", "night/b"),
            (f"{films}/night/deep/c [1].mp4", "night/deep/c [1]"),
            (f"{films}/night/deep/über 2.mkv", "night/deep/über 2"),
        ]


def test_files_keep_their_order_and_lose_what_is_common(films: str) -> None:
    some = [f"{films}/night/deep/über 2.mkv", f"{films}/night/a.mkv", f"{films}/night/a.mkv"]
    assert sources.expand(some) == [(some[0], "deep/über 2"), (some[1], "a")]
    assert _names(sources.expand([f"{films}/night/deep/c [1].mp4"])) == ["c [1]"]
    assert _names(sources.expand([f"{films}/notes.txt"])) == ["notes"], "what is named is taken, whatever its suffix"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("night/*.mkv", ["a"]),
        ("night/?.*", ["a", "b"]),
        ("*/a.mkv", ["day/a", "night/a"]),
        ("**/*.mp4", ["night/deep/c [1]"]),
        ("[dn]*/a.mkv", ["day/a", "night/a"]),
        ("n*", ["night/a", "night/b", "night/deep/c [1]", "night/deep/über 2"]),
        ("night/*/", ["deep/c [1]", "deep/über 2"]),
        ("night/b*.md5", ["b.mov"]),
        ("night/deep/c [1].mp4", ["c [1]"]),
        ("night/deep/*über*", ["über 2"]),
    ],
)
def test_patterns(films: str, pattern: str, names: list[str]) -> None:
    assert _names(sources.expand([f"{films}/{pattern}"])) == names


def test_a_name_does_not_change_when_the_folder_fills(films: str) -> None:
    assert _names(sources.expand([f"{films}/night/deep/"])) == ["c [1]", "über 2"]
    store.put_bytes(f"{films}/lone/sub/x.mkv", b"film")
    assert _names(sources.expand([f"{films}/lone"])) == ["sub/x"]
    assert _names(sources.expand([f"{films}/lone/*/x.mkv"])) == ["sub/x"]


def test_what_is_not_there_is_listed_and_told_later(films: str) -> None:
    assert sources.expand([f"{films}/gone.mkv", f"{films}/night/a.mkv"]) == [
        (f"{films}/gone.mkv", "gone"),
        (f"{films}/night/a.mkv", "night/a"),
    ]
    for nothing in (f"{films}/gone/", f"{films}/*.mkv"):
        with pytest.raises(CallError, match="no film was found") as caught:
            sources.expand([f"{films}/night/a.mkv", nothing])
        assert nothing in str(caught.value)


def test_the_output_below_the_sources_is_no_source(films: str) -> None:
    store.put_bytes(f"{films}/out/a/a.mkv", b"restored")
    names = _names(sources.expand([films], out=f"{films}/out/"))
    assert "out/a/a" not in names
    assert "night/a" in names
    assert _names(sources.expand([f"{films}/out/a/a.mkv"], out=f"{films}/out/b")) == ["a"], "unless it is named"


def _publish(base: str, *reels: str) -> None:
    for reel in reels:
        for name in ("provenance.json", "output.framemd5", "report/reel.json", f"{reel.rpartition('/')[2]}.mkv"):
            store.put_bytes(f"{base}/{reel}/{name}", b"published")


@pytest.mark.parametrize("given", ["", "**/*.mkv", "*"])
def test_what_an_earlier_run_published_is_no_source_and_one_line_says_so(films: str, given: str) -> None:
    _publish(films, "out/night/a", "out/day", "night/b2")
    # An archive's bag has a manifest of that name, and a laboratory may keep a provenance of its own.
    store.put_bytes(f"{films}/bag/manifest-sha256.txt", b"bag")
    store.put_bytes(f"{films}/bag/provenance.json", b"{}")
    store.put_bytes(f"{films}/bag/data/c.mkv", b"film")
    said: list[str] = []
    names = _names(sources.expand([f"{films}/{given}".rstrip("/")], tell=said.append))
    assert {"day/a", "night/a", "bag/data/c"} <= set(names)
    assert not [n for n in names if n.startswith("out/") or "b2" in n]
    (line,) = said
    assert "3 folders" in line
    assert f"{films}/night/b2" in line
    assert _names(sources.expand([f"{films}/out/day/day.mkv"])) == ["day"], "a file that is named is taken"


@pytest.mark.parametrize("given", ["old/*/*", "old/a/*"])
def test_published_images_are_no_source_for_a_pattern_of_folders(films: str, given: str) -> None:
    for name in ("provenance.json", "output.framemd5", "a.dpx/00000000.dpx", "a.dpx/00000001.dpx"):
        store.put_bytes(f"{films}/old/a/{name}", b"x")
    with pytest.raises(CallError):
        sources.expand([f"{films}/{given}"], tell=lambda _: None)


def test_a_folder_of_earlier_deliverables_alone_is_told_as_such(films: str) -> None:
    _publish(films, "out/a")
    for folder in (f"{films}/out", f"{films}/out/a", f"{films}/out/*/*.mkv"):
        with pytest.raises(CallError, match="earlier run published") as caught:
            sources.expand([folder])
        assert folder in str(caught.value)
        assert "Name the file" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("night/a.mkv", "night/a.mkv"),
        ("night/a.mkv", "night/a.mkv/out"),
        ("tape/tape.mkv", ""),  # OUT/tape/tape.mkv would be the deliverable
        ("tape/tape.mkv", "tape/.."),
        ("day/tape", "day"),
    ],
)
def test_an_output_over_a_source_ends_the_call(films: str, source: str, out: str) -> None:
    if ".." in out and "://" in films:
        pytest.skip("a key may hold '..', which leads nowhere")
    for name in ("tape/tape.mkv", "tape/x/tape.mkv", "day/tape"):
        store.put_bytes(f"{films}/{name}", b"film")
    with pytest.raises(CallError, match="the source") as caught:
        sources.expand([f"{films}/{source}"], out=f"{films}/{out}".rstrip("/"))
    assert source.rpartition("/")[2] in str(caught.value)
    assert "--out" in str(caught.value)


def test_an_output_where_there_is_a_file_ends_the_call(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"x")
    (tmp_path / "a.mkv").write_bytes(b"film")
    (tmp_path / "link.mkv").symlink_to(tmp_path / "a.mkv")
    for out, why in (("notes.txt", "file"), ("notes.txt/below", "file"), ("link.mkv", "source")):
        with pytest.raises(CallError, match=why):
            sources.expand([str(tmp_path / "a.mkv")], out=str(tmp_path / out))
    (tmp_path / "to").symlink_to(tmp_path)
    with pytest.raises(CallError, match="source"):
        sources.expand([str(tmp_path / "a.mkv")], out=str(tmp_path / "to" / "a.mkv"))
    assert sources.expand([str(tmp_path / "a.mkv")], out=str(tmp_path)) == [(str(tmp_path / "a.mkv"), "a")]


def test_the_marks_are_those_that_a_publication_has() -> None:
    assert sources.PUBLISHED == (layout.PROVENANCE, layout.OUTPUT_MD5)


def test_different_storages_have_nothing_in_common(s3_folder: str, tmp_path: Path) -> None:
    store.put_bytes(f"{s3_folder}/a.mkv", b"film")
    (tmp_path / "b.mkv").write_bytes(b"film")
    found = sources.expand([f"{s3_folder}/a.mkv", str(tmp_path / "b.mkv")])
    assert _names(found) == [f"{s3_folder[5:]}/a", f"{str(tmp_path)[1:]}/b"]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.mkv").write_bytes(b"film")
    monkeypatch.chdir(tmp_path)
    assert sources.expand(["b.mkv"]) == [(str(tmp_path / "b.mkv"), "b")]
    assert sources.expand(["./b.mkv", f"file://{tmp_path}/b.mkv"]) == [(str(tmp_path / "b.mkv"), "b")]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["x/a.mkv", "x/a.mov"], "two reels would be called 'a'"),
        (["x/a.mkv", "x/a/b.mkv"], "would lie inside the folder of the reel 'a'"),
        (["quarantine.mkv"], "is taken"),
        (["bags.mkv"], "is taken"),
        (["x/quarantine/a.mkv", "x/b.mkv"], "is taken"),
        (["index.html.mkv"], "is taken"),
        ([".hidden.mkv"], "starts with a dot"),
        ([".mkv"], "starts with a dot"),
        (["x/../../a.mkv", "b.mkv"], "leads out"),
        (["a\nb.mkv"], "control character"),
        (["a\udcff.mkv"], "control character"),
    ],
)
def test_names_that_cannot_be_end_the_call(tmp_path: Path, names: list[str], why: str) -> None:
    with pytest.raises(CallError, match=why) as caught:
        sources.expand([f"{tmp_path}/{name}" for name in names])
    assert "\n" not in str(caught.value)
    assert caught.value.todo


def test_an_empty_call_or_name() -> None:
    with pytest.raises(CallError, match="no source"):
        sources.expand([])
    with pytest.raises(CallError, match="empty name"):
        sources.expand([""])


def test_patterns_that_cannot_be(s3: Server) -> None:
    with pytest.raises(CallError, match="bucket's name"):
        sources.expand(["s3://fil*/a.mkv"])
    with pytest.raises(CallError, match=r"\*\*"):
        sources.expand(["s3://films/a**b/c.mkv"])


def test_buckets_that_are_not_there(s3: Server) -> None:
    assert _names(sources.expand(["s3://nowhere/a.mkv"])) == ["a"], "told later, for this reel alone"
    for listing in ("s3://nowhere/", "s3://nowhere/*.mkv"):
        with pytest.raises(StorageError, match="no such bucket"):
            sources.expand([listing])


def test_storage_that_cannot_be_reached_ends_the_call_soon(hasty: None, nobody_there: None) -> None:
    began = time.monotonic()
    with pytest.raises(StorageError, match="trying again did not help"):
        sources.expand([f"s3://films/{n}.mkv" for n in range(20)])
    assert time.monotonic() - began < 10


PART = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\*?["), min_size=1, max_size=8)
PATH = st.lists(PART.filter(lambda p: p.strip(".") == p), min_size=1, max_size=4).map("/".join)


@given(st.lists(PATH, min_size=1, max_size=6, unique=True))
def test_names_are_told_apart_or_refused(paths: list[str]) -> None:
    uris = [f"/nowhere/films/{p}.mkv" for p in paths]
    try:
        found = sources.expand(uris)
    except CallError:
        return
    names = _names(found)
    assert [u for u, _ in found] == uris
    assert len(set(names)) == len(names)
    for name in names:
        assert not name.startswith((".", "/", "quarantine/"))
        assert not any(other.startswith(name + "/") for other in names)
    roots = {os.path.normpath(u.removesuffix(".mkv").removesuffix(n)) for u, n in found}
    assert len(roots) == 1, "one common folder"


IMAGES = [
    *(f"night/r1/scan_{n:04d}.dpx" for n in range(3)),
    *(f"night/r2.take3/{n}.tif" for n in range(8, 12)),
    "night/r1/notes.txt",
    "night/film/a.mkv",
    "night/film/cover_1.png",
    "night/film/stills/still.png",
    "night/.hidden/f_0001.dpx",
]


@pytest.fixture(params=["disk", "s3"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    base = str(tmp_path / "in") if request.param == "disk" else f"{request.getfixturevalue('s3_folder')}/in"
    for name in IMAGES:
        store.put_bytes(f"{base}/{name}", b"image")
    return base


def test_a_folder_of_numbered_images_is_one_film(images: str) -> None:
    for source in (f"{images}/night/r1", f"{images}/night/r1/"):
        assert sources.expand([source]) == [(f"{images}/night/r1/", "r1")]
    assert sources.expand([f"{images}/night"]) == [
        (f"{images}/night/film/a.mkv", "film/a"),
        (f"{images}/night/r1/", "r1"),
        (f"{images}/night/r2.take3/", "r2.take3"),
    ], "stills beside a film, and images without a number, are none"
    assert _names(sources.expand([f"{images}/night/r*"])) == ["r1", "r2.take3"]
    assert _names(sources.expand([f"{images}/night/r1", f"{images}/night/film"])) == ["r1", "film/a"]


def test_images_are_not_named_one_by_one(images: str) -> None:
    with pytest.raises(CallError, match="this is one image"):
        sources.expand([f"{images}/night/r1/scan_0000.dpx"])
    with pytest.raises(CallError):
        sources.expand([f"{images}/night/r1/*.dpx"])


def test_the_output_is_not_written_into_a_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "r1").mkdir()
    (tmp_path / "r1" / "scan_1.dpx").write_bytes(b"image")
    for out in ("r1", "r1/out"):
        with pytest.raises(CallError, match="it is, or lies below, the source"):
            sources.expand([str(tmp_path / "r1")], out=str(tmp_path / out))
    with pytest.raises(CallError, match="lies where the reel 'r1' would be published"):
        sources.expand([str(tmp_path / "r1")], out=str(tmp_path))


def test_images_that_an_earlier_run_published_are_no_source_unless_named(images: str) -> None:
    for name in ("provenance.json", "output.framemd5", "r1.dpx/scan_0000.dpx", "r1.dpx/scan_0001.dpx"):
        store.put_bytes(f"{images}/out/r1/{name}", b"published")
    told: list[str] = []
    assert _names(sources.expand([images], tell=told.append)) == ["night/film/a", "night/r1", "night/r2.take3"]
    assert "that an earlier run published" in told[0]
    assert sources.expand([f"{images}/out/r1/r1.dpx"]) == [(f"{images}/out/r1/r1.dpx/", "r1.dpx")]
