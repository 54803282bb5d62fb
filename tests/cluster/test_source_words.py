"""What ``source:`` says of interlaced and damaged film, through to the rows. Without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.publish.undo import undo
from pipeline.publish.verify import verify
from pipeline.tables import read_columns
from tests.cluster import alone
from tests.reel import judge
from tests.reel.axes import Film, make
from tests.reel.films import ARCHIVE, damage, make_film, packet_spans


def flags(out: Path, reel: str) -> list[tuple[str, ...]]:
    found = read_columns(out / reel / "report" / "frames.parquet", ["flags"])["flags"]
    return [tuple(f) for f in found]


def test_interlaced_film_is_flagged_and_keeps_its_field_order(tmp_path: Path) -> None:
    path = make(Film("ffv1", "yuv420p", "mkv", "25", scan="tt"), tmp_path)
    with pytest.raises(SourceError, match="interlaced"):
        alone.restore(path, tmp_path / "out")
    alone.restore(path, tmp_path / "out", "source.interlaced=per_field")
    copy = tmp_path / "out" / "film" / "film.mkv"
    assert all("interlaced" in f for f in flags(tmp_path / "out", "film"))
    assert judge.tags(copy).field_order == judge.tags(path).field_order
    # The net ran, on both fields.
    assert judge.framemd5(copy).md5s != judge.framemd5(path).md5s


def test_damaged_frames_are_flagged_where_the_job_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_film(path, frames=10, size=(96, 64), options=ARCHIVE)
    position, size = packet_spans(path)[6]
    damage(path, position + size // 2)
    with pytest.raises(SourceError, match="fail their CRC") as told:
        alone.restore(path, tmp_path / "out", "chain=[]")
    assert told.value.frame == 6
    alone.restore(path, tmp_path / "out", "chain=[]", "tiles.frames=3", "source.damaged=flag")
    assert flags(tmp_path / "out", "a") == [("damaged",) if n == 6 else () for n in range(10)]


def test_an_interlaced_reel_is_undone_into_a_film(tmp_path: Path) -> None:
    path = make(Film("ffv1", "yuv420p", "mkv", "25", scan="tt"), tmp_path)
    alone.restore(path, tmp_path / "out", "source.interlaced=per_field", "deliver.residual=true")
    back = tmp_path / "back.mkv"
    assert undo(str(tmp_path / "out" / "film"), to=str(back)).faults == ()
    assert judge.framemd5(back).md5s == judge.framemd5(path).md5s
    assert verify([str(tmp_path / "out")]).ok
