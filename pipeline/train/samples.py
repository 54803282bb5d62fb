"""Training samples, each a pure function of the seed, the step and its number: nothing has to be kept to go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import treatments
from pipeline.restore.passes.base import Job
from pipeline.restore.passes.degrain import DegrainPass
from pipeline.train.bank import Bank, Dirt
from pipeline.train.clips import Clip
from pipeline.train.damage import Mask, Recipe, damage, draw
from pipeline.train.damage.walks import track
from pipeline.train.footage import footage
from pipeline.train.pictures import Item
from pipeline.train.spec import TrainSpec

_TRAIN, _VALIDATION = 0, 1
_THINGS = 2
"""Other pictures that moving things are cut from."""
_MARGIN = 16
"""Px around a crop that is degrained: at the picture's edge the pass finds less, and a film has little edge."""
_CHANGED = 4 / 255
"""Of real examples: what differs by more is damage."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one step on one GPU."""

    stack: NDArray[np.float32]
    """(B, 3·frames, H, W), the frames one after the other on the channels."""
    target: NDArray[np.float32]
    """(B, 3, H, W)."""
    seconds: float
    """CPU time that making it took."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A damaged clip and what is wanted of it."""

    damaged: Clip
    target: Clip
    mask: Mask


@dataclass(frozen=True, slots=True)
class _Cut:
    """What of the footage becomes a shot."""

    frames: int
    side: int
    """px."""
    flips: NDArray[np.int64]
    """(3,) 0 or 1; the first: mirrored left to right."""
    place: tuple[float, float]
    """Where in a film, 0 to 1 each (see ``Bank.window``)."""


class Samples:
    """Makes samples from items. May be asked by several threads."""

    def __init__(self, spec: TrainSpec, bank: Bank, items: Sequence[Item], radius: int, dirt: Dirt | None):
        self._spec, self._bank, self._items, self._radius, self._dirt = spec, bank, items, radius, dirt

    def batch(self, step: int, numbers: Sequence[int]) -> Batch:
        """The samples of these numbers (0 to the spec's batch) of a step."""
        began = time.thread_time()
        window = 2 * self._radius + 1
        shots = [self._shot((_TRAIN, step, n), window, self._spec.crop) for n in numbers]
        side = self._spec.crop
        stack = np.stack([s.damaged.reshape(3 * window, side, side) for s in shots])
        target = np.stack([s.target[self._radius] for s in shots])
        return Batch(stack, target, time.thread_time() - began)

    def validation(self, number: int) -> Shot:
        """The clip of this number to measure on: the same whatever the step."""
        wanted = self._spec.validation
        return self._shot((_VALIDATION, 0, number), wanted.frames + 2 * self._radius, wanted.crop)

    def _shot(self, key: tuple[int, int, int], frames: int, side: int) -> Shot:
        seed = [self._spec.seed, *key]
        if self._spec.round and key[0] == _TRAIN:
            seed.append(self._spec.round)
        rng = np.random.default_rng(seed)
        # Measured clips go through the items in turn.
        number = int(rng.integers(len(self._items)))
        item = self._items[key[2] % len(self._items) if key[0] == _VALIDATION else number]
        recipe = draw(self._spec.damage, rng, frames=frames)
        flips, place = rng.integers(0, 2, 3), (float(rng.random()), float(rng.random()))
        cut = _Cut(frames, side, flips, place)
        if item.damaged:
            return self._example(item, rng, cut)
        if self._spec.degrained and item.kind == "stills" and rng.random() < self._spec.degrained:
            larger = replace(cut, frames=frames + 2 * DegrainPass.radius, side=side + 2 * _MARGIN)
            recipe = _behind(recipe, DegrainPass.radius, larger.side / side)
            return _degrained(self._made(seed, item, recipe, rng, larger))
        return self._made(seed, item, recipe, rng, cut)

    def _made(self, seed: Sequence[int], item: Item, recipe: Recipe, rng: np.random.Generator, cut: _Cut) -> Shot:
        """Footage, and what befalls it."""
        made = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
        length, side = cut.frames + recipe.lost, cut.side
        if item.kind == "stills":
            others = [self._items[int(i)] for i in rng.integers(0, len(self._items), _THINGS)]
            stills = [self._bank.still(i, float(s)) for i, s in zip((item, *others), rng.random(3), strict=True)]
            width = stills[0].shape[3]
            # One interpolation moves the camera and the gate; a splice takes frames out first, so it is moved later.
            way = track(length, recipe, made, width=width) if recipe.splice is None else None
            clip = footage(stills, self._spec.motion, rng, frames=length, size=(side, side), width=width, track=way)
            if way is not None:
                recipe = replace(recipe, weave=0.0, weave_turn=0.0)
        else:
            clip, _ = self._bank.window(item, length, cut.place)
            width = clip.shape[3]
            clip = _flipped(_cropped(clip, side, rng), cut.flips)
        found = damage(clip, recipe, made, width=width, overlays=self._dirt)
        return Shot(found.damaged, found.target, found.mask)

    def _example(self, item: Item, rng: np.random.Generator, cut: _Cut) -> Shot:
        """A crop of a real pair, mirrored at random."""
        clean, spoilt = self._bank.window(item, cut.frames, cut.place)
        assert spoilt is not None  # the item has counterparts
        both = _flipped(_cropped(np.concatenate((clean, spoilt)), cut.side, rng), cut.flips)
        clean, spoilt = both[: cut.frames], both[cut.frames :]
        return Shot(spoilt, clean, np.abs(spoilt - clean).max(axis=1) > _CHANGED)


