"""From the ledger to a published reel: what is there, in which order, and what is refused."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline import tables
from pipeline.errors import MissingError, PublishedError, ScratchFullError, SourceError, StorageError, VerifyError
from pipeline.publish import layout, manifest, quarantine
from pipeline.publish.finish import finish
from pipeline.publish.state import state
from pipeline.reel import framemd5
from pipeline.storage import store
from pipeline.storage.ledger import Ledger
from tests.publish import night
from tests.publish.faults import watched
from tests.reel.films import make_film


def ffmpeg_framemd5(path: Path, rate: Fraction) -> str:
    """FFmpeg's own text: its decoder into its framemd5 muxer."""
    text = io.BytesIO()
    with av.open(str(path)) as film, av.open(text, "w", "framemd5", options={"fflags": "+bitexact"}) as out:
        picture = film.streams.video[0]
        stream: Any = out.add_stream("rawvideo", rate=rate)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.pix_fmt
        stream.time_base = stream.codec_context.time_base = 1 / rate
        stream.codec_context.sample_aspect_ratio = picture.sample_aspect_ratio or Fraction(0, 1)
        for n, frame in enumerate(film.decode(picture)):
            frame.pts, frame.time_base = n, 1 / rate
            out.mux(stream.encode(frame))
    return text.getvalue().decode()


def test_everything_is_there_and_the_manifest_names_all_of_it(source: str, out: str, scratch: Path) -> None:
    plan, summary = night.publish(source, "a/reel one", out, scratch, night.spec([night.MASTER, night.PROXY]))
    found = night.contents(f"{out}/a/reel one")
    said = manifest.parse((Path(out) / "a/reel one/manifest-sha256.txt").read_bytes(), where="m")
    assert said == {n: h for n, h in found.items() if n != "manifest-sha256.txt"}
    assert set(said) == {
        "reel one.mkv",
        "reel one.proxy.mp4",
        "source.framemd5",
        "output.framemd5",
        "source.streamhash",
        "output.streamhash",
        "reel one.proxy.framemd5",
        "reel one.proxy.streamhash",
        "report/frames.parquet",
        "report/shots.parquet",
        "report/tiles.parquet",
        "report/reel.json",
        "provenance.json",
        "report/index.html",
    }
    assert (summary["already"], summary["frames"], summary["shots"], summary["tiles"]) == (False, 20, 2, 3)
    assert summary["folder"] == f"{out}/a/reel one"
    assert summary["plan_id"] == plan.id == state(out, "a/reel one").plan_id
    assert state(out, "a/reel one").whole
    # Nothing is left of the work, here or there.
    assert night.contents(f"{out}/.work") == {}
    assert list(scratch.iterdir()) == []


def test_rows_hashes_and_summary_agree_with_the_film(source: str, out: str, scratch: Path) -> None:
    _, summary = night.publish(source, "r", out, scratch)
    folder = Path(out) / "r"
    decoded = [md5 for _, md5 in framemd5.decoded_hashes(str(folder / "r.mkv"))]
    rows = tables.read_columns(folder / layout.FRAMES, ["frame", "shot", "output_md5", "source_md5", "flags"])
    assert rows["output_md5"] == decoded
    assert rows["source_md5"] == [md5 for _, md5 in framemd5.decoded_hashes(source)] != decoded
    assert rows["shot"] == [0] * 10 + [1] * 10
    assert summary["flags"] == {"seam": 1}
    assert summary["flagged_frames"] == 1
    assert summary["means"]["ssim"] == pytest.approx(0.99)
    assert summary["restored"]["seconds"] == {"decode": 1.5, "encode": 0.75, "restore": 3.0}
    master = summary["deliverables"][0]
    assert (master["name"], master["file"], master["sha256"]) == ("master", "r.mkv", night.contents(out)["r/r.mkv"])
    assert [s["codec"] for s in master["held"]["streams"]] == ["pcm_s16le"]


