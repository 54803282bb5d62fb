"""``reelmend demo``: make a small damaged reel whose truth is known, restore it, and say what came of it."""

from __future__ import annotations

import filecmp
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from jobs.common import find_nets, load_spec
from jobs.display import Display
from jobs.restore import exit_status
from pipeline.cluster.run import run_job
from pipeline.cluster.work import Job
from pipeline.errors import ReelmendError, VerifyError
from pipeline.publish import layout
from pipeline.reel.decode import decode
from pipeline.reel.formats import pixel_format
from pipeline.reel.index import build
from pipeline.reel.probe import probe
from pipeline.reel.sample import write_sample
from pipeline.reel.still import read_picture, write_png
from pipeline.spec import Spec
from pipeline.train.clips import Clip, pan, shrink, to_clip
from pipeline.train.damage import Mask, Recipe, damage
from pipeline.types import Frames

Restore = Callable[[Path, Path, Spec], Path]
"""Restores one source into an output folder, and says where the deliverable is."""


class Move(NamedTuple):
    """A pan over the photograph, (y, x) in px of the photograph shrunk so many times."""

    shrunk: int
    start: tuple[float, float]
    step: tuple[float, float]


RATE = Fraction(18)
"""Frames a second: a silent-era rate, which must survive."""
SIZE = (240, 320)
"""Height, width in px."""
SHOT_FRAMES = 24
SHOTS: tuple[Move, ...] = (
    Move(shrunk=2, start=(8, 20), step=(0.4, 3.0)),
    Move(shrunk=1, start=(100, 560), step=(1.5, -4.0)),
)
PIXELS = "gbrp10le"
"""RGB of 10 bit, as a film scan is."""
WHITE = 1023
SOUND_RATE = 48_000
SEED = 1905

RECIPE = Recipe(dirt=20.0, dirt_radius=(1.0, 12.0), scratches=0, flicker=0.015, grain=4 / 255)
"""A worn print with much small dirt: what the bundled net is for. It leaves scratches, large blotches and flicker."""


@dataclass(frozen=True, slots=True)
class MadeReel:
    """The demo's reel and its truth."""

    source: Path
    truth: Clip
    """float32 (N, 3, H, W), 0 to 1: the frames before the damage."""
    dirt: Mask


@dataclass(frozen=True, slots=True)
class Gain:
    """PSNR against the truth in dB, of the damaged reel and of the restored one."""

    where: str
    pixels: float
    """Share of all pixels that this is measured over."""
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class DemoResult:
    source: Path
    deliverable: Path
    picture: Path
    """Before, after and the truth, side by side."""
    frame: int
    """The frame that the picture shows: the one with the most dirt."""
    gains: tuple[Gain, ...]


def build_reel(folder: Path) -> MadeReel:
    """Write ``seeding.mkv`` into ``folder``: two pans over a photograph with one cut between them, damaged, with sound.

    The same file again is left alone, so that a second demo finds its own work done.
    """
    with resources.as_file(resources.files("jobs") / "assets" / "seeding.jpg") as photo:
        still = to_clip(read_picture(photo)[None])
    shots = [pan(shrink(still, s.shrunk), frames=SHOT_FRAMES, size=SIZE, start=s.start, step=s.step) for s in SHOTS]
    made = [damage(shot, RECIPE, SEED + i) for i, shot in enumerate(shots)]
    folder.mkdir(parents=True, exist_ok=True)
    source, fresh = folder / "seeding.mkv", folder / "seeding.part.mkv"
    frames = _as_frames(np.concatenate([m.damaged for m in made]))
    write_sample(fresh, frames, rate=RATE, sound=_sound(len(frames)), sound_rate=SOUND_RATE)
    # The date of a file is part of a source's identity: another date would be another source.
    if source.exists() and filecmp.cmp(source, fresh, shallow=False):
        fresh.unlink()
    else:
        fresh.replace(source)
    return MadeReel(source, np.concatenate(shots), np.concatenate([m.masks["dirt"] for m in made]))


def run_demo(out: Path) -> int:
    """The command: the preset ``demo`` on a Ray of this machine. Raises what restoring a reel raises."""
    show(run(out.resolve(), load_spec("demo"), restore_here), Console())
    return 0


