"""Assembled deliverables: every packet, every time, and everything else that the source held."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from pipeline.errors import ScratchFullError, SourceError, VerifyError
from pipeline.reel import assemble as module
from pipeline.reel import carry, matroska
from pipeline.reel.assemble import assemble
from pipeline.reel.deliver import SUFFIX, output_pts
from pipeline.reel.framemd5 import decoded_hashes
from pipeline.spec import Output
from tests.reel.films import make_film
from tests.reel.rich import delivered, opened, packets, rich_film, segments_of

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
MS = Fraction(1, 1000)
CODECS = ["ffv1", "prores", "dnxhr", "h264", "hevc", "av1"]
MOV = ("prores", "dnxhr")


def samples(path: Path, number: int = 0) -> NDArray[Any]:
    """A sound track as it is heard: decoded, without the codec's run-up."""
    with av.open(str(path)) as film:
        return np.concatenate([f.to_ndarray() for f in film.decode(audio=number)], axis=1)


def first_times(path: Path) -> tuple[Fraction, Fraction]:
    """When the first picture and the first sound begin, in seconds."""
    return min(t for t, _ in packets(path, "video")), min(t for t, _ in packets(path, "audio"))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("rate", "picture_starts", "sound_starts"),
    [
        pytest.param(Fraction(16), Fraction(0), Fraction(0), marks=pytest.mark.slow),
        (Fraction(18), Fraction(1, 2), Fraction(1, 3)),
        (Fraction(24000, 1001), Fraction(1, 3), Fraction(1, 2)),
        pytest.param(Fraction(25), Fraction(0), Fraction(1, 7), marks=pytest.mark.slow),
    ],
)
def test_picture_and_sound_are_the_source_s(
    codec: str, rate: Fraction, picture_starts: Fraction, sound_starts: Fraction, tmp_path: Path
) -> None:
    kinds = ("pcm_s16le", "aac", *(["flac"] if codec not in MOV else []))
    source = rich_film(tmp_path / "film.mkv", rate=rate, start=picture_starts, sound=dict.fromkeys(kinds, sound_starts))
    reel, about = opened(source)
    output = Output(codec=codec)  # type: ignore[arg-type]
    segments, hashes = segments_of(reel, about, output, tmp_path, [7, 1, 12])
    path = tmp_path / f"out{SUFFIX[codec]}"
    said = assemble(reel, about, 0, 20, output, iter(segments), path)
    assert (said.frames, said.bytes, said.left_out) == (20, path.stat().st_size, ())

    base, pts = output_pts(about, reel, 0, 20, output)
    with av.open(str(path)) as film:
        video = film.streams.video[0]
        assert (video.time_base, video.average_rate) == (base, rate)
        coded = [p for p in film.demux(video) if p.size]
    assert sorted(p.pts or 0 for p in coded) == pts.tolist()
    assert [bytes(p) for p in coded] == [b for s in segments for _, b in packets(s, "video")]
    assert list(decoded_hashes(str(path))) == list(zip(pts.tolist(), hashes, strict=True))
    if codec != "ffv1":
        assert [int(t) * base for t in pts] == [about.time(n) for n in range(20)]

    for number, kind in enumerate(kinds):
        theirs, ours = packets(source, "audio", number), packets(path, "audio", number)
        assert b"".join(b for _, b in ours) == b"".join(b for _, b in theirs)
        assert said.streams[number].codec == kind
        offset = [min(t for t, _ in packets(p, "video")) - s[0][0] for p, s in ((source, theirs), (path, ours))]
        assert abs(offset[0] - offset[1]) <= MS / 2, "picture and sound lie as far apart as they did"
        if not kind.startswith("pcm"):
            assert all(abs(a - b) <= MS for (a, _), (b, _) in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("codec", CODECS)
def test_two_calls_give_the_same_bytes(codec: str, tmp_path: Path) -> None:
    source = rich_film(
        tmp_path / "film.mkv",
        sound={"aac": Fraction(0), "pcm_s24le": Fraction(0)},
        subtitles="subrip",
        chapters=True,
        attachment=b"x" * 500,
        tags={"title": "A film"},
        picture_tags={"timecode": "01:00:00:00"},
    )
    written = set()
    for _ in range(2):
        written.add(delivered(source, tmp_path, codec)[0].read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("there", [".mkv", ".mp4", pytest.param(".mov", marks=pytest.mark.slow)])
@pytest.mark.parametrize("codec", CODECS)
def test_the_run_up_of_aac_is_heard_in_no_container(there: str, codec: str, tmp_path: Path) -> None:
    picture: dict[str, Any] = {"codec": "ffv1"} if there == ".mkv" else {"codec": "libx264"}
    source = rich_film(tmp_path / f"film{there}", sound={"aac": Fraction(0)}, **picture)
    path = delivered(source, tmp_path, codec)[0]
    begins = first_times(path)
    assert begins[0] == 0, "the picture stays where it is"
    assert abs(begins[1] + Fraction(1024, 48_000)) <= MS / 2
    heard, expected = samples(path), samples(source)
    # A source of ours ends its last packet to the millisecond of an edit list; up to there it must be the same sound.
    assert abs(heard.shape[1] - expected.shape[1]) <= 48
    shared = min(heard.shape[1], expected.shape[1])
    np.testing.assert_array_equal(heard[:, :shared], expected[:, :shared])


def test_x264_segments_stay_as_they_were_coded(tmp_path: Path) -> None:
    source = tmp_path / "film.mkv"
    make_film(source, frames=40, size=(96, 64), rate=Fraction(24000, 1001))
    reel, about = opened(source)
    output = Output(codec="h264")
    segments, hashes = segments_of(reel, about, output, tmp_path, [24, 1, 1, 2, 12])
    path = tmp_path / "out.mp4"
    assemble(reel, about, 0, 40, output, iter(segments), path)
    with av.open(str(path)) as film:
        video = film.streams.video[0]
        coded = [p for p in film.demux(video) if p.size]
        extradata = video.codec_context.extradata
    assert any(a.pts > b.pts for a, b in pairwise(coded)), "there are B-frames"  # type: ignore[operator]
    assert (coded[0].pts, coded[0].dts) == (0, -2002)
    assert [p.dts for p in coded] == [1001 * (n - 2) for n in range(40)]
    assert all(p.duration == 1001 for p in coded)
    for segment in segments:
        with av.open(str(segment)) as film:
            assert film.streams.video[0].codec_context.extradata == extradata
    assert [h for _, h in decoded_hashes(str(path))] == hashes
    # The index is in front, so that a player can begin before it has the whole file.
    head = path.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")


@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(3, 2), Fraction(10, 11)])
@pytest.mark.parametrize("codec", CODECS)
def test_shape_of_pixels_colour_and_fields(aspect: Fraction, codec: str, tmp_path: Path) -> None:
    source = tmp_path / "film.mov"
    make_film(
        source,
        codec="prores_ks",
        pixel_format_name="yuv422p10le",
        frames=6,
        size=(256, 120),
        aspect=aspect,
        options={"field_order": "tt"},
        colour={"colorspace": 6, "color_range": 1, "color_primaries": 5, "color_trc": 6},
    )
    path, _, reel, _ = delivered(source, tmp_path, codec, say={"interlaced": "per_field"})
    assert (reel.sample_aspect, reel.field_order) == (aspect, "tt")
    with av.open(str(path)) as film:
        video = film.streams.video[0]
        assert video.sample_aspect_ratio == aspect
        context = video.codec_context
        assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (6, 1, 5, 6)
        if codec in ("ffv1", "prores"):
            assert context.field_order == 2
        assert (context.width, context.height) == (256, 120)