def test_framemd5_is_line_for_line_ffmpegs(source: str, out: str, scratch: Path) -> None:
    night.publish(source, "r", out, scratch)
    folder = Path(out) / "r"
    assert (folder / layout.OUTPUT_MD5).read_text() == ffmpeg_framemd5(folder / "r.mkv", Fraction(18))
    assert (folder / layout.SOURCE_MD5).read_text() == ffmpeg_framemd5(Path(source), Fraction(18))


def test_framemd5_of_an_excerpt_keeps_the_sources_numbers(source: str, out: str, scratch: Path) -> None:
    night.publish(source, "r", out, scratch, frames=(5, 14))
    folder = Path(out) / "r"
    whole = [line for line in ffmpeg_framemd5(Path(source), Fraction(18)).splitlines() if not line.startswith("#")]
    lines = [line for line in (folder / layout.SOURCE_MD5).read_text().splitlines() if not line.startswith("#")]
    assert lines == whole[5:14]
    assert tables.read_columns(folder / layout.FRAMES, ["frame"])["frame"] == list(range(5, 14))


def test_framemd5_of_a_variable_rate_has_a_time_for_every_frame(tmp_path: Path, out: str, scratch: Path) -> None:
    film = tmp_path / "vfr.mkv"
    times = [0, 10, 78, 121, 160, 240, 281, 320]
    make_film(film, frames=8, size=(48, 32), rate=Fraction(25), pts=times, time_base=Fraction(1, 1000))
    night.publish(str(film), "v", out, scratch)
    for name in (layout.SOURCE_MD5, layout.OUTPUT_MD5):
        found = framemd5.parse((Path(out) / "v" / name).read_text())
        assert [round(p * found.time_base * 1000) for p in found.pts] == times
    steady = tmp_path / "gaps.mkv"
    make_film(steady, frames=5, size=(48, 32), rate=Fraction(25), pts=[0, 1, 2, 5, 6])
    night.publish(str(steady), "g", out, scratch)
    found = framemd5.parse((Path(out) / "g" / layout.OUTPUT_MD5).read_text())
    # As FFmpeg has it: frames at the rate that the container names, with a gap.
    assert (found.time_base, found.pts) == (Fraction(1, 25), (0, 1, 2, 5, 6))


def test_framemd5_counts_from_where_the_sound_starts(tmp_path: Path, out: str, scratch: Path) -> None:
    silent, film = tmp_path / "silent.mkv", tmp_path / "late.mkv"
    make_film(silent, frames=6, size=(48, 32), rate=Fraction(24))
    # Sound from 0 s, the picture from 1 s on.
    with av.open(str(silent)) as one, av.open(source_with_sound(tmp_path)) as two, av.open(str(film), "w") as new:
        pairs = [(p, new.add_stream_from_template(p)) for p in (one.streams.video[0], two.streams.audio[0])]
        for container, (old, stream), later in zip((two, one), reversed(pairs), (0, 1000), strict=True):
            for packet in container.demux(old):
                if packet.size:
                    packet.pts += later
                    packet.dts += later
                    packet.stream = stream
                    new.mux(packet)
    night.publish(str(film), "late", out, scratch)
    for name in (layout.SOURCE_MD5, layout.OUTPUT_MD5):
        assert framemd5.parse((Path(out) / "late" / name).read_text()).pts == tuple(range(24, 30))


def test_framemd5_of_a_film_that_starts_late_counts_from_0_as_ffmpegs(tmp_path: Path, out: str, scratch: Path) -> None:
    film = tmp_path / "late.mkv"
    make_film(film, frames=6, size=(48, 32), rate=Fraction(24), pts=range(48, 54))
    night.publish(str(film), "late", out, scratch)
    for name in (layout.SOURCE_MD5, layout.OUTPUT_MD5):
        assert framemd5.parse((Path(out) / "late" / name).read_text()).pts == tuple(range(6))
    assert tables.read_columns(Path(out) / "late" / layout.FRAMES, ["pts"])["pts"][0] == 2000


def source_with_sound(folder: Path) -> str:
    return str(night.film(folder / "sound.mkv", frames=40))


