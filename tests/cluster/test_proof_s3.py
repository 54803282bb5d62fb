"""One film from and to object storage with everything that proves it: residual, proxy, bag, verify, undo."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import bagit
import pytest

from pipeline.cluster.progress import Event
from pipeline.cluster.run import RunResult
from pipeline.publish import layout
from pipeline.publish.undo import undo
from pipeline.publish.verify import verify
from pipeline.reel import framemd5
from pipeline.storage import store
from tests.reel import judge, rich

pytestmark = pytest.mark.cluster
Run = Callable[..., tuple[RunResult, list[Event]]]
TEXT = """
tiles: {frames: 6}
chain: [{pass: net}]
deliver: {residual: true, outputs: [{codec: ffv1}, {name: proxy, codec: h264, crf: 23}]}
cluster: {stage: always}
"""


def test_a_reel_with_all_its_proof(run: Run, s3_folder: str, tmp_path: Path) -> None:
    film = rich.rich_film(
        tmp_path / "film.mkv",
        pixel_format_name="yuv422p10le",
        frames=12,
        sound={"pcm_s24le": Fraction(0), "flac": Fraction(0)},
        subtitles="subrip",
        chapters=True,
        attachment=b"how it was scanned",
        tags={"title": "A film"},
    )
    source, out = f"{s3_folder}/in/film.mkv", f"{s3_folder}/out"
    store.put_file(film, source)
    result, _ = run([source], out, TEXT, bag=True)
    assert [(o.status, o.reason) for o in result.outcomes] == [("done", None)]
    names = {name for name, _ in layout.below(f"{out}/film", store.list_files(f"{out}/film"))}
    assert names >= {
        *("film.mkv", "film.proxy.mp4", "film.residual.mkv", "film.proxy.framemd5", "film.proxy.streamhash"),
        *("source.framemd5", "output.framemd5", "source.streamhash", "output.streamhash"),
        *("provenance.json", "manifest-sha256.txt"),
    }
    report = verify([out])
    assert report.ok, report.findings
    assert report.reels[0].frames == 24, "master and proxy; the residual on the way"

    back = f"{s3_folder}/back.mkv"
    assert undo(f"{out}/film", to=back).faults == ()
    for uri, name in ((back, "back.mkv"), (f"{out}/film/film.mkv", "out.mkv"), (f"{out}/film/film.proxy.mp4", "p.mp4")):
        store.fetch(uri, tmp_path / name)
    assert judge.framemd5(tmp_path / "back.mkv").md5s == judge.framemd5(film).md5s
    assert judge.framemd5(tmp_path / "out.mkv").md5s != judge.framemd5(film).md5s
    for name, hashes in (("out.mkv", "output.framemd5"), ("p.mp4", "film.proxy.framemd5")):
        ours = framemd5.parse(store.read_bytes(f"{out}/film/{hashes}").decode())
        assert list(ours.md5s) == judge.framemd5(tmp_path / name).md5s
    assert judge.stream_hash(tmp_path / "out.mkv", "a") == judge.stream_hash(film, "a")

    events = json.loads(store.read_bytes(f"{out}/film/provenance.json"))["events"]
    kinds = [e["eventType"] for e in events]
    assert kinds == ["modification", "creation", *["message digest calculation"] * 2, "validation", "fixity check"]
    bag = f"{out}/bags/film.bag"
    for stat in store.list_files(bag):
        store.fetch(stat.uri, tmp_path / "bag" / stat.uri.removeprefix(f"{bag}/"))
    bagit.Bag(str(tmp_path / "bag")).validate()

    # The same again does nothing; a bag that is gone is made anew, without restoring anything.
    store.delete_tree(bag)
    result, _ = run([source], out, TEXT, bag=True)
    assert [(o.status, o.restored) for o in result.outcomes] == [("already", 0)]
    assert verify([out]).ok
    assert store.exists(f"{bag}/bagit.txt")
