"""What the first deliverable cannot carry is published beside it, said, hashed, and goes with its publication."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.publish import layout, manifest
from pipeline.publish.verify import verify
from pipeline.reel import streamhash
from tests.publish import night
from tests.reel import rich

BESIDE = {"r.02-audio.mka", "r.03-subtitle.mks", "r.04-attachment.note.txt"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rich.rich_film(
        tmp_path_factory.mktemp("rich") / "r.mkv",
        pixel_format_name="yuv422p10le",
        sound={"pcm_s16le": Fraction(0), "flac": Fraction(0)},
        subtitles="subrip",
        attachment=b"how it was scanned",
        tags={"X_SHELF": "7b"},
    )


def test_it_is_there_said_and_verified(film: Path, out: str, scratch: Path) -> None:
    said = night.spec([{"name": "master", "codec": "prores"}])
    _, summary = night.publish(str(film), "r", out, scratch, said)
    folder = Path(out) / "r"
    listed = manifest.parse((folder / layout.MANIFEST).read_bytes(), where="m")
    assert set(listed) >= BESIDE
    assert listed == {n: h for n, h in night.contents(str(folder)).items() if n != layout.MANIFEST}
    assert (folder / "r.04-attachment.note.txt").read_bytes() == b"how it was scanned"
    assert verify([out]).ok

    told = night.provenance_of(out, "r")
    for name in BESIDE:
        assert any(name in sentence for sentence in told["not_carried"]), name
    assert any("X_SHELF" in sentence for sentence in told["not_carried"])
    assert [one["files"] for one in told["beside"]] == [[name] for name in sorted(BESIDE)]
    assert [b["index"] for b in summary["beside"]] == [2, 3, 4]
    kinds = [e["eventType"] for e in told["events"]]
    assert kinds == [
        *("creation", "message digest calculation", "message digest calculation"),
        *("validation", "fixity check", "extraction"),
    ]
    assert told["events"][-1]["eventTypeURI"].endswith("/ext")
    assert {o["objectIdentifier"]["objectIdentifierValue"] for o in told["objects"]} >= BESIDE

    source = streamhash.parse((folder / layout.SOURCE_STREAMS).read_text())
    output = streamhash.parse((folder / layout.OUTPUT_STREAMS).read_text())
    assert [(s.index, s.letter) for s in source] == [(1, "a"), (2, "a"), (3, "s")]
    assert [s.sha256 for s in output] == [source[0].sha256], "the one that QuickTime carries is as it was"


def test_it_goes_where_another_publication_carries_all(film: Path, out: str, scratch: Path) -> None:
    night.publish(str(film), "r", out, scratch, night.spec([{"name": "master", "codec": "prores"}]))
    night.publish(str(film), "r", out, scratch, night.spec(), overwrite=True)
    names = set(night.contents(f"{out}/r"))
    assert "r.mkv" in names
    assert not names & {*BESIDE, "r.mov"}
    assert verify([out]).ok


def test_a_silent_film_has_no_hashes_of_sound(tmp_path: Path, out: str, scratch: Path) -> None:
    night.publish(str(night.film(tmp_path / "s.mkv", 8, audio=None)), "s", out, scratch)
    assert not {layout.SOURCE_STREAMS, layout.OUTPUT_STREAMS} & set(night.contents(f"{out}/s"))
    assert "message digest calculation" in [e["eventType"] for e in night.provenance_of(out, "s")["events"]]
    assert verify([out]).ok
