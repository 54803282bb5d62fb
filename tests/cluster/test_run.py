"""The main job on a real cluster: what comes out, and what it does not depend on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.restore import make_job
from pipeline import tables
from pipeline.cluster import steps
from pipeline.cluster.progress import ReelPlanned, TileDone
from pipeline.cluster.work import ReelWork
from pipeline.errors import SourceError
from pipeline.publish.undo import undo
from pipeline.publish.verify import verify
from pipeline.reel.decode import decode
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.spec import Source
from pipeline.storage import store
from pipeline.types import Frames
from tests.cluster.conftest import framemd5
from tests.reel import sequences
from tests.reel.films import make_film
from tests.s3 import Server

pytestmark = pytest.mark.cluster
Run = Callable[..., Any]
SHORT_TILES = "tiles: {frames: 8}"


def decoded(path: Path) -> Frames:
    reel = probe(str(path), "x", Source())
    index = build(reel)
    return decode(reel, index, 0, len(index), threads=1)


def tree(folder: str, *, client: Any) -> dict[str, tuple[str, Any]]:
    """Every object below a folder: its hash, and when it was put."""
    bucket, _, prefix = folder.removeprefix("s3://").partition("/")
    found = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
    return {o["Key"]: (o["ETag"], o["LastModified"]) for o in found}


def test_a_reel_goes_through_s3_and_comes_out_whole(run: Run, film: Path, s3: Server, s3_folder: str) -> None:
    store.put_file(film, f"{s3_folder}/in/a b#ü.mkv")
    result, _ = run([f"{s3_folder}/in/a b#ü.mkv"], f"{s3_folder}/out", SHORT_TILES)
    assert [(o.status, o.reason) for o in result.outcomes] == [("done", None)]
    reel = "a b#ü"
    names = {s.uri.removeprefix(f"{s3_folder}/out/") for s in store.list_files(f"{s3_folder}/out")}
    kept = {n for n in names if n.startswith(f"{reel}/report/frames/")}
    assert kept
    assert all(n.endswith(".jpg") for n in kept)
    published = {n for n in names - kept if not n.startswith(".work/")}
    assert published == {"index.html"} | {
        f"{reel}/{name}"
        for name in (
            f"{reel}.mkv",
            "source.framemd5",
            "output.framemd5",
            "source.streamhash",
            "output.streamhash",
            "report/frames.parquet",
            "report/shots.parquet",
            "report/tiles.parquet",
            "report/reel.json",
            "report/index.html",
            "provenance.json",
            "manifest-sha256.txt",
        )
    }
    assert all(n.startswith(".work/source-") for n in names - kept - published)
    assert verify([f"{s3_folder}/out"]).ok
    with store.open_read(f"{s3_folder}/out/{reel}/report/frames.parquet") as file:
        columns = tables.read_columns(file, ["frame", "net", "psnr_db", "touched_fraction", "flags", "pts"])
    assert columns["frame"] == list(range(72))
    assert set(columns["net"]) == {"nafnet-film"}
    assert all(0 < p < 100 for p in columns["psnr_db"])
    assert all(t > 0 for t in columns["touched_fraction"])


def test_a_folder_of_images_goes_through_s3_and_comes_out_as_images(run: Run, tmp_path: Path, s3_folder: str) -> None:
    for file in sequences.files(sequences.make(tmp_path / "in")):
        store.put_file(file, f"{s3_folder}/in/r1/{file.name}")
    text = "tiles: {frames: 3}\nsource: {rate: 18}\ndeliver: {outputs: [{codec: dpx}, {name: film, codec: ffv1}]}"
    result, _ = run([f"{s3_folder}/in"], f"{s3_folder}/out", text)
    assert [(o.name, o.status, o.reason) for o in result.outcomes] == [("r1", "done", None)]
    names = [s.uri.removeprefix(f"{s3_folder}/out/r1/") for s in store.list_files(f"{s3_folder}/out/r1")]
    assert [n for n in names if n.startswith("r1.dpx/")] == [f"r1.dpx/scan_{n:07d}.dpx" for n in range(1001, 1009)]
    assert "r1.film.mkv" in names
    report = verify([f"{s3_folder}/out"])
    assert report.ok, report.findings


def test_the_same_job_again_says_so_and_touches_nothing(run: Run, s3: Server, s3_film: str, s3_out: str) -> None:
    run([s3_film], s3_out, SHORT_TILES)
    before = tree(s3_out, client=s3.client())
    assert before
    result, events = run([s3_film], s3_out, SHORT_TILES + "\ncluster: {restorers: 1}")
    assert [o.status for o in result.outcomes] == ["already"]
    assert not [e for e in events if isinstance(e, TileDone)]
    assert tree(s3_out, client=s3.client()) == before


def test_the_result_depends_on_neither_workers_nor_tile_length(run: Run, film: Path, tmp_path: Path) -> None:
    outs = []
    for n, text in enumerate(
        [
            SHORT_TILES,
            "tiles: {frames: 48}\ncluster: {restorers: 1}",
            "tiles: {frames: 48}\ncluster: {restorers: 2, in_flight_gib: 0.0000001}",
        ]
    ):
        run([film], tmp_path / str(n), text)
        outs.append(framemd5(tmp_path / str(n), "a"))
    assert outs[0] == outs[1] == outs[2]
    assert len(outs[0]) == 72


def test_without_a_chain_every_frame_is_the_sources(run: Run, film: Path, tmp_path: Path) -> None:
    run([film], tmp_path, "chain: []")
    restored, source = decoded(tmp_path / "a" / "a.mkv"), decoded(film)
    assert (restored.pts == source.pts).all()
    assert all((r == s).all() for r, s in zip(restored.planes, source.planes, strict=True))
    columns = tables.read_columns(tmp_path / "a/report/frames.parquet", ["psnr_db", "source_md5", "output_md5", "net"])
    assert set(columns["psnr_db"]) == {100.0}
    assert columns["source_md5"] == columns["output_md5"]
    assert set(columns["net"]) == {None}


def test_skipped_frames_are_bit_identical_and_a_changed_override_redoes_only_its_tiles(
    run: Run, s3_film: str, s3_out: str
) -> None:
    keep = f"{SHORT_TILES}\nkeep_work: true\n"
    run([s3_film], s3_out, keep)
    plain = framemd5(s3_out, "a")
    skip = keep + "shots: [{frames: '20:22', skip: true}]"
    result, events = run([s3_film], s3_out, skip, overwrite=True)
    # Only the one or two tiles that read frames 20 and 21 are done again.
    (planned,) = [e for e in events if isinstance(e, ReelPlanned)]
    redone = sorted(e.tile for e in events if isinstance(e, TileDone))
    assert len(redone) == planned.tiles - planned.done_tiles == result.outcomes[0].restored
    assert 1 <= len(redone) <= 2
    changed = framemd5(s3_out, "a")
    source = framemd5(s3_out, "a", "source.framemd5")
    assert [n for n, (x, y) in enumerate(zip(plain, changed, strict=True)) if x != y] == [20, 21]
    assert [changed[n].split()[-1] for n in (20, 21)] == [source[n].split()[-1] for n in (20, 21)]


def test_an_excerpt_has_the_pictures_of_the_whole(run: Run, film: Path, tmp_path: Path) -> None:
    run([film], tmp_path / "whole", SHORT_TILES)
    run([film], tmp_path / "part", SHORT_TILES, frames=(30, 50))
    whole = [line.split()[-1] for line in framemd5(tmp_path / "whole", "a")]
    part = [line.split()[-1] for line in framemd5(tmp_path / "part", "a")]
    assert part == whole[30:50]


def test_another_plans_deliverable_is_refused_unless_told(run: Run, s3: Server, s3_film: str, s3_out: str) -> None:
    run([s3_film], s3_out, "chain: []")
    before = tree(f"{s3_out}/a", client=s3.client())
    result, _ = run([s3_film], s3_out, SHORT_TILES)
    assert [o.status for o in result.outcomes] == ["refused"]
    assert "--overwrite" in (result.outcomes[0].reason or "")
    assert tree(f"{s3_out}/a", client=s3.client()) == before
    assert store.list_names(f"{s3_out}/quarantine") == []
    result, _ = run([s3_film], s3_out, SHORT_TILES, overwrite=True)
    assert [(o.status, o.reason) for o in result.outcomes] == [("done", None)]
    assert verify([s3_out]).ok


def test_bad_reels_end_in_quarantine_and_the_others_go_on(run: Run, film: Path, s3_folder: str, s3_out: str) -> None:
    films, data = f"{s3_folder}/in", film.read_bytes()
    for name, content in {
        "b-truncated": data[: len(data) * 2 // 3],
        "c-empty": b"",
        "d-text": b"this is no film\n" * 100,
        "z-good": data,
        "a-good": data,
    }.items():
        store.put_bytes(f"{films}/{name}.mkv", content)
    given = [films, f"{films}/e-missing.mkv"]
    result, _ = run(given, s3_out, "chain: []\n" + SHORT_TILES)
    ended = {o.name: o.status for o in result.outcomes}
    bad = ["b-truncated", "c-empty", "d-text", "e-missing"]
    assert ended == {**dict.fromkeys(bad, "quarantined"), "a-good": "done", "z-good": "done"}
    for name in bad:
        record = json.loads(store.read_bytes(f"{s3_out}/quarantine/{name}.json"))
        assert record["reel"] == name
        assert f"{name}.mkv" in record["message"]
        assert record["todo"]
        assert "\n" not in record["message"]
    assert verify([s3_out]).ok is False  # it tells of the quarantined ones
    page = store.read_bytes(f"{s3_out}/index.html").decode()
    assert "2 reels restored" in page
    assert all(f"<b>{name}</b>" in page for name in bad)
    # Mended, the reel is tried again and its record goes.
    store.put_bytes(f"{films}/c-empty.mkv", data)
    result, _ = run(given, s3_out, "chain: []\n" + SHORT_TILES)
    assert {o.name: o.status for o in result.outcomes}["c-empty"] == "done"
    assert sorted(store.list_names(f"{s3_out}/quarantine")) == [f"{n}.json" for n in bad if n != "c-empty"]
    assert b"3 reels restored" in store.read_bytes(f"{s3_out}/index.html")


def test_damage_midway_names_its_frame(run: Run, film: Path, tmp_path: Path) -> None:
    from tests.reel.films import damage, packet_spans

    bad = tmp_path / "bad.mkv"
    bad.write_bytes(film.read_bytes())
    position, size = packet_spans(bad)[37]
    damage(bad, position + size // 2)
    result, _ = run([bad], tmp_path / "out", "chain: []\n" + SHORT_TILES)
    record = json.loads((tmp_path / "out" / "quarantine" / "bad.json").read_text())
    # Two tiles read the frame: its own, and the next one in its halo.
    assert (record["frame"], record["tries"]) == (37, 2)
    assert record["tile"] in (4, 5)
    assert [o.status for o in result.outcomes] == ["quarantined"]


def test_several_deliverables_come_from_one_restoration(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "c.mkv"
    make_film(source, pixel_format_name="yuv420p", frames=20)
    text = """
