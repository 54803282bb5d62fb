"""Jobs handed to a cluster that ``ray start --head`` began, with its token authentication on."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cluster import submission
from pipeline.errors import CallError
from pipeline.publish.verify import verify
from tests.cluster.conftest import framemd5

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
COPY = ("--set", "chain=[]", "--set", "cluster.restorers=1")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """Its error, which is one line."""
        (line,) = self.err.splitlines()
        return line


@dataclass(frozen=True)
class Head:
    """A running head, and the environment of whoever may speak to it."""

    address: str
    env: dict[str, str]

    def start(self, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return start([sys.executable, "-m", "jobs.cli", *words, "--address", self.address], {**self.env, **(env or {})})

    def call(self, *words: str, env: dict[str, str] | None = None) -> Done:
        return end(self.start(*words, env=env))

    def status(self, submission_id: str) -> str:
        """What the job server says, asked without our code."""
        ask = urllib.request.Request(f"{self.address}/api/jobs/{submission_id}", headers=self.headers)
        with urllib.request.urlopen(ask, timeout=30) as answer:
            return str(json.load(answer)["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": "Bearer " + Path(self.env["HOME"], ".ray", "auth_token").read_text()}


def start(command: Sequence[str], env: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def end(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=150)
    return Done(process.returncode, out, err)


def until(done: Callable[[], bool], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < give_up, "it did not come to that in time"
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """``ray start --head`` as docs/operations.md has it, on free ports, with a home and so a token of its own."""
    # A short path: Ray puts unix sockets below it, and those are bounded to about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="rm-"))
    home = folder / "home"
    home.mkdir()
    bin_folder = Path(sys.executable).parent
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {
        "HOME": str(home),
        "PATH": f"{bin_folder}{os.pathsep}{env.get('PATH', '')}",
        # The `reelmend` of the cluster runs these sources, wherever the installed one comes from.
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    port, dashboard, agent, client = free_ports(4)
    process: psutil.Popen | None = None
    try:
        subprocess.run([bin_folder / "ray", "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
        with (folder / "head.log").open("wb") as log:
            process = psutil.Popen(
                [
                    str(bin_folder / "ray"),
                    "start",
                    "--head",
                    "--block",
                    f"--port={port}",
                    "--dashboard-host=127.0.0.1",
                    f"--dashboard-port={dashboard}",
                    f"--dashboard-agent-listen-port={agent}",
                    f"--ray-client-server-port={client}",
                    "--min-worker-port=0",
                    "--max-worker-port=0",
                    "--num-cpus=2",
                    f"--object-store-memory={100 << 20}",
                    f"--temp-dir={folder / 'ray'}",
                ],
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        made = Head(f"http://127.0.0.1:{dashboard}", env)
        until(lambda: process.poll() is not None or answers(made))
        assert process.poll() is None, (folder / "head.log").read_text()
        yield made
    finally:
        if process is not None:
            kill(process)
        shutil.rmtree(folder, ignore_errors=True)


def answers(head: Head) -> bool:
    ask = urllib.request.Request(f"{head.address}/api/jobs/", headers=head.headers)
    try:
        urllib.request.urlopen(ask, timeout=30).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def kill(process: psutil.Popen) -> None:
    """This head and what it began, by their ids: `ray stop` would end every Ray of the machine."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
    for p in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            p.kill()
    psutil.wait_procs(family, timeout=10)