def test_it_is_published_in_the_houses_order(
    source: str, out: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index = night.planned(source, "r", night.spec([night.MASTER, night.PROXY]))
    night.restore(plan, index, out, scratch)
    with watched(monkeypatch) as steps:
        finish(plan, index, out, scratch=scratch)
    names = [uri.removeprefix(f"{out}/r/") for uri in steps.puts()]
    assert names[0] == "provenance.json"
    assert names[-1] == "manifest-sha256.txt"
    assert names.index("report/frames.parquet") < names.index("r.mkv") < names.index("r.proxy.mp4")
    # Nothing is cleared away before the manifest stands.
    last = steps.done.index(("put_bytes_once", f"{out}/r/manifest-sha256.txt"))
    assert not any(what.startswith("delete") for what, _ in steps.done[:last])


def test_scratch_holds_one_deliverable_and_two_segments(source: str, out: str, scratch: Path) -> None:
    plan, index = night.planned(source, "r", night.spec([night.MASTER, night.PROXY], tile=2))
    night.restore(plan, index, out, scratch)
    most: dict[str, int] = {}

    def look(what: str, done: int, of: int) -> None:
        assert 0 <= done <= of
        files = [p.name for p in scratch.rglob("*") if p.is_file()]
        for kind in ("segment-", "assembled", "rows-"):
            most[kind] = max(most.get(kind, 0), sum(f.startswith(kind) for f in files))

    finish(plan, index, out, scratch=scratch, notify=look)
    assert most["assembled"] == 1
    assert most["segment-"] <= 2
    assert most["rows-"] <= 9


def test_keep_work_keeps_it_and_a_quarantine_record_goes(source: str, out: str, scratch: Path) -> None:
    quarantine.put(out, quarantine.entry("r", source, RuntimeError("yesterday")))
    plan, _ = night.publish(source, "r", out, scratch, night.spec(keep_work=True))
    assert Ledger(layout.work_dir(out, "r")).done() == set(plan.tile_ids)
    assert night.contents(f"{out}/quarantine") == {}


def test_the_same_again_touches_nothing_and_says_so(
    source: str, out: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.publish(source, "r", out, scratch)
    before = night.contents(out)
    plan, index = night.planned(source, "r", night.spec())
    with watched(monkeypatch) as steps:
        summary = finish(plan, index, out, scratch=scratch)
    assert summary["already"] is True
    assert summary["frames"] == 20
    assert steps.puts() == []
    assert night.contents(out) == before


def test_a_tile_that_is_missing_or_wrong_is_named(source: str, out: str, scratch: Path) -> None:
    plan, index = night.planned(source, "r", night.spec())
    ledger = night.restore(plan, index, out, scratch, tiles=[0, 2])
    with pytest.raises(MissingError, match="1 of 3 tiles are not recorded, the first of them 1"):
        finish(plan, index, out, scratch=scratch)
    night.restore(plan, index, out, scratch, tiles=[1])
    (record,) = ledger.read([plan.tile_ids[1]])

    segment = Path(ledger.work) / record.segments[0].name
    good = segment.read_bytes()
    segment.write_bytes(good[:-1] + b"\0")
    with pytest.raises(VerifyError, match="sha256"):
        finish(plan, index, out, scratch=scratch)
    # Told once; then the record is forgotten, and the tile is to do again like any other.
    assert ledger.done() == {plan.tile_ids[0], plan.tile_ids[2]}
    night.restore(plan, index, out, scratch, tiles=[1])
    assert segment.read_bytes() == good

    # Nothing of this was published.
    assert state(out, "r").kind == "absent"
    assert finish(plan, index, out, scratch=scratch)["already"] is False


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"segments": []}, r"record of tile 1 .* no deliverable"),
        ({"first": 0}, r"record of tile 1 is of the frames 0:\d+ and"),
        ({"last": 17}, r"record of tile 1 is of the frames \d+:17 and"),
        ({"rows": None, "rows_sha256": None}, "its rows are not those of the frames"),
        ({"segments": None}, "hold 16 frames, 20 were expected"),
        ({"tries": -1}, "'tries' is '-1'"),
        ({"finished": "yesterday"}, "no ISO 8601 time"),
        ("garbled", "not JSON"),
    ],
)
def test_a_record_that_does_not_fit_is_forgotten_and_its_tile_restored_anew(
    source: str, out: str, scratch: Path, wrong: Any, why: str
) -> None:
    plan, index = night.planned(source, "r", night.spec())
    ledger = night.restore(plan, index, out, scratch)
    (other,) = ledger.read([plan.tile_ids[2]])
    uri = next(s.uri for s in store.list_files(ledger.work + "/tiles") if "/000001-" in s.uri)
    text = json.loads(Path(uri).read_text())
    if isinstance(wrong, dict):  # None: another tile's
        wrong = {k: json.loads(json.dumps(dataclasses.asdict(other)[k])) if v is None else v for k, v in wrong.items()}
        Path(uri).write_text(json.dumps({**text, **wrong}))
    else:
        Path(uri).write_text(wrong)
    with pytest.raises((VerifyError, StorageError), match=why) as caught:
        finish(plan, index, out, scratch=scratch)
    assert "elete" not in str(caught.value), "there is nothing for a person to do"
    assert state(out, "r").kind == "absent"
    assert ledger.done() == {plan.tile_ids[0], plan.tile_ids[2]}
    night.restore(plan, index, out, scratch, tiles=[1])
    assert finish(plan, index, out, scratch=scratch)["already"] is False


