"""Decoded pictures, read when they are wanted and kept while there is room."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.plan import cuts
from pipeline.reel.decode import decode
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.reel.still import read_alpha, read_picture
from pipeline.restore.colour import Converter
from pipeline.storage import store
from pipeline.train.clips import Clip, shrink, to_clip
from pipeline.train.pictures import Item
from pipeline.types import FrameIndex, Reel

Pictures = NDArray[np.uint8]
_CHUNK = 24
"""Frames of a film or clip that are decoded in one go."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of frames: uint8 (N, H, W, 3), and where shots begin in it."""

    frames: Pictures
    shots: tuple[int, ...]
    """First frame of every shot, and the number of frames."""


class Bank:
    """Pictures by item. May be asked by several threads; a picture that two want at once may be read twice."""

    def __init__(self, width: tuple[int, int], memory_mib: int):
        """width: px, least and most, of a picture after shrinking by a whole number."""
        self._width = width
        self._room = memory_mib << 20
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        self._films: dict[str, tuple[Reel, FrameIndex]] = {}

    def still(self, item: Item, share: float, *, damaged: bool = False) -> Clip:
        """The picture as a clip of one frame, at one of the sizes that its own allows: ``share`` (0 to 1) says which.
        Raises SourceError, StorageError."""
        uri = (item.damaged if damaged else item.uris)[0]
        whole = self._get(("picture", uri), lambda: _read(uri, read_picture))
        factors = self._factors(whole.shape[1])
        factor = factors[min(int(share * len(factors)), len(factors) - 1)]
        small: Pictures = self._get(("small", uri, factor), lambda: _shrunk(whole, factor))
        return to_clip(small[None])

    def window(self, item: Item, frames: int, share: tuple[float, float]) -> tuple[Clip, Clip | None]:
        """So many consecutive frames of a clip or film, all of one shot, and the damaged ones where there are any.

        ``share`` (0 to 1 each): where. A shot that is too short repeats its last frame. Raises as ``still``.
        """
        many = self._frames_of(item)
        chunks = max(1, -(-many // _CHUNK))
        at = min(int(share[0] * chunks), chunks - 1) * _CHUNK
        first = max(0, min(at, many - max(_CHUNK, frames)))
        last = min(first + max(_CHUNK, frames), many)
        chunk: Chunk = self._get(("chunk", item.uris[0], first, last), lambda: self._chunk(item, first, last, False))
        starts = [
            s for a, b in zip(chunk.shots, chunk.shots[1:], strict=False) for s in range(a, max(b - frames, a) + 1)
        ]
        start = starts[min(int(share[1] * len(starts)), len(starts) - 1)]
        end = next(s for s in chunk.shots if s > start)
        numbers = np.minimum(np.arange(start, start + frames), end - 1)
        clip = to_clip(chunk.frames[numbers])
        if not item.damaged:
            return clip, None
        other: Chunk = self._get(("chunk", item.damaged[0], first, last), lambda: self._chunk(item, first, last, True))
        if other.frames.shape != chunk.frames.shape:
            raise SourceError(
                f"the damaged picture is {other.frames.shape[1:3]} px, the clean one {chunk.frames.shape[1:3]}",
                where=item.damaged[first],
            )
        return clip, to_clip(other.frames[numbers])

    def overlay(self, uri: str) -> Pictures:
        """How far a picture of dirt covers, uint8 (h, w), cut to what there is of it. Raises as ``still``."""
        found: Pictures = self._get(("overlay", uri), lambda: _inked(_read(uri, read_alpha)))
        return found

    def _factors(self, width: int) -> list[int]:
        low, high = self._width
        fit = [k for k in range(1, width + 1) if low <= width // k <= high]
        return fit or [max(1, -(-width // high))]

    def _frames_of(self, item: Item) -> int:
        if item.kind != "films":
            return len(item.uris)
        uri = item.uris[0]
        with self._lock:
            if uri not in self._films:
                reel = probe(uri, item.name, spec.Source())
                self._films[uri] = (reel, build(reel))
            return len(self._films[uri][1])

    def _chunk(self, item: Item, first: int, last: int, damaged: bool) -> Chunk:
        if item.kind != "films":
            pictures = [_read(uri, read_picture) for uri in (item.damaged if damaged else item.uris)[first:last]]
            if len({p.shape for p in pictures}) > 1:
                raise SourceError("the pictures of a clip have several sizes", where=item.uris[first])
            factor = self._factors(pictures[0].shape[1])[0] if not item.damaged else 1
            return Chunk(np.stack([_shrunk(p, factor) for p in pictures]), (0, len(pictures)))
        reel, index = self._films[item.uris[0]]
        native = decode(reel, index, first, last, threads=1)
        begins = np.flatnonzero(cuts.find(cuts.signature(native)))
        to_rgb = Converter(reel.format, reel.colour, "cpu")
        factor = self._factors(reel.width)[0]
        found = []
        for i in range(len(native)):
            rgb = to_rgb.to_rgb([p[None] for p in to_rgb.upload([p[i] for p in native.planes])])
            codes = rgb[0].clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0)
            found.append(_shrunk(codes.numpy(), factor))
        return Chunk(np.stack(found), (0, *(int(b) for b in begins), len(found)))

    def _get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        made = make()
        size = made.frames.nbytes if isinstance(made, Chunk) else made.nbytes
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (made, size)
                self._used += size
            while self._used > self._room and len(self._kept) > 1:
                _, (_, gone) = self._kept.popitem(last=False)
                self._used -= gone
        return made


class Dirt:
    """The overlays of a folder, as ``damage`` takes them."""

    def __init__(self, bank: Bank, uris: Sequence[str]):
        self._bank, self._uris = bank, uris

    def __len__(self) -> int:
        return len(self._uris)

    def __getitem__(self, number: int, /) -> Pictures:
        return self._bank.overlay(self._uris[number])


def _shrunk(picture: Pictures, factor: int) -> Pictures:
    if factor == 1:
        return picture
    small = shrink(to_clip(picture[None]), factor)[0].transpose(1, 2, 0)
    return np.asarray(np.rint(small * 255), np.uint8)


def _inked(cover: Pictures) -> Pictures:
    rows, columns = np.flatnonzero(cover.max(axis=1) > 8), np.flatnonzero(cover.max(axis=0) > 8)
    if not len(rows):
        return np.zeros((1, 1), np.uint8)
    return np.ascontiguousarray(cover[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _read(uri: str, how: Callable[[Path], Pictures]) -> Pictures:
    with _local(uri) as path:
        return how(path)


@contextmanager
def _local(uri: str) -> Iterator[Path]:
    path = store.local_path(uri)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="reelmend-train-") as folder:
        copy = Path(folder, uri.rsplit("/", 1)[-1])
        store.fetch(uri, copy)
        yield copy
