"""What may befall a shot: the ranges that shots are drawn from, and one shot's own recipe.

The ranges are those that restorers see. All lengths are px of a picture 2048 px wide and scale with it; levels are
shares of full scale (0 to 1). Counts are a frame's, whatever its size: a crop that is to hold less says less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from pipeline.treatments import Model

Span = tuple[float, float]
Codec = Literal["jpeg", "h264"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What befalls one shot."""

    dirt: float = 8.0
    """Blotches a frame, the mean of a Poisson distribution (0 to 30); five times that beside a splice."""
    dirt_radius: Span = (1.0, 25.0)
    """Log-normal between these: its central 95 %, and cut off there."""
    dirt_opacity: Span = (0.6, 1.0)
    overlays: float = 0.0
    """Pictures of real dirt and hair a frame, the mean of a Poisson distribution; needs ``Overlays``."""
    overlay_size: Span = (20.0, 300.0)
    """Longer side of an overlay's inked part, log-uniform."""
    hairs: int = 0
    """Hairs that hang in the gate at the picture's edge (0 or 1), for ``hair_life`` frames."""
    hair_life: Span = (24.0, 500.0)
    scratches: int = 1
    """Vertical scratches in the shot (0 to 4)."""
    scratch_width: Span = (1.0, 5.0)
    scratch_depth: Span = (0.05, 0.4)
    """Height of the damped cosine across the scratch; bright or dark."""
    scratch_walk: Span = (0.2, 1.5)
    """Standard deviation of the sideways step from frame to frame."""
    scratch_static: float = 0.0
    """Share of the scratches that do not move at all (no unit)."""
    scratch_tilt: float = 0.0
    """Degrees; each scratch leans up to this far."""
    scratch_life: Span = (0.0, 0.0)
    """Frames that one lasts; (0, 0): the whole shot."""
    keep_lines: bool = False
    """The target keeps scratches and gate hairs: for nets that are to leave whatever stays with the frame alone."""
    flicker: float = 0.05
    """Standard deviation of a frame's gain; cut off at three of them (gain 0.85 to 1.15 is 0.05)."""
    flicker_memory: float = 0.3
    """ρ of the AR(1) walk of gain and offset (0 to 0.5)."""
    flicker_offset: float = 0.0
    """Standard deviation of a frame's offset, cut off at three of them (±8/255 is 2.7/255)."""
    flicker_local: float = 0.0
    """Greatest gain of a 5×5 grid over the picture, that is new in every frame (0.05)."""
    weave: float = 0.0
    """Standard deviation of the frame's place, each way (0.3 to 2)."""
    weave_memory: float = 0.5
    """ρ of the AR(1) walk of the place (0.3 to 0.8)."""
    weave_turn: float = 0.0
    """Greatest rotation in degrees (0.1)."""
    grain: float = 5 / 255
    """Standard deviation in the mid-tones (2/255 to 12/255); none in black and white."""
    grain_colour: float = 0.3
    """0: the same grain in all channels, as on monochrome film; 1: each channel its own."""
    grain_lag: int = 1
    """Neighbours that a grain reaches into (1 to 3)."""
    grain_even: bool = False
    """Grain is alike towards all sides. False: lopsided as in the benchmark's clips, which are to stay the same."""
    fade: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Share of the cyan, magenta and yellow dye that is gone (0.6, 0.15, 0.4)."""
    fade_floor: float = 0.0
    """D-min, density of clear film (0 to 0.1)."""
    fade_crosstalk: float = 0.0
    """Share of a dye's density that lies in each of the other two bands (0 to 0.1)."""
    blur: float = 0.0
    """Standard deviation in px **of the clip itself** (0.3 to 2.5): of the scan, not of the scene."""
    blur_ratio: float = 1.0
    """Vertical blur over horizontal blur."""
    gamma: float = 1.0
    """Exponent on the picture (0.8 to 1.3)."""
    monochrome: bool = False
    """The picture is its BT.709 luma, in all channels; the grain too."""
    drift: float = 0.0
    """Standard deviation of the relative step, from frame to frame, of grain, blur, fade and scratch depth."""
    splice: int | None = None
    """Number of the first frame after a splice: it jumps, and dirt is five times as dense beside it."""
    splice_jump: float = 0.0
    """Downward jump, halved in the frame after (up to 20)."""
    lost: int = 0
    """Frames missing at the splice (1 to 3): they are in neither the damaged nor the clean clip."""
    codec: Codec | None = None
    codec_quality: int = 90
    """Of ``jpeg``: IJG quality (40 to 100). Of ``h264``: crf (18 to 40)."""


