"""The least and the greatest value of every figure in each row group of ``frames.parquet``, and what they rule out.

Parquet's own statistics say the same; but pyarrow ends the process where a footer that it is asked about is garbled,
and a report is read from where others may write.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.tables.schema import FIGURES

KEY = "reelmend.ranges"
Ranges = Mapping[str, Sequence[float]]
_WITH_FRAME = ("frame", "shot", *FIGURES)
_TERM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(<=|>=|<|>|=)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*", re.IGNORECASE)
_NOT_PLAIN = re.compile(r"\b(or|not|case|between|select|is|in|like)\b|[()'\"\[\]]", re.IGNORECASE)
# Figures are stored as float32: a bound may be off by half of its last bit.
_SLACK = 1e-6
_RULED_OUT: Mapping[str, Callable[[float, float, float], bool]] = {
    "<": lambda low, _high, bound: low > bound,
    "<=": lambda low, _high, bound: low > bound,
    ">": lambda _low, high, bound: operator.lt(high, bound),
    ">=": lambda _low, high, bound: operator.lt(high, bound),
    "=": lambda low, high, bound: not low <= bound <= high,
}


def of_group(names: Sequence[str], values: Sequence[Sequence[Any]]) -> dict[str, list[float]]:
    """Figure → [least, greatest] over some rows; a figure that none of them has is left out."""
    found = {}
    for name, column in zip(names, values, strict=True):
        if name in _WITH_FRAME:
            numbers = np.array(column, np.float64)  # None becomes NaN
            if not np.isnan(numbers).all():
                found[name] = [float(f"{f(numbers):.9g}") for f in (np.nanmin, np.nanmax)]
    return found


def merged(parts: Iterable[Ranges]) -> dict[str, list[float]]:
    """The ranges over all parts of a row group."""
    found: dict[str, list[float]] = {}
    for part in parts:
        for name, (low, high) in part.items():
            known = found.setdefault(name, [low, high])
            found[name] = [min(known[0], low), max(known[1], high)]
    return found


def to_metadata(groups: Sequence[Ranges]) -> dict[str, str]:
    """What a file's metadata holds."""
    return {KEY: json.dumps(groups, separators=(",", ":"), allow_nan=False)}


def from_metadata(metadata: Mapping[bytes, bytes] | None, groups: int) -> list[Ranges] | None:
    """The ranges of each row group; None where the file has none that make sense."""
    try:
        said = json.loads((metadata or {})[KEY.encode()])
        if len(said) != groups:
            return None
        return [{str(k): (float(a), float(b)) for k, (a, b) in g.items()} for g in said]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def may_match(condition: str, ranges: Ranges) -> bool:
    """Whether a row group can hold a row that meets a SQL condition; True wherever that is not sure.

    Only plain comparisons of a figure with a number, joined by AND, are understood.
    """
    if _NOT_PLAIN.search(condition):
        return True
    for part in re.split(r"\band\b", condition, flags=re.IGNORECASE):
        term = _TERM.fullmatch(part)
        if term is None or term[1].lower() not in _WITH_FRAME:
            continue
        if term[1].lower() not in ranges:
            return False  # null in every row, which meets no comparison
        low, high = ranges[term[1].lower()]
        slack = _SLACK * max(abs(low), abs(high))
        if math.isfinite(low) and _RULED_OUT[term[2]](low - slack, high + slack, float(term[3])):
            return False
    return True
