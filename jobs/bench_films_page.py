"""What became of real films, as a section of the page of ``reelmend bench film``, with a sheet of pictures each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.bench_films import Figures, Mended, Picture
from jobs.bench_report import table
from pipeline.reel.still import write_png

_SHOWN = (320, 240)
"""px, of the piece of the frame that a sheet shows at its full size."""
_TIMES = 4
"""By how much the difference is magnified."""
_STEP = 4
"""8-bit codes between the levels that are written: grain costs a PNG most of its bytes, and few see so small a step."""
_GAP = 6
_FIGURES: Sequence[tuple[str, Callable[[Figures], float | None], str]] = (
    ("warp error", lambda f: f.warp_error, ".2f"),
    ("flicker", lambda f: f.flicker, ".2f"),
    ("weave, px rms", lambda f: f.weave, ".3f"),
    ("dirt, %", lambda f: None if f.dirt is None else 100 * f.dirt, ".4f"),
)
_NONE = ["No real film was given (`--films`).", ""]
_ABOUT = """\
Films as they are, through the presets; nobody knows their truth. Of each at most {most} frames from its middle are
taken; for the rest they go the way of a job. Every figure is before → after, a mean over the frames:

- **Warp error**: what a frame differs by from the one before along the movement, 8-bit codes. Grain, dirt and flicker
  are in it, and so is what moves too fast to be followed; smearing would lower it too.
- **Flicker**: how far mean luma jumps from frame to frame, 8-bit codes. What happens in the scene is in it.
- **Weave**: px rms by which the frames lie off their shot's slow way, as `stabilise` would move them; measured anew on
  the restored frames, by the same function. It means something only in shots whose background stands: – where none
  does. `archive` does not steady.
- **Dirt**: share of the pixels in spots that one frame shows alone, as the reports find them; of the restored film as
  if it were a source. It finds large, plain spots, on pictures about 320 px wide: a figure to compare by, no census.
  What a leap in the gate leaves in one frame, things that are seen twice, counts too.
"""
_SHEETS = """\
A sheet shows the frame with the most dirt in the source by the figure above, and of it the {width}×{height} px in which
the presets repaired most dirt, in {levels} levels. From left to right: before, after, difference (after − before,
×{times}; grey is none). Where `stabilise` moved the frame, its edges show in the difference too.
"""


def section(mended: Sequence[Mended], folder: Path | None, most: int) -> list[str]:
    """The section's lines; with ``folder`` also its sheets, written there. most: frames that were taken of a film."""
    lines = ["## Real films", ""]
    if not mended:
        return [*lines, *_NONE]
    lines += [_ABOUT.format(most=most), *table(("film", "", *(what for what, _, _ in _FIGURES)), rows(mended)), ""]
    lines += [_worse(mended), ""]
    spent = sum(m.seconds for m in mended)
    lines += [f"{spent:.0f} s of CPU time in all.", ""]
    if folder is None:
        return lines
    lines.append(_SHEETS.format(width=_SHOWN[0], height=_SHOWN[1], levels=256 // _STEP, times=_TIMES))
    for film, group in groupby(mended, lambda m: m.film):
        of = list(group)
        name = f"film-{film.replace('/', '-').replace(' ', '-')}.png"
        write_png(folder / name, sheet(of))
        m = of[0]
        size, span = f"{m.size[0]}×{m.size[1]} px", f"frames {m.span[0]} to {m.span[1] - 1} of {m.total}"
        moved = [f"`{o.preset}` moved it by ({o.shift[0]:.2f}, {o.shift[1]:.2f}) px" for o in of if any(o.shift)]
        told = "; ".join([f"frame {m.at}", *moved])
        presets = ", ".join(f"`{o.preset}`" for o in of)
        lines += [f"**{film}**: {size}, {span}. Shown: {told}. From above: {presets}.", ""]
        lines += [f"![{film}]({folder.name}/{name})", ""]
    return lines


def rows(mended: Sequence[Mended]) -> list[tuple[str, ...]]:
    """Of each film and preset its figures before and after; what got worse says so."""
    return [(m.film, f"`{m.preset}`", *(_cell(m, of, show) for _, of, show in _FIGURES)) for m in mended]


def _cell(m: Mended, of: Callable[[Figures], float | None], show: str) -> str:
    before, after = of(m.before), of(m.after)
    if before is None or after is None:
        return "–"
    told = f"{before:{show}} → {after:{show}}"
    return f"{told} **worse**" if _grew(before, after, show) else told


def _grew(before: float, after: float, show: str) -> bool:
    """As far as the digits tell."""
    return float(format(after, show)) > float(format(before, show))


def _worse(mended: Sequence[Mended]) -> str:
    found = []
    for m in mended:
        for what, of, show in _FIGURES:
            before, after = of(m.before), of(m.after)
            if before is not None and after is not None and _grew(before, after, show):
                found.append(f"{m.film}, `{m.preset}`: {what.partition(',')[0]}")
    return f"Worse than before: {'; '.join(found)}." if found else "No figure got worse."


def sheet(of: Sequence[Mended]) -> NDArray[np.uint8]:
    """One film's: a row a preset."""
    height, width = of[0].repaired.shape
    piece = _busiest(np.sum([m.repaired for m in of], axis=0), min(_SHOWN[1], height), min(_SHOWN[0], width))
    made = []
    for m in of:
        before, after = (p[piece] for p in m.pictures)
        apart = np.clip(128 + _TIMES * (after.astype(np.int16) - before), 0, 255)
        gap = np.full((before.shape[0], _GAP, 3), 255, np.uint8)
        made.append(np.concatenate([_coarse(before), gap, _coarse(after), gap, _coarse(apart)], axis=1))
    between = np.full((_GAP, made[0].shape[1], 3), 255, np.uint8)
    return np.ascontiguousarray(np.concatenate([p for row in made for p in (between, row)][1:], axis=0))


def _coarse(picture: NDArray[np.uint8] | NDArray[np.int16]) -> Picture:
    return np.asarray(np.minimum((picture.astype(np.int16) + _STEP // 2) // _STEP * _STEP, 255), np.uint8)


def _busiest(mask: NDArray[np.int64], height: int, width: int) -> tuple[slice, slice]:
    """Where a piece of this size holds most of the mask; the middle where it is empty."""
    rows, columns = mask.shape
    if not mask.any():
        top, left = (rows - height) // 2, (columns - width) // 2
    else:
        total = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
        top, left = (int(v) for v in np.unravel_index(np.argmax(sums), sums.shape))
    return slice(top, top + height), slice(left, left + width)
