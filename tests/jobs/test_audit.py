"""``audit``: the order of shots, what it exits with, and reports that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.audit import show_audit
from pipeline import tables
from pipeline.errors import CallError
from pipeline.publish import layout, quarantine
from pipeline.storage import store
from tests.test_tables import row


def reel(out: Path, name: str, rules: list[dict[str, Any]] | None = None, **shots: dict[str, Any]) -> None:
    """A published reel of ten frames a shot; shots: what its frames have."""
    folder = out / name
    (folder / "report").mkdir(parents=True)
    rows = []
    for n, said in enumerate(shots.values()):
        plain = {"changed_fraction": 0.1, "psnr_db": 40.0, "reel": name}
        rows += [row(10 * n + i, cut=i == 0, **(plain | said)) for i in range(10)]
    summary = tables.join_rows(folder / layout.FRAMES, [rows])
    tables.write_shots(folder / layout.SHOTS, summary)
    (folder / layout.SUMMARY).write_text(json.dumps({"rules": rules or []}))
    (folder / layout.MANIFEST).write_text("whole\n")


def audit(out: Path, capsys: pytest.CaptureFixture[str], **words: Any) -> tuple[int, Any]:
    status = show_audit([str(out)], **({"worst": 20, "as_json": True} | words))
    said = capsys.readouterr().out
    return status, json.loads(said) if words.get("as_json", True) else said


@pytest.fixture
def out(tmp_path: Path) -> Path:
    reel(
        tmp_path,
        "a[red]",
        calm={},
        much={"changed_fraction": 0.5},
        source={"flags": ("duplicate", "black")},
        done={"flags": ("seam",)},
    )
    return tmp_path


def test_what_restoring_did_wrong_comes_first_then_what_changed_most(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = audit(out, capsys)
    assert status == 0
    assert [s["shot"] for s in said["shots"]] == [3, 1, 0, 2]
    assert (said["reels"], said["failing"], said["problems"]) == (1, {}, [])
    assert said["flags"] == {"seam": 1, "duplicate": 1, "black": 1}
    assert [s["shot"] for s in audit(out, capsys, worst=1)[1]["shots"]] == [3]


def test_a_rule_marked_fail_that_fired_gives_status_one(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reel(out, "b", [{"flag": "black", "fail": True}, {"flag": "seam", "fail": True}], x={}, y={"flags": ("black",)})
    status, said = audit(out, capsys)
    assert status == 1
    assert said["failing"] == {"b": ["black"]}
    first = said["shots"][0]
    assert (first["reel"], first["shot"], first["fails"]) == ("b", 1, True)


def test_a_condition_leaves_the_shots_that_have_such_frames(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = audit(out, capsys, where="changed_fraction > 0.3 or list_contains(flags, 'seam')")
    assert status == 0
    assert [(s["shot"], s["matching_frames"], s["first_match"]) for s in said["shots"]] == [(3, 10, 30), (1, 10, 10)]
    with pytest.raises(CallError, match="--where"):
        audit(out, capsys, where="changed_fraction >")


def test_names_are_no_markup(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = audit(out, capsys, as_json=False)
    assert status == 0
    assert "a[red]" in text
    assert "4 shots in 1 reel;" in text


def test_a_report_that_cannot_be_read_is_a_problem_and_hides_no_other(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reel(out, "b", x={})
    (out / "b" / layout.SHOTS).write_bytes(b"PAR1 no more")
    reel(out, "c", x={})
    (out / "c" / layout.SUMMARY).write_text("[")
    status, said = audit(out, capsys)
    assert status == 1
    assert len(said["problems"]) == 2
    assert {s["reel"] for s in said["shots"]} == {"a[red]"}


def test_no_deliverable_is_listed_and_no_table_read_that_is_not_asked_for(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = out / "a[red]" / "a[red].dpx"
    images.mkdir()
    for n in range(20):
        (images / f"{n}.dpx").write_text("x")
    reel(out, "box/b", x={"changed_fraction": 0.9})
    quarantine.put(str(out), quarantine.entry("lost", "x", CallError("is truncated")))
    asked: dict[str, set[str]] = {}

    def watch(name: str) -> None:
        real = getattr(store, name)

        def call(uri: str, *more: Any, **words: Any) -> Any:
            asked.setdefault(name, set()).add(uri.removeprefix(str(out)).strip("/"))
            return real(uri, *more, **words)

        monkeypatch.setattr(store, name, call)

    for name in ("list_files", "list_level", "open_read"):
        watch(name)
    status, said = audit(out, capsys)
    assert (status, said["reels"], len(said["quarantined"])) == (0, 2, 1)
    assert asked["list_files"] == {"quarantine"}
    assert asked["list_level"] == {"", "a[red]", "a[red]/report", "box", "box/b", "box/b/report"}
    assert asked["open_read"] == {f"{name}/{layout.SHOTS}" for name in ("a[red]", "box/b")}
    # A reel's own folder will do, too.
    asked.clear()
    assert audit(out / "a[red]", capsys)[1]["reels"] == 1
    assert asked["list_level"] == {"a[red]", "a[red]/report"}
