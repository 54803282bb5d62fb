"""Damaged clips with a known truth, to measure restoration by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jobs.train import load
from pipeline.errors import CallError
from pipeline.train.bank import Bank, Dirt
from pipeline.train.clips import Clip
from pipeline.train.damage import Recipe, damage
from pipeline.train.damage.walks import track
from pipeline.train.footage import Motion, footage
from pipeline.train.pictures import Item, files_below, find
from pipeline.train.spec import Data

Mask = NDArray[np.bool_]
"""(N, H, W)."""
WIDTH = 768
"""px: how wide the film is that the clips are cut from; all lengths of motion and damage go by it."""
SEED = 1895
_MEMORY_MIB = 256
_OTHERS = 2
"""Further pictures that moving things are cut from."""
_VISIBLE = 0.1
"""Share of full range by which a defect must change the picture for a pass to be asked to find it."""
_PRESET = "nafnet-film"
"""The training preset whose split of the pictures is the benchmark's: what it holds out is measured on."""


Which = Literal["held out", "trained", "all"]
"""Photographs of a folder: those that the training preset holds out, those that it does not, or all of it."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    width: int = 384
    """px, of a clip."""
    height: int = 288
    frames: int = 28
    film: int = WIDTH
    """px, of the film that it is cut from."""


@dataclass(frozen=True, slots=True)
class Case:
    """A clip."""

    name: str
    about: str
    damaged: Clip
    truth: Clip
    dirt: Mask
    """Where dirt lies, however faint."""
    seen: Mask
    """Where it changes the picture by a tenth of full range or more."""
    lines: Mask
    """Where scratches are."""
    averaged: Clip
    """The truth with as much of the grain as the mean of all the clip's frames would leave, were nothing else wrong."""

    @property
    def mask(self) -> Mask:
        return np.asarray(self.dirt | self.lines, np.bool_)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Photographs that footage is made from, and overlays of real dirt."""

    items: Sequence[Item]
    bank: Bank
    dirt: Dirt | None
    chosen: Literal["shipped"] | Which
    """``shipped``: the photograph that ships with the project. What a net has seen of them is another question:
    ``bench_seen``."""

    def stills(self, first: int) -> list[Clip]:
        """The background, then what things are cut from; another one for every ``first``."""
        chosen = [self.items[(first + k) % len(self.items)] for k in range(1 + _OTHERS)]
        return [self.bank.still(item, 1.0 if k else 0.0) for k, item in enumerate(chosen)]


def pictures(data: Sequence[str], overlays: str | None, which: Which = "held out") -> Pictures:
    """Those of ``data`` that training holds out, those that it does not, or every one; without any, the photograph that
    ships with the project.

    Raises CallError where there is none, or a folder is no folder of stills.
    """
    bank = Bank((WIDTH - 168, 1200), _MEMORY_MIB)
    dirt = Dirt(bank, [f.uri for f in files_below(overlays, (".png",))]) if overlays else None
    if not data:
        photo = resources.files("jobs") / "assets" / "seeding.jpg"
        return Pictures([Item("seeding.jpg", "stills", (str(photo),))], bank, dirt, "shipped")
    spec = load(_PRESET, data=data, overlays=None, overrides=())
    said: Data = spec.data
    if any(s.kind != "stills" or s.damaged for s in said.sources):
        raise CallError("the benchmark is made from stills", where="--data", todo="Give folders of clean photographs")
    split = find(said, spec.seed)
    items = {
        "held out": split.validation,
        "trained": split.train,
        "all": sorted((*split.train, *split.validation), key=lambda i: i.name),
    }
    return Pictures(items[which], bank, dirt, which)


MOVING = Motion(still=0, pan=3.0, zoom=0.004, turn=0.15, objects=(2, 2), object_speed=8.0, limbs=1, uneven=0, lines=1)
_STILL = MOVING.model_copy(update={"still": 1.0})
_QUIET = _STILL.model_copy(update={"objects": (1, 1), "limbs": 0.0})
_WORN = Recipe(
    dirt=5,
    overlays=1.0,
    overlay_size=(20.0, 140.0),
    scratches=2,
    scratch_walk=(0.2, 0.8),
    flicker=0.04,
    flicker_offset=2 / 255,
    flicker_local=0.02,
    grain=5 / 255,
    grain_lag=1,
    drift=0.02,
)
_NO_MORE: Mapping[str, Any] = {
    "grain": 0.0,
    "scratches": 0,
    "flicker": 0.0,
    "flicker_offset": 0.0,
    "flicker_local": 0.0,
}
"""What a recipe of dirt alone lacks."""
DAMAGED: Mapping[str, tuple[str, Motion, Recipe]] = {
    "pan": ("the camera pans, things move; colour", MOVING, _WORN),
    "old": (
        "the same, monochrome, coarse grain, much dirt, three scratches",
        MOVING,
        replace(_WORN, monochrome=True, grain=8 / 255, grain_lag=2, dirt=9, scratches=3, flicker=0.05),
    ),
    "tripod": (
        "the camera stands, legs swing; no scratch that could be told from a real line",
        _STILL,
        replace(_WORN, scratches=0, dirt=7, grain=6 / 255),
    ),
    "leaps": (
        "frames stand and leap, as in transfers of hand-cranked film; light dirt, one scratch",
        MOVING.model_copy(update={"uneven": 1.0}),
        replace(_WORN, dirt=3, scratches=1, grain=4 / 255, flicker=0.03),
    ),
}
"""Name → what it is, how it moves and what befalls it. None weaves: with the camera moving, nobody can tell the gate's
way from the camera's, and the figures would tell of nothing else."""
_HEAVY = replace(
    _WORN,
    dirt=12,
    dirt_opacity=(0.7, 1.0),
    overlays=2.0,
    overlay_size=(20.0, 250.0),
    scratches=3,
    scratch_depth=(0.1, 0.4),
    flicker=0.05,
    flicker_local=0.05,
    grain=8 / 255,
    grain_lag=2,
)
WRECKED: Mapping[str, tuple[str, Motion, Recipe]] = {
    "worn still": (
        "a camera that stands, monochrome; coarse grain, dirt upon dirt",
        _STILL,
        replace(_HEAVY, monochrome=True, scratches=0),
    ),
    "worn pan": ("a camera that pans over fine detail, colour; the same, and three scratches", MOVING, _HEAVY),
}
"""Film with more of all that, in the upper half of the ranges of damage: by itself, for there others and we do less."""
_FIRST_WRECK = 4
"""Number of the first one's pictures."""
_WOVEN: Mapping[str, tuple[float, float]] = {"weave": (2.0, 0.3), "slow weave": (2.0, 0.8)}
"""Name → standard deviation in px at a width of 2048, and memory of the walk, before a camera that stands."""