def restore_here(source: Path, out: Path, spec: Spec) -> Path:
    """Restore through the public run, on a Ray of this machine."""
    # The demo's folder is the demo's: what an older reelmend left there gives way.
    job = Job(((str(source), source.stem),), str(out), spec, find_nets(spec), overwrite=True)
    with Display() as display:
        result = run_job(job, display)
    if result.signal is not None:
        raise SystemExit(exit_status(result))
    (outcome,) = result.outcomes
    if outcome.status not in ("done", "already"):
        raise ReelmendError(outcome.reason or outcome.status, where=str(source))
    names = layout.deliverables(source.stem, spec.deliver.outputs)
    return out / source.stem / names[spec.deliver.outputs[0].name]


def run(out: Path, spec: Spec, restore: Restore) -> DemoResult:
    """Make the reel below ``out``, restore it through ``restore``, and measure both against the truth."""
    made = build_reel(out / "source")
    deliverable = restore(made.source, out / "restored", spec)
    before, after = _read(made.source, spec), _read(deliverable, spec)
    gains = (
        _gain("whole picture", made, before, after, np.ones_like(made.dirt)),
        _gain("inside the dirt", made, before, after, made.dirt),
        _gain("outside the dirt", made, before, after, ~made.dirt),
    )
    frame = int(made.dirt.sum(axis=(1, 2)).argmax())
    picture = out / "before-after.png"
    write_png(picture, _side_by_side(before[frame], after[frame], made.truth[frame]))
    return DemoResult(made.source, deliverable, picture, frame, gains)


def show(result: DemoResult, console: Console) -> None:
    """Print the gains and where things lie."""
    table = Table(title="PSNR against the undamaged film, dB", title_justify="left")
    table.add_column("where")
    for name in ("share of pixels", "damaged", "restored", "gain"):
        table.add_column(name, justify="right")
    for g in result.gains:
        table.add_row(g.where, f"{g.pixels:.2%}", f"{g.before:.2f}", f"{g.after:.2f}", f"{g.after - g.before:+.2f}")
    console.print(table)
    for label, path in (
        ("damaged reel", result.source),
        ("restored reel", result.deliverable),
        (f"before, after, truth (frame {result.frame})", result.picture),
    ):
        # Not wrapped and not coloured: a path is there to be copied.
        console.print(f"{label}: {path}", soft_wrap=True, highlight=False, markup=False)


def _as_frames(clip: Clip) -> Frames:
    codes = np.rint(np.clip(clip, 0, 1) * WHITE).astype(np.uint16)
    # FFmpeg keeps planar RGB as green, blue, red.
    planes = tuple(np.ascontiguousarray(codes[:, c]) for c in (1, 2, 0))
    return Frames(planes, pixel_format(PIXELS), 0, np.arange(len(clip), dtype=np.int64))


def _sound(frames: int) -> NDArray[np.int16]:
    """A quiet tone whose pitch changes at the cut, so that picture and sound can be heard to agree."""
    t = np.arange(int(frames / RATE * SOUND_RATE)) / SOUND_RATE
    pitch = np.where(t < float(SHOT_FRAMES / RATE), 440.0, 550.0)
    return np.asarray(np.rint(np.sin(2 * np.pi * pitch * t) * 2000), np.int16)


def _read(path: Path, spec: Spec) -> Clip:
    reel = probe(str(path), path.stem, spec.source)
    index = build(reel)
    wanted = (len(SHOTS) * SHOT_FRAMES, PIXELS)
    if (len(index), reel.format.name) != wanted:
        raise VerifyError(
            f"it has {len(index)} frames of {reel.format.name}, the demo's reel has {wanted[0]} of {wanted[1]}",
            where=str(path),
        )
    green, blue, red = decode(reel, index, 0, len(index), threads=1).planes
    return (np.stack([red, green, blue], axis=1) / WHITE).astype(np.float32)


def _gain(where: str, made: MadeReel, before: Clip, after: Clip, mask: Mask) -> Gain:
    return Gain(where, float(mask.mean()), _psnr(before, made.truth, mask), _psnr(after, made.truth, mask))


def _psnr(clip: Clip, truth: Clip, mask: Mask) -> float:
    squares = ((clip - truth) ** 2).sum(axis=1, dtype=np.float64)
    error = float(squares[mask].mean()) / 3
    return float(min(10 * np.log10(1 / error), 100.0)) if error > 0 else 100.0


def _side_by_side(*pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    gap = np.zeros((SIZE[0], 8, 3), np.uint8)
    columns: list[NDArray[np.uint8]] = []
    for picture in pictures:
        columns += [np.rint(picture.transpose(1, 2, 0) * 255).astype(np.uint8), gap]
    return np.concatenate(columns[:-1], axis=1)
