"""What `pip install reelmend` brings is enough to train on several GPUs: nothing of the dev extra is missed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

_IMPORT = """
import importlib.abc, sys
from importlib import metadata
from packaging.utils import canonicalize_name

there, ours = {there}, {{"jobs", "pipeline", "configs", "tests"}}
modules = metadata.packages_distributions()
refused = {{m for m, by in modules.items() if not {{canonicalize_name(d) for d in by}} & there}} - ours
assert "pytest" in refused and not {{"ray", "torch", "numpy"}} & refused

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{{name}} is not of the run-time requirements", name=name)

sys.meta_path.insert(0, Refuse())
import pipeline.cluster.training
"""
"""In a process of its own: Ray, once it is imported here, shows distributions that it brings inside itself."""


def installed(requirements: list[str]) -> set[str]:
    """Names of the distributions that these bring, all the way down."""
    found: set[tuple[str, str]] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        wanted, of = todo.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": of}):
            continue
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) not in found:
                found.add((name, extra))
                todo += [(Requirement(text), extra) for text in metadata.requires(name) or []]
    return {name for name, _ in found}


def test_ray_train_imports_with_the_run_time_requirements_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    there = installed(project["dependencies"])
    told = subprocess.run(
        [sys.executable, "-c", _IMPORT.format(there=there)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-2000:]


def test_every_run_time_distribution_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {canonicalize_name(re.split("==", line)[0]) for line in lines if line and not line.startswith("#")}
    # A CUDA build of torch brings its own, pinned by torch itself.
    missing = {
        n for n in installed(project["dependencies"]) - pinned if not n.startswith(("nvidia-", "cuda", "triton"))
    }
    assert not missing
    assert "torchvision" not in installed(project["dependencies"])
