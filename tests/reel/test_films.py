"""Films of every kind, made by one FFmpeg, read and copied by us through another, and judged by the first.

A copy by way of segments (decode, encode, assemble: an empty chain without Ray) must hold the source's pictures, times,
sound and tags; the source's own frame hashes must be FFmpeg's.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline import spec
from pipeline.errors import SourceError
from pipeline.publish import layout
from pipeline.publish.verify import verify
from pipeline.reel import decode, sequence
from pipeline.reel.deliver import deliver_format
from pipeline.reel.formats import hash_planes
from pipeline.reel.rates import STANDARD
from pipeline.types import PixelFormat
from tests.cluster.alone import restore
from tests.reel import judge, rich, sequences
from tests.reel.axes import AXES, FORMATS, FRAMES, RATES, Film, films, impossible, make
from tests.reel.formats_page import EXACT, PAGE, REFUSED, Refused, page

FEW = (
    Film("ffv1", "yuv422p10le", rate="18", aspect="16:15", sound="pcm_s16le", range="limited", matrix="bt709"),
    Film("ffv1", "gbrp12le", "mov", "20", size="odd", start="1.5"),
    Film("ffv1", "yuva444p16le", "avi", "22", gop="predicted", size="odd"),
    Film("ffv1", "yuv420p", "mxf", "25", range="limited", sound="pcm_s16le"),
    Film("ffv1", "gray16le", "mkv", "16", timing="variable", start="1.5"),
    Film("prores", "yuva444p10le", "mov", "24000/1001", scan="tt", aspect="16:15", sound="aac"),
    Film("dnxhr", "yuv422p10le", "mxf", "30000/1001", sound="pcm_s16le"),
    Film("h264", "yuv420p", "mp4", "24000/1001", gop="open", rotation="90", sound="aac", range="full"),
    Film("hevc", "yuv420p10le", "mkv", "25", gop="b-frames", start="1.5", matrix="bt2020"),
    Film("v210", "yuv422p10le", "mov", "30000/1001", scan="bb", matrix="bt601", range="limited"),
    Film("jpeg2000", "yuv444p12le", "mxf", "24"),
    Film("png", "rgba64be", "mov", "16", rotation="90", sound="pcm_s16le"),
    Film("dpx", "gbrp10be", "mkv", "24", rotation="90"),
)
"""A dozen for every day; ``films()`` holds the rest."""

MASTER = spec.Output()
SAY = {"interlaced": "per_field"}


def check(film: Film, folder: Path) -> None:
    """Everything that must hold for one film."""
    path = make(film, folder)
    told = judge.framemd5(path)
    assert len(told.rows) == FRAMES

    reel, about = rich.opened(path, **SAY)
    assert about.constant == (film.timing == "constant")
    if about.constant:
        assert about.rate == Fraction(film.rate)
    assert [int(p) * about.time_base for p in about.pts] == told.times
    before = judge.tags(path)
    assert reel.sample_aspect == before.sample_aspect, before
    assert (reel.field_order, reel.colour.range) == (before.field_order, before.range), before
    assert reel.colour.matrix == before.matrix, before
    assert reel.rotation == before.rotation == int(film.rotation)
    # Which fields a frame has is what the film is about: it must have come as far as the file.
    assert reel.interlaced == (film.scan != "progressive"), before

    # Not in one go, so that decoding also starts within the film.
    found = []
    for first, last in ((5, FRAMES), (0, 5)):
        run = decode.decode(reel, about, first, last, threads=2)
        found = [hash_planes(run.frame(n), run.format) for n in range(first, last)] + found
    assert found == told.md5s

    copy, _, _, _ = rich.delivered(path, folder, say=SAY)
    target = deliver_format(reel.format, MASTER, width=reel.width, height=reel.height)
    regrouped = None if target == reel.format else reel.format.name
    out = judge.framemd5(copy, pixel_format=regrouped)
    assert out.md5s == told.md5s
    assert out.times == [Fraction(round_half_up(t * 1000), 1000) for t in told.times]
    if film.sound != "none":
        assert judge.stream_hash(copy, "a") == judge.stream_hash(path, "a")

    after = judge.tags(copy)
    assert after.rotation == before.rotation
    if before.field_order != "unknown":
        assert after.field_order == before.field_order, after
    if before.range != "unknown":
        assert after.range == before.range, after
    if before.matrix not in ("unknown", "gbr"):
        assert after.matrix == before.matrix, after
    assert after.sample_aspect == before.sample_aspect
    again, _ = rich.opened(copy, **SAY)
    assert again.colour.matrix_used == reel.colour.matrix_used
    assert again.colour.full_range_used == reel.colour.full_range_used


def round_half_up(value: Fraction) -> int:
    return int((2 * value + 1) // 2)


@pytest.mark.parametrize("film", FEW, ids=str)
def test_a_dozen_films(tmp_path: Path, film: Film) -> None:
    assert impossible(film) is None
    check(film, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_kind_of_film_and_the_table_of_them(tmp_path: Path) -> None:
    """All films, each in a folder of its own; docs/formats.md says what came out, no more and no less."""
    verdicts: dict[Film, str] = {}
    for number, film in enumerate(films()):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            check(film, folder)
        except SourceError as error:
            verdicts[film] = error.what
        else:
            verdicts[film] = EXACT
    refused = {str(f): v for f, v in verdicts.items() if v != EXACT}
    assert all("cannot go into FFV1" in v and f.split()[1].startswith("ya16") for f, v in refused.items()), refused
    held_against(PAGE, page(verdicts, every_kind_of_images(tmp_path)))


def every_kind_of_images(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Every format of every image codec as a source, delivered as all that holds it."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    sources = [(c, n, "") for c, names in sequences.FORMATS.items() for n in names]
    sources += [("exr", n, k) for n in ("gbrpf32le", "gbrapf32le", "grayf32le") for k in ("float", "half")]
    for number, (codec, name, kind) in enumerate(sources):
        path = folder / f"images{number}" / "a"
        made = sequences.make_exr(path, name, kind) if kind else sequences.make(path, codec, name)
        fmt = sequence.probe(f"{made}/", "a", spec.Source()).format
        verdicts = {out: image_verdict(fmt, out) for out in ("ffv1", *sequences.SUFFIX)}
        outputs = [spec.Output(name=o, codec=o) for o in verdicts if verdicts[o] != "–"][:4]  # type: ignore[arg-type]
        said = ", ".join(f"{{name: {o.name}, codec: {o.codec}}}" for o in outputs)
        out = folder / f"images{number}" / "out"
        restore(made, out, "chain=[]", f"deliver.outputs=[{said}]")
        assert verify([str(out)]).ok
        told = sequences.framemd5(made)
        own = None if fmt.is_float else fmt.name
        for output, file in layout.deliverables("a", outputs).items():
            if verdicts[output] == EXACT:
                path = out / "a" / file
                held = sequences.regrouped(path, own) if path.is_dir() else judge.framemd5(path, pixel_format=own)
                assert held.md5s == told.md5s, (codec, name, output)
        found[codec, f"{name} (half)" if kind == "half" else name] = verdicts
    return found


def image_verdict(fmt: PixelFormat, codec: str) -> str:
    try:
        target = deliver_format(fmt, spec.Output(codec=codec))  # type: ignore[arg-type]
    except SourceError:
        return "–"
    return EXACT if target.depth == fmt.depth else "16 bit"


def held_against(path: Path, text: str) -> None:
    """A page of the docs that a test makes: with REELMEND_WRITE_DOCS=1 it is written, else compared."""
    if os.environ.get("REELMEND_WRITE_DOCS"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "make it anew: REELMEND_WRITE_DOCS=1 make test-all"


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.name)
def test_what_is_refused_says_why(tmp_path: Path, case: Refused) -> None:
    path = case.make(tmp_path)
    with pytest.raises(SourceError) as told:
        rich.opened(path)
    assert case.reason in told.value.what
    assert str(told.value).startswith(str(path))


@pytest.mark.slow
def test_every_value_of_every_axis_is_there() -> None:
    for axis, values in AXES.items():
        assert {getattr(f, axis) for f in films()} == set(values), axis
    assert {(f.codec, f.pixel_format) for f in films()} == {(c, n) for c, names in FORMATS.items() for n in names}
    assert all(impossible(f) is None for f in films())


def test_the_rates_are_known() -> None:
    assert {Fraction(r) for r in RATES} <= set(STANDARD)
