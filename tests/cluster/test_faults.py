"""Bad calls and bad surroundings, as a user meets them: one clear line, and the status that says whose fault it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from ray.cluster_utils import Cluster

from jobs.cli import app, guarded
from pipeline.storage import store
from tests.reel.films import make_film
from tests.s3 import Server

pytestmark = pytest.mark.cluster


@pytest.fixture
def reelmend(cluster: Cluster, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process, on the session's cluster: status, stdout, stderr."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        status = guarded(lambda: app([str(w) for w in words]))
        out, err = capfd.readouterr()
        return status, out, err

    return call


COPY = ("--set", "chain=[]")
Call = Callable[..., tuple[int, str, str]]


def one_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.startswith("reelmend: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def test_names_that_collide_end_the_call_before_any_work(
    reelmend: Call, film: Path, s3_folder: str, s3_out: str
) -> None:
    for name in ("a.mkv", "a.mov"):
        store.put_file(film, f"{s3_folder}/in/{name}")
    status, _, err = reelmend("restore", f"{s3_folder}/in", "--out", s3_out, *COPY)
    assert status == 2
    assert "a.mkv" in one_line(err)
    assert "a.mov" in one_line(err)
    assert not list(store.list_files(s3_out))


@pytest.mark.parametrize(
    "words",
    [
        ("--set", "chian=[]"),
        ("-c", "no-such-preset"),
        ("--set", "chain.4.weights=no-such-net"),
        ("--frames", "9:3"),
        ("--shard", "3/2"),
        ("--set", "chain.4.sha256=" + "0" * 64),
    ],
)
def test_a_wrong_call_is_status_2(reelmend: Call, film: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    status, _, err = reelmend("restore", film, "--out", tmp_path / "out", *words)
    assert status == 2
    assert one_line(err)
    assert not (tmp_path / "out").exists()


def test_an_address_where_nobody_answers(film: Path, tmp_path: Path) -> None:
    words = ["restore", str(film), "--out", str(tmp_path / "out"), *COPY, "--address", "127.0.0.1:1"]
    ended = subprocess.run([sys.executable, "-m", "jobs.cli", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--address 127.0.0.1:1" in one_line(ended.stderr)


ODD = ["with space.mkv", "ünïcode – 東京.mkv", "100%#?[x].mkv", "-dash.mkv", "a..b.mkv", "<b>&'\".mkv"]


def test_odd_names_are_only_names(reelmend: Call, film: Path, s3_folder: str, s3_out: str) -> None:
    for name in ODD:
        store.put_file(film, f"{s3_folder}/in/{name}")
    status, _, err = reelmend("restore", f"{s3_folder}/in", "--out", s3_out, *COPY, "--frames", "0:4")
    assert status == 0, err
    for name in ODD:
        assert store.stat(f"{s3_out}/{name.removesuffix('.mkv')}/{name}").bytes
    assert reelmend("verify", s3_out)[0] == 0


@pytest.mark.parametrize("source", ["s3://films/../x.mkv", "s3://films/a/../../x.mkv"])
def test_a_name_that_climbs_leads_nowhere(reelmend: Call, s3: Server, tmp_path: Path, source: str) -> None:
    status, out, _ = reelmend("restore", source, "--out", tmp_path / "out", *COPY, "--json")
    assert status == 1
    (reel,) = json.loads(out)["reels"]
    assert source in reel["reason"]
    assert reel["name"] == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_audio_only_file_and_a_change_of_size_are_quarantined(
    reelmend: Call, tmp_path: Path, s3_folder: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make_film(folder / "whole.mkv", frames=4, audio="pcm_s16le")
    with av.open(str(folder / "whole.mkv")) as source, av.open(str(folder / "sound.mkv"), "w") as out:
        stream = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    (folder / "whole.mkv").unlink()
    _change_of_size(folder / "grows.mkv")
    for file in folder.iterdir():
        store.put_file(file, f"{s3_folder}/in/{file.name}")
    status, out_text, _ = reelmend("restore", f"{s3_folder}/in", "--out", f"{s3_folder}/out", *COPY, "--json")
    assert status == 1
    ended = {r["name"]: r for r in json.loads(out_text)["reels"]}
    assert {n: r["status"] for n, r in ended.items()} == {"sound": "quarantined", "grows": "quarantined"}
    assert "picture" in ended["sound"]["reason"]
    assert "32×24" in ended["grows"]["reason"] or "32x24" in ended["grows"]["reason"]
    assert json.loads(store.read_bytes(f"{s3_folder}/out/quarantine/grows.json"))["frame"] == 6


def _change_of_size(path: Path) -> None:
    """An H.264 stream whose second half is smaller: two films' packets one after the other, as a transport stream."""
    with av.open(str(path), "w", format="mpegts") as out:
        stream: Any = None
        at = 0
        for n, size in enumerate([(64, 48), (32, 24)]):
            part = path.with_suffix(f".{n}.ts")
            make_film(part, codec="libx264", frames=6, size=size, rate=Fraction(25), container="mpegts")
            with av.open(str(part)) as film:
                stream = stream or out.add_stream_from_template(film.streams.video[0])
                packets = [p for p in film.demux(film.streams.video[0]) if p.dts is not None]
                for packet in packets:
                    packet.pts, packet.dts = packet.pts + at, packet.dts + at
                    packet.stream = stream
                    out.mux(packet)
                at += 6 * 3600
            part.unlink()


