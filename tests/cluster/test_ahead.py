"""The first frames of the next tiles go up beside the computing, however many tiles wait for the restorer."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from jobs.restore import make_job
from pipeline.cluster import steps
from pipeline.cluster.restorer import TileRestorer
from pipeline.cluster.surveying import prepare_here
from pipeline.cluster.work import Decoded, ReelWork
from tests.reel.films import ARCHIVE, make_film
from tests.restore.test_staging import Book


class Bench:
    """A restorer with a GPU's lanes, and the tiles of a film."""

    def __init__(self, folder: Path):
        film = folder / "film.mkv"
        make_film(film, pixel_format_name="gray", frames=48, options=ARCHIVE)
        job = make_job([str(film)], str(folder / "out"), config="archive", overrides=["chain=[]", "tiles.frames=8"])
        made = prepare_here(job, 0)
        plan = made.plan
        self.work = ReelWork(plan, job.out, job.spec, stage=False)
        self.tiles = [
            steps.decode_tile(self.work, made.index, tile, tile_id)
            for tile, tile_id in zip(plan.tiles, plan.tile_ids, strict=True)
        ]
        self.restorer = TileRestorer(plan.chain, job.spec, job.nets, "cpu")
        self.alone = TileRestorer(plan.chain, job.spec, job.nets, "cpu")
        self.book = Book(2)
        self.restorer._restorer._lanes = self.book
        self.begun = [threading.Event() for _ in self.tiles]

    def ahead(self, tiles: list[Decoded]) -> threading.Thread:
        """What the actor's second thread does."""

        def run() -> None:
            for decoded in tiles:
                self.restorer.begin(self.work, decoded)
                self.begun[decoded.tile.number].set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def restore(self, decoded: Decoded) -> None:
        found, wanted = (r.restore(self.work, decoded).frames for r in (self.restorer, self.alone))
        assert all(map(np.array_equal, found.planes, wanted.planes))

    @property
    def sent(self) -> int:
        return sum(note.startswith("send") for note in self.book.notes)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def reads(decoded: Decoded) -> int:
    """Frames of it that a chain without passes reads."""
    return decoded.tile.last - decoded.tile.restore_first


def test_every_tile_finds_its_first_frames_there(bench: Bench) -> None:
    assert len(bench.tiles) == 6
    assert bench.tiles[1].tile.head > 0  # frames that are there for the cuts alone
    thread = bench.ahead(bench.tiles)
    for number, decoded in enumerate(bench.tiles):
        assert bench.begun[number].wait(30)
        # All wait, and two have been begun, no more.
        assert len(bench.restorer._begun) <= 2
        with bench.restorer._moved:
            mine = bench.restorer._begun[decoded.tile_id]
        assert list(mine) == [decoded.tile.restore_first, decoded.tile.restore_first + 1]
        bench.restore(decoded)
    thread.join(30)
    assert not thread.is_alive()
    assert bench.sent == sum(map(reads, bench.tiles)), "no frame went up twice"


def test_what_comes_too_late_is_not_sent(bench: Bench) -> None:
    first = bench.tiles[0]
    bench.restore(first)
    bench.restorer.begin(bench.work, first)
    assert bench.sent == reads(first)
    assert not bench.restorer._begun


def test_tiles_that_never_come_hold_nobody_up(bench: Bench) -> None:
    thread = bench.ahead(bench.tiles[:4])
    assert bench.begun[1].wait(30)
    # What the first three were decoded to is lost; the fourth is restored without having been begun.
    bench.restore(bench.tiles[3])
    thread.join(30)
    assert not thread.is_alive()
    assert [*bench.restorer._begun] == [bench.tiles[2].tile_id]
    bench.restorer.begin(bench.work, bench.tiles[4])
    before = bench.sent
    bench.restore(bench.tiles[4])
    assert bench.sent - before == reads(bench.tiles[4]) - 2
    assert not bench.restorer._begun