def test_a_job_is_done_once(head: Head, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("submit", str(film), "--out", str(out), "--frames", "0:24", *COPY)
    # Two at once: the id is a lock that one of them gets.
    won, lost = sorted((end(p) for p in [head.start(*words), head.start(*words)]), key=lambda d: d.status)
    assert (won.status, lost.status) == (0, 2), (won, lost)
    job = won.out.strip()
    assert job.startswith("reelmend-")
    assert f"{job}: this very job is there already" in lost.told
    assert lost.out == ""

    logs = head.call("logs", job, "--follow")
    assert (logs.status, logs.err) == (0, "")
    assert "a: done, 24 frames" in logs.out
    assert [head.status(job)] == ["SUCCEEDED"]
    assert len(framemd5(out, "a")) == 24
    assert verify([str(out)]).ok

    asked, again = (end(p) for p in [head.start("status", job), head.start(*words)])
    assert (asked.status, asked.err) == (0, "")
    assert asked.out.startswith(f"{job}: SUCCEEDED")
    assert again.status == 2
    assert f"{job}: this very job has been done" in again.told
    assert f"reelmend status {out}" in again.told


@pytest.mark.slow  # half a minute; kills of a driver without a job server are in test_kills
def test_a_stopped_job_goes_on_when_it_is_submitted_again(head: Head, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    records = out / ".work" / "a" / "tiles"
    words = ("submit", str(film), "--out", str(out), "--set", "tiles.frames=1", *COPY, "--json")
    # Its imports take longer than the job does, so they are done before.
    stopping = start(
        [
            sys.executable,
            "-c",
            "import os, sys, time, jobs.cli, jobs.submit\n"
            "job = sys.stdin.readline().strip()\n"
            "while not (os.path.isdir(sys.argv[1]) and len(os.listdir(sys.argv[1])) > 4): time.sleep(0.01)\n"
            "sys.argv = ['reelmend', 'stop', job, '--address', sys.argv[2]]\n"
            "jobs.cli.main()",
            str(records),
            head.address,
        ],
        head.env,
    )
    submitted = head.call(*words)
    assert submitted.status == 0, submitted
    job = json.loads(submitted.out)["job"]
    out_text, err_text = stopping.communicate(job + "\n", timeout=120)
    assert (stopping.returncode, out_text) == (0, ""), err_text
    assert err_text == f"{job}: stopped; submitting the same job again goes on from there\n"
    # No sooner has the command ended than the job has.
    assert head.status(job) == "STOPPED"
    kept = {p.name: p.stat().st_mtime_ns for p in records.iterdir()}
    assert 4 < len(kept) < 72

    again = head.call(*words, "--set", "keep_work=false")
    assert again.status == 0, again
    said = json.loads(again.out)
    assert (said["job"], said["submission"]) == (job, f"{job}-2")
    logs = head.call("logs", job, "--follow")
    assert f"{len(kept)} already in the ledger" in logs.out
    assert "a: done, 72 frames" in logs.out
    assert [head.status(job), head.status(f"{job}-2")] == ["STOPPED", "SUCCEEDED"]
    # The bare id means the newest submission.
    ended = head.call("stop", job)
    assert (ended.status, ended.err) == (0, f"{job}-2: had ended already (SUCCEEDED)\n")
    assert len(framemd5(out, "a")) == 72
    assert verify([str(out)]).ok


def test_a_job_that_fails_is_marked_so_and_may_be_submitted_again(head: Head, film: Path, tmp_path: Path) -> None:
    words = ("submit", str(film), "--out", str(tmp_path / "out"), "--set", "chain.4.weights=no-such-net")
    submitted = head.call(*words)
    assert submitted.status == 0, submitted
    job = submitted.out.strip()
    until(lambda: head.status(job) not in ("PENDING", "RUNNING"))
    asked, logs = (end(p) for p in [head.start("status", job, "--json"), head.start("logs", job)])
    again = head.call(*words)
    assert asked.status == 1
    said = json.loads(asked.out)
    assert (said["status"], said["exit_status"]) == ("FAILED", 2)
    assert "no-such-net" in said["message"]
    assert "no-such-net" in logs.out
    assert (again.status, again.out.strip()) == (0, job)
    assert f"{job}-2" in again.err


def test_without_the_token_one_line_says_what_to_do(head: Head, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    cases: list[tuple[dict[str, str], Sequence[str]]] = [
        ({"RAY_AUTH_MODE": ""}, ["wants a token", "RAY_AUTH_MODE=token", "~/.ray/auth_token"]),
        ({"HOME": str(tmp_path)}, ["none in ~/.ray/auth_token", "ray get-auth-token"]),
        ({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "x")}, [f"none in {tmp_path / 'x'}", "ray get-auth-token"]),
        ({"RAY_AUTH_TOKEN_PATH": str(wrong)}, ["does not take", str(wrong), "ray get-auth-token"]),
        ({"RAY_AUTH_TOKEN": "0" * 64}, ["does not take", "RAY_AUTH_TOKEN", "ray get-auth-token"]),
        # Ray's own variable does not lead the call elsewhere; and the right token finds no such job.
        ({"RAY_ADDRESS": "http://127.0.0.1:9"}, ["knows no such job", "ray job list"]),
    ]
    # `reelmend status` without the imports that it does not need.
    imports = "import sys, jobs.cli as cli, pipeline.cluster.submission as asking"
    code = f"{imports}; sys.exit(cli.guarded(lambda: asking.state(*sys.argv[1:])))"
    words = [sys.executable, "-c", code, head.address, "reelmend-0123456789abcdef"]
    calls = [start(words, {**head.env, **env}) for env, _ in cases]
    for call, (env, told) in zip(calls, cases, strict=True):
        ended = end(call)
        assert (ended.status, ended.out) == (2, ""), (env, ended)
        assert all(words in ended.told for words in told), (env, ended)
        assert len(ended.told) < 400


@pytest.mark.parametrize(
    "address",
    [
        "",
        "head",
        "127.0.0.1:8265",
        "auto",
        "ray://127.0.0.1:10001",
        "json://x",
        "http://",
        "http://h:0",
        "http://h:99999",
    ],
)
def test_only_a_job_server_is_spoken_to(address: str) -> None:
    with pytest.raises(CallError, match="no address of a job server"):
        submission.state(address, "x")


def test_nobody_there_is_said_at_once() -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    with pytest.raises(CallError, match=f"^--address http://127.0.0.1:{port}: nobody answers there"):
        submission.state(f"http://127.0.0.1:{port}", "x")
    assert time.monotonic() - began < 10


def test_a_silent_server_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(CallError, match="nobody answers"):
        submission.state(f"http://127.0.0.1:{listening.getsockname()[1]}", "x")


@pytest.fixture
def serve() -> Iterator[Callable[[int, bytes], str]]:
    """A server that gives one answer to whatever it is asked."""
    servers = []

    def go(status: int, body: bytes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield go
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"ray_version": 3}'),
        (404, b""),
        (503, b"x"),
        (500, b"\xff"),
    ],
)
def test_another_kind_of_server_is_told(serve: Callable[[int, bytes], str], status: int, body: bytes) -> None:
    with pytest.raises(CallError, match="no job server of Ray's") as caught:
        submission.state(serve(status, body), "x")
    assert len(str(caught.value)) < 600


def test_a_traceback_in_an_answer_is_told_by_its_last_line() -> None:
    text = "Request failed with status code 500: Traceback (most recent call last):\n  File x\nKeyError: 'agent'\n."
    told = str(submission._told(RuntimeError(text), "http://h:1"))
    assert "status code 500: KeyError: 'agent'" in told
    assert "File x" not in told


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), max_size=4))
def test_every_word_reaches_the_command_as_it_is(words: list[str]) -> None:
    line = submission._entrypoint(["printf", "%s\\0", *words])
    found = subprocess.run(line, shell=True, capture_output=True, check=True).stdout
    assert found.decode() == "".join(f"{w}\0" for w in words or [""])


def test_a_missing_command_and_a_failing_one_are_seen() -> None:
    def go(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(submission._entrypoint(words), shell=True, capture_output=True, text=True)

    missing = go("reelmend-that-is-not-there", "restore")
    assert missing.returncode == 127
    assert "not on the PATH of this cluster's head" in missing.stderr
    assert go("sh", "-c", "exit 3").returncode == 3
