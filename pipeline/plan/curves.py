"""What a survey's signals come to, frame by frame, for the passes that must know the whole shot. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.plan.fade import fade
from pipeline.plan.smooth import onset, running_median, smooth
from pipeline.treatments import DuplicatesPass
from pipeline.types import LUMA_LEVELS, Curves, PassPlan, Reel, Survey

KNOTS = 9
"""Levels from black to white, evenly spaced, at which a de-flicker curve is told; straight between them."""
GRID = 4
"""Rows and columns of the local gains."""

_SHORT = 3
"""Shots of fewer frames have no time course to even out."""

DEFLICKER = (*(f"level_{i}" for i in range(KNOTS)), *(f"gain_{i:02d}" for i in range(GRID * GRID)), "flash")
STABILISE = ("shift_x", "shift_y", "weave")
DUPLICATES = ("duplicate",)

Rows = NDArray[np.float64]
Planner = Callable[[Survey, Mapping[str, Any], Reel], Rows]
"""(the survey of one shot, the pass's settings, the reel) → (N, K)."""


def shots(survey: Survey) -> list[tuple[int, int]]:
    """The shots ``[a, b)`` of a survey, as rows."""
    starts = [0, *(np.flatnonzero(survey.cut[1:]) + 1).tolist()]
    return list(zip(starts, [*starts[1:], len(survey)], strict=True))


def wants_survey(chain: Sequence[PassPlan]) -> bool:
    """Whether a pass of the chain asks for parameters of the whole shot."""
    return any(p.kind in PLANNERS for p in chain)


def plan_curves(survey: Survey, chain: Sequence[PassPlan], reel: Reel) -> Curves:
    """Parameters of every frame, for every pass that asks. survey: of the whole reel.

    A frame that repeats the one before is treated as that one is: copies stay copies, and the passes behind know them.
    """
    names, values = {}, {}
    parts = [survey.rows(a, b) for a, b in shots(survey)]
    copies = np.concatenate([_copies(shot, reel) for shot in parts])
    shown = np.maximum.accumulate(np.where(copies, 0, np.arange(len(survey))))
    for p in chain:
        if p.kind not in PLANNERS:
            continue
        columns, planner = PLANNERS[p.kind]
        rows = np.concatenate([planner(shot, p.settings, reel) for shot in parts]).astype(np.float32)
        names[p.name] = columns
        values[p.name] = rows if p.kind == "duplicates" else rows[shown]
    return Curves(survey.first, names, values)


def deflicker(shot: Survey, settings: Mapping[str, Any], reel: Reel) -> Rows:  # noqa: ARG001
    """Levels smoothed over time (Delon 2006: the inverse distributions), and gains of parts of the picture against it.

    Columns as ``DEFLICKER``: what is added at each knot; the logarithm of each block's gain; 1 for a flash.
    """
    n = len(shot)
    found = np.zeros((n, len(DEFLICKER)))
    if n < _SHORT:
        return found
    levels = shot.levels.astype(np.float64)
    flash = _flashes(levels, settings["limit"])
    found[:, -1] = flash
    apart = smooth(levels, settings["memory"], 1.0 - flash) - levels
    # The gain that this comes to, over the levels that have light: how much the shot flickers.
    gain = (apart * levels).sum(1) / np.maximum(np.square(levels).sum(1), 1e-6)
    usual = flash == 0
    on = onset(float(np.sqrt(np.mean(np.square(gain[usual])))) if usual.any() else 0.0, settings["floor"])
    too_far = np.abs(apart).max(1) > settings["limit"]
    found[too_far, -1] = 1.0
    left_alone = found[:, -1] > 0
    if on > 0:
        found[:, :KNOTS] = on * _at_knots(levels, apart)
    if settings["local"] > 0:
        found[:, KNOTS:-1] = _local(shot.gains.astype(np.float64), settings, 1.0 - flash)
    found[left_alone, :-1] = 0.0
    return found


def _flashes(levels: Rows, limit: float) -> Rows:
    """(N,) 1 where a frame's brightness stands out from the frames around it, and is gone again."""
    mean = levels.mean(1, keepdims=True)
    away = np.abs(mean - running_median(mean, 4))[:, 0]
    return np.asarray(away > limit / 2, np.float64)


def _at_knots(levels: Rows, apart: Rows) -> Rows:
    """(N, KNOTS) of what is to be added at the survey's levels: below and above those in proportion, as a gain does."""
    knots = np.linspace(0.0, 1.0, KNOTS)
    found = np.empty((len(levels), KNOTS))
    for i, (x, d) in enumerate(zip(levels, apart, strict=True)):
        found[i] = np.interp(knots, x, d)
        low, high = max(x[0], 1e-3), max(x[-1], 1e-3)
        found[i] = np.where(knots < low, d[0] * knots / low, found[i])
        found[i] = np.where(knots > high, d[-1] * np.minimum(knots / high, 2.0), found[i])
    # A tone curve that wriggles would show; each knot gives half of itself to its neighbours.
    inner = found.copy()
    inner[:, 1:-1] = 0.25 * found[:, :-2] + 0.5 * found[:, 1:-1] + 0.25 * found[:, 2:]
    # It must rise: f(v) = v + d(v) with steps of 1/8 may fall by no more than most of a step.
    return np.asarray(_rising(knots + inner) - knots)


def _rising(curves: Rows) -> Rows:
    least = 0.25 / (KNOTS - 1)
    steps = np.maximum(np.diff(curves, axis=1), least)
    return np.concatenate([curves[:, :1], curves[:, :1] + np.cumsum(steps, axis=1)], axis=1)


def _local(gains: Rows, settings: Mapping[str, Any], weights: Rows) -> Rows:
    """(N, 16) logarithms of gains that steady each block against the whole picture."""
    first = gains.copy()
    first[0] = 0.0  # measured over the cut
    # Against the whole: what all blocks have in common is the curve's to mend.
    course = np.cumsum(first - np.median(first, axis=1, keepdims=True), axis=0)
    apart = smooth(course, settings["memory"], weights) - course
    on = np.array([onset(float(np.sqrt(np.mean(np.square(a)))), settings["floor"]) for a in apart.T])
    return np.asarray(np.clip(apart * on, -settings["local"], settings["local"]), np.float64)


def stabilise(shot: Survey, settings: Mapping[str, Any], reel: Reel) -> Rows:
    """The shift that takes each frame to where its shot's slow way would have it. Columns as ``STABILISE``."""
    n = len(shot)
    found = np.zeros((n, len(STABILISE)))
    if n < _SHORT:
        return found
    steps = shot.shift.astype(np.float64)
    steps[0] = 0.0  # measured over the cut
    # A step that the pictures do not bear out, or that no gate makes, says nothing: the picture is held to have stayed.
    limit = settings["limit"] * reel.width
    sound = (shot.confidence >= _SURE) & (np.abs(steps).max(1) <= 2 * limit)
    sound[0] = True
    steps[~sound] = 0.0
    way = np.cumsum(steps, axis=0)
    slow = smooth(way, settings["memory"])
    shift = slow - way
    trembling = float(np.sqrt(np.mean(np.square(shift).sum(1))))
    if trembling < settings["floor"] or sound.mean() < 0.9:
        return found
    stands = _stands(shot, slow, sound, reel)
    if settings["when"] == "still" and not stands:
        found[:, 2] = 1.0
        return found
    if stands:
        # A camera that stands has no slow movement of its own: what there is, is the gate's too.
        slower = smooth(way, _PATIENCE * settings["memory"])
        if np.abs(slower - slow).max() <= limit / 2:
            shift = slower - way
    shift = np.clip(shift, -limit, limit)
    if reel.interlaced:
        shift[:, 1] /= 2  # in lines of a field
    found[:, :2] = shift
    return found


_SURE = 0.6
"""Least correlation of two frames that bears their shift out."""
_STILL = 0.6
"""Least share of the textured blocks that must move as one, in the shot's median frame."""
_PATIENCE = 4
"""By how much longer the low-pass is where the camera stands."""
_CALM = 0.0008
"""Fastest slow movement of a background that stands still, as a share of the picture's width a frame."""


def _stands(shot: Survey, slow: Rows, sound: NDArray[np.bool_], reel: Reel) -> bool:
    """Whether the background stands still but for the gate: all moves as one, and slowly goes nowhere."""
    speed = np.hypot(*np.diff(slow, axis=0).T)
    return bool(np.median(shot.still[sound]) >= _STILL and np.median(speed) <= _CALM * reel.width)


def duplicates(shot: Survey, settings: Mapping[str, Any], reel: Reel) -> Rows:  # noqa: ARG001
    """1 where a frame repeats the one before."""
    change = shot.change.astype(np.float64)[:, None].copy()
    found = np.zeros((len(shot), 1))
    if len(shot) < _SHORT:
        return found
    change[0] = np.nan  # measured over the cut
    padded = np.concatenate([np.full((4, 1), np.nan), change, np.full((4, 1), np.nan)])
    # Against the livelier frames around: where every other frame is a repeat, their median would be one.
    around = np.nanpercentile(np.stack([padded[k : k + len(change)] for k in range(9)]), 75, axis=0)
    same = (change < settings["share"] * around) & (change < settings["level"])
    found[same & np.isfinite(change)] = 1.0
    found[(change == 0.0)] = 1.0
    return found


_AS_DEFAULT: Mapping[str, Any] = DuplicatesPass().model_dump()
_STAYS, _AS_BRIGHT = 2e-4, 0.0015
"""A copy lies where the frame before it does, to this share of the picture's width, and its levels differ by no more
than this on average, as a share of full range: in transfers of old film a tenth and half of that at most."""


def _copies(shot: Survey, reel: Reel) -> NDArray[np.bool_]:
    """(N,) whether a frame is surely the one before once more: what ``duplicates`` flags by its defaults, less the
    frames of still scenes that weave or flicker by little, and are to be evened out."""
    stays = np.hypot(*shot.shift.astype(np.float64).T) <= _STAYS * reel.width
    apart = np.abs(np.diff(shot.levels.astype(np.float64), axis=0, prepend=shot.levels[:1])).mean(1)
    return np.asarray((duplicates(shot, _AS_DEFAULT, reel)[:, 0] > 0) & stays & (apart <= _AS_BRIGHT), np.bool_)


PLANNERS: Mapping[str, tuple[tuple[str, ...], Planner]] = {
    "deflicker": (DEFLICKER, deflicker),
    "stabilise": (STABILISE, stabilise),
    "duplicates": (DUPLICATES, duplicates),
    "fade": fade,
}
"""Pass kind → the names of its columns, and what finds them for one shot."""

assert len(LUMA_LEVELS) == 15  # as the survey's table has columns
