"""Writes a small made film: FFV1 in Matroska with a sound track, for the demo and for measuring."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.reel.formats import frame_of
from pipeline.types import Frames

_FFV1 = {"level": "3", "coder": "1", "context": "1", "g": "1", "slices": "4", "slicecrc": "1"}


def write_sample(path: Path, frames: Frames, *, rate: Fraction, sound: NDArray[np.int16], sound_rate: int) -> None:
    """Write frames and one channel of 16-bit PCM ``(samples,)`` at ``sound_rate`` Hz; both start at 0.

    The pictures are lossless in the frames' own pixel format, at a constant ``rate`` a second (the frames' pts are
    not used). Equal arguments give equal bytes. Raises OSError where the file cannot be written.
    """
    # Bit-exact: no creation time and no random ids in the file, so that making it again gives the same source.
    with av.open(str(path), "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        picture = container.add_stream("ffv1", rate=rate, options=_FFV1)
        height, width = frames.planes[0].shape[1:3]
        picture.width, picture.height, picture.pix_fmt = width, height, frames.format.name
        picture.codec_context.thread_type, picture.codec_context.thread_count = "SLICE", 1
        track = container.add_stream("pcm_s16le", rate=sound_rate, layout="mono")
        for stream in (picture, track):
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
        per_frame = Fraction(sound_rate) / rate
        for i in range(len(frames)):
            planes = [p[i] for p in frames.planes]
            container.mux(picture.encode(frame_of(planes, frames.format, pts=i, time_base=1 / rate)))
            first, last = round(i * per_frame), round((i + 1) * per_frame)
            if i == len(frames) - 1:
                last = len(sound)
            if first < last <= len(sound):
                piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, first:last]), "s16", "mono")
                piece.sample_rate, piece.pts, piece.time_base = sound_rate, first, Fraction(1, sound_rate)
                container.mux(track.encode(piece))
        for stream in (picture, track):
            container.mux(stream.encode(None))
