"""What the passes of a chain may say, but for nets: one model a treatment, each field with its unit and its reason.

Lengths in px are of the film's own picture unless a field says that they are shares of its width.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base of every part of a config: frozen, and nothing unknown passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PassBase(Model):
    """What every pass can say."""

    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_-]*$")
    """How ``shots:`` addresses this pass; the kind's own name where nothing is said."""


class Treatment(PassBase):
    """A pass that is no net."""

    radius: ClassVar[int] = 0
    """Frames that it reads on each side."""
    surveyed: ClassVar[bool] = False
    """Whether it wants parameters that only a survey of the whole shot can give."""
    bytes_px: ClassVar[int] = 24
    """Bytes that it works with, for a pixel of the picture."""

    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the pass's change that is kept (no unit): 0 leaves the picture alone. A frame-wise parameter."""


class DeflickerPass(Treatment):
    """Brightness that jumps from frame to frame, made even within each shot."""

    surveyed: ClassVar[bool] = True

    kind: Literal["deflicker"] = Field(default="deflicker", alias="pass")
    memory: float = Field(default=8.0, ge=1.0, le=100.0)
    """Standard deviation, in frames, of the time over which levels are evened out: longer takes slower flicker, and
    begins to take what was lit so."""
    floor: float = Field(default=0.006, ge=0.0, le=0.2)
    """Flicker of a shot, as rms of its frames' gains (no unit), below which it is left alone; fully on at twice this.
    Old film has 0.04 to 0.08; what merely moves in a steady picture stays below 0.005."""
    limit: float = Field(default=0.2, gt=0.0, le=1.0)
    """Largest change of a level, as a share of full range. A frame that would need more is a flash, or lit so: it is
    left alone and flagged ``flash``."""
    local: float = Field(default=0.06, ge=0.0, le=0.5)
    """Largest gain (no unit) of a part of the picture against the whole, over a grid of 4 × 4; 0: the whole alone."""


class StabilisePass(Treatment):
    """Gate weave: the whole picture's trembling, taken off to a fraction of a pixel. The size never changes."""

    surveyed: ClassVar[bool] = True
    bytes_px: ClassVar[int] = 48

    kind: Literal["stabilise"] = Field(default="stabilise", alias="pass")
    memory: float = Field(default=6.0, ge=1.0, le=100.0)
    """Standard deviation, in frames, of the low-pass that the picture's way is compared with (6: over some 25 frames).
    Slower movement is the camera's, and stays."""
    when: Literal["still", "always"] = "still"
    """``still``: only in shots whose background stands still, where trembling is the gate's and not the camera's; other
    shots are flagged ``weave``. ``always``: in every shot whose shift is known."""
    floor: float = Field(default=0.08, ge=0.0, le=10.0)
    """Trembling of a shot, in px rms, below which it is left alone: resampling costs sharpness."""
    limit: float = Field(default=0.02, gt=0.0, le=0.1)
    """Largest shift, as a share of the picture's width; more is no gate's."""


class FadePass(Treatment):
    """Dyes that faded unevenly, brought back in density, shot by shot."""

    surveyed: ClassVar[bool] = True

    kind: Literal["fade"] = Field(default="fade", alias="pass")
    limit: float = Field(default=1.6, ge=1.0, le=4.0)
    """Largest factor by which a dye's density is raised (no unit)."""
    floor: float = Field(default=0.08, ge=0.0, le=1.0)
    """Difference between the dyes' densities, as a share, below which a shot is left alone: a scene may be warm."""


class DuplicatesPass(Treatment):
    """Frames that repeat the one before are flagged ``duplicate``. None is ever dropped, and no picture is changed."""

    surveyed: ClassVar[bool] = True

    kind: Literal["duplicates"] = Field(default="duplicates", alias="pass")
    share: float = Field(default=0.2, gt=0.0, lt=1.0)
    """A frame repeats the one before where they differ by less than this share of what frames around it do."""
    level: float = Field(default=0.004, gt=0.0, le=0.1)
    """And by less than this on average, as a share of full range: the noise of a transfer."""


