"""The page of all reels below an output: what to look at first in the morning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pipeline.errors import StorageError
from pipeline.report.page import asset, environment, how_long, policy


@dataclass(frozen=True, slots=True)
class NightRule:
    """A rule that fired in a reel."""

    flag: str
    title: str
    about: str
    frames: int
    fail: bool


@dataclass(frozen=True, slots=True)
class NightReel:
    """One published reel, as its ``reel.json`` says."""

    name: str
    frames: int
    seconds: float
    shots: int
    flagged: int
    changed: float | None
    psnr_min_db: float | None
    finished: str
    has_page: bool
    rules: tuple[NightRule, ...] = field(default=())

    @property
    def link(self) -> str:
        """Its page, from the night's."""
        return quote(f"{self.name}/report/index.html", safe="/")

    @property
    def fails(self) -> bool:
        return any(r.fail and r.frames for r in self.rules)


def reel_of(name: str, said: Mapping[str, Any], *, has_page: bool) -> NightReel:
    """Raises StorageError where ``said`` is no summary of a reel; it was read from where others may write."""
    try:
        above, _, below = str(said["rate"]).partition("/")
        frames = int(said["frames"])
        rules = [
            NightRule(str(r["flag"]), str(r["title"]), str(r["about"]), int(r["frames"]), r["fail"] is True)
            for r in said.get("rules", [])
        ]
        changed = said["means"].get("changed_fraction")
        return NightReel(
            name=name,
            frames=frames,
            seconds=frames * int(below or 1) / int(above),
            shots=int(said["shots"]),
            flagged=int(said["flagged_frames"]),
            changed=None if changed is None else float(changed),
            psnr_min_db=float(said["psnr_min_db"]),
            finished=str(said["restored"]["finished"])[:40],
            has_page=has_page,
            rules=tuple(r for r in rules if r.frames or r.fail)[:64],
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError) as error:
        raise StorageError(f"its summary cannot be read ({type(error).__name__})", where=name) from None


def render(reels: Sequence[NightReel], quarantined: Sequence[tuple[str, str]], problems: Sequence[str]) -> str:
    """The page: reels that fail first, then by the share of their frames that is flagged. Equal words, equal bytes.

    quarantined: (reel, why). problems: what could not be read, a sentence each.
    """

    def order(r: NightReel) -> tuple[bool, float, float, str]:
        change = sum(rule.frames for rule in r.rules if rule.about == "change") / max(1, r.frames)
        return not r.fails, -change, -r.flagged / max(1, r.frames), r.name

    style = asset("page.css")
    return (
        environment()
        .get_template("night.html.j2")
        .render(
            reels=sorted(reels, key=order),
            quarantined=sorted(quarantined),
            problems=sorted(problems),
            frames=sum(r.frames for r in reels),
            flagged=sum(r.flagged for r in reels),
            seconds=sum(r.seconds for r in reels),
            how_long=how_long,
            style=style,
            policy=policy(style, ""),
        )
    )
