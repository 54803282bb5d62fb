"""The index of a remote Matroska film by its cue table: the same as by a demux, without fetching the film."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.reel import decode
from pipeline.reel.formats import hash_planes
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.storage import store
from pipeline.types import FrameIndex, Reel
from tests.reel import rich
from tests.reel.axes import Film, make
from tests.reel.films import ARCHIVE, damage, make_film, packet_spans
from tests.s3 import Server
from tests.storage.proxy import Proxy, proxy

SIZE = (512, 384)


@pytest.fixture
def wire(s3_server: Server, s3: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxy(s3_server.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
        yield made


def remote(path: Path) -> tuple[Reel, FrameIndex]:
    """A film as it is seen where it is on no disk."""
    uri = f"memory://films/{path.name}"
    store.put_file(path, uri)
    reel = probe(uri, path.stem, spec.Source())
    return reel, build(reel)


def hashes(reel: Reel, about: FrameIndex, first: int, last: int) -> list[str]:
    run = decode.decode(reel, about, first, last, threads=1)
    return [hash_planes(run.frame(n), run.format) for n in range(first, last)]


@pytest.mark.parametrize(
    "film",
    [
        Film("ffv1", "yuv422p10le", sound="pcm_s16le", rate="24000/1001"),
        Film("ffv1", "gray16le", start="1.5", rate="18", sound="aac"),
        Film("prores", "yuv422p10le", sound="pcm_s16le"),
        Film("v210", "yuv422p10le", rate="25"),
        Film("png", "rgb24", rate="16"),
    ],
    ids=str,
)
def test_it_is_the_demuxs_index_and_every_frame_is_the_same(film: Film, tmp_path: Path) -> None:
    path = make(film, tmp_path)
    here, by_demux = rich.opened(path)
    there, about = remote(path)
    assert (about.found_by, by_demux.found_by) == ("cues", "demux")
    np.testing.assert_array_equal(about.pts, by_demux.pts)
    np.testing.assert_array_equal(about.key, by_demux.key)
    assert (about.rate, about.constant, about.time_base) == (by_demux.rate, True, by_demux.time_base)
    assert about.size.sum() <= there.bytes
    assert np.all(about.position <= by_demux.position)
    wanted = hashes(here, by_demux, 0, 8)
    assert hashes(there, about, 5, 8) + hashes(there, about, 0, 5) == wanted[5:] + wanted[:5]


@pytest.mark.parametrize(
    "film",
    [
        Film("ffv1", "yuv420p", gop="predicted"),
        Film("ffv1", "yuv420p", timing="variable"),
        Film("h264", "yuv420p", gop="b-frames"),
        Film("ffv1", "yuv420p", "mxf", "25"),
    ],
    ids=str,
)
def test_where_it_cannot_list_all_the_film_is_demuxed(film: Film, tmp_path: Path) -> None:
    path = make(film, tmp_path)
    _, about = remote(path)
    assert about.found_by == "demux"
    np.testing.assert_array_equal(about.pts, rich.opened(path)[1].pts)


def test_a_film_with_a_gap_or_without_a_known_end_is_demuxed(tmp_path: Path) -> None:
    make_film(tmp_path / "gap.mkv", frames=8, pts=[0, 1, 2, 4, 5, 6, 7, 8])
    assert remote(tmp_path / "gap.mkv")[1].found_by == "demux"
    path = tmp_path / "unsaid.mkv"
    make_film(path, frames=8, audio="pcm_s16le")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"DURATION", b"DURATIOM"))
    assert remote(path)[1].found_by == "demux"


def test_a_picture_that_the_table_hides_is_not_passed_over(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mkv", frames=12, options=ARCHIVE)
    reel, about = remote(tmp_path / "a.mkv")

    def without(number: int) -> FrameIndex:
        kept: dict[str, Any] = {
            name: np.delete(getattr(about, name), number) for name in ("pts", "key", "position", "size")
        }
        return dataclasses.replace(about, **kept)

    for hidden in (5, 11):
        with pytest.raises(SourceError, match=rf"pts {about.pts[hidden]}\) that the container's cue table does not"):
            hashes(reel, without(hidden), 2, 11)


def test_damage_between_the_pictures_is_told_when_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=12, options=ARCHIVE)
    position, size = packet_spans(path)[7]
    damage(path, position + size // 2)
    reel, about = remote(path)
    assert about.found_by == "cues"
    with pytest.raises(SourceError, match="frame 7"):
        hashes(reel, about, 4, 12)


def test_a_cut_film_is_refused_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=12)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match="cut short"):
        remote(path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "codec", "by"), [("a.mkv", "ffv1", "cues"), ("a.mov", "v210", "table")])
def test_probe_and_index_fetch_tables_and_not_the_film(
    name: str, codec: str, by: str, tmp_path: Path, wire: Proxy, s3_folder: str
) -> None:
    path = tmp_path / name
    options = {"options": ARCHIVE} if codec == "ffv1" else {}
    make_film(path, codec=codec, pixel_format_name="yuv422p10le", frames=68, size=SIZE, audio="pcm_s16le", **options)
    uri = f"{s3_folder}/{name}"
    store.put_file(path, uri)
    wire.reset()
    reel = probe(uri, "a", spec.Source())
    about = build(reel)
    assert (about.found_by, len(about), about.rate) == (by, 68, Fraction(24))
    # Blocks of 4 MiB: the head of the film, its table, and its last picture, each fetched by the one and by the other.
    assert wire.received < 24 << 20 < reel.bytes
