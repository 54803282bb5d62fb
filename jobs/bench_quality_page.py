"""What ``reelmend bench film`` found, as a page of Markdown with pictures."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jobs.bench_films_page import section
from jobs.bench_report import Figure, at_most, machine, table
from pipeline.quality.truth import Score, mean_of
from pipeline.reel.still import jpeg
from pipeline.train.clips import Clip

if TYPE_CHECKING:
    from jobs.bench_quality import Results, Scored

_OURS = ("archive", "clean")
_COLUMNS = ("PSNR, dB", "SSIM", "inside damage, dB", "outside, dB", "over time", "flicker")
_MOST_BYTES = 120_000
"""Of one sheet of pictures."""
_GAP = 6
_ABOUT = """\
# Quality

Written by `reelmend bench film`. Clips with a known truth are damaged, restored by the presets and by others' chains,
and compared with the truth. A goal that is missed says so.

- **Clips**: footage made from photographs: a camera that moves or stands, things and legs that move upon it, real
  upright lines. {frames} frames of {width}×{height} px, cut from a film {film} px wide. Damage: dirt (made, and
  overlays of real dirt where given), scratches, grain, flicker of the whole and of parts. Heavily worn film stands by
  itself: two clips with dirt upon dirt, coarse grain and strong flicker.
- **Photographs**: {photographs}
- **Scores**: PSNR of RGB; SSIM of luma; PSNR inside the pixels of dirt and scratches, and outside of them; over time:
  mean error of the change from frame to frame, 8-bit codes; flicker: rms of what mean luma jumps more than the truth's,
  8-bit codes. The first and last two frames of a clip are left out, for everybody. The truth is as bright
  as the shot is on the whole, and lies where it lies on the whole: flicker and weave are what comes upon that.
- **Others** get the same frames in 16 bit; their frames are put where they belong by their looks. Ours read the clip
  as a film of 10 bit and go the way of a job: survey, plan, tiles, chain. `dirt.largest`, a share of the picture, is
  taken of the film's whole picture.
