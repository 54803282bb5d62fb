"""A plan as JSON text and back: what plan.json holds."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from typing import Any

from pipeline.errors import StorageError
from pipeline.types import (
    Colour,
    Component,
    ImageSequence,
    Mastering,
    OtherStream,
    Override,
    PassPlan,
    PixelFormat,
    Plan,
    PlaneLayout,
    Reel,
    Tile,
)

VERSION = 1


def canonical(value: Any) -> str:
    """JSON text that is the same for the same value: sorted keys, no spaces. What hashes are taken over."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def plain(value: Any) -> Any:
    """Records, fractions and tuples as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def storable(text: str) -> str:
    """JSON that UTF-8 can hold: names of files need not be UTF-8, and what is none of theirs becomes a JSON escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_json(plan: Plan) -> str:
    """The plan as indented JSON; tiles stand one a line, so that a person can read them."""
    data = plain(plan)
    tiles = data.pop("tiles")
    ids = data.pop("tile_ids")
    head = json.dumps({"version": VERSION, **data}, indent=2, ensure_ascii=False, allow_nan=False)
    rows = ",\n".join("    " + json.dumps({**t, "id": i}) for t, i in zip(tiles, ids, strict=True))
    head = storable(head)
    return f'{head[:-2]},\n  "tiles": [\n{rows}\n  ]\n}}\n'


def from_json(text: str, *, where: str = "plan.json") -> Plan:
    """The plan that ``to_json`` wrote. Raises StorageError where the text is not one."""
    try:
        data = json.loads(text)
        if data.pop("version") != VERSION:
            raise ValueError(f"not of version {VERSION}")
        tiles = data.pop("tiles")
        ids = tuple(str(t.pop("id")) for t in tiles)
        reel = data.pop("reel")
        fmt = reel.pop("format")
        return Plan(
            **{
                **data,
                "reel": Reel(
                    **{
                        **reel,
                        "rate": Fraction(reel["rate"]),
                        "time_base": Fraction(reel["time_base"]),
                        "sample_aspect": Fraction(reel["sample_aspect"]),
                        "colour": Colour(**{**reel["colour"], "assumed": tuple(reel["colour"]["assumed"])}),
                        "others": tuple(
                            OtherStream(**{**o, "tags": _pairs(o.get("tags", []))}) for o in reel["others"]
                        ),
                        "tags": _pairs(reel["tags"]),
                        "picture_tags": _pairs(reel.get("picture_tags", [])),
                        "display_matrix": tuple(reel["display_matrix"]) if reel["display_matrix"] else None,
                        "mastering": _mastering(reel.get("mastering")),
                        "format": _pixel_format(fmt),
                        "sequence": _sequence(reel["sequence"]),
                    }
                ),
                "chain": tuple(PassPlan(**p) for p in data["chain"]),
                "overrides": tuple(Override(**o) for o in data["overrides"]),
                "tiles": tuple(Tile(**t) for t in tiles),
                "tile_ids": ids,
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(
            f"not a plan ({type(error).__name__}: {error})",
            where=where,
            todo="Delete the reel's folder below .work and run again",
        ) from None


def _sequence(data: dict[str, Any] | None) -> ImageSequence | None:
    return (
        ImageSequence(**{**data, "beside": tuple(data["beside"]), "left_out": tuple(data["left_out"])})
        if data
        else None
    )


def _mastering(data: dict[str, Any] | None) -> Mastering | None:
    if data is None:
        return None
    primaries, luminance, light = data["primaries"], data["luminance"], data["light"]
    return Mastering(
        tuple(Fraction(v) for v in primaries) if primaries else None,
        (Fraction(luminance[0]), Fraction(luminance[1])) if luminance else None,
        (int(light[0]), int(light[1])) if light else None,
    )


def _pairs(data: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in data)


def _pixel_format(data: dict[str, Any]) -> PixelFormat:
    return PixelFormat(
        **{
            **data,
            "planes": tuple(PlaneLayout(**p) for p in data["planes"]),
            "components": tuple(Component(**c) for c in data["components"]),
            "alpha": Component(**data["alpha"]) if data["alpha"] else None,
        }
    )
