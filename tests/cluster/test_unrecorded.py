"""A reel that is lost, and an output that does not even take the record of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.restore import exit_status

pytestmark = pytest.mark.cluster


def test_it_is_told_in_full_and_the_others_go_on(run: Callable[..., Any], film: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mkv").write_text("this is no film\n" * 100)
    (tmp_path / "good.mkv").write_bytes(film.read_bytes())
    out = tmp_path / "out"
    (out / "quarantine" / "bad.json" / "in the way").mkdir(parents=True)
    result, _ = run([tmp_path / "bad.mkv", tmp_path / "good.mkv"], out, "chain: []")
    bad, good = result.outcomes
    assert (good.status, bad.status) == ("done", "quarantined")
    assert "no film that can be read" in bad.reason
    assert f"record could not be written: {out}/quarantine/bad.json" in bad.reason
    assert exit_status(result) == 1
