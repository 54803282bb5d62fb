"""Clips with a known truth, to measure restoration by: damaged ones, and traps, which hold nothing to be mended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources

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
_SEED = 1895
_MEMORY_MIB = 256
_OTHERS = 2
"""Further pictures that moving things are cut from."""
_VISIBLE = 0.1
"""Share of full range by which a defect must change the picture for a pass to be asked to find it."""
_PRESET = "nafnet-film"
"""The training preset whose split of the pictures is the benchmark's: what it holds out is measured on."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    width: int = 384
    """px, of a clip."""
    height: int = 288
    frames: int = 28


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

    @property
    def mask(self) -> Mask:
        return np.asarray(self.dirt | self.lines, np.bool_)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Photographs that footage is made from, and overlays of real dirt."""

    items: Sequence[Item]
    bank: Bank
    dirt: Dirt | None
    held_out: bool
    """Whether training kept its hands off them."""

    def stills(self, first: int) -> list[Clip]:
        """The background, then what things are cut from; another one for every ``first``."""
        chosen = [self.items[(first + k) % len(self.items)] for k in range(1 + _OTHERS)]
        return [self.bank.still(item, 1.0 if k else 0.0) for k, item in enumerate(chosen)]


def pictures(data: Sequence[str], overlays: str | None) -> Pictures:
    """Those of ``data`` that training holds out; without any, the photograph that ships with the project.

    Raises CallError where there is none, or a folder is no folder of stills.
    """
    bank = Bank((WIDTH - 168, 1200), _MEMORY_MIB)
    dirt = Dirt(bank, [f.uri for f in files_below(overlays, (".png",))]) if overlays else None
    if not data:
        photo = resources.files("jobs") / "assets" / "seeding.jpg"
        return Pictures([Item("seeding.jpg", "stills", (str(photo),))], bank, dirt, held_out=False)
    spec = load(_PRESET, data=data, overlays=None, overrides=())
    said: Data = spec.data
    if any(s.kind != "stills" or s.damaged for s in said.sources):
        raise CallError("the benchmark is made from stills", where="--data", todo="Give folders of clean photographs")
    return Pictures(find(said, spec.seed).validation, bank, dirt, held_out=True)


_MOVING = Motion(still=0, pan=3.0, zoom=0.004, turn=0.15, objects=(2, 2), object_speed=8.0, limbs=1, uneven=0, lines=1)
_STILL = _MOVING.model_copy(update={"still": 1.0})
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
_DAMAGED: Mapping[str, tuple[str, Motion, Recipe]] = {
    "pan": ("the camera pans, things move; colour", _MOVING, _WORN),
    "old": (
        "the same, monochrome, coarse grain, much dirt, three scratches",
        _MOVING,
        replace(_WORN, monochrome=True, grain=8 / 255, grain_lag=2, dirt=9, scratches=3, flicker=0.05),
    ),
    "tripod": (
        "the camera stands, legs swing; no scratch that could be told from a real line",
        _STILL,
        replace(_WORN, scratches=0, dirt=7, grain=6 / 255),
    ),
    "leaps": (
        "frames stand and leap, as in transfers of hand-cranked film; light dirt, one scratch",
        _MOVING.model_copy(update={"uneven": 1.0}),
        replace(_WORN, dirt=3, scratches=1, grain=4 / 255, flicker=0.03),
    ),
}
"""Name → what it is, how it moves and what befalls it. None weaves: with the camera moving, nobody can tell the gate's
way from the camera's, and the figures would tell of nothing else."""
_WOVEN: Mapping[str, tuple[float, float]] = {"weave": (2.0, 0.3), "slow weave": (2.0, 0.8)}
"""Name → standard deviation in px at a width of 2048, and memory of the walk, before a camera that stands."""


def damaged(found: Pictures, size: Size, *, only: Collection[str] | None = None) -> list[Case]:
    """The clips that are scored; ``only``: these of them."""
    return [
        _case(name, about, found, size, number, motion, recipe)
        for number, (name, (about, motion, recipe)) in enumerate(_DAMAGED.items())
        if only is None or name in only
    ]