def test_square_pixels_leave_the_header_alone(tmp_path: Path) -> None:
    make_film(tmp_path / "film.mkv", frames=4)
    path, _, _, _ = delivered(tmp_path / "film.mkv", tmp_path)
    with av.open(str(path)) as film:
        assert film.streams.video[0].sample_aspect_ratio in (None, 1)
        assert "title" not in film.streams.video[0].metadata


def test_everything_that_matroska_holds_is_carried(tmp_path: Path) -> None:
    source = rich_film(
        tmp_path / "film.mkv",
        sound={"flac": Fraction(0), "aac": Fraction(0)},
        subtitles="subrip",
        chapters=True,
        attachment=b"how it was scanned",
        tags={"title": "A film", "X_SHELF": "7b"},
        picture_tags={"title": "Bild", "language": "dan"},
    )
    path, said, _, _ = delivered(source, tmp_path)
    assert said.left_out == ()
    assert [(s.kind, s.codec) for s in said.streams] == [("audio", "flac"), ("audio", "aac"), ("subtitle", "srt")]
    assert packets(path, "subtitle") == packets(source, "subtitle")
    with av.open(str(source)) as before, av.open(str(path)) as after:
        assert [s.type for s in after.streams] == ["video", "audio", "audio", "subtitle", "attachment"]
        for a, b in zip(before.streams, after.streams, strict=True):
            assert (a.language, a.metadata.get("title"), a.disposition) == (
                b.language,
                b.metadata.get("title"),
                b.disposition,
            )
        assert (after.metadata["title"], after.metadata["X_SHELF"]) == ("A film", "7b")
        assert [(c["start"], c["end"], c["metadata"]) for c in after.chapters()] == [
            (c["start"], c["end"], c["metadata"]) for c in before.chapters()
        ]
        kept: Any = after.streams[4]
        assert (kept.data, kept.metadata) == (b"how it was scanned", {"filename": "note.txt", "mimetype": "text/plain"})