"""


def write_page(found: Results, out: Path | None, *, command: str) -> str:
    """The page; with ``out`` also written there, its pictures in a folder of its name without suffix."""
    folder = None if out is None else out.with_suffix("")
    if folder is not None:
        folder.mkdir(exist_ok=True)
    lines = [_about(found), *_goals(found), *_means(found), *_clips(found), *_others(found)]
    lines += section(found.films, folder, found.film_frames)
    if folder is not None:
        lines += ["## Pictures", "", "From left to right: damaged, `clean`, the best other chain (by PSNR), truth.", ""]
        for s in (*found.scored, *found.worn):
            name = f"{s.case.name.replace(' ', '-')}.jpg"
            (folder / name).write_bytes(jpeg(_sheet(s, _best(s)), _MOST_BYTES))
            lines += [f"**{s.case.name}**: {s.case.about}. The other chain: {_best(s) or 'none'}.", ""]
            lines += [f"![{s.case.name}]({folder.name}/{name})", ""]
    took = f"`{command}`, {datetime.date.today().isoformat()}: {found.seconds:.0f} s on:"
    lines += ["## How it was measured", "", took, "", *table(("", ""), machine()), ""]
    if found.skipped:
        lines += ["Not asked: " + "; ".join(dict.fromkeys(found.skipped)) + ".", ""]
    text = "\n".join(lines).rstrip() + "\n"
    if out is not None:
        out.write_text(text, encoding="utf-8")
    return text


def _about(found: Results) -> str:

    size = found.size
    return _ABOUT.format(
        photographs=found.photographs, frames=size.frames, width=size.width, height=size.height, film=size.film
    )


def goals(found: Results) -> list[Figure]:
    """Every goal, and what came. Each figure of the others is that of whoever is best at it."""
    from jobs.bench_quality import means

    ours, before = (means(found.scored)[name] for name in ("clean", "damaged"))
    figures: list[Figure] = []

    def least(what: str, value: float, goal: float, show: str) -> None:
        figures.append(Figure(what, format(value, show), f"≥ {format(goal, show)}", value >= goal))

    for scored, of in ((found.scored, ""), (found.worn, " (heavily worn)")):
        by = means(scored)
        others = [s for name, s in by.items() if name not in (*_OURS, "damaged")]
        if others:
            we = by["clean"]
            least(f"`clean` above the best other{of}: PSNR, dB", we.psnr_db - max(o.psnr_db for o in others), 3, ".2f")
            least(f"· SSIM{of}", we.ssim - max(o.ssim for o in others), 0.03, ".3f")
            least(f"· inside damage{of}, dB", we.inside_db - max(o.inside_db for o in others), 6, ".2f")
            ratio = we.temporal / min(o.temporal for o in others)
            figures.append(_most(f"· over time{of}, times", ratio, 0.7, ".3f"))
    for name in _OURS:
        gains = [s.by[name].outside_db - s.before.outside_db for s in (*found.scored, *found.worn)]
        least(f"`{name}` outside damage against the input, dB, worst clip", min(gains), 0, ".2f")
    for scored, of in ((found.scored, ""), (found.worn, " (heavily worn)")):
        for name in _OURS:
            least(f"`{name}` dirt{of}: recall", _mean([s.dirt[name].recall for s in scored]), 0.8, ".2f")
            least(f"`{name}` dirt{of}: precision", _mean([s.dirt[name].precision for s in scored]), 0.9, ".2f")
    for st in found.steadied:
        figures.append(_most(f"{st.case.name} left, px rms (before {st.before:.2f})", st.after, 0.15, ".3f"))
    figures.append(_most("flicker left, `clean`, share", ours.flicker / before.flicker, 0.2, ".2f"))
    for t in found.trapped:
        worst = 100 * t.by["archive"].worst
        figures.append(_most(f"trap, wrongly repaired in the worst frame: {t.case.name}, %", worst, 0.1, ".3f"))
    least("clean film through `archive`: PSNR, dB", found.clean_psnr_db, 45, ".1f")
    figures.append(_most("· changed, %", 100 * found.clean_changed, 1, ".2f"))
    for v in found.speeds:
        least(f"`{v.preset}` at {v.size.width}×{v.size.height}, two cores, frames a second", v.rate, v.goal, ".2f")
    return figures


def _most(what: str, value: float, goal: float, show: str) -> Figure:
    return at_most(what, value, goal, lambda v: format(v, show))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _goals(found: Results) -> list[str]:
    told = {None: "", True: "met", False: "**missed**"}
    rows = [(f.what, f.came, f.expected, told[f.met]) for f in goals(found)]
    return ["## Goals", "", *table(("figure", "came", "goal", ""), rows), ""]


def _row(name: str, s: Score) -> tuple[str, ...]:
    return (
        name,
        f"{s.psnr_db:.2f}",
        f"{s.ssim:.4f}",
        f"{s.inside_db:.2f}",
        f"{s.outside_db:.2f}",
        f"{s.temporal:.2f}",
        f"{s.flicker:.2f}",
    )


def _means(found: Results) -> list[str]:
    from jobs.bench_quality import means

    lines: list[str] = []
    for title, scored in (("All clips, mean", found.scored), ("Heavily worn film, mean", found.worn)):
        rows = [_row(f"**{n}**" if n in _OURS else n, s) for n, s in means(scored).items()]
        rows.append(_row(f"*the mean of all {found.size.frames} frames' grain*", mean_of([s.averaged for s in scored])))
        lines += [f"## {title}", "", *table(("", *_COLUMNS), rows), ""]
    lines += [
        "The last row is no chain: it is the truth itself with the grain that would be left of a mean over all frames "
        "of the clip, every movement known and nothing else wrong. Averaging over time alone comes no further.",
        "",
    ]
    return lines


def _clips(found: Results) -> list[str]:
    lines = ["## Clip by clip", ""]
    for s in (*found.scored, *found.worn):
        best = _best(s)
        rows = [_row("damaged", s.before), *(_row(f"**{n}**", s.by[n]) for n in _OURS)]
        rows += [_row(f"{best} (best other)", s.by[best])] if best else []
        masks = ", ".join(
            f"`{n}` dirt {s.dirt[n].recall:.2f} at {s.dirt[n].precision:.2f}, scratches {s.lines[n].recall:.2f} at "
            f"{s.lines[n].precision:.2f}"
            for n in _OURS
        )
        lines += [f"**{s.case.name}**: {s.case.about}. Recall at precision: {masks}.", ""]
        lines += [*table(("", *_COLUMNS), rows), ""]
    lines += [
        "Recall: of the dirt that changes the picture by a tenth of full range or more, and of all scratches. "
        "Precision: of what was changed, what lies within 2 px of either.",
        "",
    ]
    return lines


def _others(found: Results) -> list[str]:
    rows = [
        (t.case.name, t.case.about, *(f"{100 * v:.3f}" for n in _OURS for v in (t.by[n].worst, t.by[n].spots)))
        for t in found.trapped
    ]
    head = ("trap", "", *(f"`{n}` {what}, %" for n in _OURS for what in ("wrongly repaired", "touched")))
    return [
        "## Traps",
        "",
        "Clips in which nothing is to be mended; each figure is the worst frame's. Wrongly repaired: further from the "
        "truth than before by 16/255 or more, whatever pass did it: less lies within what these clips' grain "
        "(σ 3/255) makes of a pixel, and the goal is for what shows. Touched: changed by dirt and scratches at all, "
        "grain included. Without `stabilise`: the camera of these clips trembles, and nobody can tell that from the "
        "gate.",
        "",
        *table(head, rows),
        "",
    ]


def _best(s: Scored) -> str | None:
    others = {n: v.psnr_db for n, v in s.by.items() if n not in _OURS}
    return max(others, key=lambda n: others[n]) if others else None


def _sheet(s: Scored, best: str | None) -> NDArray[np.uint8]:
    """Of the scored frame with the most damage."""
    at = 2 + int(np.argmax(s.case.mask[2:-2].mean(axis=(1, 2))))
    row: list[Clip] = [s.case.damaged, s.clips["clean"], *([s.clips[best]] if best else []), s.case.truth]
    pictures = [np.asarray(np.clip(c[at].transpose(1, 2, 0) * 255 + 0.5, 0, 255), np.uint8) for c in row]
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.ascontiguousarray(np.concatenate([part for p in pictures for part in (gap, p)][1:], axis=1))