def woven(found: Pictures, size: Size) -> list[Case]:
    """Clips of a still camera whose picture weaves; flicker, grain and a little dirt upon it."""
    cases = []
    for number, (name, (sigma, memory)) in enumerate(_WOVEN.items()):
        recipe = replace(_WORN, scratches=0, dirt=2, overlays=0, weave=sigma, weave_memory=memory)
        cases.append(_case(name, f"σ {sigma:g} px at 2048 px, ρ {memory:g}", found, size, 4 + number, _QUIET, recipe))
    return cases


def _case(name: str, about: str, found: Pictures, size: Size, number: int, motion: Motion, recipe: Recipe) -> Case:
    stills, seed = found.stills(number), _SEED + number

    def shot(way: NDArray[np.float32] | None) -> Clip:
        rng = np.random.default_rng(seed)
        return footage(stills, motion, rng, frames=size.frames, size=(size.height, size.width), width=WIDTH, track=way)

    truth = given = shot(None)
    if recipe.weave:
        # Where a shot's picture lies as a whole is nobody's to know: the weave is about the truth's place.
        way = track(size.frames, recipe, seed, width=WIDTH)
        given = shot(way - way.mean(axis=0, dtype=np.float32))
        recipe = replace(recipe, weave=0.0)
    if recipe.monochrome:
        luma = np.einsum("nchw,c->nhw", truth, np.array((0.2126, 0.7152, 0.0722), np.float32))
        truth = np.ascontiguousarray(np.repeat(luma[:, None], 3, axis=1))
    made = damage(given, recipe, seed, width=WIDTH, overlays=found.dirt)
    # As bright as the shot is on the whole, which is nobody's to know either: the flicker is about that.
    truth = np.clip(truth * made.gain.mean() + made.offset.mean(), 0, 1)
    lit = np.abs(made.damaged - given).max(axis=1)
    spots, lines = made.masks["dirt"], made.masks["scratches"] | made.masks["hairs"]
    return Case(name, about, made.damaged, truth, spots, spots & (lit > _VISIBLE), lines)


def clean(found: Pictures, size: Size) -> Case:
    """Footage that nothing befell."""
    return _nothing(
        "clean film", "a pan, things that move, real lines; no damage, no grain", _shot(found, size, 3, _MOVING)
    )


def traps(found: Pictures, size: Size) -> list[Case]:
    """Clips that look damaged and are not; with a little grain."""
    return [
        _nothing(name, about, _grained(make(_shot(found, size, number, _CALM), np.random.default_rng(number)), number))
        for number, (name, (about, make)) in enumerate(_TRAPS.items())
    ]


_CALM = Motion(still=0, pan=0.5, zoom=0, turn=0, objects=(0, 0), limbs=0, uneven=0, lines=0)


def _shot(found: Pictures, size: Size, number: int, motion: Motion) -> Clip:
    rng = np.random.default_rng(_SEED + 100 + number)
    return footage(found.stills(number), motion, rng, frames=size.frames, size=(size.height, size.width), width=WIDTH)


def _nothing(name: str, about: str, clip: Clip) -> Case:
    none = np.zeros((len(clip), *clip.shape[2:]), np.bool_)
    return Case(name, about, clip, clip, none, none, none)


def _grained(clip: Clip, seed: int) -> Clip:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 3 / 255, (len(clip), 1, *clip.shape[2:])).astype(np.float32)
    return np.asarray(np.clip(clip + noise, 0, 1), np.float32)