def test_what_a_container_cannot_carry_is_said_in_sentences(tmp_path: Path) -> None:
    source = rich_film(
        tmp_path / "film.mkv",
        sound={"flac": Fraction(0), "pcm_s16le": Fraction(0)},
        subtitles="subrip",
        chapters=True,
        attachment=b"x",
        tags={"title": "A film", "X_SHELF": "7b"},
    )
    path, said, _, _ = delivered(source, tmp_path, "prores")
    assert [s.codec for s in said.streams] == ["pcm_s16le"]
    told = " / ".join(said.left_out)
    for part in (
        "audio stream 1 (flac",
        "subtitle stream 3 (srt",
        "attachment stream 4",
        "mov cannot carry",
        "tags X_SHELF",
    ):
        assert part in told
    with av.open(str(path)) as film:
        assert film.metadata["title"] == "A film"
        assert [c["metadata"]["title"] for c in film.chapters()] == ["One", "Two"]


@pytest.mark.parametrize(("pixels", "tag"), [("gbrp10le", "ap4h"), ("yuv422p10le", "apch")])
def test_prores_says_which_of_its_kinds_it_is(tmp_path: Path, pixels: str, tag: str) -> None:
    source = tmp_path / "film.mkv"
    make_film(source, pixel_format_name=pixels, frames=3)
    path, *_ = delivered(source, tmp_path, "prores")
    with av.open(str(path)) as film:
        context = film.streams.video[0].codec_context
        assert context.codec_tag == tag
        # What the kind promises is what a decoder gives.
        assert ("444" in str(context.pix_fmt)) is (tag == "ap4h")


