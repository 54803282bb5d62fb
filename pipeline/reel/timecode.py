"""SMPTE ST 12-1 timecode of a frame, counted from the reel's start timecode."""

from __future__ import annotations

import re
from fractions import Fraction

_FORM = re.compile(r"^(\d{2}):(\d{2}):(\d{2})([:;.])(\d{2,3})$")


def timecode_at(start: str | None, frame: int, rate: Fraction) -> str | None:
    """``HH:MM:SS:FF`` of a frame (``;`` before FF for drop-frame), or None where the start is missing or no timecode.

    Counts in whole frames of the nominal rate, as timecode does; drop-frame skips numbers 0 and 1 (0–3 at 60) in each
    minute that is not a tenth. Wraps at 24 hours.
    """
    match = _FORM.match(start or "")
    if match is None:
        return None
    hours, minutes, seconds, mark, frames = match.groups()
    nominal = round(rate)
    if nominal < 1 or int(frames) >= nominal:
        return None
    drop = (nominal // 30) * 2 if mark in ";." and nominal % 30 == 0 else 0
    count = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * nominal + int(frames)
    if drop:
        total_minutes = int(hours) * 60 + int(minutes)
        count -= drop * (total_minutes - total_minutes // 10)
    count += frame
    if drop:
        ten, rest = divmod(count, nominal * 600 - 9 * drop)
        count += 9 * drop * ten
        if rest >= nominal * 60:
            count += drop * (1 + (rest - nominal * 60) // (nominal * 60 - drop))
    ff, total = count % nominal, count // nominal
    text = f"{total // 3600 % 24:02}:{total // 60 % 60:02}:{total % 60:02}"
    return f"{text}{';' if drop else ':'}{ff:02}"
