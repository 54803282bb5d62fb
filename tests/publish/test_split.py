"""A deliverable in parts: each a film of its own, and together every picture and every packet of the source once."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.errors import VerifyError
from pipeline.plan import make_plan
from pipeline.publish import layout, parts
from pipeline.publish.finish import finish
from pipeline.publish.publication import Publication
from pipeline.publish.undo import undo
from pipeline.publish.verify import verify
from pipeline.reel import carry, framemd5
from pipeline.spec import Spec
from pipeline.types import Plan
from tests.publish import night
from tests.publish.test_verify import only, sign
from tests.reel import judge
from tests.reel.films import ARCHIVE, damage, packet_spans
from tests.reel.rich import packets, rich_film

MASTER = {"name": "master", "split": {"frames": 8}}
PROXY = {"name": "proxy", "codec": "h264", "split": {"frames": 19}}
THREE = [f"r.part00{n}.mkv" for n in (1, 2, 3)]
BACK = [f"r.residual.part00{n}.mkv" for n in (1, 2, 3)]
TWO = ["r.proxy.part001.mp4", "r.proxy.part002.mp4"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames, two kinds of sound of which one begins before the picture, words, chapters, an attachment."""
    return rich_film(
        tmp_path_factory.mktemp("source") / "r.mkv",
        frames=24,
        start=Fraction(1, 2),
        sound={"aac": Fraction(1, 2), "pcm_s16le": Fraction(1, 4)},
        subtitles="subrip",
        chapters=True,
        attachment=b"a note",
        options=ARCHIVE,
    )


@pytest.fixture(scope="module")
def kept(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, dict[str, Any]]:
    here = tmp_path_factory.mktemp("kept")
    (here / "scratch").mkdir()
    said = night.spec([MASTER, PROXY], residual=True)
    plan, summary = night.publish(str(source), "r", str(here / "out"), here / "scratch", said)
    assert not list((here / "scratch").iterdir())
    return plan, here / "out", summary


@pytest.fixture
def folder(kept: tuple[Plan, Path, Any], out: str) -> Path:
    shutil.copytree(kept[1], out)
    return Path(out) / "r"


def text_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_parts_are_named_in_order_and_each_is_a_film_that_ffmpeg_agrees_on(
    kept: tuple[Plan, Path, dict[str, Any]], folder: Path
) -> None:
    said = night.provenance_of(str(kept[1]), "r")
    assert [[(p["file"], p["frames"]) for p in d["parts"]] for d in said["deliverables"]] == [
        [(f, [8 * n, 8 * n + 8]) for n, f in enumerate(THREE)],
        list(zip(TWO, ([0, 16], [16, 24]), strict=True)),
        [(f, [8 * n, 8 * n + 8]) for n, f in enumerate(BACK)],
    ]
    assert [d["file"] for d in kept[2]["deliverables"]] == [*THREE, *TWO, *BACK]
    assert [d["held"]["frames"] for d in kept[2]["deliverables"]] == [8, 8, 8, 16, 8, 8, 8, 8]
    assert {*THREE, *TWO, *BACK} <= {o["objectIdentifier"]["objectIdentifierValue"] for o in said["objects"]}
    whole: list[str] = []
    for file in THREE:
        text = (folder / layout.hashes_of_part(file, "framemd5")).read_text()
        assert rows(judge.plain_framemd5(folder / file).text) == rows(text), file
        whole += framemd5.parse(text).md5s
    assert whole == list(framemd5.parse((folder / layout.OUTPUT_MD5).read_text()).md5s)
    for file in TWO:
        md5s = framemd5.parse((folder / layout.hashes_of_part(file, "framemd5")).read_text()).md5s
        assert judge.framemd5(folder / file).md5s == list(md5s)
    assert verify([str(kept[1])]).ok


@pytest.mark.parametrize("files", [THREE, TWO], ids=["mkv", "mp4"])
def test_no_packet_is_lost_or_doubled_and_each_keeps_its_distance_to_the_picture(
    source: Path, folder: Path, files: list[str]
) -> None:
    begins = [time for time, _ in packets(source, "video")]
    for number in range(2):
        found = []
        for file in files:
            # Where the source has this part's first picture, which the part may have elsewhere.
            shift = begins[len(found_frames(folder, files, file))] - packets(folder / file, "video")[0][0]
            found += [(t + shift, data) for t, data in packets(folder / file, "audio", number)]
        wanted = packets(source, "audio", number)
        if number == 1 and files == TWO:
            assert b"".join(d for _, d in found) == b"".join(d for _, d in wanted)
            continue
        assert [d for _, d in found] == [d for _, d in wanted]
        assert max(abs(a - b) for (a, _), (b, _) in zip(found, wanted, strict=True)) <= Fraction(1, 1000)


def found_frames(folder: Path, files: list[str], file: str) -> list[str]:
    """Hashes of the frames before this part."""
    before = files[: files.index(file)]
    return [m for f in before for m in framemd5.parse((folder / layout.hashes_of_part(f, "framemd5")).read_text()).md5s]