def test_wrong_credentials_and_a_missing_bucket_for_the_output(
    reelmend: Call, film: Path, s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = reelmend("restore", film, "--out", "s3://no-such-bucket/x", *COPY)
    assert status == 2
    assert "no-such-bucket" in one_line(err)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    status, _, err = reelmend("restore", film, "--out", "s3://out/x", *COPY)
    assert status == 2
    assert "s3://out/x" in one_line(err)
    assert "AWS_" in one_line(err)


def test_a_source_in_a_missing_bucket_is_quarantined(reelmend: Call, film: Path, s3: Server, tmp_path: Path) -> None:
    sources = ["s3://no-such-bucket/x.mkv", str(film)]
    status, out, err = reelmend("restore", *sources, "--out", tmp_path / "out", *COPY, "--json")
    assert status == 1, err
    assert sorted(r["status"] for r in json.loads(out)["reels"]) == ["done", "quarantined"]


def test_a_full_scratch_disk_is_told(reelmend: Call, s3_film: str, s3_out: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    (small / "others").write_bytes(bytes((2 << 20) - (16 << 10)))
    try:
        status, out, _ = reelmend(
            "restore", s3_film, "--out", s3_out, *COPY, "--set", f"cluster.scratch={small}", "--json"
        )
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)  # Ray's workers may stand in it
    assert status == 1
    (reel,) = json.loads(out)["reels"]
    assert reel["status"] == "quarantined"
    assert str(small) in reel["reason"]
    assert "scratch" in reel["reason"]


def test_json_is_one_document_and_nothing_else(reelmend: Call, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for words in (
        ("probe", film, "--json"),
        ("plan", film, "--out", out, *COPY, "--json"),
        ("restore", film, "--out", out, *COPY, "--json"),
        ("status", out, "--json"),
        ("audit", out, "--json"),
        ("verify", out, "--json"),
        ("compare", film, out / "a" / "a.mkv", "--json"),
        ("nets", "list", "--json"),
        ("nets", "check", "nafnet-film", "--json"),
        ("clean", out, "--json"),
    ):
        status, text, err = reelmend(*words)
        assert status == 0, (words, err)
        json.loads(text)


def test_the_dry_run_writes_nothing_and_counts_what_is_left(reelmend: Call, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, text, _ = reelmend("plan", film, "--out", out, "--set", "tiles.frames=8", "--json")
    (reel,) = json.loads(text)["reels"]
    assert (status, reel["tiles"], reel["left"]["tiles"], reel["frames"]) == (0, 9, 9, 72)
    assert reel["left"]["restore_s"] > 0
    assert reel["left"]["decode_core_s"] > 0
    assert not out.exists()


def test_clean_takes_the_work_and_leaves_what_is_published(reelmend: Call, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reelmend("restore", film, "--out", out, *COPY, "--set", "keep_work=true")
    assert (out / ".work").exists()
    assert reelmend("clean", out)[0] == 0
    assert not (out / ".work").exists()
    assert reelmend("verify", out)[0] == 0
