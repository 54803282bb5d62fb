"""What nets are given where a source's values are not as they would be shown: film scans in density, and light.

Nets have learnt pictures as they are shown, black 0 and white 1. Both kinds go there by way of light:

- ``log``: printing density as Kodak's Cineon system has it, 0.002 a code of 10 bits, over the negative's gamma of 0.6
  (Kennel, Conversion of 10-bit log film data to 8-bit linear or video data, Eastman Kodak 1994): code 685 is white,
  light 1, and 95 black, light 0. Codes of another depth are taken by their share of full scale.
- ``linear``: light itself, as OpenEXR holds it.

Light is shown by the curve of IEC 61966-2-1 (sRGB), with the constants that make it continuous. Below black its
straight foot goes on. Above white it goes over into the logarithm of light, with the slope that it has there: a scan's
highlights, thirteen times white, come to 2.1 and not to 3.1, nearer to what a net has seen; nothing is clipped, and
every value has one of its own. The way back is the exact inverse.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from pipeline.plan.shown import BLACK, WHITE
from pipeline.plan.shown import BLACK_LIGHT as _BLACK_LIGHT
from pipeline.plan.shown import CODES_A_DECADE as _CODES_A_DECADE
from pipeline.plan.shown import FOOT_LIGHT as _FOOT_LIGHT
from pipeline.plan.shown import FOOT_SHOWN as _FOOT_SHOWN
from pipeline.plan.shown import FOOT_SLOPE as _FOOT_SLOPE
from pipeline.plan.shown import GAMMA as _GAMMA
from pipeline.plan.shown import MOST_LIGHT as _MOST_LIGHT
from pipeline.plan.shown import MOST_VALUE as _MOST_VALUE
from pipeline.plan.shown import TOP as _TOP
from pipeline.plan.shown import WHITE_SLOPE as _WHITE_SLOPE
from pipeline.plan.shown import A as _A

__all__ = ["BLACK", "WHITE", "Transfer"]

_LEAST_LIGHT = 10.0 ** (-WHITE / _CODES_A_DECADE) / 2
"""Below what code 0 stands for: a net's deepest black becomes code 0, not the logarithm of nothing."""
_MOST_SHOWN = 1.0 + _WHITE_SLOPE * 80.0
"""Whose light float32 still holds."""


class Transfer:
    """Both ways between a source's values and what is shown, for float32 tensors of any shape."""

    def __init__(self, kind: Literal["log", "linear"]):
        self._log = kind == "log"

    def shown(self, values: Tensor) -> Tensor:
        """Values (log: 1 is the highest code; linear: light, 1 is white) as shown. Strictly rising, never clipped."""
        light = values.clamp(-_MOST_LIGHT, _MOST_LIGHT)
        if self._log:
            # Codes above the highest come from broken files alone.
            light = torch.exp(
                (values.clamp(-_MOST_VALUE, _MOST_VALUE) * _TOP - WHITE) * (math.log(10.0) / _CODES_A_DECADE)
            )
            light = (light - _BLACK_LIGHT) / (1.0 - _BLACK_LIGHT)
        middle = (1.0 + _A) * light.clamp(_FOOT_LIGHT, 1.0).pow(1.0 / _GAMMA) - _A
        high = 1.0 + _WHITE_SLOPE * torch.log(light.clamp_min(1.0))
        return torch.where(light <= _FOOT_LIGHT, light * _FOOT_SLOPE, torch.where(light <= 1.0, middle, high))

    def values(self, shown: Tensor) -> Tensor:
        """The way back."""
        middle = ((shown.clamp(_FOOT_SHOWN, 1.0) + _A) / (1.0 + _A)).pow(_GAMMA)
        high = torch.exp((shown.clamp(1.0, _MOST_SHOWN) - 1.0) / _WHITE_SLOPE)
        light = torch.where(shown <= _FOOT_SHOWN, shown / _FOOT_SLOPE, torch.where(shown <= 1.0, middle, high))
        if not self._log:
            return light
        light = (light * (1.0 - _BLACK_LIGHT) + _BLACK_LIGHT).clamp_min(_LEAST_LIGHT)
        return (torch.log(light) * (_CODES_A_DECADE / math.log(10.0)) + WHITE) / _TOP