def test_storage_that_does_not_answer_costs_no_good_record(
    source: str, out: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index = night.planned(source, "r", night.spec())
    ledger = night.restore(plan, index, out, scratch)
    (Path(ledger.work) / ledger.read([plan.tile_ids[2]])[0].segments[0].name).unlink()
    real = store.read_bytes

    def read_bytes(uri: str, **more: Any) -> bytes:
        if "/tiles/000001-" in uri and asked.count(uri):
            raise StorageError("no answer", where=uri, transient=True)
        asked.append(uri)
        return real(uri, **more)

    asked: list[str] = []
    monkeypatch.setattr(store, "read_bytes", read_bytes)
    with pytest.raises(StorageError, match="no answer"):
        finish(plan, index, out, scratch=scratch)
    assert plan.tile_ids[1] in ledger.done()


def test_nothing_is_published_of_a_source_that_was_changed(tmp_path: Path, out: str, scratch: Path) -> None:
    film = night.film(tmp_path / "film.mkv")
    plan, index = night.planned(str(film), "r", night.spec())
    night.restore(plan, index, out, scratch)
    night.film(film, seed=9)
    with pytest.raises(SourceError, match="changed since it was probed"):
        finish(plan, index, out, scratch=scratch)
    assert state(out, "r").kind == "absent"


def test_a_disk_without_room_is_told_before_anything_is_written(
    source: str, out: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index = night.planned(source, "r", night.spec())
    night.restore(plan, index, out, scratch)
    real = shutil.disk_usage

    def small(path: Any) -> Any:
        found = real(path)
        return found._replace(free=30_000) if str(path).startswith(f"{scratch}/publish-") else found

    monkeypatch.setattr(shutil, "disk_usage", small)
    with pytest.raises(ScratchFullError, match="put the deliverable together") as caught:
        finish(plan, index, out, scratch=scratch)
    assert "cluster.scratch" in str(caught.value)
    assert state(out, "r").kind == "absent"


def test_a_disk_that_fills_up_on_the_way_is_told(
    source: str, out: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index = night.planned(source, "r", night.spec())
    night.restore(plan, index, out, scratch)
    real = Path.write_text

    def write_text(path: Path, *args: Any, **more: Any) -> int:
        if path.name == "reel.json":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, *args, **more)

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(ScratchFullError, match="No space left"):
        finish(plan, index, out, scratch=scratch)
    with pytest.raises(StorageError, match="No such file"):
        finish(plan, index, out, scratch=scratch / "gone")


def test_another_plan_is_refused_and_replaced_only_when_told_to(source: str, out: str, scratch: Path) -> None:
    old, _ = night.publish(source, "r", out, scratch, night.spec([night.MASTER, night.PROXY]))
    before = night.contents(f"{out}/r")
    (Path(out) / "r/notes.txt").write_text("mine")
    night.publish(source, "r/inner", out, scratch)
    inner = night.contents(f"{out}/r/inner")

    plan, index = night.planned(source, "r", night.spec(tile=5))
    night.restore(plan, index, out, scratch)
    with pytest.raises(PublishedError, match="holds a restoration by another plan") as caught:
        finish(plan, index, out, scratch=scratch)
    assert "--overwrite" in str(caught.value)
    assert old.id[:12] in str(caught.value)
    assert plan.id[:12] in str(caught.value)
    now = {n: h for n, h in night.contents(f"{out}/r").items() if not n.startswith(("inner/", "notes"))}
    assert now == before

    assert finish(plan, index, out, scratch=scratch, overwrite=True)["already"] is False
    after = night.contents(f"{out}/r")
    assert state(out, "r").plan_id == plan.id
    assert "r.proxy.mp4" not in after  # the new plan makes none
    assert after["notes.txt"]  # never ours
    assert night.contents(f"{out}/r/inner") == inner


def test_an_unfinished_publication_of_another_plan_is_refused_too(source: str, out: str, scratch: Path) -> None:
    night.publish(source, "r", out, scratch)
    Path(f"{out}/r/manifest-sha256.txt").unlink()
    assert state(out, "r").kind == "half"
    plan, index = night.planned(source, "r", night.spec(tile=5))
    night.restore(plan, index, out, scratch)
    with pytest.raises(PublishedError, match="an unfinished publication by another plan"):
        finish(plan, index, out, scratch=scratch)
    finish(plan, index, out, scratch=scratch, overwrite=True)
    assert state(out, "r").plan_id == plan.id


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("r.mkv", "r.mkv is there without a provenance.json"),
        ("report/x.html", "report/x.html is there without a provenance.json"),
        ("manifest-sha256.txt", "manifest-sha256.txt is there without a provenance.json"),
        ("provenance.json", "provenance.json cannot be read: not JSON"),
    ],
)
def test_files_of_no_known_plan_are_not_written_over(
    source: str, out: str, scratch: Path, name: str, found: str
) -> None:
    plan, index = night.planned(source, "r", night.spec())
    night.restore(plan, index, out, scratch)
    store.put_bytes(f"{out}/r/{name}", b"not by us")
    assert (state(out, "r").kind, state(out, "r").plan_id) == ("half", "unknown")
    with pytest.raises(PublishedError, match=found) as caught:
        finish(plan, index, out, scratch=scratch)
    assert "another plan" not in str(caught.value)
    assert "unknown" not in str(caught.value)
    for todo in ("from a copy", "--overwrite", "--out"):
        assert todo in str(caught.value)
    assert store.read_bytes(f"{out}/r/{name}") == b"not by us"
    finish(plan, index, out, scratch=scratch, overwrite=True)
    assert state(out, "r").whole
    assert name == "r.mkv" or not store.exists(f"{out}/r/report/x.html")


