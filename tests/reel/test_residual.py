"""Residuals: with the output they give every bit of the source back, whatever was done to it and however it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, SourceError, VerifyError
from pipeline.reel import residual
from pipeline.reel.encode import encode_segment
from pipeline.reel.formats import hash_planes, pixel_format
from pipeline.reel.residual import carrier, encode_residual, undo
from pipeline.spec import Deliver, Output, parse
from pipeline.types import Frames, PixelFormat, Reel
from tests.reel.films import damage, packet_spans
from tests.reel.test_encode import EXACT, REGROUPED, frames_of

WITH_PADDING = "bgr0 rgb0 0bgr vuyx p010le p010be p210le p012le xv36le"


def noisy(source: Frames, seed: int = 1) -> Frames:
    """Any code value of the format at all in the place of the source's: as far away as can be."""
    rng = np.random.default_rng(seed)
    planes = list(source.planes)
    for part in (*source.format.components, *([source.format.alpha] if source.format.alpha else [])):
        plane = planes[part.plane].copy()
        view = plane if source.format.planes[part.plane].samples == 1 else plane[..., part.sample]
        view[...] = rng.integers(0, 1 << part.depth, view.shape).astype(plane.dtype) << part.shift
        planes[part.plane] = plane
    return Frames(tuple(planes), source.format, source.first, source.pts)


def with_padding_bits(source: Frames) -> Frames:
    """Something in every bit of every sample, those of no component too."""
    rng = np.random.default_rng(5)
    top = 8 * source.format.dtype.itemsize
    planes = tuple(rng.integers(0, 1 << top, p.shape).astype(p.dtype) for p in source.planes)
    return Frames(planes, source.format, source.first, source.pts)


def written(
    source: Frames, restored: Frames, reel: Reel, folder: Path, **output: Any
) -> tuple[Path, Path, list[str], list[str]]:
    """The deliverable and the residual as files; hashes of the deliverable's and of the source's frames."""
    md5s = [hash_planes(source.frame(n), source.format) for n in range(source.first, source.last)]
    made = encode_segment([restored], reel, Output(**output), folder / "made.mkv", threads=1)
    encode_residual(source, restored, reel, md5s, folder / "residual.mkv", threads=2)
    return folder / "made.mkv", folder / "residual.mkv", made, md5s


def whole(name: str, count: int = 3, size: tuple[int, int] = (64, 48)) -> tuple[Reel, Frames]:
    reel, batches = frames_of(name, count, size, batch=count)
    return reel, batches[0]


@pytest.mark.parametrize("name", [*EXACT.split(), *REGROUPED.split()])
def test_the_source_comes_back_in_every_format(name: str, tmp_path: Path) -> None:
    reel, source = whole(name, size=(33, 17))
    made, taken, output_md5, source_md5 = written(source, noisy(source), reel, tmp_path)
    found = list(undo(str(made), str(taken), reel.format, threads=1))
    assert [f.output_md5 for f in found] == output_md5
    assert [f.source_md5 for f in found] == source_md5
    for place, one in enumerate(found):
        assert one.planes is not None
        for back, given_ in zip(one.planes, source.frame(place), strict=True):
            np.testing.assert_array_equal(back, given_)


@pytest.mark.parametrize("name", WITH_PADDING.split())
def test_padding_comes_back_too(name: str, tmp_path: Path) -> None:
    reel, clean = whole(name)
    source = with_padding_bits(clean)
    made, taken, _, source_md5 = written(source, noisy(source), reel, tmp_path)
    assert [f.source_md5 for f in undo(str(made), str(taken), reel.format, threads=1)] == source_md5


def test_bits_that_the_format_has_not_are_not_lost_in_silence(tmp_path: Path) -> None:
    reel, clean = whole("yuv422p10le")
    source = with_padding_bits(clean)
    with pytest.raises(VerifyError, match=r"frame 0: .*comes back as .*no place for"):
        written(source, clean, reel, tmp_path)


@given(st.sampled_from(["yuv420p", "gbrp10le", "gray16le", "bgr0"]), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_the_arithmetic_holds_for_any_two_pictures(name: str, seed: int) -> None:
    reel, source = whole(name, 1, (9, 7))
    restored = noisy(source, seed)
    md5s = [hash_planes(source.frame(0), source.format)]
    (one,) = residual._taken(source, restored, reel, md5s)
    assert one.format == carrier(reel.format)


def test_where_nothing_was_changed_it_is_flat_and_small(tmp_path: Path) -> None:
    reel, source = whole("yuv422p10le", size=(256, 120))
    made, taken, _, _ = written(source, source, reel, tmp_path)
    assert taken.stat().st_size < made.stat().st_size / 20
    md5s = [hash_planes(source.frame(n), source.format) for n in range(3)]
    first = next(residual._taken(source, source, reel, md5s)).planes[0]
    assert set(np.unique(first)) == {512}


def test_neither_threads_nor_repetition_change_a_byte(tmp_path: Path) -> None:
    reel, source = whole("yuv422p10le", 4, (160, 120))
    md5s = [hash_planes(source.frame(n), source.format) for n in range(4)]
    files = set()
    for threads in (1, 3, 1):
        encode_residual(source, noisy(source), reel, md5s, tmp_path / "r.mkv", threads=threads)
        files.add((tmp_path / "r.mkv").read_bytes())
    assert len(files) == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("yuv422p10le", "yuv422p10le"),
        ("rgb24", "bgr0"),
        ("bgr0", "bgra"),
        ("p010le", "yuv420p16le"),
        ("nv12", "yuv420p"),
        ("ya8", "ya8"),
        ("yuva444p10le", "yuva444p10le"),
        ("vuyx", "yuva444p"),
    ],
)
def test_the_format_that_holds_every_bit(source: str, expected: str) -> None:
    assert carrier(pixel_format(source)).name == expected


def test_what_ffv1_cannot_hold_is_refused() -> None:
    with pytest.raises(SourceError, match="ya16le"):
        carrier(pixel_format("ya16le"))
    fmt: PixelFormat = pixel_format("bgr0")
    with pytest.raises(SourceError, match="padding"):
        carrier(replace(fmt, planes=(replace(fmt.planes[0], samples=5),)))


def test_a_spec_that_could_not_be_undone_is_refused() -> None:
    assert [o.name for o in Deliver(residual=True).written] == ["master", "residual"]
    assert [o.name for o in Deliver().written] == ["master"]
    with pytest.raises(ConfigError, match="lossless first output"):
        parse("deliver: {residual: true, outputs: [{codec: prores}]}")
    with pytest.raises(ConfigError, match="no output may be called 'residual'"):
        parse("deliver: {outputs: [{name: residual}]}")


def test_damage_and_missing_frames_show_where_they_are(tmp_path: Path) -> None:
    reel, source = whole("yuv422p10le", 6, (160, 120))
    made, taken, _, source_md5 = written(source, noisy(source), reel, tmp_path)
    position, size = packet_spans(taken)[4]
    damage(taken, position + size // 2)
    found = [f.source_md5 for f in undo(str(made), str(taken), reel.format, threads=1)]
    assert [n for n in range(6) if found[n] != source_md5[n]] == [4]
    encode_residual(source.span(0, 5), noisy(source).span(0, 5), reel, source_md5, taken, threads=1)
    short = list(undo(str(made), str(taken), reel.format, threads=1))
    assert [f.source_md5 for f in short] == [*source_md5[:5], None]
    assert short[5].output_md5 is not None
    with pytest.raises(VerifyError, match=r"made\.mkv frame 0: it holds yuv422p10le, expected gray"):
        list(undo(str(made), str(taken), pixel_format("gray"), threads=1))
