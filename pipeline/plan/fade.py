"""Dye fade: what brings a shot's dyes back to one density, from the distributions of its R, G and B."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.types import COLOUR_LEVELS, Reel, Survey

FADE = ("factor_r", "factor_g", "factor_b", "clear_r", "clear_g", "clear_b", "clear")

DARKEST = 1.0 / 255
"""Level below which density is not told: scanners see nothing there."""


def density(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of a level of 0 to 1 in the picture's own transfer; 0 is clear film."""
    return -np.log10(np.maximum(level, DARKEST))


def _fade(shot: Survey, settings: Mapping[str, Any], reel: Reel) -> NDArray[np.float64]:
    """For each frame the same: factors of each dye's density over its clearest, those clearest densities, and the one
    that all three then have.

    A dye that faded has a shorter way from clear to black. In a shot with true blacks and whites all three should go
    equally far; the longest is the least faded, and the others are raised to it, never lowered.
    """
    found = np.zeros((len(shot), len(FADE)))
    found[:, :3] = 1.0
    if reel.format.model == "gray" or not len(shot):
        return found
    levels = shot.colours.astype(np.float64).reshape(len(shot), 3, len(COLOUR_LEVELS))
    clear = density(np.median(levels[:, :, -2], axis=0))
    black = density(np.median(levels[:, :, 1], axis=0))
    reach = black - clear
    if reach.min() < 0.2:  # too flat a shot to tell black from a colour
        return found
    factors = reach.max() / reach
    if factors.max() - 1.0 < settings["floor"]:
        return found
    found[:, :3] = np.minimum(factors, settings["limit"])
    found[:, 3:6] = clear
    found[:, 6] = clear[int(np.argmax(reach))]
    return found


fade: tuple[tuple[str, ...], Callable[[Survey, Mapping[str, Any], Reel], NDArray[np.float64]]] = (FADE, _fade)
