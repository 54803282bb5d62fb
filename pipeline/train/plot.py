"""Curves over the steps of a training job, as one SVG that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_W, _H, _LEFT, _TOP, _GAP = 640, 170, 64, 26, 46


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    lines: tuple[tuple[str, str, str], ...]
    """(column, label, colour)."""


_NET, _INPUT = "#1f6f8b", "#b0673a"
_PANELS = (
    _Panel("PSNR, dB", (("net_psnr_db", "net", _NET), ("input_psnr_db", "damaged", _INPUT))),
    _Panel("PSNR inside damage, dB", (("net_inside_db", "net", _NET), ("input_inside_db", "damaged", _INPUT))),
    _Panel("SSIM", (("net_ssim", "net", _NET), ("input_ssim", "damaged", _INPUT))),
    _Panel("error over time, 8-bit codes", (("net_temporal", "net", _NET), ("input_temporal", "damaged", _INPUT))),
    _Panel("training loss, dB", (("loss", "loss", _NET),)),
)


def svg(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """The log's curves, one panel below the other. Raises nothing: without rows there are empty panels."""
    last = max((r["step"] for r in rows), default=0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_W + _LEFT + 20}" '
        f'height="{len(_PANELS) * (_H + _GAP) + 50}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20" font-size="15">{escape(title)}</text>',
    ]
    for number, panel in enumerate(_PANELS):
        parts += _draw(panel, rows, max(last, 1), 30 + number * (_H + _GAP) + _TOP)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw(panel: _Panel, rows: Sequence[Mapping[str, Any]], last: int, top: int) -> list[str]:
    values = [r[c] for r in rows for c, _, _ in panel.lines if r.get(c) is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = (high - low) * 0.06 or 0.5
    low, high = low - margin, high + margin
    parts = [
        f'<text x="{_LEFT}" y="{top - 6}" fill="#333">{escape(panel.title)}</text>',
        f'<rect x="{_LEFT}" y="{top}" width="{_W}" height="{_H}" fill="none" stroke="#ccc"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = top + _H * (1 - share)
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{low + share * (high - low):.4g}</text>')
        x = _LEFT + _W * share
        parts.append(f'<text x="{x:.1f}" y="{top + _H + 15}" text-anchor="middle">{round(last * share)}</text>')
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_LEFT + _W}" stroke="#eee"/>')
    for place, (column, label, colour) in enumerate(panel.lines):
        points = [
            f"{_LEFT + _W * r['step'] / last:.1f},{top + _H * (1 - (r[column] - low) / (high - low)):.1f}"
            for r in rows
            if r.get(column) is not None
        ]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x = _LEFT + _W - 8
        parts.append(f'<text x="{x}" y="{top + 16 + 15 * place}" text-anchor="end" fill="{colour}">{label}</text>')
    return parts
