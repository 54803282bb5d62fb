"""Films with everything in them: sound that starts elsewhere, subtitles, chapters, tags, attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet

from pipeline import spec
from pipeline.reel import decode, index, probe
from pipeline.reel.assemble import Assembled, assemble
from pipeline.reel.deliver import SUFFIX
from pipeline.reel.encode import encode_segment
from pipeline.reel.formats import frame_of, pixel_format
from pipeline.types import FrameIndex, Reel
from tests.reel.films import pictures

RATE = 48_000


def rich_film(
    path: Path,
    *,
    codec: str = "ffv1",
    pixel_format_name: str = "yuv420p",
    frames: int = 20,
    size: tuple[int, int] = (256, 120),
    rate: Fraction = Fraction(24),
    start: Fraction = Fraction(0),
    sound: Mapping[str, Fraction] | None = None,
    subtitles: str | None = None,
    chapters: bool = False,
    attachment: bytes | None = None,
    tags: Mapping[str, str] | None = None,
    picture_tags: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """A film whose picture starts at ``start`` s. ``sound``: audio codec → second at which it starts, a stream each."""
    fmt = pixel_format(pixel_format_name)
    ticks = [round((start + n / rate) * 90_000) for n in range(frames)]
    container_options = {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}
    with av.open(str(path), "w", container_options=container_options) as out:
        video: Any = out.add_stream(codec, rate=rate, options=dict(options or {}))
        video.width, video.height, video.pix_fmt = *size, pixel_format_name
        video.codec_context.time_base = video.time_base = Fraction(1, 90_000)
        video.codec_context.thread_count = 1
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        video.metadata.update(picture_tags or {})
        tracks = []
        for number, (name, begin) in enumerate((sound or {}).items()):
            track: Any = out.add_stream(name, rate=RATE, layout="stereo")
            track.metadata["language"] = ["ger", "fre", "eng"][number % 3]
            tracks.append((track, begin))
        text = out.add_mux_stream(subtitles) if subtitles else None
        if attachment is not None:
            out.add_attachment("note.txt", "text/plain", attachment)
        out.metadata.update(tags or {})
        if chapters:
            out.set_chapters([_chapter(1, 0, 500, "One"), _chapter(2, 500, 800, "Two")])
        out.start_encoding()
        if text is not None:
            for begin_ms in (100, 450):
                packet: Any = Packet(f"words at {begin_ms}".encode())
                packet.stream, packet.time_base = text, Fraction(1, 1000)
                packet.pts = packet.dts = begin_ms
                packet.duration = 200
                out.mux(packet)
        for planes, tick in zip(pictures(pixel_format_name, frames, *size), ticks, strict=True):
            out.mux(video.encode(frame_of(planes, fmt, pts=tick, time_base=Fraction(1, 90_000))))
        out.mux(video.encode(None))
        for track, begin in tracks:
            _sing(out, track, begin, float(frames / rate))
    return path


def _chapter(number: int, start: int, end: int, title: str) -> Any:
    return {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}


def _sing(out: Any, track: Any, begin: Fraction, seconds: float) -> None:
    planar = track.codec_context.format.name
    step = track.codec_context.frame_size or 1024
    for at in range(0, round(RATE * seconds), step):
        wave = np.sin(np.arange(at, at + step) * 2 * np.pi * 440 / RATE) * 0.3
        both = np.stack([wave, wave * 0.5])
        if planar == "fltp":
            data: Any = both.astype(np.float32)
        else:
            kind, top = (np.int32, 2**31 - 1) if planar.startswith("s32") else (np.int16, 2**15 - 1)
            data = (both.T.reshape(1, -1) * top).astype(kind)
        frame = av.AudioFrame.from_ndarray(data, format=planar, layout="stereo")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = round(begin * RATE) + at
        out.mux(track.encode(frame))
    out.mux(track.encode(None))


def opened(path: Path, **say: Any) -> tuple[Reel, FrameIndex]:
    """A film as the pipeline sees it."""
    reel = probe.probe(str(path), path.stem, spec.Source(**say))
    return reel, index.build(reel)


def segments_of(
    reel: Reel, about: FrameIndex, output: spec.Output, folder: Path, lengths: Sequence[int], first: int = 0
) -> tuple[list[Path], list[str]]:
    """The film's own frames as segments of these lengths, and the hashes of what they decode to."""
    paths, hashes = [], []
    for number, length in enumerate(lengths):
        path = folder / f"segment-{output.codec}-{number}{SUFFIX[output.codec]}"
        frames = decode.batches(reel, about, first, first + length, threads=1)
        hashes += encode_segment(frames, reel, output, path, threads=1)
        paths.append(path)
        first += length
    return paths, hashes


def delivered(
    source: Path,
    folder: Path,
    codec: str = "ffv1",
    *,
    first: int = 0,
    last: int | None = None,
    say: Mapping[str, Any] | None = None,
    **output: Any,
) -> tuple[Path, Assembled, Reel, FrameIndex]:
    """The film copied by way of two segments."""
    reel, about = opened(source, **(say or {}))
    last = len(about) if last is None else last
    said = spec.Output(codec=codec, **output)
    middle = (last - first) // 3
    lengths = [middle, last - first - middle] if middle else [last - first]
    paths, _ = segments_of(reel, about, said, folder, lengths, first)
    path = folder / f"delivered{SUFFIX[codec]}"
    return path, assemble(reel, about, first, last, said, iter(paths), path), reel, about


def packets(path: Path, kind: str, number: int = 0) -> list[tuple[Fraction, bytes]]:
    """Time in seconds and bytes of a stream's packets, in file order."""
    with av.open(str(path)) as film:
        stream = [s for s in film.streams if s.type == kind][number]
        return [((p.pts or 0) * p.time_base, bytes(p)) for p in film.demux(stream) if p.size]
