"""Segments: what goes in comes out, nothing of the machine reaches the bytes, and what goes wrong is noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.errors import ScratchFullError, SourceError, VerifyError
from pipeline.reel import encode
from pipeline.reel.deliver import SUFFIX, deliver_format
from pipeline.reel.encode import encode_segment
from pipeline.reel.ffv1 import damaged_slices
from pipeline.reel.formats import hash_planes, pixel_format, planes_of
from pipeline.spec import Output
from pipeline.types import Frames, Reel
from tests.reel.films import pictures
from tests.reel.test_deliver import colour, made_reel

EXACT = (
    "yuv420p yuv422p yuv444p yuv411p yuv410p yuv440p yuv420p10le yuv422p10le yuv444p12le yuv422p16le "
    "yuva420p yuva444p10le gray gray10le gray12le gray16le ya8 bgr0 bgra gbrp10le gbrp12le gbrp16le "
    "gbrap12le"
)
CODECS = ["ffv1", "prores", "dnxhr", "h264", "hevc", "av1"]
REGROUPED = (
    "rgb24 bgr24 rgba gbrp gbrap nv12 nv16 p010le yuvj420p gray10be yuv420p10be rgb48le rgb48be rgba64le rgb0 abgr"
)


def frames_of(
    name: str, count: int = 3, size: tuple[int, int] = (64, 48), first: int = 0, batch: int = 2
) -> tuple[Reel, list[Frames]]:
    """A made-up reel of this pixel format, and some of its frames in batches."""
    fmt = pixel_format(name)
    used: Any = {"rgb": "rgb", "gray": "gray", "yuv": "bt601"}[fmt.model]
    reel = made_reel(name, width=size[0], height=size[1], colour=colour(used, fmt.model != "yuv"))
    planes = pictures(name, count, *size)
    stacked = tuple(np.stack([p[i] for p in planes]) for i in range(len(fmt.planes)))
    pts = np.arange(first, first + count, dtype=np.int64)
    whole = Frames(stacked, fmt, first, pts)
    cuts = [*range(first, first + count, batch), first + count]
    return reel, [whole.span(a, b) for a, b in pairwise(cuts)]


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as film:
        yield from film.decode(video=0)


@pytest.mark.parametrize("name", EXACT.split())
def test_ffv1_gives_back_every_code_value_in_the_source_s_own_format(name: str, tmp_path: Path) -> None:
    reel, batches = frames_of(name)
    if name == "bgr0":
        batches = [Frames((b.planes[0] * np.array([1, 1, 1, 0], np.uint8),), b.format, b.first, b.pts) for b in batches]
    hashes = encode_segment(batches, reel, Output(), tmp_path / "s.mkv", threads=1)
    given = [b.frame(n) for b in batches for n in range(b.first, b.last)]
    assert hashes == [hash_planes(p, reel.format) for p in given]
    found = list(decoded(tmp_path / "s.mkv"))
    assert len(found) == len(given)
    for frame, planes in zip(found, given, strict=True):
        for a, b in zip(planes_of(frame, reel.format), planes, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", REGROUPED.split())
def test_ffv1_regroups_what_it_does_not_hold(name: str, tmp_path: Path) -> None:
    reel, batches = frames_of(name)
    hashes = encode_segment(batches, reel, Output(), tmp_path / "s.mkv", threads=1)
    target = deliver_format(reel.format, Output())
    assert next(decoded(tmp_path / "s.mkv")).format.name == target.name
    given = [b.frame(n) for b in batches for n in range(b.first, b.last)]
    if target.planes == reel.format.planes and target.components == reel.format.components and "be" not in name:
        assert hashes == [hash_planes(p, reel.format) for p in given], "FFmpeg's own hash of the source"
    assert len(set(hashes)) == len(given)


def test_the_padding_of_bgr0_is_no_picture(tmp_path: Path) -> None:
    reel, batches = frames_of("bgr0")
    assert batches[0].planes[0][..., 3].any()
    hashes = encode_segment(batches, reel, Output(), tmp_path / "s.mkv", threads=1)
    cleaned = batches[0].frame(0)[0] * np.array([1, 1, 1, 0], np.uint8)
    assert hashes[0] == hash_planes((cleaned,), reel.format)


def test_ffv1_is_written_as_archives_keep_it(tmp_path: Path) -> None:
    reel, batches = frames_of("yuv422p10le", size=(160, 120))
    encode_segment(batches, reel, Output(), tmp_path / "s.mkv", threads=1)
    with av.open(str(tmp_path / "s.mkv")) as film:
        packets = [p for p in film.demux(video=0) if p.size]
        assert all(p.is_keyframe for p in packets)
        assert film.format.name.startswith("matroska")
    assert damaged_slices(bytes(packets[0])) == ([], 16)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (9, 7), (33, 17), (17, 64), (257, 121)])
@pytest.mark.parametrize("codec", CODECS)
def test_small_and_odd_sizes(size: tuple[int, int], codec: Any, tmp_path: Path) -> None:
    reel, batches = frames_of("yuv420p", size=size)
    least = {"hevc": 16, "av1": 4, "dnxhr": 256}.get(codec, 1)
    if size[0] < least:
        with pytest.raises(SourceError, match=f"{codec} holds no picture of {size[0]}×{size[1]} px"):
            encode_segment(batches, reel, Output(codec=codec), tmp_path / "s", threads=1)
        return
    hashes = encode_segment(batches, reel, Output(codec=codec), tmp_path / f"s{SUFFIX[codec]}", threads=1)
    assert len(hashes) == 3
    frame = next(decoded(tmp_path / f"s{SUFFIX[codec]}"))
    assert (frame.width, frame.height) == size


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("codec", CODECS)
def test_neither_threads_nor_batches_nor_repetition_change_a_byte(
    codec: Any, count: int, rounds: int, tmp_path: Path
) -> None:
    """Four rounds are often enough to meet an encoder that reads memory that nobody wrote."""
    written = set()
    for threads, batch in ((1, 2), (1, 5), (3, 1)) * rounds:
        reel, batches = frames_of("yuv420p", count, (256, 120), first=100, batch=batch)
        encode_segment(batches, reel, Output(codec=codec), tmp_path / "s", threads=threads)
        written.add((tmp_path / "s").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("codec", CODECS[1:])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gray", "bgr0", "gbrp12le", "yuva444p16le", "nv12", "ya8"])
def test_viewing_copies_look_like_what_they_were_given(name: str, codec: Any, tmp_path: Path) -> None:
    reel, batches = frames_of(name, size=(256, 120))
    path = tmp_path / f"s{SUFFIX[codec]}"
    hashes = encode_segment(batches, reel, Output(codec=codec, crf=8), path, threads=1)
    found = list(decoded(path))
    fmt = pixel_format(found[0].format.name)
    assert [hash_planes(planes_of(f, fmt), fmt) for f in found] == hashes
    assert deliver_format(reel.format, Output(codec=codec)).name.replace("10le", "") == fmt.name.rstrip("012le")


def test_colour_tags_shape_and_field_order_are_written(tmp_path: Path) -> None:
    reel, batches = frames_of("yuv422p10le")
    said = colour(matrix="smpte170m", range="tv", primaries="bt470bg", transfer="bt470bg", chroma_location="left")
    reel = replace(reel, colour=said, sample_aspect=Fraction(16, 11), field_order="tt")
    for codec in ("ffv1", "prores", "h264", "hevc", "av1"):
        path = tmp_path / f"s{SUFFIX[codec]}"
        encode_segment(batches, reel, Output(codec=codec), path, threads=1)  # type: ignore[arg-type]
        with av.open(str(path)) as film:
            context = film.streams.video[0].codec_context
            assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (6, 1, 5, 5)
            if codec in ("ffv1", "prores"):
                assert context.field_order == 2
            frame = next(film.decode(video=0))
            assert (frame.colorspace, frame.color_range) == (6, 1)
    untagged, batches = frames_of("yuv422p10le")
    encode_segment(batches, untagged, Output(), tmp_path / "s.mkv", threads=1)
    with av.open(str(tmp_path / "s.mkv")) as film:
        context = film.streams.video[0].codec_context
        assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (2, 0, 2, 2)


def damaging(position: float) -> Callable[..., Any]:
    """In place of the second decoding: one that damages the file before it."""
    whole = encode._decoded

    def damage_first(path: Path, *more: Any) -> Any:
        data = bytearray(path.read_bytes())
        with av.open(str(path)) as film:
            packets = [p for p in film.demux(video=0) if p.size]
        packet = packets[int(len(packets) * position)]
        for at in range(packet.size // 2, packet.size // 2 + 4):
            data[(packet.pos or 0) + 12 + at] ^= 0x5A
        path.write_bytes(bytes(data))
        return whole(path, *more)

    return damage_first


def test_a_frame_that_decodes_to_something_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reel, batches = frames_of("yuv422p10le", 8, (160, 120), first=40)
    monkeypatch.setattr(encode, "_decoded", damaging(0.5))
    with pytest.raises(VerifyError, match=r"r\.mkv frame 44: .*decodes to") as caught:
        encode_segment(batches, reel, Output(), tmp_path / "s.mkv", threads=2)
    assert caught.value.frame == 44


def test_a_lossy_segment_with_another_picture_in_it_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reel, batches = frames_of("yuv420p", 6, first=10)
    whole = encode._decoded
    monkeypatch.setattr(encode, "_decoded", lambda *a: iter(list(whole(*a))[::-1]))
    with pytest.raises(VerifyError, match="another picture"):
        encode_segment(batches, reel, Output(codec="h264"), tmp_path / "s.mp4", threads=1)
    for wrong, said in ((lambda f: f[:-1], "fewer"), (lambda f: [*f, f[0]], "more")):
        monkeypatch.setattr(encode, "_decoded", lambda *a, wrong=wrong: iter(wrong(list(whole(*a)))))
        with pytest.raises(VerifyError, match=f"decodes to {said} frames than the 6"):
            encode_segment(batches, reel, Output(codec="h264"), tmp_path / "s.mp4", threads=1)


def test_a_full_disk_is_called_a_full_disk(tmp_path: Path) -> None:
    reel, batches = frames_of("yuv422p10le", 8, (320, 240))
    path = tmp_path / "s.mkv"
    path.symlink_to("/dev/full")
    with pytest.raises(ScratchFullError, match="no room") as caught:
        encode_segment(batches, reel, Output(), path, threads=1)
    assert caught.value.where == str(path)
    assert not path.exists()


def test_an_error_in_the_frames_leaves_no_file(tmp_path: Path) -> None:
    reel, batches = frames_of("yuv420p")

    def broken() -> Iterator[Frames]:
        yield batches[0]
        raise SourceError("a picture is damaged", where=reel.uri, frame=2)

    with pytest.raises(SourceError, match="damaged"):
        encode_segment(broken(), reel, Output(), tmp_path / "s.mkv", threads=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="follows"):
        encode_segment([batches[0], batches[0]], reel, Output(), tmp_path / "s.mkv", threads=1)
    with pytest.raises(ValueError, match="at least one"):
        encode_segment([], reel, Output(), tmp_path / "s.mkv", threads=1)


def test_frames_are_taken_one_batch_at_a_time(tmp_path: Path) -> None:
    reel, batches = frames_of("yuv420p", 12, batch=3)
    alive: list[int] = []

    def counted() -> Iterator[Frames]:
        for batch in batches:
            alive.append(batch.first)
            yield batch
            assert alive[-1] == batch.first, "the next batch was asked for before this one was done"

    assert len(encode_segment(counted(), reel, Output(), tmp_path / "s.mkv", threads=1)) == 12
