"""What the page's timelines show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.timeline import Buckets, band, line

Part = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One timeline: of one figure, or of the source's and the output's."""

    title: str
    unit: str
    names: tuple[str, ...]
    help: str

    def has(self, buckets: Buckets) -> bool:
        """Whether any frame has the figure."""
        return any(not np.isnan(buckets.mean[n]).all() for n in self.names)


def _both(title: str, unit: str, name: str, text: str) -> Chart:
    return Chart(title, unit, (f"{name}_source", f"{name}_output"), text)


CHARTS: tuple[Chart, ...] = (
    Chart("Changed", "share", ("changed_fraction",), "Share of the picture that moved by more than 4/255."),
    Chart(
        "Changed though it was sound",
        "share",
        ("unsupported_fraction",),
        "Share of the picture that was changed though the frame before, as it moved, bears the source out.",
    ),
    Chart("Dirt", "share", ("dirt_fraction",), "Share of the source's picture in spots that one frame shows alone."),
    Chart("Scratches", "px", ("scratch_columns",), "Columns of upright lines that the scene moves behind."),
    Chart("Likeness (SSIM)", "1", ("ssim",), "1: equal to the source."),
    Chart("Likeness (PSNR)", "dB", ("psnr_db",), "100: equal to the source."),
    _both("Brightness", "8-bit code", "luma", "Mean luma."),
    Chart("Gain", "stop", ("gain_stops",), "By how much a frame was made brighter to even out flicker."),
    _both("Flicker", "8-bit code", "flicker", "How far mean luma jumps from the frame before."),
    _both("Motion", "8-bit code", "ydif", "Mean difference to the frame before."),
    _both("Sharpness", "1/px", "sharpness", "Steepness of the picture's structure, noise taken off."),
    _both("Noise", "8-bit code", "noise", "Standard deviation of grain and noise."),
    _both("Saturation", "8-bit code", "satavg", "Mean distance from gray."),
    _both("Outliers (TOUT)", "share", "tout", "Pixels that stand out from their rows."),
    _both("Outside broadcast range (BRNG)", "share", "brng", "Pixels that television does not allow."),
    _both(
        "Warp error",
        "8-bit code",
        "warp_error",
        "What movement does not explain of the difference to the frame before.",
    ),
)
FIGURES: tuple[str, ...] = tuple(n for c in CHARTS for n in c.names)
HISTOGRAM = 20
"""Bars of the histogram of change, each a twentieth of the picture wide."""


def charts_of(buckets: Buckets) -> list[dict[str, Any]]:
    """The charts that have something to show, as a template draws them."""
    found = []
    for chart in CHARTS:
        if not chart.has(buckets):
            continue
        most = float(np.nanmax([np.nanmax(buckets.high[n]) for n in chart.names if not _empty(buckets, n)]))
        least = float(np.nanmin([np.nanmin(buckets.low[n]) for n in chart.names if not _empty(buckets, n)]))
        # Likeness lies close to its upper end: what counts is how far below.
        bottom = least if chart.title.startswith("Likeness") else min(0.0, least)
        top = most if most > bottom else bottom + 1.0
        series = [
            {
                "name": name,
                "stream": "output" if name.endswith("_output") else "source" if name.endswith("_source") else "one",
                "line": line(buckets.mean[name], top, bottom),
                "band": band(buckets.low[name], buckets.high[name], top, bottom),
            }
            for name in chart.names
            if not _empty(buckets, name)
        ]
        found.append({"chart": chart, "top": top, "bottom": bottom, "series": series})
    return found


def _empty(buckets: Buckets, name: str) -> bool:
    return bool(np.isnan(buckets.mean[name]).all())


def histogram(parts: Iterable[Part]) -> tuple[Callable[[], Sequence[int]], Iterator[Part]]:
    """Frames by share of the picture that changed: counted while the parts pass through to somebody else."""
    counts = np.zeros(HISTOGRAM, np.int64)

    def through() -> Iterator[Part]:
        for part in parts:
            share = part["changed_fraction"]
            at = np.clip((share[~np.isnan(share)] * HISTOGRAM).astype(np.int64), 0, HISTOGRAM - 1)
            np.add.at(counts, at, 1)
            yield part

    return counts.tolist, through()
