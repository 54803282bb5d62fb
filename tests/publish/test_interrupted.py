"""Publishing that is killed, that two runs do at once, that another job overtakes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import MissingError, PublishedError, StorageError, VerifyError
from pipeline.publish import layout
from pipeline.publish import state as state_of
from pipeline.publish.finish import finish
from pipeline.publish.state import state
from pipeline.publish.verify import verify
from pipeline.storage import store
from pipeline.storage.ledger import Ledger
from pipeline.types import FrameIndex, Plan
from tests.publish import night
from tests.publish.faults import Killed, kill_at, watched

TWO = [night.MASTER, night.PROXY]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, FrameIndex, Path]:
    """A plan whose tiles are all recorded below a folder, to be copied."""
    here = tmp_path_factory.mktemp("ready")
    (here / "scratch").mkdir()
    source = night.film(here / "r.mkv")
    plan, index = night.planned(str(source), "r", night.spec(TWO))
    night.restore(plan, index, str(here / "out"), here / "scratch")
    return plan, index, here / "out"


def published(out: str) -> dict[str, str]:
    """What is published, without what says when it was."""
    return {n: h for n, h in night.contents(f"{out}/r").items() if n not in ("provenance.json", "manifest-sha256.txt")}


def copied(ready: tuple[Plan, FrameIndex, Path], to: Path) -> str:
    shutil.copytree(ready[2], to)
    return str(to)


def test_killed_at_any_step_the_next_run_comes_to_the_same_end(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index, _ = ready
    undisturbed = copied(ready, tmp_path / "undisturbed")
    with watched(monkeypatch) as steps:
        finish(plan, index, undisturbed, scratch=scratch)
    # Provenance, five reports, the hashes of sound, two deliverables, the second one's hashes, summary and page, the
    # manifest, then four things to clear away.
    assert len(steps.done) == 19
    for step in range(len(steps.done)):
        out = copied(ready, tmp_path / f"out{step}")
        with watched(monkeypatch, before=kill_at(step)), pytest.raises(Killed):
            finish(plan, index, out, scratch=scratch)
        found = state(out, "r")
        assert found.kind == ("absent" if step == 0 else "half" if step < 15 else "whole")
        provenance = store.read_bytes(f"{out}/r/provenance.json") if step else None
        summary = finish(plan, index, out, scratch=scratch)
        assert summary["already"] is (step >= 15)
        assert published(out) == published(undisturbed)
        assert provenance in (None, store.read_bytes(f"{out}/r/provenance.json"))
        assert verify([out]).ok
        assert night.contents(f"{out}/.work") == {}
        shutil.rmtree(out)
    assert list(scratch.iterdir()) == []


def test_killed_while_replacing_another_plan(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, index, _ = ready
    base = copied(ready, tmp_path / "base")
    old, _ = night.planned(new.reel.uri, "r", night.spec([night.MASTER, {"name": "edit", "codec": "prores"}]))
    night.restore(old, index, base, scratch)
    store.delete_tree(f"{base}/saved")
    shutil.copytree(f"{base}/.work", tmp_path / "work")
    finish(old, index, base, scratch=scratch)
    shutil.rmtree(f"{base}/.work", ignore_errors=True)
    shutil.copytree(tmp_path / "work", f"{base}/.work")
    assert "r.edit.mov" in published(base)

    undisturbed = str(tmp_path / "undisturbed")
    shutil.copytree(base, undisturbed)
    with watched(monkeypatch) as steps:
        finish(new, index, undisturbed, scratch=scratch, overwrite=True)
    names = [(what.partition("_")[0], uri.removeprefix(f"{undisturbed}/r/")) for what, uri in steps.done]
    # Nobody may take the mixture for whole: the mark of completion goes first, then the name of the plan.
    assert names[:2] == [("delete", "manifest-sha256.txt"), ("put", "provenance.json")]
    assert names.index(("delete", "r.edit.mov")) < names.index(("put", "report/frames.parquet"))
    for step in range(0, len(steps.done), 3):
        out = str(tmp_path / f"out{step}")
        shutil.copytree(base, out)
        with watched(monkeypatch, before=kill_at(step)), pytest.raises(Killed):
            finish(new, index, out, scratch=scratch, overwrite=True)
        assert state(out, "r").plan_id in (old.id, new.id)
        assert state(out, "r").kind == "half" or step == 0 or state(out, "r").plan_id == new.id
        finish(new, index, out, scratch=scratch, overwrite=True)
        assert published(out) == published(undisturbed)
        assert verify([out]).ok
        shutil.rmtree(out)


def test_killed_between_upload_and_answer_in_object_storage(
    source: str, s3_folder: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index = night.planned(source, "a/r", night.spec())
    night.restore(plan, index, s3_folder, scratch)
    for step in (0, 4, 6):
        with watched(monkeypatch, after=kill_at(step)), pytest.raises(Killed):
            finish(plan, index, s3_folder, scratch=scratch)
        assert state(s3_folder, "a/r").plan_id == plan.id
        assert not state(s3_folder, "a/r").whole
    first = store.read_bytes(f"{s3_folder}/a/r/provenance.json")
    assert finish(plan, index, s3_folder, scratch=scratch)["already"] is False
    assert store.read_bytes(f"{s3_folder}/a/r/provenance.json") == first
    assert verify([s3_folder]).ok


@pytest.mark.parametrize("seed", range(4))
def test_two_finishers_at_once_write_the_same(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    plan, index, _ = ready
    out = copied(ready, tmp_path / "out")
    rng, lock = random.Random(seed), threading.Lock()

    def wait(*_: object) -> None:
        with lock:
            seconds = rng.choice((0, 0, 0.002, 0.02))
        time.sleep(seconds)

    with watched(monkeypatch, before=wait, after=wait), concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(finish, plan, index, out, scratch=scratch) for _ in range(2)]
        summaries = [r.result() for r in runs]
    assert summaries[0] | {"already": None} == summaries[1] | {"already": None}
    assert verify([out]).ok
    alone = copied(ready, tmp_path / "alone")
    finish(plan, index, alone, scratch=scratch)
    assert published(out) == published(alone)


def test_the_provenance_that_was_there_first_stands(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index, _ = ready
    out = copied(ready, tmp_path / "out")
    before: list[dict[str, str]] = []

    def overtake(_number: int, _what: str, uri: str) -> None:
        if uri.endswith(layout.PROVENANCE) and not before:
            before.append({})
            finish(plan, index, out, scratch=scratch)
            before.append(night.contents(out))

    with watched(monkeypatch, before=overtake):
        assert finish(plan, index, out, scratch=scratch)["already"] is True
    assert night.contents(out) == before[1]


def test_the_manifest_signs_the_provenance_that_stands(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index, _ = ready
    out = copied(ready, tmp_path / "out")

    def replace(_number: int, _what: str, uri: str) -> None:
        # As another run of the same plan does that was told to overwrite, and looked before this one began.
        if uri.endswith("reel.json"):
            path = Path(out, "r", layout.PROVENANCE)
            path.write_text(path.read_text().replace('"node-0"', '"node-9"'))

    with watched(monkeypatch, before=replace):
        finish(plan, index, out, scratch=scratch)
    assert state(out, "r").whole
    assert verify([out]).ok


def _finish(plan: Plan, index: FrameIndex, out: str, scratch: Path) -> dict[str, Any]:
    return finish(plan, index, out, scratch=scratch)


def test_two_processes_at_once_in_object_storage(source: str, s3_folder: str, scratch: Path) -> None:
    plan, index = night.planned(source, "r", night.spec(tile=4))
    night.restore(plan, index, s3_folder, scratch)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        runs = [pool.submit(_finish, plan, index, s3_folder, scratch) for _ in range(2)]
        assert all(r.result()["frames"] == 20 for r in runs)
    assert verify([s3_folder]).ok
    assert night.contents(f"{s3_folder}/.work") == {}


def test_what_another_run_cleared_away_is_no_error_once_it_published(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index, _ = ready
    out = copied(ready, tmp_path / "out")
    real, calls = Ledger.fetch, []

    def fetch(self: Ledger, name: str, sha256: str, local: Path) -> None:
        calls.append(name)
        if len(calls) == 5:
            monkeypatch.setattr(Ledger, "fetch", real)
            finish(plan, index, out, scratch=scratch)
        real(self, name, sha256, local)

    monkeypatch.setattr(Ledger, "fetch", fetch)
    assert finish(plan, index, out, scratch=scratch)["already"] is True
    assert verify([out]).ok


def test_what_is_missing_without_a_manifest_is_an_error(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path
) -> None:
    plan, index, _ = ready
    out = copied(ready, tmp_path / "out")
    store.delete_tree(f"{out}/.work/r/segments")
    with pytest.raises(MissingError):
        finish(plan, index, out, scratch=scratch)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("between", [False, True])
def test_a_job_that_is_overtaken_stops_before_it_mixes_its_files_in(
    ready: tuple[Plan, FrameIndex, Path],
    tmp_path: Path,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    between: bool,
    overwrite: bool,
) -> None:
    plan, index, _ = ready
    out = copied(ready, tmp_path / "out")
    other, _ = night.planned(plan.reel.uri, "r", night.spec(), frames=(2, 9))
    night.restore(other, index, out, scratch)
    done = []

    def overtake() -> None:
        if not done:
            done.append(True)
            finish(other, index, out, scratch=scratch, overwrite=True)

    def on_the_way(_number: int, _what: str, uri: str) -> None:
        if not between and uri.endswith("r/r.mkv"):
            overtake()

    def told(what: str, *_: int) -> None:
        if between and what == "upload r.mkv":
            overtake()

    with watched(monkeypatch, before=on_the_way), pytest.raises(PublishedError, match="another plan") as caught:
        finish(plan, index, out, scratch=scratch, overwrite=overwrite, notify=told)
    assert "--overwrite" in str(caught.value)
    assert state(out, "r").plan_id == other.id
    # No more than the file that was on the way is touched, and that is found.
    assert {f.file for f in verify([out]).findings} == (set() if between else {f"{out}/r/r.mkv"})


def test_a_file_changed_under_the_run_is_not_signed(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index, _ = ready
    for name, harm in (("r.mkv", b"other"), ("report/shots.parquet", None)):
        out = copied(ready, tmp_path / name.replace("/", "-"))

        def spoil(
            _number: int, _what: str, uri: str, path: Path = Path(out) / "r" / name, harm: bytes | None = harm
        ) -> None:
            if uri.endswith("reel.json"):
                path.write_bytes(harm) if harm else path.unlink()

        with watched(monkeypatch, after=spoil), pytest.raises(VerifyError, match="another run or person"):
            finish(plan, index, out, scratch=scratch)
        assert state(out, "r").kind == "half"
        finish(plan, index, out, scratch=scratch)
        assert verify([out]).ok


def test_a_manifest_of_an_overtaken_run_is_replaced(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path
) -> None:
    plan, index, _ = ready
    out = copied(ready, tmp_path / "out")
    finish(plan, index, copied(ready, tmp_path / "other"), scratch=scratch)
    # Of the same plan, but it signs another provenance.
    time.sleep(0.005)
    shutil.copy(tmp_path / "other/r/manifest-sha256.txt", tmp_path)
    Path(out, "r").mkdir()
    shutil.copy(tmp_path / "other/r/manifest-sha256.txt", f"{out}/r/manifest-sha256.txt")
    shutil.copy(tmp_path / "other/r/provenance.json", f"{out}/r/provenance.json")
    data = Path(out, "r/provenance.json").read_text()
    Path(out, "r/provenance.json").write_text(data.replace('"node-0"', '"node-9"'))
    assert state(out, "r").kind == "half"
    finish(plan, index, out, scratch=scratch)
    assert verify([out]).ok


def test_storage_that_fails_at_the_last_step_leaves_a_half_one(
    ready: tuple[Plan, FrameIndex, Path], tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, index, _ = ready
    out = copied(ready, tmp_path / "out")

    def fail(_number: int, _what: str, uri: str) -> None:
        if uri.endswith(layout.MANIFEST):
            raise StorageError("no", where=uri, transient=True)

    with watched(monkeypatch, before=fail), pytest.raises(StorageError):
        finish(plan, index, out, scratch=scratch)
    assert state(out, "r").kind == "half"
    assert [f.kind for f in verify([out]).findings] == ["half"]
    finish(plan, index, out, scratch=scratch)
    assert verify([out]).ok


def test_a_run_that_begins_between_two_looks_is_no_half_publication_of_nobody(
    source: str, out: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = night.publish(source, "r", f"{out}-whole", scratch)
    look = state_of.own_files

    def begun(out: str, reel: str) -> Any:
        for name in (layout.PROVENANCE, layout.SOURCE_MD5):
            store.put_bytes(f"{out}/r/{name}", store.read_bytes(f"{out}-whole/r/{name}"))
        return look(out, reel)

    monkeypatch.setattr(state_of, "own_files", begun)
    found = state(out, "r")
    assert (found.kind, found.plan_id, found.problem) == ("half", plan.id, None)
