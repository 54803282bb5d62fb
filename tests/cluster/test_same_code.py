"""Every machine of a cluster must run the same source files: what another one computes would be another picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cluster import steps
from pipeline.cluster.tasks import same_code
from pipeline.errors import CallError
from pipeline.restore.kernels import build


def test_a_node_with_other_code_is_refused_with_both_named() -> None:
    same_code(steps.code_digest())
    with pytest.raises(CallError, match=rf"{steps.code_digest()[:12]}.*0000.*same version on every node"):
        same_code("0" * 64)


def test_every_source_counts_those_of_kernels_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps.pipeline, "__file__", str(tmp_path / "__init__.py"))
    seen = set()
    for name in ["__init__.py", *(f"restore/{path.name}" for path in (*build._SOURCES, *build._HEADERS))]:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        for text in ("one", "other"):
            file.write_text(text)
            seen.add(steps.code_digest.__wrapped__())
    assert len(seen) == 2 * (1 + len(build._SOURCES) + len(build._HEADERS))
