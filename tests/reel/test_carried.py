"""All that a source holds beside its picture, in every deliverable's container, by the word of another FFmpeg."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import VerifyError
from pipeline.reel import streamhash
from pipeline.reel.beside import Beside, lay_beside
from pipeline.reel.deliver import SUFFIX
from pipeline.reel.streamhash import StreamHash, stream_hashes
from tests.reel import judge, rich
from tests.reel.films import make_film

CODECS = ("ffv1", "prores", "h264")
"""One for each container: mkv, mov, mp4."""
COLOUR = ["colorprim=bt2020", "transfer=smpte2084", "colormatrix=bt2020nc"]
HDR = "hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
NOTE = b"how it was scanned"


def description(path: Path) -> str:
    call = [judge.program(), "-hide_banner", "-nostdin", "-i", str(path)]
    return subprocess.run(call, capture_output=True, timeout=60, check=False).stderr.decode(errors="replace")


def hashes(path: Path, *maps: str) -> list[tuple[str, str]]:
    """The judge's streamhash: letter and SHA-256 of sound and words, in order."""
    chosen = [word for name in maps or ("0:a?", "0:s?") for word in ("-map", name)]
    text, _ = judge.run("-v", "error", "-i", str(path), *chosen, "-c", "copy", "-f", "streamhash", "-")
    rows = [line.split(",") for line in text.decode().split()]
    return [(letter, sha256.removeprefix("SHA256=")) for _, letter, sha256 in rows]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sound tracks, words, chapters, an attachment, tags, a timecode."""
    return rich.rich_film(
        tmp_path_factory.mktemp("full") / "film.mkv",
        sound={"pcm_s24le": Fraction(0), "aac": Fraction(0), "flac": Fraction(0), "ac3": Fraction(1, 7)},
        subtitles="subrip",
        chapters=True,
        attachment=NOTE,
        tags={"title": "A film", "X_SHELF": "7b"},
        picture_tags={"timecode": "01:00:00:00"},
    )


def laid(source: Path, said: Any, folder: Path, **span: int) -> tuple[Beside, ...]:
    reel, about = rich.opened(source)
    first, last = span.get("first", 0), span.get("last", len(about))
    return lay_beside(reel, about, first, last, said.lacking, folder, "film")


@pytest.mark.parametrize("codec", CODECS)
def test_every_stream_is_in_the_file_or_beside_it_bit_for_bit(full: Path, codec: str, tmp_path: Path) -> None:
    path, said, _, _ = rich.delivered(full, tmp_path, codec)
    beside = laid(full, said, tmp_path)
    carried = [s.index for s in said.streams]
    attached = [] if codec != "ffv1" else [6]
    assert sorted([*carried, *attached, *(b.index for b in beside)]) == [1, 2, 3, 4, 5, 6]
    theirs = {n + 1: sha256 for n, (_, sha256) in enumerate(hashes(full))}
    for stream in said.streams:
        assert stream.source_sha256 == theirs[stream.index]
        if stream.codec != "mov_text":
            assert stream.sha256 == stream.source_sha256
    assert [s.sha256 for s in said.streams] == [sha256 for _, sha256 in hashes(path)]
    for one in beside:
        (name,) = one.files
        if one.kind == "attachment":
            assert (name, (tmp_path / name).read_bytes()) == ("film.06-attachment.note.txt", NOTE)
            continue
        assert [sha256 for _, sha256 in hashes(tmp_path / name)] == [one.source_sha256] == [theirs[one.index]]
        times = [rich.packets(p, one.kind, n) for p, n in ((full, 0 if one.kind == "subtitle" else one.index - 1),)]
        assert [t for t, _ in rich.packets(tmp_path / name, one.kind)] == [t for t, _ in times[0]]
    if codec == "ffv1":
        assert beside == ()


@pytest.mark.parametrize("codec", CODECS)
def test_the_hashes_are_ffmpegs_own(full: Path, codec: str, tmp_path: Path) -> None:
    path, said, _, _ = rich.delivered(full, tmp_path, codec)
    found = stream_hashes(str(path), [s.place for s in said.streams])
    assert [(s.letter, s.sha256) for s in found] == hashes(path)
    text = streamhash.streamhash_text(found)
    words = ["-map", "0", "-map", "-0:t?", "-c", "copy", "-f", "streamhash", "-"]
    whole, _ = judge.run("-v", "error", "-i", str(path), *words)
    assert set(text.splitlines()) < set(whole.decode().splitlines())
    assert streamhash.parse(text) == found


@pytest.mark.parametrize("codec", CODECS)
def test_chapters_tags_and_timecode_by_the_judges_word(full: Path, codec: str, tmp_path: Path) -> None:
    path, said, _, _ = rich.delivered(full, tmp_path, codec)
    told = description(path)
    assert re.search(r"Chapter #0:0: start 0\.000000, end 0\.500000\s+Metadata:\s+title\s+: One", told)
    assert re.search(r"Chapter #0:1: start 0\.500000, end 0\.800000\s+Metadata:\s+title\s+: Two", told)
    assert re.search(r"title\s+: A film", told)
    assert re.search(r"timecode\s+: 01:00:00:00", told, re.IGNORECASE)
    assert re.search(r"X_SHELF\s+: 7b", told) or any("X_SHELF" in sentence for sentence in said.left_out)
    spoken = re.findall(r"Stream #0:\d+.*?\((\w+)\): Audio", told)
    assert spoken == ["ger", "fre", "eng", "ger"] if codec == "ffv1" else set(spoken) <= {"ger", "fra", "fre", "eng"}


@pytest.mark.parametrize("codec", ["ffv1", "prores", "hevc", "dnxhr"])
def test_colour_and_what_it_was_mastered_on(codec: str, tmp_path: Path) -> None:
    source = tmp_path / "film.mkv"
    judge.run(
        *["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=256x120:r=24", "-frames:v", "4", "-pix_fmt", "yuv422p10le"],
        *["-c:v", "libx265", "-x265-params", ":".join(["log-level=none:pools=1", *COLOUR, HDR]), str(source)],
    )
    path, said, reel, _ = rich.delivered(source, tmp_path, codec)
    assert reel.mastering is not None
    assert reel.mastering.light == (1000, 400)
    assert reel.mastering.luminance == (Fraction(5, 1000), Fraction(1000))
    told = description(path)
    assert re.search(r"bt2020nc/bt2020/smpte2084", told)
    if codec == "dnxhr":
        assert any("mastered on is left out" in sentence for sentence in said.left_out)
        return
    assert said.left_out == ()
    assert "r(0.6800,0.3200) g(0.2650,0.6900) b(0.1500 0.0600) wp(0.3127, 0.3290)" in told
    assert "min_luminance=0.005000, max_luminance=1000.000000" in told
    again, _ = rich.opened(path)
    assert again.mastering == reel.mastering, "every digit, and the light levels"


@pytest.mark.parametrize("codec", CODECS)
def test_field_order_range_and_shape(codec: str, tmp_path: Path) -> None:
    source = tmp_path / "film.mov"
    make_film(
        source,
        codec="prores_ks",
        pixel_format_name="yuv422p10le",
        frames=4,
        size=(256, 120),
        aspect=Fraction(16, 15),
        options={"field_order": "tt"},
        colour={"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1},
    )
    path, said, _, _ = rich.delivered(source, tmp_path, codec, say={"interlaced": "per_field"})
    tags = judge.tags(path)
    assert (tags.range, tags.matrix, tags.sample_aspect) == ("tv", "bt709", Fraction(16, 15))
    if codec == "h264":
        assert said.left_out == ("The order of the fields (tt) is left out: the pictures of mp4 are coded as frames",)
    else:
        assert tags.field_order == "tt"
        assert said.left_out == ()


def test_timed_data_that_no_container_of_ours_takes(tmp_path: Path) -> None:
    """KLV in a transport stream, as cameras on aircraft write it."""
    film, source = tmp_path / "plain.ts", tmp_path / "film.ts"
    judge.run(
        *["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25", "-frames:v", "10", "-c:v", "libx264"],
        *["-bf", "0", "-pix_fmt", "yuv420p", str(film)],
    )
    with av.open(str(film)) as one, av.open(str(source), "w", "mpegts") as out:
        picture = out.add_stream_from_template(one.streams.video[0], opaque=True)
        data = out.add_data_stream("klv")
        for number, packet in enumerate(one.demux(one.streams.video[0])):
            if not packet.size:
                continue
            packet.stream = picture
            out.mux(packet)
            klv: Any = av.Packet(bytes([6, 14, 43, 52, number]) * 4)
            klv.stream, klv.pts, klv.dts, klv.time_base = data, packet.pts, packet.pts, packet.time_base
            out.mux(klv)
    _, said, _, _ = rich.delivered(source, tmp_path)
    (sentence,) = said.left_out
    assert "data stream 1" in sentence
    (one_,) = laid(source, said, tmp_path)
    assert one_.files == ("film.01-data.bin", "film.01-data.tsv")
    rows = [line.split("\t") for line in (tmp_path / one_.files[1]).read_text().splitlines()]
    content = (tmp_path / one_.files[0]).read_bytes()
    assert rows[0] == ["time_s", "lasts_s", "bytes"]
    assert len(rows) == 11
    assert sum(int(r[2]) for r in rows[1:]) == len(content) == 200
    assert [t for t, _ in rich.packets(source, "data")] == [Fraction(r[0]) for r in rows[1:]]
    assert hashes(source, "0:d") == [("d", one_.source_sha256)]


def test_styled_words_that_become_plain_lie_beside_as_they_were(tmp_path: Path) -> None:
    source = rich.rich_film(tmp_path / "film.mp4", codec="libx264", subtitles="mov_text")
    path, said, _, _ = rich.delivered(source, tmp_path)
    assert "SubRip" in said.left_out[0]
    (one,) = laid(source, said, tmp_path)
    assert one.files == ("film.01-subtitle.mp4",)
    theirs = [b for _, b in rich.packets(source, "subtitle") if b != b"\0\0"]
    assert [b for _, b in rich.packets(tmp_path / one.files[0], "subtitle") if b != b"\0\0"] == theirs
    assert path.suffix == SUFFIX["ffv1"]


@pytest.mark.parametrize("name", ["../../etc/passwd", ".hidden", "a b\n.sh", "", "…", "x" * 300])
def test_the_name_of_an_attachment_leads_nowhere(name: str, tmp_path: Path) -> None:
    source = tmp_path / "film.mkv"
    make_film(tmp_path / "plain.mkv", frames=2)
    with av.open(str(tmp_path / "plain.mkv")) as one, av.open(str(source), "w") as out:
        picture = out.add_stream_from_template(one.streams.video[0], opaque=True)
        out.add_attachment(name or "x", "text/plain", NOTE)
        for packet in one.demux():
            if packet.size:
                packet.stream = picture
                out.mux(packet)
    reel, about = rich.opened(source)
    (found,) = lay_beside(reel, about, 0, 2, [1], tmp_path, "film")
    assert re.fullmatch(r"film\.01-attachment\.[A-Za-z0-9][A-Za-z0-9._-]{0,63}", found.files[0])
    assert (tmp_path / found.files[0]).read_bytes() == NOTE


def test_no_more_than_was_asked_for_is_hashed(full: Path) -> None:
    every = stream_hashes(str(full), range(1, 99))
    assert [s.letter for s in every] == ["a", "a", "a", "a", "s"]
    assert stream_hashes(str(full), [2, 99]) == (every[1],)
    assert stream_hashes(str(full), []) == ()
    assert streamhash.streamhash_text([StreamHash(3, "a", "0" * 64)]) == f"3,a,SHA256={'0' * 64}\n"


@given(st.text(max_size=200))
def test_any_text_is_hashes_of_streams_or_refused(text: str) -> None:
    try:
        found = streamhash.parse(text)
    except VerifyError:
        return
    assert streamhash.parse(streamhash.streamhash_text(found)) == tuple(sorted(found, key=lambda s: s.index))