def _rain(clip: Clip, rng: np.random.Generator) -> Clip:
    h, w = clip.shape[2:]
    for frame in clip:
        for y, x in zip(rng.integers(0, h, w // 3), rng.integers(0, w, w // 3), strict=True):
            frame[:, y : y + h // 20, x] += 0.3
    return clip


def _snow(clip: Clip, rng: np.random.Generator) -> Clip:
    h, w = clip.shape[2:]
    y, x = rng.uniform(0, h, w // 4), rng.uniform(0, w, w // 4)
    for frame in clip:
        y, x = (y + rng.normal(5, 2, len(y))) % h, (x + rng.normal(0, 2, len(x))) % w
        for at in zip(y.astype(int), x.astype(int), strict=True):
            frame[:, at[0] : at[0] + 3, at[1] : at[1] + 3] = 0.95
    return clip


def _sparkle(clip: Clip, rng: np.random.Generator) -> Clip:
    h, w = clip.shape[2:]
    for frame in clip:
        for y, x in zip(rng.integers(h // 2, h, w // 2), rng.integers(0, w, w // 2), strict=True):
            frame[:, y : y + 2, x : x + 3] = 1.0
    return clip


def _limbs(clip: Clip, rng: np.random.Generator) -> Clip:
    """A bar that swings further than any flow follows, and a thing that passes by."""
    h, w = clip.shape[2:]
    rows, columns = np.mgrid[:h, :w]
    speed = rng.uniform(0.9, 1.3)
    for k, frame in enumerate(clip):
        turn = np.deg2rad(70 * np.sin(speed * k))
        across = (rows - h // 4) * np.sin(turn) - (columns - w // 2) * np.cos(turn)
        along = (rows - h // 4) * np.cos(turn) + (columns - w // 2) * np.sin(turn)
        frame[:, (np.abs(across) < w // 48) & (along > 0) & (along < h // 3)] = 0.1
        x = (20 + k * (w // 10)) % (w - w // 16)
        frame[:, h // 3 : h // 3 + h // 16, x : x + w // 20] = 0.95
    return clip


def _flashes(clip: Clip, rng: np.random.Generator) -> Clip:
    for k in rng.choice(np.arange(2, len(clip) - 2), 2, replace=False):
        clip[k] = np.clip(clip[k] * np.float32(0.7) + np.float32(0.45), 0, 1)
    return clip


def _title(clip: Clip, rng: np.random.Generator) -> Clip:
    """Letters on black, as long as the clip: strokes, dots and a frame around them."""
    h, w = clip.shape[2:]
    card = np.full((3, h, w), 0.03, np.float32)
    card[:, 8:10, 8:-8] = card[:, -10:-8, 8:-8] = 0.7
    for y in range(h // 5, h - h // 5, h // 8):
        for x in range(w // 8, w - w // 8, w // 40):
            kind = rng.integers(4)
            card[:, y : y + h // 14, x : x + 2] = 0.9 if kind < 3 else 0.03
            if kind == 1:
                card[:, y : y + 2, x : x + w // 60] = 0.9
            if kind == 2:
                card[:, y - 4 : y - 2, x : x + 2] = 0.9
    clip[:] = card
    return clip


def _panels(clip: Clip, rng: np.random.Generator) -> Clip:
    """Upright lines that belong to the scene, before a camera that pans by whole px."""
    w, step = clip.shape[3], 2
    wall = np.concatenate([clip[0], clip[0][..., ::-1]], axis=2)
    for n, x in enumerate(np.cumsum(rng.integers(w // 24, w // 8, 2 * w // (w // 12)))):
        wall[:, :, x : x + 2] += 0.12 if n % 2 else -0.12
    for k, frame in enumerate(clip):
        frame[:] = wall[:, :, (step * k) % w :][:, :, :w]
    return clip


_TRAPS: Mapping[str, tuple[str, Callable[[Clip, np.random.Generator], Clip]]] = {
    "rain": ("streaks, new in every frame", _rain),
    "snow": ("flakes that fall", _snow),
    "sparkle": ("points of light on the lower half, new in every frame", _sparkle),
    "fast limbs": ("a bar that swings, a thing that passes, faster than flow follows", _limbs),
    "flashes": ("two frames lit for a moment", _flashes),
    "intertitle": ("letters on black", _title),
    "panelling": ("real upright lines before a pan", _panels),
}