def test_dispositions_and_a_second_picture(tmp_path: Path) -> None:
    first = rich_film(tmp_path / "a.mkv", codec="libx264", sound={"aac": Fraction(0)})
    source = tmp_path / "film.mkv"
    with av.open(str(first)) as film, av.open(str(source), "w") as out:
        streams = [out.add_stream_from_template(s, opaque=True) for s in (*film.streams, film.streams[0])]
        streams[1].disposition = Disposition.forced | Disposition.hearing_impaired
        for packet in film.demux():
            if packet.size:
                places = [0, 2] if packet.stream_index == 0 else [1]
                for place in places:
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                    copy.is_keyframe, copy.stream = packet.is_keyframe, streams[place]
                    out.mux(copy)
    for codec in CODECS:
        path, said, reel, _ = delivered(source, tmp_path, codec)
        assert [(s.index, s.kind) for s in said.streams] == [(1, "audio"), (2, "video")]
        assert [b for _, b in packets(path, "video", 1)] == [b for _, b in packets(source, "video", 1)]
        with av.open(str(path)) as film:
            if codec not in MOV:  # QuickTime has no kinds of tracks
                assert film.streams[1].disposition & Disposition.forced
    assert reel.stream == 0


@pytest.mark.parametrize(("codec", "begins"), [("ffv1", Fraction(11, 24)), ("h264", Fraction(0))])
def test_an_excerpt_keeps_what_sounds_within_it(codec: str, begins: Fraction, tmp_path: Path) -> None:
    source = rich_film(
        tmp_path / "film.mkv",
        frames=40,
        sound={"aac": Fraction(0), "pcm_s16le": Fraction(0)},
        subtitles="subrip",
        chapters=True,
        picture_tags={"timecode": "10:00:00:00"},
    )
    path, _, reel, about = delivered(source, tmp_path, codec, first=11, last=30)
    shift = about.time(11) - begins
    pictures = packets(path, "video")
    assert len(pictures) == 19
    assert abs(min(t for t, _ in pictures) - begins) <= MS / 2
    last = max(t for t, _ in pictures) + 1 / reel.rate
    times: dict[bytes, list[Fraction]] = {}
    for time, data in packets(source, "audio"):
        times.setdefault(data, []).append(time)
    sound = packets(path, "audio")
    for time, data in sound:
        assert min(abs(t - shift - time) for t in times[data]) <= MS, "as far from the picture as it was"
    assert sound[0][0] <= begins < sound[1][0], "the packet that sounds at the cut is there"
    assert sound[-1][0] < last <= sound[-1][0] + Fraction(1024 + 48, 48_000)
    half, end = Fraction(1, 2), Fraction(8, 10)
    with av.open(str(path)) as film:
        assert [s for s in film.streams.subtitles if s.frames] == [], "both were over before the excerpt begins"
        for found, expected in zip(film.chapters(), ((about.time(11), half), (half, end)), strict=True):
            tick = found["time_base"] or Fraction(1)
            assert abs(found["start"] * tick - (expected[0] - shift)) <= MS
            assert abs(found["end"] * tick - (expected[1] - shift)) <= MS


@pytest.mark.parametrize("codec", ["ffv1", "prores", "h264"])
def test_sound_that_has_ended_before_an_excerpt_begins(tmp_path: Path, codec: str) -> None:
    """mov and mp4 leave a track without packets out, which must not be taken for damage of the file."""
    source = rich_film(
        tmp_path / "film.mkv", frames=24, start=Fraction(1), sound={"aac": Fraction(1, 5), "flac": Fraction(1)}
    )
    path, said, _, _ = delivered(source, tmp_path, codec, first=16)
    if codec == "ffv1":
        assert [s.packets > 0 for s in said.streams] == [False, True]
        return
    assert [s.index for s in said.streams] == ([2] if codec == "h264" else [])
    (sentence,) = [s for s in said.left_out if "hold no track without a packet" in s]
    assert "audio stream 1 (aac" in sentence
    assert 1 not in said.lacking, "there is nothing to lay beside"
    with av.open(str(path)) as film:
        assert len(film.streams.audio) == len(said.streams)