class Loader:
    """Batches made ahead of their use by threads of their own."""

    def __init__(self, samples: Samples, numbers: Sequence[int], *, threads: int, ahead: int):
        self._samples, self._numbers, self._ahead = samples, numbers, ahead
        # One thread of torch's for each: their pictures are small, and the net wants the cores. Setting it reaches all
        # threads that begin later, so they must have begun before the net's own number is set.
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix="samples", initializer=torch.set_num_threads, initargs=(1,)
        )
        begun = threading.Barrier(threads + 1)
        for _ in range(threads):
            self._pool.submit(begun.wait)
        begun.wait()
        self.waited = 0.0
        """Seconds that whoever uses the batches has waited for them."""
        self.busy = 0.0
        """Seconds of CPU time that making them took."""

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of the steps [first, last), in order."""
        queue: list[Future[Batch]] = []
        following = first
        for _ in range(first, last):
            while following < last and len(queue) <= self._ahead:
                queue.append(self._pool.submit(self._samples.batch, following, self._numbers))
                following += 1
            began = time.perf_counter()
            batch = queue.pop(0).result()
            self.waited += time.perf_counter() - began
            self.busy += batch.seconds
            yield batch


def _behind(recipe: Recipe, radius: int, larger: float) -> Recipe:
    """The recipe as a pass behind `deflicker` and `scratches` meets it: the target keeps lines, of which averaging
    leaves a third. For a picture so many times as wide and high, and so many frames longer at either end."""
    return replace(
        recipe,
        flicker=0.0,
        flicker_offset=0.0,
        flicker_local=0.0,
        scratches=0,
        hairs=0,
        dirt=recipe.dirt * larger**2,
        overlays=recipe.overlays * larger**2,
        splice=None if recipe.splice is None else recipe.splice + radius,
    )


def _degrained(shot: Shot) -> Shot:
    """What the pass leaves of a shot, without its radius of frames at either end and the margin on every side."""
    one, radius = DegrainPass(treatments.DegrainPass().model_dump()), DegrainPass.radius
    pictures = [torch.from_numpy(np.ascontiguousarray(frame)) for frame in shot.damaged]
    inner = range(radius, len(pictures) - radius)
    found = one.restore([Job(k, tuple(pictures[k - radius : k + radius + 1]), {}) for k in inner])
    frames, rows = slice(inner.start, inner.stop), np.s_[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return Shot(
        np.clip(np.stack([f.rgb.numpy() for f in found])[rows], 0, 1),
        np.ascontiguousarray(shot.target[frames][rows]),
        np.ascontiguousarray(shot.mask[frames][rows]),
    )


def _cropped(clip: Clip, side: int, rng: np.random.Generator) -> Clip:
    """A square of the clip; a smaller clip is mirrored at its right and lower edge."""
    h, w = clip.shape[2:]
    if h < side or w < side:
        clip = np.pad(clip, ((0, 0), (0, 0), (0, max(0, side - h)), (0, max(0, side - w))), "symmetric")
        h, w = clip.shape[2:]
    y, x = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
    return clip[:, :, y : y + side, x : x + side]


def _flipped(clip: Clip, flips: NDArray[np.int64]) -> Clip:
    """Mirrored left to right. Not upside down, nor turned: film has an upper side, and scratches run along it."""
    return np.ascontiguousarray(clip[..., ::-1] if flips[0] else clip)
