"""A few pictures through a lossy codec and back, in memory: how a viewing copy would have spoilt them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray


def through_h264(rgb: NDArray[np.uint8], crf: int) -> NDArray[np.uint8]:
    """RGB of 8 bit, ``(N, H, W, 3)`` with even sides, as it comes back from x264 in 4:2:0 at a quality of ``crf``.

    One thread: equal pictures give equal results. Raises ValueError for another shape or type.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3 or rgb.shape[1] % 2 or rgb.shape[2] % 2:
        raise ValueError(f"pictures are uint8 (N, H, W, 3) with even sides, these are {rgb.dtype} {rgb.shape}")
    # Any: av's stubs give create() the base class, which knows no width.
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = rgb.shape[1:3]
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 24), 1
    # Without its assembly: with it, equal pictures came out otherwise once in some hundreds of calls (x264 of av 18.1).
    encoder.options = {"crf": str(crf), "preset": "veryfast", "bf": "0", "x264-params": "asm=0"}
    packets = []
    for number, picture in enumerate(rgb):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    found = [frame for packet in packets for frame in decoder.decode(packet)]
    found += decoder.decode(None)
    return np.stack([frame.to_ndarray(format="rgb24") for frame in found]).astype(np.uint8, copy=False)