def test_timecode_counts_on_in_an_excerpt(tmp_path: Path) -> None:
    source = rich_film(
        tmp_path / "film.mp4", codec="libx264", rate=Fraction(25), frames=30, picture_tags={"timecode": "09:59:59:20"}
    )
    for codec in CODECS:
        for first, expected in ((0, "09:59:59:20"), (7, "10:00:00:02")):
            path, said, _, _ = delivered(source, tmp_path, codec, first=first, last=20)
            with av.open(str(path)) as film:
                tags = {k.lower(): v for k, v in film.streams.video[0].metadata.items()}
            assert tags["timecode"] == expected
            assert said.left_out == (), "the timecode track of the source is no loss"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not here")
class TestRealFilms:
    @pytest.mark.parametrize("codec", CODECS)
    def test_nasa_with_two_pictures_sounds_and_subtitles(self, codec: str, tmp_path: Path) -> None:
        source = SHARED / "nasa_13013.mp4"
        path, said, _, _ = delivered(source, tmp_path, codec, last=40)
        assert len(said.streams) == 5
        assert sum("SubRip" in s for s in said.left_out) == (2 if codec == "ffv1" else 0)
        assert len(said.left_out) == (2 if codec == "ffv1" else 0)
        with av.open(str(path)) as film:
            assert [s.type for s in film.streams] == ["video", "video", "audio", "subtitle", "audio", "subtitle"]
            assert {s.language for s in film.streams} == {"eng"}
        for number in (0, 1):
            theirs = packets(source, "audio", number)
            for (a, x), (b, y) in zip(packets(path, "audio", number), theirs, strict=False):
                assert x == y
                assert abs(a - b) <= MS / 2
        words = [(t, b) for t, b in packets(path, "subtitle") if b != b"\0\0"]
        assert [t for t, _ in words] == [Fraction(21, 100)]
        assert b"optical and science segment of the Webb" in words[0][1]

    def test_a_whole_old_film(self, tmp_path: Path) -> None:
        source = SHARED / "oldfilm" / "train_robbery_1903.mkv"
        reel, about = opened(source)
        segments, hashes = segments_of(reel, about, Output(), tmp_path, [24, len(about) - 24])
        path = tmp_path / "out.mkv"
        assemble(reel, about, 0, len(about), Output(), iter(segments), path)
        theirs = list(decoded_hashes(str(source)))
        assert list(decoded_hashes(str(path))) == theirs, "times and code values of the source"
        assert [md5 for _, md5 in theirs] == hashes