class Ranges(Model):
    """What shots' recipes are drawn from, evenly unless it says otherwise. Each is the range that restorers see."""

    dirt: Span = (0.0, 30.0)
    """Blotches a frame, mean of a Poisson distribution."""
    dirt_radius: Span = (1.0, 25.0)
    """px at a width of 2048, log-normal: the central 95 %."""
    dirt_opacity: Span = (0.6, 1.0)
    """No unit: 1 hides the picture."""
    overlays: Span = (0.0, 3.0)
    """Overlays of real dirt a frame, mean of a Poisson distribution; nothing without ``data.overlays``."""
    overlay_size: Span = (20.0, 300.0)
    """px at a width of 2048, longer side, log-uniform."""
    hair: float = Field(default=0.1, ge=0, le=1)
    """Share of the shots with a hair in the gate."""
    scratches: tuple[int, int] = (0, 4)
    """Vertical scratches a shot."""
    scratched: float = Field(default=0.3, ge=0, le=1)
    """Share of the shots that have scratches at all."""
    scratch_width: Span = (1.0, 5.0)
    """px at a width of 2048."""
    scratch_depth: Span = (0.05, 0.4)
    """Share of full scale, bright or dark."""
    scratch_walk: Span = (0.2, 1.5)
    """px at a width of 2048, standard deviation of a frame's sideways step."""
    scratch_static: float = Field(default=0.1, ge=0, le=1)
    """Share of the scratches that stand still."""
    scratch_tilt: float = Field(default=5.0, ge=0, le=10)
    """Degrees, greatest."""
    scratch_life: Span = (10.0, 300.0)
    """Frames."""
    keep_lines: bool = True
    """Leave scratches and gate hairs in the target: a net that was merely shown scratches erases real vertical lines
    (panelling, window frames, rails). Another pass, which sees the whole shot, repairs them."""
    flicker: Span = (0.0, 0.05)
    """Standard deviation of the gain, cut off at three of them. The target keeps the brightness of every frame."""
    flicker_memory: Span = (0.0, 0.5)
    """ρ of the AR(1) walk (no unit)."""
    flicker_offset: Span = (0.0, 2.7 / 255)
    """Standard deviation, share of full scale, cut off at three of them."""
    flicker_local: Span = (0.0, 0.05)
    """Greatest gain of a 5×5 grid (no unit)."""
    weave: Span = (0.3, 2.0)
    """px at a width of 2048, standard deviation. The target keeps the place of every frame."""
    weave_memory: Span = (0.3, 0.8)
    """ρ of the AR(1) walk (no unit)."""
    weave_turn: float = Field(default=0.1, ge=0, le=2)
    """Degrees, greatest."""
    grain: Span = (2 / 255, 12 / 255)
    """Share of full scale, standard deviation in the mid-tones."""
    grain_colour: Span = (0.0, 0.8)
    """Share that each channel has to itself: a correlation of 0.2 to 1 between channels."""
    grain_lag: tuple[int, int] = (1, 3)
    """px of the clip that a grain reaches into its neighbours."""
    grain_even: bool = True
    """Alike towards all sides. False: lopsided, as the bundled nets were trained and measured with."""
    faded: float = Field(default=0.2, ge=0, le=1)
    """Share of the colour shots whose dyes have faded. The target keeps the fade."""
    fade_most: tuple[float, float, float] = (0.6, 0.15, 0.4)
    """Greatest loss of cyan, magenta and yellow dye (no unit)."""
    fade_floor: Span = (0.0, 0.1)
    """Density."""
    fade_crosstalk: Span = (0.0, 0.1)
    """Share of density."""
    blur: Span = (0.3, 2.5)
    """px of the clip, standard deviation. All of it asks for a deblurring net: a small one does better with less."""
    anisotropic: float = Field(default=0.5, ge=0, le=1)
    """Share of the shots whose vertical blur is another than the horizontal one."""
    gamma: Span = (0.8, 1.3)
    """Exponent (no unit). The target keeps it."""
    monochrome: float = Field(default=0.5, ge=0, le=1)
    """Share of the shots in black and white."""
    drift: float = Field(default=0.02, ge=0, le=0.5)
    """Relative step from frame to frame, standard deviation."""
    splice: float = Field(default=0.005, ge=0, le=1)
    """Share of the shots with a splice."""
    splice_jump: float = Field(default=20.0, ge=0, le=200)
    """px at a width of 2048, greatest."""
    lost: int = Field(default=3, ge=0, le=30)
    """Frames, greatest; one at least, unless this is 0."""
    jpeg: float = Field(default=0.1, ge=0, le=1)
    """Share of the shots that went through JPEG. The target did not."""
    jpeg_quality: tuple[int, int] = (40, 100)
    """IJG's scale (no unit)."""
    h264: float = Field(default=0.05, ge=0, le=1)
    """Share of the shots that went through H.264. The target did not."""
    h264_crf: tuple[int, int] = (18, 40)
    """x264's scale (no unit)."""

    @field_validator("*")
    @classmethod
    def _rises(cls, value: object) -> object:
        if isinstance(value, tuple) and len(value) == 2 and value[0] > value[1]:
            raise ValueError(f"a range is [low, high], this is {list(value)}")
        return value


