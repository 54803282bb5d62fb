"""The main job on real film: from and to object storage, by one command, as a user gives it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from pipeline import tables
from pipeline.publish.verify import verify
from pipeline.storage import store
from tests.cluster.conftest import framemd5

OLD = Path(__file__).parents[2].parent / "shared" / "data" / "oldfilm"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(1_500),
    pytest.mark.skipif(not OLD.is_dir(), reason="the old films are not at hand"),
]


def test_three_old_films_go_through_archive_and_verify_agrees(
    command: Callable[..., subprocess.Popen[str]], cluster: Cluster, s3_folder: str, s3_out: str, tmp_path: Path
) -> None:
    names = [path.stem for path in sorted(OLD.glob("*.mkv"))]
    assert len(names) == 3
    for name in names:
        store.put_file(OLD / f"{name}.mkv", f"{s3_folder}/in/{name}.mkv")
    process = command("restore", f"{s3_folder}/in/*.mkv", "--out", s3_out, "--json")
    told, error = process.communicate(timeout=1_400)
    assert process.returncode == 0, error
    assert {r["name"]: r["status"] for r in json.loads(told)["reels"]} == dict.fromkeys(names, "done")
    assert verify([s3_out]).ok
    for name in names:
        before, after = (framemd5(s3_out, name, f"{which}.framemd5") for which in ("source", "output"))
        assert len(before) == len(after)
        report = tmp_path / f"{name}.parquet"
        report.write_bytes(store.read_bytes(f"{s3_out}/{name}/report/frames.parquet"))
        rows = tables.read_columns(report, ["frame", "touched_fraction"])
        assert rows["frame"] == list(range(len(before)))
        assert max(rows["touched_fraction"]) > 0
