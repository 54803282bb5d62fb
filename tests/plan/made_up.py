"""Reels, indexes and nets that exist only on paper: what planning needs is numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from pipeline.types import Colour, Component, FrameIndex, NetInfo, PixelFormat, PlaneLayout, Reel

GRAY = PixelFormat("gray", "gray", 8, (PlaneLayout(0, 0, 1),), (Component(0, 0, 0, 8),))
RGB24 = PixelFormat("rgb24", "rgb", 8, (PlaneLayout(0, 0, 3),), tuple(Component(0, i, 0, 8) for i in range(3)))


def reel(name: str = "a", width: int = 64, height: int = 48) -> Reel:
    return Reel(
        name=name,
        uri=f"/films/{name}.mkv",
        source_id="5" * 64,
        bytes=10_000_000,
        container="matroska",
        stream=0,
        codec="ffv1",
        width=width,
        height=height,
        format=GRAY,
        rate=Fraction(24000, 1001),
        time_base=Fraction(1, 1000),
        sample_aspect=Fraction(1),
        colour=Colour("unknown", "unknown", "unknown", "unknown", "unknown", "gray", True, ("assumed",)),
        field_order="progressive",
        timecode="01:00:00:00",
        others=(),
        tags=(("title", "A “film”\n"),),
    )


def index(frames: int, gop: int = 1) -> FrameIndex:
    rate = Fraction(24000, 1001)
    numbers = np.arange(frames, dtype=np.int64)
    return FrameIndex(
        pts=np.round(numbers * float(1000 / rate)).astype(np.int64),
        key=numbers % gop == 0,
        position=numbers * 1000,
        size=np.full(frames, 1000, np.int64),
        time_base=Fraction(1, 1000),
        rate=rate,
        constant=True,
        found_by="demux",
    )


def net(radius: int = 2, sha256: str = "a" * 64) -> NetInfo:
    return NetInfo(
        name="nafnet-film",
        uri="/nets/film.safetensors",
        sha256=sha256,
        family="nafnet",
        config={},
        radius=radius,
        licence="CC0-1.0",
        restricted=False,
        train_size=(64, 64),
        parameter_bytes=1_000_000,
        activation_bytes_px=500.0,
    )
