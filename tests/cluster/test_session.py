"""A Ray of one run's own: whom it lets in, and what it needs of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cluster import session
from pipeline.errors import CallError
from tests.cluster.conftest import framemd5

pytestmark = pytest.mark.cluster

LISTENING = """
import json
from pipeline.cluster.session import connected
import ray
import psutil  # Ray brings it along

@ray.remote
def work():
    return 1

with connected("local"):
    ray.get(work.remote())
    ours = {p.pid for p in [psutil.Process(), *psutil.Process().children(recursive=True)]}
    found = psutil.net_connections("tcp")
    print(json.dumps(sorted({c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN and c.pid in ours})))
"""


def clean(**more: str) -> dict[str, str]:
    """An environment without what a shell or a cluster of Ray's left in it."""
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "HOME"} | more


def test_it_listens_on_this_machine_alone_and_leaves_no_token(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LISTENING],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=clean(HOME=str(tmp_path)),
    )
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.strip().strip("[]").replace('"', "").split(", ")) <= {
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "::1",
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "home",
    [
        pytest.param({"HOME": "/dev/null/home"}, id="unwritable", marks=pytest.mark.slow),
        pytest.param({}, id="none", marks=pytest.mark.slow),
    ],
)
def test_a_run_needs_no_home(film: Path, tmp_path: Path, home: dict[str, str]) -> None:
    words = ["restore", str(film), "--out", str(tmp_path / "out"), "--set", "chain=[]"]
    ended = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env=clean(**home),
    )
    assert ended.returncode == 0, ended.stderr
    assert len(framemd5(tmp_path / "out", "a")) == 72


def test_what_is_set_for_a_local_ray_is_set_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("RAY_")]:
        monkeypatch.delenv(name)
    before = dict(os.environ)
    with session._on_this_machine_alone():
        first = os.environ["RAY_AUTH_TOKEN"]
        assert len(first) == 64
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray does
    assert dict(os.environ) == before
    with session._on_this_machine_alone():
        assert os.environ["RAY_AUTH_TOKEN"] == first, "Ray reads it once in the life of a process"
    # What the user said is kept.
    for said in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "mine"}, {"RAY_AUTH_TOKEN_PATH": "/etc/token"}):
        with monkeypatch.context() as patch:
            for name, value in said.items():
                patch.setenv(name, value)
            with session._on_this_machine_alone():
                assert {k: v for k, v in os.environ.items() if "AUTH" in k} == said


@pytest.mark.parametrize(
    ("address", "said"),
    [("local", "Ray does not start on this machine: no room"), ("auto", "no Ray cluster answers: no room")],
)
def test_a_start_that_fails_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, address: str, said: str) -> None:
    def init(**_: object) -> None:
        raise RuntimeError("no room\nand more")

    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.ray, "init", init)
    enter: Callable[[], object] = session.connected(address).__enter__
    with pytest.raises(CallError, match=said) as caught:
        enter()
    assert "\n" not in str(caught.value)
    assert ("ray start" in str(caught.value)) is (address == "auto")
