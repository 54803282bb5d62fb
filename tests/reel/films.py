"""Small films made by FFmpeg, for tests: any codec, pixel format, rate, start, with sound and further streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.reel.formats import frame_of, pixel_format
from pipeline.types import PixelFormat

Planes = tuple[NDArray[Any], ...]

ARCHIVE = {"level": "3", "coder": "1", "context": "1", "g": "1", "slices": "16", "slicecrc": "1"}
"""FFV1 as archives keep it."""


def picture(fmt: PixelFormat, width: int, height: int, number: int, seed: int = 0) -> Planes:
    """Native planes of one frame: a drifting ramp, a moving box and noise, over the whole range of code values; of
    floats from below black to beyond white."""
    rng = np.random.default_rng((seed, number))
    top = (1 << fmt.depth) - 1
    shift = fmt.components[0].shift
    planes = []
    for i in range(len(fmt.planes)):
        shape = fmt.plane_shape(i, width, height)
        y, x = np.mgrid[: shape[0], : shape[1]]
        ramp = ((x * 3 + y * 2 + number * 5 + i * 40) % 97) / 96
        ramp[(x + 2 * number) % shape[1] < 5] = 1 - i / 4
        values = ramp[..., None] if len(shape) == 3 else ramp
        if fmt.is_float:
            planes.append((values * 1.5 - 0.2 + rng.normal(0, 1 / 60, shape)).astype(fmt.dtype))
            continue
        noisy = values * top + rng.normal(0, top / 60, shape)
        planes.append((np.clip(np.rint(noisy), 0, top).astype(np.uint32) << shift).astype(fmt.dtype))
    return tuple(planes)


def pictures(name: str, count: int, width: int = 64, height: int = 48, seed: int = 0) -> list[Planes]:
    """``count`` frames of the pixel format ``name``."""
    fmt = pixel_format(name)
    return [picture(fmt, width, height, n, seed) for n in range(count)]


def make_film(
    path: Path,
    *,
    codec: str = "ffv1",
    pixel_format_name: str = "yuv420p",
    frames: int = 24,
    size: tuple[int, int] = (64, 48),
    rate: Fraction = Fraction(24),
    options: Mapping[str, str] | None = None,
    container: str | None = None,
    container_options: Mapping[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    audio: str | None = None,
    tags: Mapping[str, str] | None = None,
    stream_tags: Mapping[str, str] | None = None,
    colour: Mapping[str, int] | None = None,
    aspect: Fraction | None = None,
    planes: Sequence[Planes] | None = None,
    seed: int = 0,
) -> list[Planes]:
    """Write a film to ``path`` and give back the native planes of its frames as they went into the encoder.

    ``pts`` are ticks of ``time_base`` (default 1/rate), 0, 1, 2… where left out. ``audio`` is a codec (``pcm_s16le``,
    ``aac``) for as long as the picture. ``colour`` sets numbers on the codec: ``colorspace``, ``color_range``,
    ``color_primaries``, ``color_trc``.
    """
    fmt = pixel_format(pixel_format_name)
    given = list(planes) if planes is not None else pictures(pixel_format_name, frames, *size, seed)
    height, width = given[0][0].shape[:2]
    ticks = list(pts) if pts is not None else list(range(len(given)))
    base = time_base or 1 / rate
    with av.open(str(path), "w", format=container, container_options=dict(container_options or {})) as out:
        out.metadata.update(tags or {})
        video: Any = out.add_stream(codec, rate=rate, options=dict(options or {}))
        video.width, video.height, video.pix_fmt = width, height, pixel_format_name
        video.time_base = base
        video.codec_context.time_base = base
        video.codec_context.thread_count = 1
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        for name, value in (colour or {}).items():
            setattr(video.codec_context, name, value)
        video.metadata.update(stream_tags or {})
        sound: Any = out.add_stream(audio, rate=48_000, layout="stereo") if audio else None
        for shown, tick in zip(given, ticks, strict=True):
            out.mux(video.encode(frame_of(shown, fmt, pts=tick, time_base=base)))
        out.mux(video.encode(None))
        if sound is not None:
            seconds = float((ticks[-1] - ticks[0] + 1) * base)
            _write_sound(out, sound, round(48_000 * seconds), round(48_000 * ticks[0] * base))
    return given


def _write_sound(out: av.container.OutputContainer, sound: Any, samples: int, start: int) -> None:
    layout = "s16" if sound.codec_context.name.startswith("pcm") else "fltp"
    step = sound.codec_context.frame_size or 1024
    for at in range(0, samples, step):
        count = min(step, samples - at)
        wave = np.sin(np.arange(at, at + count) * 2 * np.pi * 440 / 48_000) * 0.3
        both = np.stack([wave, wave * 0.5])
        if layout == "s16":
            packed = (both.T.reshape(1, -1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout="stereo")
        else:
            frame = av.AudioFrame.from_ndarray(both.astype(np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start + at, Fraction(1, 48_000)
        out.mux(sound.encode(frame))
    out.mux(sound.encode(None))


def packet_spans(path: Path) -> list[tuple[int, int]]:
    """Byte offset and size of each packet of the best picture stream, in file order: where to damage a film."""
    with av.open(str(path)) as film:
        return [(p.pos or 0, p.size) for p in film.demux(film.streams.best("video")) if p.size]


def damage(path: Path, position: int, count: int = 2) -> None:
    """Turn over ``count`` bytes of a file."""
    data = bytearray(path.read_bytes())
    for at in range(position, position + count):
        data[at] ^= 0x5A
    path.write_bytes(bytes(data))