def test_words_chapters_and_attachments_are_in_the_parts_that_they_belong_to(folder: Path) -> None:
    words, chapters = [], []
    for file in THREE:
        words.append([bytes(d) for _, d in packets(folder / file, "subtitle")])
        with av.open(str(folder / file)) as film:
            chapters.append([c["metadata"]["title"] for c in film.chapters()])
            assert [s.type for s in film.streams].count("attachment") == 1, "each part is whole"
    # The picture begins at 0.5 s, parts follow at 0.833 and 1.167 s.
    assert words == [[b"words at 100", b"words at 450"], [], []]
    assert chapters == [["One", "Two"], [], []]


def test_stream_hashes_are_of_each_part_and_of_all_of_them(source: Path, folder: Path) -> None:
    assert text_of(folder / layout.SOURCE_STREAMS) == text_of(folder / layout.OUTPUT_STREAMS)
    for line in text_of(folder / layout.SOURCE_STREAMS):
        stream, letter, digest = line.split(",")
        said, _ = judge.run(
            "-v", "error", "-i", str(source), "-map", f"0:{stream}", "-c", "copy", "-f", "streamhash", "-"
        )
        assert said.decode().strip().rsplit(",", 1)[-1] == digest, letter
    for file in THREE:
        lines = text_of(folder / layout.hashes_of_part(file, "streamhash"))
        assert f"1,a,SHA256={judge.stream_hash(folder / file, 'a')}" in lines


