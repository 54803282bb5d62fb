"""Clips through FFmpeg's own filters: what others restore with, to be measured beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CallError
from pipeline.reel.formats import frame_of, pixel_format, planes_of

_FORMAT = "gbrp16le"
_WHITE = 65535
_TIME = Fraction(1, 24)
_EMPTY = (av.error.BlockingIOError, av.error.EOFError)


def available(names: Iterable[str]) -> bool:
    """Whether this build of FFmpeg has all of these filters."""
    return set(names) <= set(av.filter.filters_available)


def filtered(clip: NDArray[np.float32], chain: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """A clip float32 ``(N, 3, H, W)``, RGB, 0 to 1, through filters one after the other: (name, arguments) each.

    The clip goes in and comes out as RGB of 16 bit; the chain says by ``format`` what it works in. Returned is what the
    chain gave, as many frames as those are. Raises CallError for a chain that FFmpeg refuses.
    """
    fmt = pixel_format(_FORMAT)
    codes = np.rint(np.clip(clip, 0, 1) * _WHITE).astype(np.uint16)
    try:
        graph = av.filter.Graph()
        graph.threads = 1
        feed = graph.add_buffer(
            width=clip.shape[3], height=clip.shape[2], format=av.VideoFormat(_FORMAT), time_base=_TIME
        )
        last = feed
        for name, arguments in (*chain, ("format", f"pix_fmts={_FORMAT}"), ("buffersink", "")):
            following = graph.add(name, arguments or None)
            last.link_to(following)
            last = following
        graph.configure()
        found: list[NDArray[np.float32]] = []
        for number, rgb in enumerate(codes):
            # FFmpeg keeps planar RGB as green, blue, red.
            feed.push(frame_of([np.ascontiguousarray(rgb[c]) for c in (1, 2, 0)], fmt, pts=number, time_base=_TIME))
            found += _given(graph)
        feed.push(None)
        found += _given(graph)
    except (av.FFmpegError, ValueError) as error:
        raise CallError(f"FFmpeg refuses this: {error}", where=",".join(f"{n}={a}" for n, a in chain)) from None
    return np.stack(found) if found else np.zeros((0, *clip.shape[1:]), np.float32)


def _given(graph: av.filter.Graph) -> list[NDArray[np.float32]]:
    """The frames that the graph has ready."""
    found: list[NDArray[np.float32]] = []
    while True:
        try:
            frame = graph.pull()
        except _EMPTY:
            return found
        assert isinstance(frame, av.VideoFrame)  # the sink takes nothing else
        g, b, r = planes_of(frame, pixel_format(_FORMAT))
        found.append(np.stack((r, g, b)).astype(np.float32) / np.float32(_WHITE))
