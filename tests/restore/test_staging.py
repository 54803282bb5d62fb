"""Copies beside the computing: what is on its way when a frame is given, in what order, and what waits for what.

A GPU's streams are not to be had here, so the lanes are a stand-in that keeps book; the order of events is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.restore.chain import Restorer
from pipeline.restore.staging import Inline, Planes, begin, lanes, uploaded
from pipeline.types import Tile
from tests.restore.test_chain import Watch
from tests.restore.toys import GRAY, Mix, cut_at, engine, film, of, plan


class Book:
    """Lanes that note what they are asked, and hand a picture out only when it is waited for."""

    def __init__(self, ahead: int):
        self.ahead = ahead
        self.notes: list[str] = []
        self._sent = 0
        self._fetched: list[tuple[torch.Tensor, torch.Tensor]] = []

    def send(self, upload: Callable[[], Planes]) -> Callable[[], Planes]:
        n, planes = self._sent, upload()
        self._sent += 1
        self.notes.append(f"send {n}")

        def arrived() -> Planes:
            self.notes.append(f"wait {n}")
            return planes

        return arrived

    def fetch(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self.notes.append("fetch")
        self._fetched.append((target, source.clone()))

    def finish(self) -> None:
        self.notes.append("finish")
        for target, source in self._fetched:
            target.copy_(source)


def test_the_next_frames_are_on_their_way_when_one_is_given() -> None:
    book = Book(2)
    given = []
    for n, (plane,) in uploaded([3, 5, 6, 9, 10], lambda n: (torch.tensor(n),), book):
        assert int(plane) == n
        given.append(n)
        book.notes.append(f"compute {n}")
    assert given == [3, 5, 6, 9, 10]
    assert book.notes == [
        *("send 0", "send 1", "send 2", "wait 0", "compute 3"),
        *("send 3", "wait 1", "compute 5"),
        *("send 4", "wait 2", "compute 6"),
        *("wait 3", "compute 9"),
        *("wait 4", "compute 10"),
    ]


def test_nothing_is_read_ahead_on_a_cpu() -> None:
    assert isinstance(lanes(torch.device("cpu")), Inline)
    seen: list[int] = []

    def upload(n: int) -> Planes:
        seen.append(n)
        return ()

    for n, _ in uploaded(range(4), upload, Inline()):
        assert seen[-1] == n


def test_what_was_begun_is_not_sent_again() -> None:
    book = Book(2)

    def upload(n: int) -> Planes:
        return (torch.tensor(n),)

    begun = begin(range(3, 9), upload, book)
    assert list(begun) == [3, 4]
    # 4 is not asked for: its window reads another frame.
    assert [int(plane) for _, (plane,) in uploaded([3, 5, 6], upload, book, begun)] == [3, 5, 6]
    assert [n for n in book.notes if n.startswith("send")] == [f"send {i}" for i in range(4)]


@pytest.mark.parametrize("ahead", [0, 1, 2, 50])
def test_a_chain_gives_the_same_film_through_any_lanes(ahead: int) -> None:
    frames = film(9)
    plans = [plan("a", 1), plan("b", 2)]

    def run(book: Any, *, early: bool = False) -> tuple[Any, Watch]:
        r = Restorer(plans, engine(), {}, "cpu", factories={"toy": of({"a": Mix(1), "b": Mix(2)})})
        if book is not None:
            r._lanes = book
        watch = Watch()
        values = {p.name: dict(p.parameters) for p in plans}
        tile = Tile(0, 0, 9, 0, 0, 0)
        begun = r.begin(frames, tile, GRAY) if early else {}
        out = r.run(frames, tile, cut_at(9, [4]), lambda n: values, GRAY, watch, begun=begun)
        return [p.copy() for p in out.planes], watch

    book = Book(ahead)
    found, watch = run(book)
    wanted, same = run(None)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert watch.numbers == same.numbers
    # All came down, after the last one was computed, and the whole was waited for.
    assert book.notes.count("fetch") == 9
    assert book.notes[-1] == "finish"
    assert [n for n in book.notes if n.startswith("wait")] == [f"wait {i}" for i in range(9)]

    book = Book(ahead)
    found, _ = run(book, early=True)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert book.notes[: min(ahead, 9)] == [f"send {i}" for i in range(min(ahead, 9))]
    assert sum(n.startswith("send") for n in book.notes) == 9


def test_what_is_begun_is_what_the_passes_read() -> None:
    """A tile holds two frames more on each side, for its cuts."""
    frames, tile = film(20), Tile(1, 8, 12, 1, 5, 5)
    r = Restorer([plan("a", 1), plan("b", 2)], engine(), {}, "cpu", factories={"toy": of({"a": Mix(1), "b": Mix(2)})})
    r._lanes = book = Book(2)
    values = {name: {"strength": 1.0} for name in ("a", "b")}
    span = frames.span(tile.read_first, tile.read_last)
    begun = r.begin(span, tile, GRAY)
    assert list(begun) == [4, 5]
    r.run(span, tile, cut_at(len(span), []), lambda n: values, GRAY, Watch(), begun=begun)
    assert sum(n.startswith("send") for n in book.notes) == len(range(4, 15))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_s_lanes() -> None:
    through = lanes(torch.device("cuda:0"))
    assert through.ahead > 0
    source = [torch.randint(0, 255, (512, 512), dtype=torch.uint8).pin_memory() for _ in range(8)]
    out = [torch.empty(512, 512, dtype=torch.uint8, pin_memory=True) for _ in range(8)]
    for n, (plane,) in uploaded(range(8), lambda n: (source[n].to("cuda:0", non_blocking=True),), through):
        through.fetch(out[n], 255 - plane)
    through.finish()
    assert all(torch.equal(255 - a, b) for a, b in zip(source, out, strict=True))