class TestWhatGoesWrong:
    @pytest.fixture
    def film(self, tmp_path: Path) -> Any:
        source = rich_film(tmp_path / "film.mkv", frames=12, sound={"pcm_s16le": Fraction(0)})
        reel, about = opened(source)
        segments, _ = segments_of(reel, about, Output(), tmp_path, [5, 4, 3])
        return reel, about, segments, tmp_path / "out.mkv"

    def test_a_missing_segment_is_named_by_its_first_frame(self, film: Any) -> None:
        reel, about, segments, path = film
        with pytest.raises(VerifyError, match=r"frame 9: the segments hold 9 frames, 12 were expected") as caught:
            assemble(reel, about, 0, 12, Output(), iter(segments[:2]), path)
        assert caught.value.frame == 9
        assert not path.exists()
        with pytest.raises(VerifyError, match="beyond the 12"):
            assemble(reel, about, 0, 12, Output(), iter([*segments, segments[0]]), path)
        with pytest.raises(VerifyError, match="not one segment"):
            assemble(reel, about, 0, 12, Output(), iter([]), path)
        assert not path.exists()

    def test_segments_of_other_settings_do_not_mix(self, film: Any, tmp_path: Path) -> None:
        reel, about, segments, path = film
        other = tmp_path / "other.mkv"
        make_film(other, frames=4, size=(256, 120), options={"level": "3", "slices": "4", "g": "1"})
        with pytest.raises(VerifyError, match=r"other\.mkv was encoded with other settings"):
            assemble(reel, about, 0, 12, Output(), iter([segments[0], other]), path)
        make_film(other, frames=4, size=(32, 48))
        with pytest.raises(VerifyError, match=r"other\.mkv is 32×48 px, expected 256×120"):
            assemble(reel, about, 0, 12, Output(), iter([segments[0], other]), path)
        other.write_bytes(b"no film")
        with pytest.raises(VerifyError, match=r"other\.mkv cannot be read"):
            assemble(reel, about, 0, 12, Output(), iter([segments[0], other]), path)
        assert not path.exists()

    @pytest.mark.parametrize(("kind", "said"), [("video", "frame 7: picture: packet 7"), ("audio", "sound")])
    def test_a_byte_that_turns_over_on_the_disk_is_noticed(
        self, film: Any, kind: str, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reel, about, segments, path = film
        whole = module.check

        def damaged(path: Path, traces: Any, running: Any) -> None:
            with av.open(str(path)) as written:
                packet = [p for p in written.demux(**{kind: 0}) if p.size][7]
                data = bytearray(path.read_bytes())
                at = data.index(bytes(packet))
            data[at + packet.size // 2] ^= 1
            path.write_bytes(bytes(data))
            whole(path, traces, running)

        monkeypatch.setattr(module, "check", damaged)
        with pytest.raises(VerifyError, match=said):
            assemble(reel, about, 0, 12, Output(), iter(segments), path)
        assert not path.exists()

    def test_times_that_a_muxer_moved_are_noticed(self, film: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        reel, about, segments, path = film
        whole = module.output_pts
        monkeypatch.setattr(module, "output_pts", lambda *a: (whole(*a)[0], whole(*a)[1] - 30))
        options = {"fflags": "+bitexact", "avoid_negative_ts": "make_zero"}
        monkeypatch.setattr(module, "CONTAINER_OPTIONS", options)
        with pytest.raises(VerifyError, match=r"stands at .* expected"):
            assemble(reel, about, 0, 12, Output(), iter(segments), path)

    def test_a_full_disk(self, film: Any) -> None:
        reel, about, segments, path = film
        path.symlink_to("/dev/full")
        with pytest.raises(ScratchFullError, match="no room"):
            assemble(reel, about, 0, 12, Output(), iter(segments), path)
        assert not path.exists()

    def test_each_segment_is_done_with_before_the_next_is_asked_for(self, film: Any) -> None:
        reel, about, segments, path = film

        def one_at_a_time() -> Iterator[Path]:
            for segment in segments:
                yield segment
                segment.unlink()

        assert assemble(reel, about, 0, 12, Output(), one_at_a_time(), path).frames == 12

    def test_a_source_whose_sound_cannot_be_read_is_the_source_s_error(
        self, film: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reel, about, segments, path = film
        whole = carry.reading

        def breaks(items: Any) -> Any:
            def broken() -> Any:
                for number, item in enumerate(items):
                    if number == 3:
                        raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input")
                    yield item

            return whole(broken())

        monkeypatch.setattr(carry, "reading", breaks)
        with pytest.raises(SourceError, match=r"film\.mkv: FFmpeg cannot read on"):
            assemble(reel, about, 0, 12, Output(), iter(segments), path)
        assert not path.exists()

    def test_sound_never_comes_from_a_file_that_was_changed(self, film: Any, tmp_path: Path) -> None:
        reel, about, segments, path = film
        other = rich_film(tmp_path / "other.mkv", frames=12, sound={"pcm_s16le": Fraction(1, 10)})

        def changed_midway() -> Iterator[Path]:
            yield from segments[:2]
            Path(reel.uri).write_bytes(other.read_bytes())
            yield segments[2]

        for given in (changed_midway(), iter(segments)):
            with pytest.raises(SourceError, match=r"film\.mkv: the file changed since it was probed"):
                assemble(reel, about, 0, 12, Output(), given, path)
            assert not path.exists()

    def test_sound_that_goes_back_in_time_is_carried_and_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = rich_film(tmp_path / "film.mkv", sound={"aac": Fraction(0)})
        whole = carry.pieces

        def jumping(*args: Any, **more: Any) -> Any:
            for number, piece in enumerate(whole(*args, **more)):
                yield replace(piece, start=piece.start - Fraction(1, 10)) if number == 9 else piece

        monkeypatch.setattr(carry, "pieces", jumping)
        for codec in CODECS:
            path, said, _, _ = delivered(source, tmp_path, codec)
            assert [s for s in said.left_out if "Packets of stream 1 go back in time" in s]
            assert [b for _, b in packets(path, "audio")] == [b for _, b in packets(source, "audio")]

    def test_a_gap_in_pcm_is_not_closed_in_silence(self, tmp_path: Path) -> None:
        source = tmp_path / "gap.mkv"
        film = rich_film(tmp_path / "film.mkv", frames=24, sound={"pcm_s16le": Fraction(0)})
        with av.open(str(film)) as before, av.open(str(source), "w") as out:
            streams = [out.add_stream_from_template(s, opaque=True) for s in before.streams]
            for packet in before.demux():
                if packet.size and not (packet.stream_index == 1 and 300 < (packet.pts or 0) < 600):
                    packet.stream = streams[packet.stream_index]
                    out.mux(packet)
        delivered(source, tmp_path, "ffv1")
        with pytest.raises(VerifyError, match="Matroska holds gaps"):
            delivered(source, tmp_path, "prores")


def test_avi_and_transport_streams(tmp_path: Path) -> None:
    avi = tmp_path / "film.avi"
    make_film(avi, frames=18, size=(256, 120), rate=Fraction(18), audio="pcm_s16le")
    stream = rich_film(tmp_path / "film.ts", codec="libx264", rate=Fraction(25), sound={"aac": Fraction(0)})
    for codec in CODECS:
        path, said, _, _ = delivered(avi, tmp_path, codec)
        assert said.left_out == ()
        assert b"".join(b for _, b in packets(path, "audio")) == b"".join(b for _, b in packets(avi, "audio"))
        path, said, _, _ = delivered(stream, tmp_path, codec)
        assert said.left_out == ()
        bare = [carry._without_adts(b) for _, b in packets(stream, "audio")]
        assert [b for _, b in packets(path, "audio")] == bare
        apart = [x - y for x, y in (first_times(stream), first_times(path))]
        assert abs(apart[0] - apart[1]) <= MS


def test_a_matroska_header_stays_whole_when_it_is_changed(tmp_path: Path) -> None:
    """What is written into a header afterwards leaves it whole: sizes and checksum, to the last byte."""
    source = rich_film(tmp_path / "film.mp4", codec="libx264", sound={"aac": Fraction(0)}, aspect=Fraction(10, 11))
    path = delivered(source, tmp_path)[0]
    head = path.read_bytes()
    assert matroska.codec_delays(head) == {2: round(Fraction(1024, 48_000) * 10**9)}
    at, body = matroska._tracks(head, "x")
    first, checksum, raw = next(iter(matroska._elements(body)))
    assert first == 0xBF
    assert int.from_bytes(checksum, "little") == zlib.crc32(body[len(raw) :])
    assert matroska.RESERVE.encode() not in head
    with pytest.raises(VerifyError, match="no room"):
        matroska.edit_tracks(path, {1: matroska.TrackEdit(None, Fraction(2), 64, 48)})
    with pytest.raises(VerifyError, match="no tracks"):
        matroska.edit_tracks(path, {9: matroska.TrackEdit(None)})
    assert path.read_bytes() == head
    path.write_bytes(head[: at + 30])
    with pytest.raises(VerifyError, match="no track headers"):
        matroska.edit_tracks(path, {1: matroska.TrackEdit(None)})
