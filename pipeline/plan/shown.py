"""What a film scan's values look like when shown, for the survey: ``restore.transfer``, in numpy and one way only.

The constants of both stand here: printing density as Kodak's Cineon system has it, then the curve of IEC 61966-2-1, and
above white the logarithm of light.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BLACK, WHITE = 95.0, 685.0
"""Codes of 10 bits."""
TOP = 1023.0
CODES_A_DECADE = 0.6 / 0.002
BLACK_LIGHT = 10.0 ** ((BLACK - WHITE) / CODES_A_DECADE)
A, GAMMA = 0.055, 2.4
FOOT_SHOWN = A / (GAMMA - 1.0)
FOOT_SLOPE = (1.0 + A) ** GAMMA * (GAMMA - 1.0) ** (GAMMA - 1.0) / (A ** (GAMMA - 1.0) * GAMMA**GAMMA)
FOOT_LIGHT = FOOT_SHOWN / FOOT_SLOPE
WHITE_SLOPE = (1.0 + A) / GAMMA
MOST_LIGHT = 1e36
"""Beyond it, what is shown would leave float32."""
MOST_VALUE = 4.0
"""Codes above the highest come from broken files alone."""


def shown(values: NDArray[np.float32], kind: Literal["display", "log", "linear"]) -> NDArray[np.float32]:
    """Values (log: 1 is the highest code; linear: light, 1 is white) as shown; float32, the same shape."""
    if kind == "display":
        return values
    light = np.clip(values.astype(np.float64), -MOST_LIGHT, MOST_LIGHT)
    if kind == "log":
        codes = np.clip(light, -MOST_VALUE, MOST_VALUE) * TOP - WHITE
        light = (np.exp(codes * (math.log(10.0) / CODES_A_DECADE)) - BLACK_LIGHT) / (1.0 - BLACK_LIGHT)
    middle = (1.0 + A) * np.clip(light, FOOT_LIGHT, 1.0) ** (1.0 / GAMMA) - A
    high = 1.0 + WHITE_SLOPE * np.log(np.maximum(light, 1.0))
    found = np.where(light <= FOOT_LIGHT, light * FOOT_SLOPE, np.where(light <= 1.0, middle, high))
    return np.asarray(found, np.float32)
