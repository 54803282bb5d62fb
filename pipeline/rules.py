"""The rules that flag a frame: what a config may say of each, and what each says to people.

A flag is a rule's key with hyphens. Flags change no picture and no exit status of ``restore``; a rule that is marked
``fail`` makes ``reelmend audit`` end with status 1 where it fired. No rule is marked so unless a config does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Rule(BaseModel):
    """What every rule can say."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    use: bool = True
    """false: the rule flags nothing. What a pass itself raises (memory ladder, guard…) is told all the same."""
    fail: bool = False
    """true: where the rule fired, ``reelmend audit`` ends with status 1, so that it can be a gate."""


class HeavyChange(Rule):
    above: float = Field(default=0.60, ge=0.0, le=1.0)
    """Share of pixels that changed by more than 4/255 (``changed_fraction``). Worn prints come to 0.2 under the bundled
    net, and to 0.5 where coarse grain was taken off; beyond that neither is the reason."""


class PossibleInvention(Rule):
    above: float = Field(default=0.005, ge=0.0, le=1.0)
    """Share of the picture where the source is what the frame before shows there, as it moved, and was changed by more
    than 24 codes all the same (``unsupported_fraction``). The presets ``archive`` and ``clean``
    stay below 0.003 on old films, but for a frame that they smeared where the picture had jumped."""


class LostSharpness(Rule):
    below: float = Field(default=0.80, ge=0.0, le=1.0)
    """Sharpness of the output over that of the source (no unit), noise taken off both. A blur of 0.6 px gives 0.8."""
    least: float = Field(default=0.02, ge=0.0)
    """Sharpness of the source in 1/px below which nothing is said: titles' grounds, fades, black."""


class GrainGone(Rule):
    below: float = Field(default=0.25, ge=0.0, le=1.0)
    """Noise of the output over that of the source (no unit). An eye that knows the film misses what is below."""
    least: float = Field(default=1.0, ge=0.0)
    """Noise of the source in 8-bit codes below which there was no grain to lose."""


class FlickerAdded(Rule):
    above: float = Field(default=4.0, ge=0.0)
    """8-bit codes by which mean luma jumps more in the output than in the source. Taking dirt away moves it by up to
    3.5 on the worst old films."""


class ColourShift(Rule):
    above: float = Field(default=1.5, ge=0.0)
    """8-bit codes by which the mean of Cb or Cr moved: below, no eye sees it."""


class Seam(Rule):
    above: float = Field(default=0.75, ge=0.0)
    """8-bit codes of a step at a border between tiles, in space or in time: half a code is what rounding does."""


class Freeze(Rule):
    seconds: float = Field(default=2.0, ge=0.0)
    """How long a picture must stand still, as FFmpeg's freezedetect."""
    below: float = Field(default=0.25, ge=0.0)
    """8-bit codes of mean change from frame to frame (``ydif_source``) below which it stands still: -60 dB."""


class Black(Rule):
    above: float = Field(default=0.98, ge=0.0, le=1.0)
    """Share of source pixels below a tenth of the range (``black_fraction``), as FFmpeg's blackdetect."""


class Flags(BaseModel):
    """When a frame is flagged. Thresholds are judged when a reel is put together: another one redoes no tile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    heavy_change: HeavyChange = HeavyChange()
    possible_invention: PossibleInvention = PossibleInvention()
    lost_sharpness: LostSharpness = LostSharpness()
    grain_gone: GrainGone = GrainGone()
    flicker_added: FlickerAdded = FlickerAdded()
    colour_shift: ColourShift = ColourShift()
    seam: Seam = Seam()
    not_finite: Rule = Rule()
    guard: Rule = Rule()
    memory_ladder: Rule = Rule()
    damaged: Rule = Rule()
    interlaced: Rule = Rule()
    duplicate: Rule = Rule()
    freeze: Freeze = Freeze()
    black: Black = Black()

    def rule(self, flag: str) -> Rule | None:
        """The rule of a flag; None for one that no rule here knows."""
        found = getattr(self, flag.replace("-", "_"), None)
        return found if isinstance(found, Rule) else None

    @property
    def failing(self) -> tuple[str, ...]:
        """Flags whose rules are marked ``fail``."""
        return tuple(f for f in WORDS if (rule := self.rule(f)) is not None and rule.fail)


@dataclass(frozen=True, slots=True)
class Words:
    """A rule, for people."""

    title: str
    sentence: str
    about: Literal["change", "run", "source"]
    """``change``: what restoring did. ``run``: how it went. ``source``: what the film itself suffers from."""


WORDS: Mapping[str, Words] = {
    "heavy-change": Words(
        "Heavy change", "A large part of the picture was changed: more than dirt explains.", "change"
    ),
    "possible-invention": Words(
        "Possible invention",
        "Parts of the picture were changed though the frame before, as it moved, bears the source out: the net may "
        "have drawn something that was never filmed, or taken something away that was.",
        "change",
    ),
    "lost-sharpness": Words("Lost sharpness", "The restored picture is softer than the source.", "change"),
    "grain-gone": Words("Grain gone", "Nearly all of the film's grain was taken away.", "change"),
    "flicker-added": Words(
        "Flicker added", "The restored picture's brightness jumps more than the source's.", "change"
    ),
    "colour-shift": Words("Colour shifted", "The restored picture as a whole has another colour.", "change"),
    "seam": Words(
        "Seam", "A step shows where two pieces of the work meet, in the picture or between frames.", "change"
    ),
    "not-finite": Words("No numbers", "The net answered with infinities; the frame was left as it was.", "run"),
    "guard": Words("Passed through", "A guard held the result back; the frame, or a part, was left as it was.", "run"),
    "memory-ladder": Words(
        "Memory ladder",
        "The frame did not fit the device and was computed in smaller pieces: another run may give other bits.",
        "run",
    ),
    "damaged": Words(
        "Damaged source", "The source's data are damaged here; what FFmpeg made of them was used.", "source"
    ),
    "interlaced": Words("Interlaced", "The frame holds two fields; each was restored by itself.", "source"),
    "dirt-limit": Words(
        "Too much to be dirt", "More of the frame looked like dirt than may be: it was left alone.", "run"
    ),
    "fast-motion": Words(
        "Fast motion", "What may be dirt moves too fast to be told from the picture: it was left alone.", "run"
    ),
    "flash": Words(
        "Flash", "One frame is far brighter or darker than its neighbours: its levels were left alone.", "source"
    ),
    "weave": Words(
        "Weave", "The frame trembles, but its background does not stand still: it was left alone.", "source"
    ),
    "duplicate": Words(
        "Duplicate", "The source's frame is the one before it once more, bit for bit or nearly so.", "source"
    ),
    "freeze": Words("Freeze", "The source's picture stands still.", "source"),
    "black": Words("Black", "The source's picture is black.", "source"),
}
"""Flag → what it says, in the order of importance."""


def words(flag: str) -> Words:
    """What a flag says; of one that no rule knows, that a pass raised it."""
    return WORDS.get(flag) or Words(flag.replace("-", " ").capitalize(), "A pass of the chain raised this.", "run")


def threshold(flags: Flags, flag: str) -> str:
    """A rule's thresholds for people: ``above 0.3``; empty where it has none."""
    rule = flags.rule(flag)
    said = rule.model_dump(exclude={"use", "fail"}) if rule is not None else {}
    return ", ".join(f"{key} {value:g}" for key, value in said.items())