chain: []
deliver: {outputs: [{codec: ffv1}, {name: proxy, codec: h264}]}
tiles: {frames: 8}
"""
    run([source], tmp_path / "out", text)
    assert len(decoded(tmp_path / "out" / "c" / "c.mkv")) == len(decoded(tmp_path / "out" / "c" / "c.proxy.mp4")) == 20
    assert verify([str(tmp_path / "out")]).ok


def test_a_lost_segment_is_restored_anew(run: Run, film: Path, tmp_path: Path) -> None:
    keep = f"{SHORT_TILES}\nkeep_work: true\n"
    run([film], tmp_path, keep)
    before = framemd5(tmp_path, "a")
    # As after a run that was killed before it published, and somebody's clean-up since.
    shutil.rmtree(tmp_path / "a")
    sorted((tmp_path / ".work" / "a" / "segments").glob("*-master-*"))[3].unlink()
    sorted((tmp_path / ".work" / "a" / "segments").glob("*-rows-*"))[5].write_bytes(b"")
    result, events = run([film], tmp_path, keep)
    assert [(o.status, o.reason) for o in result.outcomes] == [("done", None)]
    assert sorted(e.tile for e in events if isinstance(e, TileDone)) == [3, 5]
    assert framemd5(tmp_path, "a") == before
    assert verify([str(tmp_path)]).ok


def test_a_source_that_changes_on_the_way_is_told(film: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    source.write_bytes(film.read_bytes())
    job = make_job([str(source)], str(tmp_path / "out"), config="archive", overrides=["chain=[]"])
    made = steps.prepare(job, 0)
    work = ReelWork(steps.without_tiles(made.plan), job.out, job.spec, stage=False)
    steps.decode_tile(work, made.index, made.plan.tiles[0], made.plan.tile_ids[0])
    make_film(source, pixel_format_name="gray", frames=72, seed=9)
    with pytest.raises(SourceError, match=r"a\.mkv.*changed"):
        steps.decode_tile(work, made.index, made.plan.tiles[1], made.plan.tile_ids[1])


def test_one_restoration_gives_master_proxies_and_residual(run: Run, film: Path, tmp_path: Path) -> None:
    text = """