def draw(ranges: Ranges, rng: np.random.Generator, *, frames: int) -> Recipe:
    """One shot's recipe; ``frames`` long it will be, without those that are lost at a splice.

    Takes the same number of draws whatever comes out, so that one range changed leaves the others' draws alone.
    """
    u = rng.random(48)
    at = iter(u)

    def between(span: Span) -> float:
        return float(span[0] + next(at) * (span[1] - span[0]))

    def whole(span: tuple[int, int]) -> int:
        return min(int(span[0] + next(at) * (span[1] - span[0] + 1)), span[1])

    def yes(share: float) -> bool:
        return bool(next(at) < share)

    mono, spliced = yes(ranges.monochrome), yes(ranges.splice)
    scratches, scratched = whole(ranges.scratches), yes(ranges.scratched)
    faded, fade = yes(ranges.faded), [between((0.0, most)) for most in ranges.fade_most]
    floor, crosstalk = between(ranges.fade_floor), between(ranges.fade_crosstalk)
    ratio, uneven = float(np.exp(between((-0.7, 0.7)))), yes(ranges.anisotropic)
    splice, lost = whole((1, max(frames - 1, 1))), whole((min(1, ranges.lost), ranges.lost))
    jump = between((0.0, ranges.splice_jump))
    which, quality, crf = next(at), whole(ranges.jpeg_quality), whole(ranges.h264_crf)
    codec: Codec | None = "jpeg" if which < ranges.jpeg else "h264" if which < ranges.jpeg + ranges.h264 else None
    colour = between(ranges.grain_colour)
    spliced = spliced and frames > 1
    return Recipe(
        dirt=between(ranges.dirt),
        dirt_radius=ranges.dirt_radius,
        dirt_opacity=ranges.dirt_opacity,
        overlays=between(ranges.overlays),
        overlay_size=ranges.overlay_size,
        hairs=int(yes(ranges.hair)),
        scratches=max(scratches, 1) * (ranges.scratches[1] > 0) if scratched else 0,
        scratch_width=ranges.scratch_width,
        scratch_depth=ranges.scratch_depth,
        scratch_walk=ranges.scratch_walk,
        scratch_static=ranges.scratch_static,
        scratch_tilt=ranges.scratch_tilt,
        scratch_life=ranges.scratch_life,
        keep_lines=ranges.keep_lines,
        flicker=between(ranges.flicker),
        flicker_memory=between(ranges.flicker_memory),
        flicker_offset=between(ranges.flicker_offset),
        flicker_local=between(ranges.flicker_local),
        weave=between(ranges.weave),
        weave_memory=between(ranges.weave_memory),
        weave_turn=ranges.weave_turn,
        grain=between(ranges.grain),
        grain_colour=0.0 if mono else colour,
        grain_lag=whole(ranges.grain_lag),
        grain_even=ranges.grain_even,
        fade=(fade[0], fade[1], fade[2]) if faded and not mono else (0.0, 0.0, 0.0),
        fade_floor=floor if faded and not mono else 0.0,
        fade_crosstalk=crosstalk if faded and not mono else 0.0,
        blur=between(ranges.blur),
        blur_ratio=ratio if uneven else 1.0,
        gamma=between(ranges.gamma),
        monochrome=mono,
        drift=ranges.drift,
        splice=splice if spliced else None,
        splice_jump=jump if spliced else 0.0,
        lost=lost if spliced else 0,
        codec=codec,
        codec_quality=crf if codec == "h264" else quality,
    )
