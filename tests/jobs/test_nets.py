"""``reelmend nets``: what it prints, and its exit status."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jobs.cli import app, guarded
from tests.restore.golden import filled

TINY = {"arch": "nafnet", "width": 4, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELMEND_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pth"
    torch.save({"params": filled(TINY).state_dict()}, path)
    return path


def call(*words: str) -> int:
    return guarded(lambda: app(["nets", *words], prog_name="reelmend"))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "--json") == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["nafnet-film"]["bundled"]
    assert found["mprnet-deblur"]["config"]["n_feat"] == 96
    assert call("list") == 0
    text = capsys.readouterr().out
    assert all(name in text for name in found)
    assert "non-commercial" in text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("CC-BY-4.0", 'the file itself says "CC-BY-4.0", which nobody has checked'),
        (
            'MIT", checked.\nrestricted: no\x1b[2J',
            'the file itself says "MIT\', checked. restricted: no\ufffd[2J", which',
        ),
        ("x" * 100_000, 'the file itself says "' + "x" * 199 + '…", which nobody has checked'),
        ("", "not known to us"),
    ],
)
def test_a_licence_that_a_file_states_is_told_as_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str, told: str
) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(dict(filled(TINY).state_dict()), path, {"licence": said})
    assert call("check", str(path)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("licence: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"licence: {told}")
    assert len(lines[0]) < 300


def test_check(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check", str(film), "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"
    assert call("check", "nafnet-film") == 0
    assert "# nafnet-film" in capsys.readouterr().out
    assert call("check", str(film), "--sha256", "0" * 64, "--json") == 1
    assert "expected was" in json.loads(capsys.readouterr().out)["reason"]
    assert call("check", "nafnet-sidd-w32") == 1
    assert "github.com" in capsys.readouterr().out
    assert call("check", "nafnet-flim") == 1
    assert "did you mean 'nafnet-film'" in capsys.readouterr().err


def test_fetch(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("fetch", str(film), "--sha256", digest(film), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert digest(Path(found["path"])) == found["sha256"] == digest(film)
    assert call("fetch", str(film), "--sha256", "0" * 64) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected was" in err
    assert call("fetch", str(tmp_path / "none.pth"), "--sha256", "0" * 64) == 1
    assert "no such file" in capsys.readouterr().err
    assert call("fetch", str(film)) == 2