class DirtPass(Treatment):
    """Dust, sparkle and blotches that lie in one frame, replaced by what its neighbours show there."""

    radius: ClassVar[int] = 3
    bytes_px: ClassVar[int] = 620

    kind: Literal["dirt"] = Field(default="dirt", alias="pass")
    threshold: float = Field(default=0.1, gt=0.0, lt=1.0)
    """How far a pixel must stand out from both neighbours, in the same direction, as a share of full range."""
    trust: float = Field(default=1.0, gt=0.0, le=16.0)
    """Px by which movement there and back may disagree around a spot before that speaks against its being dirt."""
    doubt: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Likelihood, by all that was learned of spots, of its being a thing that moves, above which one is left alone."""
    largest: float = Field(default=0.01, gt=0.0, le=0.5)
    """Area of the largest blotch, as a share of the picture (0.01: 100 px in radius at 2K); more is what passes by."""
    most: float = Field(default=0.08, gt=0.0, le=1.0)
    """Share of the picture that may be dirt; a frame with more is left alone and flagged ``dirt-limit``."""


class ScratchesPass(Treatment):
    """Vertical lines that stay with the frame while the scene moves behind them: what they add is taken off."""

    radius: ClassVar[int] = 3
    bytes_px: ClassVar[int] = 260

    kind: Literal["scratches"] = Field(default="scratches", alias="pass")
    threshold: float = Field(default=0.02, gt=0.0, lt=1.0)
    """Contrast of a line to both its sides, as a share of full range, in bands of a sixteenth of the height; half of it
    on the mean of all bands is enough."""
    length: float = Field(default=0.7, gt=0.0, le=1.0)
    """Share of the picture's height that a line must run through."""
    width: float = Field(default=0.005, gt=0.0, le=0.05)
    """Widest line, as a share of the picture's width (10 px of 2048)."""
    moves: float = Field(default=1.5, ge=0.0, le=100.0)
    """Px by which the scene behind a line must have moved otherwise than the line, over the frames that are looked at,
    before it is taken for a scratch: what stands still with the scene is the scene's."""


class DegrainPass(Treatment):
    """Grain, and what little else one frame shows alone, averaged over the neighbours as the picture moved."""

    radius: ClassVar[int] = 3
    bytes_px: ClassVar[int] = 1030

    kind: Literal["degrain"] = Field(default="degrain", alias="pass")
    alike: float = Field(default=0.025, gt=0.0, le=0.5)
    """Mean difference of two blocks, as a share of full range, from which they are not of one thing, however coarse the
    grain."""
    own: float = Field(default=0.06, gt=0.0, le=0.5)
    """How far a pixel may lie from the median of all, as a share of full range, to count as much as the others."""
    limit: float = Field(default=0.08, gt=0.0, le=0.5)
    """Largest change that is made whole, as a share of full range; from twice that on none is: that is no grain."""
    detail: float = Field(default=1.0, ge=0.0, le=1.0)
    """Behind a net: share (no unit) of what comes back of the detail that the net took away in frame after frame alike,
    and so mistook for grain. 0: none."""


class GrainPass(Treatment):
    """Film grain: measured by what the last net before it took away, and given back in part. What passes before that
    net took, as ``degrain`` does, stays away."""

    kind: Literal["grain"] = Field(default="grain", alias="pass")
    mode: Literal["keep", "synthesise"] = "keep"
    """``keep``: a share of what the net took away at fine scale, where it changed nothing else.
    ``synthesise``: new grain of the measured strength, another for every frame, by the job's seed."""
    share: float = Field(default=0.4, ge=0.0, le=1.0)
    """Share of the grain that the net took away which comes back (no unit)."""
    limit: float = Field(default=0.06, gt=0.0, le=0.5)
    """Changes larger than this, as a share of full range, were no grain and are not given back."""


TREATMENTS: tuple[type[Treatment], ...] = (
    DeflickerPass,
    StabilisePass,
    FadePass,
    DuplicatesPass,
    DirtPass,
    ScratchesPass,
    DegrainPass,
    GrainPass,
)