deliver: {residual: true, outputs: [{codec: ffv1}, {name: proxy, codec: h264}, {name: small, codec: av1, crf: 40}]}
"""
    for name, tile in (("a", 8), ("b", 24)):
        result, _ = run([film], tmp_path / name, f"tiles: {{frames: {tile}}}\n{text}")
        assert [(o.status, o.reason) for o in result.outcomes] == [("done", None)]
        assert result.outcomes[0].restored == result.outcomes[0].tiles, "each once, whatever is made of it"
    made = {p.name: len(decoded(p)) for p in (tmp_path / "a" / "a").iterdir() if p.suffix in (".mkv", ".mp4")}
    assert made == dict.fromkeys(("a.mkv", "a.proxy.mp4", "a.small.mp4", "a.residual.mkv"), 72)
    assert verify([str(tmp_path)]).ok
    back = tmp_path / "back.mkv"
    assert undo(str(tmp_path / "a" / "a"), to=str(back)).faults == ()
    theirs = decoded(film).planes[0]
    assert (decoded(back).planes[0] == theirs).all()
    assert (decoded(tmp_path / "a" / "a" / "a.mkv").planes[0] != theirs).any(), "there was something to undo"
    # Where nothing refers over a tile's border, its length leaves no trace.
    for file in ("a.mkv", "a.residual.mkv"):
        one, other = ((tmp_path / n / "a" / file).read_bytes() for n in ("a", "b"))
        assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest(), file
