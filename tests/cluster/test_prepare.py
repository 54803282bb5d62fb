"""The step before the first tile: what it finds out, and what it refuses. Called directly, without a cluster."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from jobs.plan import show_plan
from jobs.restore import make_job
from pipeline.cluster import steps
from pipeline.cluster.work import Job
from pipeline.errors import CallError, ConfigError, PublishedError, SourceError, SpanError, TooLargeError
from pipeline.plan.estimate import deliverable_bytes
from pipeline.publish import layout
from pipeline.restore import weights
from pipeline.storage import store
from tests.plan.made_up import net
from tests.reel.films import make_film


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of 64×48."""
    path = tmp_path_factory.mktemp("films") / "a.mkv"
    make_film(path, frames=20)
    return path


@pytest.fixture
def job_of(reel: Path, tmp_path: Path) -> Any:
    """A job on that film, as a call of ``restore`` makes it: ``job_of("deliver...=...", frames="0:5")``."""

    def make(*overrides: str, source: Path = reel, **words: Any) -> Job:
        return make_job(
            [str(source)], str(tmp_path / "out"), config="archive", overrides=["chain=[]", *overrides], **words
        )

    return make


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"frames": "10:21"}, r"a\.mkv: frames 10:21 were asked for, the reel has the frames 0:20"),
        ({"override": "shots=[{frames: '20:30', reel: a, skip: true}]"}, "shots: names the frames 20:30"),
    ],
)
def test_frames_beyond_the_reel_are_the_calls_fault_and_the_dry_run_says_the_same(
    job_of: Any, capsys: pytest.CaptureFixture[str], words: dict[str, str], said: str
) -> None:
    job = job_of(*[words[k] for k in words if k == "override"], frames=words.get("frames"))
    with pytest.raises(SpanError, match=said) as caught:
        steps.prepare(job, 0)
    assert steps.is_final(caught.value), "another try would find the same"
    assert show_plan(job, as_json=False, fps=1.0) == 1
    assert str(caught.value) in capsys.readouterr().err
    assert not Path(layout.work_dir(job.out, "a")).exists()


@pytest.mark.parametrize(
    ("text", "found"), [(b"{", "provenance.json cannot be read: not JSON"), (b"{}", "not a provenance of version 1")]
)
def test_a_garbled_provenance_is_told_as_what_it_is(
    job_of: Any, capsys: pytest.CaptureFixture[str], text: bytes, found: str
) -> None:
    job = job_of()
    store.put_bytes(layout.published(job.out, "a", layout.PROVENANCE), text)
    with pytest.raises(PublishedError, match=found) as caught:
        steps.prepare(job, 0)
    assert "--overwrite" in str(caught.value)
    assert show_plan(job, as_json=False, fps=1.0) == 0
    assert found in capsys.readouterr().err
    assert not steps.prepare(job_of(overwrite=True), 0).published


def test_what_no_reel_can_have_ends_the_call(job_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="rgb565"):
        job_of("deliver.outputs=[{pixel_format: rgb565}]")
    with pytest.raises(ConfigError, match="h264 is not written as gbrp"):
        job_of("deliver.outputs=[{}, {name: proxy, codec: h264, pixel_format: gbrp}]")
    monkeypatch.setattr(weights, "resolve", lambda _pass: dataclasses.replace(net(), train_size=None))
    with pytest.raises(CallError, match="tlc: true"):
        job_of("chain=[{pass: net, tlc: true}]")


def _times(path: Path) -> Path:
    """Two of its frames lie within one millisecond."""
    make_film(
        path, codec="rawvideo", frames=4, pts=[0, 40000, 40300, 80000], time_base=Fraction(1, 1000000), container="nut"
    )
    return path


@pytest.mark.parametrize(
    ("override", "make", "said"),
    [
        (
            "deliver.outputs=[{pixel_format: yuv422p}]",
            lambda path: make_film(path, pixel_format_name="yuv420p", frames=3),
            "yuv420p cannot go as yuv422p into FFV1",
        ),
        ("deliver.outputs=[{codec: ffv1}]", _times, "frame 2: two frames would get the same time"),
    ],
)
def test_a_deliverable_that_this_source_cannot_have_is_told_before_the_first_tile(
    job_of: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, override: str, make: Any, said: str
) -> None:
    path = tmp_path / "b.mkv"
    make(path)
    job = job_of(override, source=path)
    with pytest.raises(SourceError, match=said) as caught:
        steps.prepare(job, 0)
    assert str(path) in str(caught.value)
    assert caught.value.todo
    assert steps.is_final(caught.value)
    assert show_plan(job, as_json=False, fps=1.0) == 1
    assert str(caught.value) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "bytes_", "said"),
    [("largest_file", 300, "the storage takes files of"), ("disk_bytes", 3_000, "put together on scratch: ")],
)
def test_a_deliverable_that_is_too_large_is_refused_by_the_plan(
    job_of: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, bytes_: int, said: str
) -> None:
    monkeypatch.setattr(store, what, lambda _: bytes_)
    with pytest.raises(TooLargeError, match=said):
        steps.prepare(job_of(), 0)
    assert show_plan(job_of(), as_json=False, fps=1.0) == 1
    assert said in capsys.readouterr().err
    assert not Path(layout.work_dir(job_of().out, "a")).exists()


def test_one_that_may_be_too_large_is_said_by_plan_and_run(
    job_of: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (size,) = deliverable_bytes(steps.prepare(job_of(), 0).plan).values()
    monkeypatch.setattr(store, "largest_file", lambda _: size - 1)
    (said,) = steps.prepare(job_of(), 0).doubts
    assert "It may be too large: master will have" in said
    assert show_plan(job_of(), as_json=False, fps=1.0) == 0
    assert said in capsys.readouterr().err


def test_where_files_are_bounded_is_known_of_object_stores_alone(tmp_path: Path) -> None:
    assert store.largest_file("s3://out/night") == 5 * 10**12
    assert store.largest_file(str(tmp_path)) is None
    assert store.disk_bytes(tmp_path / "not" / "there") == store.disk_bytes(tmp_path) > 0