def test_other_files_in_the_folder_are_no_hindrance(source: str, out: str, scratch: Path) -> None:
    store.put_bytes(f"{out}/r/notes.txt", b"mine")
    assert state(out, "r").kind == "absent"
    night.publish(source, "r", out, scratch)
    assert store.read_bytes(f"{out}/r/notes.txt") == b"mine"


def test_a_tile_that_an_excerpt_restored_is_used_under_its_new_number(source: str, out: str, scratch: Path) -> None:
    # Made by hand: the record of tile 2 carries another number, as an earlier excerpt would have given it.
    plan, index = night.planned(source, "r", night.spec())
    ledger = night.restore(plan, index, out, scratch)
    uri = next(s.uri for s in store.list_files(ledger.work + "/tiles") if "/000002-" in s.uri)
    text = json.loads(Path(uri).read_text())
    Path(uri).unlink()
    Path(uri.replace("/000002-", "/000000-")).write_text(json.dumps({**text, "number": 0}))
    finish(plan, index, out, scratch=scratch)
    rows = tables.read_columns(Path(out) / "r" / layout.FRAMES, ["tile"])
    assert sorted(set(rows["tile"])) == [0, 1, 2]
    assert tables.read_columns(Path(out) / "r" / layout.TILES, ["tile"])["tile"] == [0, 1, 2]