def damaged(found: Pictures, size: Size, *, only: Collection[str] | None = None) -> list[Case]:
    """The clips that are scored; ``only``: these of them."""
    return [
        made(name, about, found, size, number, motion, recipe)
        for number, (name, (about, motion, recipe)) in enumerate(DAMAGED.items())
        if only is None or name in only
    ]


def worn(found: Pictures, size: Size) -> list[Case]:
    """The clips of heavily worn film."""
    return [
        made(name, about, found, size, _FIRST_WRECK + number, motion, recipe)
        for number, (name, (about, motion, recipe)) in enumerate(WRECKED.items())
    ]


def woven(found: Pictures, size: Size) -> list[Case]:
    """Clips of a still camera whose picture weaves; flicker, grain and a little dirt upon it."""
    cases = []
    for number, (name, (sigma, memory)) in enumerate(_WOVEN.items()):
        recipe = replace(_WORN, scratches=0, dirt=2, overlays=0, weave=sigma, weave_memory=memory)
        cases.append(made(name, f"σ {sigma:g} px at 2048 px, ρ {memory:g}", found, size, 4 + number, _QUIET, recipe))
    return cases


def made(name: str, about: str, found: Pictures, size: Size, number: int, motion: Motion, recipe: Recipe) -> Case:
    """A clip of the pictures from ``number`` on, which is its seed as well."""
    stills, seed = found.stills(number), SEED + number

    def shot(way: NDArray[np.float32] | None) -> Clip:
        rng = np.random.default_rng(seed)
        return footage(
            stills, motion, rng, frames=size.frames, size=(size.height, size.width), width=size.film, track=way
        )

    truth = given = shot(None)
    if recipe.weave:
        # Where a shot's picture lies as a whole is nobody's to know: the weave is about the truth's place.
        way = track(size.frames, recipe, seed, width=size.film)
        given = shot(way - way.mean(axis=0, dtype=np.float32))
        recipe = replace(recipe, weave=0.0)
    if recipe.monochrome:
        luma = np.einsum("nchw,c->nhw", truth, np.array((0.2126, 0.7152, 0.0722), np.float32))
        truth = np.ascontiguousarray(np.repeat(luma[:, None], 3, axis=1))
    harmed = damage(given, recipe, seed, width=size.film, overlays=found.dirt)
    # As bright as the shot is on the whole, which is nobody's to know either: the flicker is about that.
    truth = np.clip(truth * harmed.gain.mean() + harmed.offset.mean(), 0, 1)
    # Dirt by itself, the same draws: what grain and flicker change beneath a faint spot is no dirt to be seen.
    alone = damage(given, replace(recipe, **_NO_MORE), seed, width=size.film, overlays=found.dirt)
    lit = np.abs(alone.damaged - alone.target).max(axis=1)
    spots, lines = harmed.masks["dirt"], harmed.masks["scratches"] | harmed.masks["hairs"]
    grainy = damage(
        truth, replace(recipe, **{**_NO_MORE, "grain": recipe.grain}, dirt=0, overlays=0), seed, width=size.film
    )
    averaged = truth + (grainy.damaged - truth) / np.float32(np.sqrt(size.frames))
    return Case(name, about, harmed.damaged, truth, spots, spots & (lit > _VISIBLE), lines, averaged)