def test_verify_names_the_part_and_the_frame(folder: Path, out: str) -> None:
    path = folder / THREE[1]
    position, size = packet_spans(path)[3]
    damage(path, position + size // 2)
    sign(folder, THREE[1])
    found = only(verify([out]), "pixels")
    assert (found.file, found.frame) == (str(path), 11)
    (fault,) = undo(str(folder)).faults
    assert (fault.file, fault.frame) == (str(path), 11)


def test_verify_names_the_part_whose_sound_is_another(folder: Path, out: str) -> None:
    path = folder / THREE[2]
    damage(path, path.read_bytes().index(packets(path, "audio")[4][1]) + 40)
    sign(folder, THREE[2])
    assert only(verify([out]), "streams").file == str(path)


def test_a_part_that_is_gone_is_missed_once(folder: Path, out: str) -> None:
    (folder / THREE[0]).unlink()
    assert only(verify([out]), "missing").file == str(folder / THREE[0])


def test_parts_that_are_told_out_of_order_are_no_provenance(folder: Path, out: str) -> None:
    said = json.loads((folder / layout.PROVENANCE).read_text())
    said["deliverables"][0]["parts"].reverse()
    (folder / layout.PROVENANCE).write_text(json.dumps(said))
    sign(folder, layout.PROVENANCE)
    assert "parts are not the frames 0:24 in order" in only(verify([out]), "provenance").found


def test_the_source_comes_back_in_parts(source: Path, folder: Path, tmp_path: Path) -> None:
    made = undo(str(folder), to=str(tmp_path / "back.mkv"))
    names = [str(tmp_path / f"back.part00{n}.mkv") for n in (1, 2, 3)]
    assert (made.frames, made.faults, made.written, list(made.files)) == (24, (), names[0], names)
    back = [m for name in names for m in judge.framemd5(Path(name)).md5s]
    assert back == judge.framemd5(source).md5s
    sound = [d for name in names for _, d in packets(Path(name), "audio", 0)]
    assert sound == [d for _, d in packets(source, "audio", 0)]


@pytest.mark.parametrize("codec", ["ffv1", "prores"])
def test_sound_that_some_parts_lack_is_in_none_of_them_in_mov_and_lies_beside_whole(
    out: str, scratch: Path, tmp_path: Path, codec: str
) -> None:
    kinds = {"aac": Fraction(1, 5), "pcm_s16le": Fraction(1)}
    source = rich_film(tmp_path / "r.mkv", frames=24, start=Fraction(1), sound=kinds)
    outputs = [{"name": "master", "codec": codec, "split": {"frames": 8}}]
    _, said = night.publish(str(source), "r", out, scratch, night.spec(outputs))
    streams = [[s["index"] for s in d["held"]["streams"]] for d in said["deliverables"]]
    assert streams == [[1, 2] if codec == "ffv1" else [2]] * 3
    if codec == "prores":
        aside = Path(out) / "r" / "r.01-audio.mka"
        assert [d for _, d in packets(aside, "audio")] == [d for _, d in packets(source, "audio", 0)]
        assert sum("in one of the parts" in s for s in night.provenance_of(out, "r")["not_carried"]) == 1
    assert verify([out]).ok


def test_parts_by_size_hold_what_fits_and_all_files_of_a_pair_the_same_frames(
    source: Path, out: str, scratch: Path
) -> None:
    plan, index = night.planned(str(source), "r", night.spec(tile=3, residual=True))
    sizes = [max(s.bytes for s in r.segments) for r in recorded(plan, index, f"{out}-0", scratch)]
    limit = max(sizes) * 2
    said = night.spec([{"name": "master", "split": {"gib": limit / 2**30}}], tile=3, residual=True)
    plan, index = night.planned(str(source), "r", said)
    found = parts.parts_of(plan, recorded(plan, index, out, scratch))
    assert [(p.first, p.last) for p in found["master"]] == [(p.first, p.last) for p in found["residual"]]
    assert len(found["master"]) > 2
    finish(plan, index, out, scratch=scratch)
    for part in found["master"]:
        a, b = part.tiles
        # With another tile it would have been too large, and one alone is not divided.
        assert sum(sizes[a:b]) <= limit or b - a == 1
        assert b == len(sizes) or sum(sizes[a : b + 1]) > limit
    assert verify([out]).ok


def recorded(plan: Plan, index: Any, out: str, scratch: Path) -> Any:
    ledger = night.restore(plan, index, out, scratch)
    return ledger.read(plan.tile_ids)


def test_what_fits_into_one_file_is_called_as_ever(source: Path, out: str, scratch: Path) -> None:
    said = night.spec([{"name": "master", "split": {"gib": 1}}])
    night.publish(str(source), "r", out, scratch, said)
    assert "r.mkv" in night.contents(f"{out}/r")
    assert "parts" not in night.provenance_of(out, "r")["deliverables"][0]


def test_an_excerpt_in_parts_begins_as_an_excerpt_does(source: Path, out: str, scratch: Path) -> None:
    outputs = [{"name": "master", "codec": "prores", "split": {"frames": 8}}]
    night.publish(str(source), "r", out, scratch, night.spec(outputs), frames=(4, 20))
    night.publish(
        str(source), "r", f"{out}-whole", scratch, night.spec([{**outputs[0], "split": None}]), frames=(4, 20)
    )
    files = [f"{out}/r/r.part00{n}.mov" for n in (1, 2)]
    whole = Path(f"{out}-whole/r/r.mov")
    for number in range(2):
        assert b"".join(d for f in files for _, d in packets(Path(f), "audio", number)) == b"".join(
            d for _, d in packets(whole, "audio", number)
        )
    one, other = (Path(f"{o}/r/{layout.SOURCE_STREAMS}").read_text() for o in (out, f"{out}-whole"))
    assert one == other
    assert verify([out]).ok


@pytest.mark.parametrize("fault", ["twice", "lost"])
def test_a_packet_that_is_in_two_parts_or_in_none_is_noticed(
    source: Path, out: str, scratch: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    right = carry._within

    def wrong(one: Any, start: Fraction, lasts: Fraction, span: Any, *, follows: bool) -> bool:
        if fault == "twice":
            return right(one, start, lasts, span, follows=False)
        return right(one, start, lasts, span, follows=follows) and not (follows and start < span[0] + lasts)

    monkeypatch.setattr(carry, "_within", wrong)
    with pytest.raises(VerifyError, match=r"the parts hold \d+ packets of its stream 1, \d+ were expected"):
        night.publish(str(source), "r", out, scratch, night.spec([MASTER]))
    assert not (Path(out) / "r" / layout.MANIFEST).exists()


def test_a_publication_that_was_cut_off_is_finished_with_the_same_bytes(
    kept: tuple[Plan, Path, Any], source: Path, out: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = night.spec([MASTER, PROXY], residual=True)
    plan, index = night.planned(str(source), "r", said)
    night.restore(plan, index, out, scratch)
    put = Publication.put

    def cut_off(self: Publication, name: str, local: Path) -> str:
        if name == THREE[2]:
            raise KeyboardInterrupt
        return put(self, name, local)

    monkeypatch.setattr(Publication, "put", cut_off)
    with pytest.raises(KeyboardInterrupt):
        finish(plan, index, out, scratch=scratch)
    monkeypatch.undo()
    finish(plan, index, out, scratch=scratch)
    found, wanted = night.contents(f"{out}/r"), night.contents(str(kept[1] / "r"))
    for name in (*THREE, *TWO, *BACK, layout.OUTPUT_STREAMS, layout.hashes_of_part(THREE[1], "framemd5")):
        assert found[name] == wanted[name], name
    assert verify([out]).ok


def test_how_it_is_cut_redoes_no_tile_and_is_another_publication(source: Path) -> None:
    plan, index = night.planned(str(source), "r", night.spec())
    other = make_plan(plan.reel, index, night.spec([MASTER]), {})
    assert other.tile_ids == plan.tile_ids
    assert other.id != plan.id


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"split": {}}, "one of `frames` and `gib`"),
        ({"split": {"frames": 8, "gib": 1}}, "one of `frames` and `gib`"),
        ({"split": {"frames": 0}}, "greater than or equal to 1"),
        ({"codec": "dpx", "split": {"frames": 8}}, "nothing to split"),
        ({"name": "part001"}, "no output may be called 'part001'"),
    ],
)
def test_what_cannot_be_cut_is_refused(output: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Spec.model_validate({"deliver": {"outputs": [output]}})


def test_names_of_parts_are_ours() -> None:
    for name in (*THREE, *TWO, *BACK, "r.part001.framemd5", "r.proxy.part0012.streamhash"):
        assert layout.is_ours("a/r", name), name
    assert not layout.is_ours("a/r", "r.proxy.part1.mp4")
    assert layout.part("s3://b/back", 2) == "s3://b/back.part002"
