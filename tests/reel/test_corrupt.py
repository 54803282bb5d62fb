"""Broken films of every container: refused in one line, whatever is broken; never a crash, a hang, or a wrong film."""

from __future__ import annotations

import contextlib
import gc
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.reel.assemble import assemble_others
from pipeline.reel.decode import batches
from pipeline.reel.formats import hash_planes
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.storage import store
from tests.reel.axes import Film, make

FILMS = {
    "mkv": Film("ffv1", "yuv422p10le", "mkv", sound="pcm_s16le"),
    "mov": Film("prores", "yuv422p10le", "mov", sound="pcm_s16le"),
    "mp4": Film("h264", "yuv420p", "mp4", gop="b-frames", sound="aac"),
    "mxf": Film("dnxhr", "yuv422p10le", "mxf", "25", sound="pcm_s16le"),
    "avi": Film("ffv1", "yuv420p", "avi", sound="pcm_s16le"),
}
MUTATIONS = 100
"""Of each container, in `make fuzz`."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, list[str]]]:
    """Each film's bytes and the hashes of its frames."""
    made = {}
    for container, film in FILMS.items():
        path = make(film, tmp_path_factory.mktemp(container))
        made[container] = (path.read_bytes(), list(hashes(path)))
    return made


def hashes(film: str | Path) -> Iterator[str]:
    """As a job reads a film: probe, index, decode."""
    reel = probe(str(film), "film", spec.Source())
    about = build(reel)
    for batch in batches(reel, about, 0, len(about), threads=2):
        for n in range(batch.first, batch.last):
            yield hash_planes(batch.frame(n), batch.format)


def sound_bytes(film: str | Path, to: Path) -> int:
    """As a job carries sound: bytes of it in a file of its own."""
    reel = probe(str(film), "film", spec.Source())
    about = build(reel)
    try:
        held = assemble_others(reel, about, 0, len(about), to)
        assert held is not None
        with av.open(str(to)) as made:
            return sum(p.size for p in made.demux(audio=0))
    finally:
        to.unlink(missing_ok=True)


def flipped(data: bytes, seed: int) -> bytes:
    draw = random.Random(seed)
    new = bytearray(data)
    for _ in range(200):
        new[draw.randrange(len(new))] ^= draw.randrange(1, 256)
    return bytes(new)


VARIANTS = {
    "bytes flipped": lambda data: flipped(data, 7),
    "tail cut": lambda data: data[: len(data) * 2 // 3],
    "header wiped": lambda data: bytes(512) + data[512:],
    "empty": lambda data: b"",
    "only a header": lambda data: data[:64],
}


@pytest.mark.parametrize("container", FILMS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_broken_film_is_refused(
    whole: dict[str, tuple[bytes, list[str]]], tmp_path: Path, container: str, variant: str
) -> None:
    path = tmp_path / f"film.{container}"
    path.write_bytes(VARIANTS[variant](whole[container][0]))
    with pytest.raises(SourceError) as told:
        list(hashes(path))
    line = str(told.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    assert told.value.todo


def mutated(data: bytes, draw: random.Random) -> bytes:
    """One of what disks, cables and hands do to files."""
    kind, at = draw.randrange(6), draw.randrange(len(data))
    size = 1 << draw.randrange(13)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + draw.randbytes(size) + data[at + size :]
    if kind == 2:
        return data[:at]
    if kind == 3:
        return data[:at] + data[at + size :]
    if kind == 4:
        return data[:at] + bytes(size) + data[at + size :]
    # In the header, where the sizes and counts are.
    new = bytearray(data)
    for _ in range(4):
        new[draw.randrange(min(len(new), 4096))] = draw.randrange(256)
    return bytes(new)


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("container", [*FILMS, "mkv by its cues"])
def test_mutations(
    whole: dict[str, tuple[bytes, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    """An error of ours, or a film that reads to its end; of FFV1 in Matroska, with CRCs, its own pictures or none.
    Behind a cue table, by which pictures are found without reading the rest, its sound is whole too.

    No file and no descriptor is left behind by the hundred that went wrong.
    """
    data, before = whole[container[:3]]
    path = tmp_path / f"film.{container[:3]}"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    gc.collect()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    draw = random.Random(f"{container} 1895")
    refused = 0
    path.write_bytes(data)
    sound = sound_bytes(path, tmp_path / "sound.mka") if container.endswith("cues") else 0
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(data, draw))
        film: str | Path = path
        if container.endswith("cues"):
            film = "memory://fuzz/film.mkv"
            store.put_file(path, film)
        try:
            found = list(hashes(film))
        except SourceError:
            refused += 1
            continue
        assert found
        if path.suffix == ".mkv":
            assert set(found) <= set(before)
        if container.endswith("cues"):
            with contextlib.suppress(SourceError):
                assert sound_bytes(film, tmp_path / "sound.mka") == sound
    assert 0 < refused < MUTATIONS
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 2
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
