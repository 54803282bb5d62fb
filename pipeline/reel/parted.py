"""The other streams of a deliverable that is split: every packet of the source in one part, none in two.

Each part is assembled for itself. What they hold together is counted here, and held against the source read once more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from av.container import InputContainer

from pipeline.errors import VerifyError
from pipeline.reel import carry
from pipeline.reel.source import open_source
from pipeline.types import FrameIndex, Reel, Sha256

_MODULUS = 1 << 256


@dataclass(frozen=True, slots=True)
class CarriedStream:
    """One of the source's other streams as it stands in the deliverable."""

    index: int
    """In the source."""
    kind: str
    codec: str
    place: int
    """In the deliverable."""
    packets: int
    sha256: Sha256
    """Over its packets' bytes in the deliverable, one behind the other."""
    source_sha256: Sha256
    """The same of the source; of an excerpt, over the packets that were taken."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Which streams a container can hold that has no track without a packet."""

    carried: list[carry.Carried]
    left_out: list[carry.LeftOut]
    """Those that have nothing in one of the parts."""
    silent: list[str]
    """A sentence for each that has nothing at all there, so that there is nothing to lay beside."""


class _Packets:
    """How many packets, and the sum of their SHA-256: two of these are equal where the same packets were told, in
    whatever order. (Coded pictures may stand in another order than their times, by which parts are cut.)"""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0

    def update(self, data: Any, /) -> None:
        self.count += 1
        self.sum = (self.sum + int.from_bytes(hashlib.sha256(data).digest(), "big")) % _MODULUS


class _Each:
    """Tells the same bytes to several."""

    def __init__(self, *takers: carry.Takes):
        self._takers = takers

    def update(self, data: Any, /) -> None:
        for one in self._takers:
            one.update(data)


class Parted:
    """One deliverable's parts, as they are assembled one after another."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        """``spans``: the frames of every part, in order."""
        self._spans = tuple(spans)
        self._counted: dict[int, int] | None = None
        self.begun = False
        """There is a part before the next."""
        self._carried: Sequence[carry.Carried] = ()
        self._streams: dict[int, CarriedStream] = {}
        """By source stream, all packets of the parts so far counted."""
        self._taken: dict[int, _Packets] = {}
        self._made: dict[int, hashlib._Hash] = {}

    @property
    def any(self) -> bool:
        """There are other streams at all."""
        return bool(self._streams)

    def heard(self, reel: Reel, index: FrameIndex, carried: Sequence[carry.Carried], local: Path | None) -> Heard:
        """Which of these streams have a packet in every part. FFmpeg's muxer of QuickTime and MP4 leaves a track
        without one out of the file, and then the others stand at other places.

        Reads of each part no more than that takes, once.
        """
        if self._counted is None:
            self._counted = self._count(reel, index, carried, local)
        counted, most = self._counted, len(self._spans)
        lost = [c for c in carried if 0 < counted[c.index] < most]
        return Heard(
            [c for c in carried if counted[c.index] == most],
            [carry.LeftOut(c.index, _silent(c, "in one of the parts")) for c in lost],
            [_silent(c, "in these frames") for c in carried if counted[c.index] == 0],
        )

    def _count(
        self, reel: Reel, index: FrameIndex, carried: Sequence[carry.Carried], local: Path | None
    ) -> dict[int, int]:
        """Stream of the source → in how many parts it has a packet."""
        found = {c.index: 0 for c in carried}
        for number, (first, last) in enumerate(self._spans):
            missing = set(found)
            with opened(reel, local) as source:
                span = carry.span(index, first, last)
                for piece in carry.pieces(reel.uri, source, carried, span, follows=number > 0):
                    missing.discard(piece.carried.index)
                    if not missing:
                        break
            for one in set(found) - missing:
                found[one] += 1
        return found

    def taken(self, hashes: Mapping[int, carry.Takes]) -> dict[int, carry.Takes]:
        """Source stream → what is to be told its packets: the part's own hash, and the count over all parts."""
        return {i: _Each(one, self._taken.setdefault(i, _Packets())) for i, one in hashes.items()}

    def made(self, place: Mapping[int, int]) -> dict[int, hashlib._Hash]:
        """Stream of the part → the hash over all parts. ``place``: stream of the source → of the part."""
        return {there: self._made.setdefault(index, hashlib.sha256()) for index, there in place.items()}

    def done(self, carried: Sequence[carry.Carried], streams: Sequence[CarriedStream]) -> None:
        """A part was assembled and checked; these streams are in it."""
        self.begun = True
        self._carried = carried
        for one in streams:
            before = self._streams.get(one.index)
            self._streams[one.index] = replace(one, packets=one.packets + (before.packets if before else 0))

    def streams(
        self, reel: Reel, index: FrameIndex, first: int, last: int, *, local: Path | None = None
    ) -> tuple[CarriedStream, ...]:
        """The other streams over all parts, which hold the frames ``[first, last)``.

        Reads the source's once more. Raises VerifyError where a packet of it is in no part, or in two.
        """
        whole = {c.index: hashlib.sha256() for c in self._carried}
        counts = {c.index: _Packets() for c in self._carried}
        with opened(reel, local) as source:
            both = {i: _Each(whole[i], counts[i]) for i in whole}
            for _ in carry.pieces(reel.uri, source, self._carried, carry.span(index, first, last), both):
                pass
        found = []
        for one in self._streams.values():
            have, want = self._taken[one.index], counts[one.index]
            if (have.count, have.sum) != (want.count, want.sum):
                raise VerifyError(
                    f"the parts hold {have.count} packets of its stream {one.index}, "
                    f"{want.count} were expected{'' if have.count != want.count else ', and not these'}",
                    where=reel.uri,
                    todo="Deliver it in one file, without `split`",
                )
            sha256, source_sha256 = self._made[one.index].hexdigest(), whole[one.index].hexdigest()
            found.append(replace(one, sha256=sha256, source_sha256=source_sha256))
        return tuple(found)


def _silent(one: carry.Carried, where: str) -> str:
    return (
        f"The {one.said.kind} stream {one.index} ({one.said.detail}) is left out: it has nothing {where}, and mov and "
        "mp4 hold no track without a packet"
    )


@contextmanager
def opened(reel: Reel, local: Path | None) -> Iterator[InputContainer | None]:
    """The source's container; a folder of images has none."""
    if reel.sequence is not None:
        yield None
        return
    with open_source(reel.uri, local=local, stream=reel.stream) as source:
        yield source.container
