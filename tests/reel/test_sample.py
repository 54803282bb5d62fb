"""The made film: lossless pictures at their rate, the sound beside them, the same bytes each time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.reel.formats import pixel_format, planes_of
from pipeline.reel.sample import write_sample
from pipeline.types import Frames


def made(name: str, count: int = 7) -> Frames:
    fmt = pixel_format(name)
    rng = np.random.default_rng(0)
    planes = tuple(
        rng.integers(0, 1 << fmt.depth, (count, *fmt.plane_shape(i, 64, 48)), np.uint16).astype(fmt.dtype)
        for i in range(len(fmt.planes))
    )
    return Frames(planes, fmt, 0, np.arange(count, dtype=np.int64))


@pytest.mark.parametrize("name", ["gbrp10le", "yuv422p10le", "yuv420p", "gray"])
@pytest.mark.parametrize("rate", [Fraction(18), Fraction(24000, 1001)])
def test_holds_what_was_given(tmp_path: Path, name: str, rate: Fraction) -> None:
    frames = made(name)
    sound = np.random.default_rng(1).integers(-9000, 9000, int(7 / rate * 48_000), np.int16)
    path = tmp_path / "made.mkv"
    write_sample(path, frames, rate=rate, sound=sound, sound_rate=48_000)
    with av.open(str(path)) as film:
        assert film.streams.video[0].average_rate == rate
        pictures = list(film.decode(video=0))
        for i, picture in enumerate(pictures):
            for plane, (got, want) in enumerate(zip(planes_of(picture, frames.format), frames.planes, strict=True)):
                assert np.array_equal(got, want[i]), f"frame {i}, plane {plane}"
            assert picture.time == pytest.approx(float(i / rate), abs=6e-4)
    assert len(pictures) == 7
    with av.open(str(path)) as film:
        heard = np.concatenate([a.to_ndarray()[0] for a in film.decode(audio=0)])
    assert np.array_equal(heard, sound)


def test_gives_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.mkv"):
        write_sample(
            tmp_path / name, made("gray"), rate=Fraction(18), sound=np.zeros(18_666, np.int16), sound_rate=48_000
        )
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()
