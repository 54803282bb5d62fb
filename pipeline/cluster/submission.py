"""Ray's job server: submitting a run, and asking after it.

A job's id (``reelmend-`` and 16 hex digits) says what the job is. The server never forgets a submission id that it has
seen, and one that is deleted and used again meets what is left of the first (its log, its supervisor). So a job that
ended without success is submitted again under its id with a number, ``…-2`` and on, and its bare id means the newest.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import CallError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

_CONNECT_S = 5.0
_ANSWER_S = 60.0
"""Seconds that a server may be silent. Ray's client alone would wait for ever."""
_STOP_S = 15.0
"""Seconds that a job may take to stop: Ray gives it 3 after SIGTERM, then kills it."""
_EVERY_S = 2.0
_NUMBER = re.compile(r"-([1-9]\d{0,5})")
_OVERRIDING = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_DEFAULT_PLACE = "~/.ray/auth_token"


@dataclass(frozen=True, slots=True)
class JobState:
    """What the job server says of a job."""

    id: str
    """The newest submission of it."""
    status: str
    """``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``."""
    message: str
    exit_status: int | None
    """The command's own, once it has ended by itself."""

    @property
    def over(self) -> bool:
        return bool(JobStatus(self.status).is_terminal())


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, with a bound on how long it waits."""

    def _do_request(self, *args: Any, **kwargs: Any) -> Any:
        return super()._do_request(*args, timeout=(_CONNECT_S, _ANSWER_S), **kwargs)


def submit(address: str, job_id: str, command: Sequence[str], *, look: str) -> str:
    """Hand a command to the cluster as this job; gives the submission's id.

    look: the command that shows what a job of this id has done. Raises CallError where this very job is waiting,
    running, or has succeeded; one that failed or was stopped goes on with its work.
    """
    with _server(address) as client:
        number, before = 1, _newest(client, job_id)
        if before is not None:
            _refuse(before, look)
            number = _number(before.id, job_id) + 1
        submission_id = job_id if number == 1 else f"{job_id}-{number}"
        try:
            client.submit_job(entrypoint=_entrypoint(command), submission_id=submission_id)
        except RuntimeError as error:
            if "already exists" not in str(error):
                raise
            # Another one was quicker: the id is the lock.
            raise CallError("this very job is there already", where=submission_id, todo=f"Look with `{look}`") from None
    return submission_id


def _refuse(before: JobState, look: str) -> None:
    if not before.over:
        todo = f"Follow it with `reelmend logs {before.id} --follow`, or `reelmend stop {before.id}`"
        raise CallError(f"this very job is there already ({before.status})", where=before.id, todo=todo)
    if before.status == JobStatus.SUCCEEDED:
        todo = f"Look with `{look}`; `ray job delete {before.id}` lets it be submitted once more"
        raise CallError(f"this very job has been done ({before.status})", where=before.id, todo=todo)


def _entrypoint(command: Sequence[str]) -> str:
    """The words for the shell that the job server runs them in, every one quoted."""
    program = shlex.quote(command[0])
    missing = shlex.quote(
        f"{command[0]}: not on the PATH of this cluster's head. Start Ray there from the environment that it is "
        "installed in (`. .venv/bin/activate` before `ray start`)"
    )
    return f"command -v {program} >/dev/null || {{ echo {missing} >&2; exit 127; }}; exec {shlex.join(command)}"


def state(address: str, job_id: str) -> JobState:
    """What has become of a job. Raises CallError where the server knows none of that id."""
    with _server(address) as client:
        return _known(client, job_id)


def logs(address: str, job_id: str) -> str:
    """What the job has printed so far."""
    with _server(address) as client:
        return str(client.get_job_logs(_known(client, job_id).id))


def stop(address: str, job_id: str) -> tuple[JobState, bool]:
    """Stop a job and wait until it has ended, up to 15 s; gives what became of it, and whether it was going on."""
    with _server(address) as client:
        found = _known(client, job_id)
        if found.over:
            return found, False
        until, heard = time.monotonic() + _STOP_S, False
        while not found.over and time.monotonic() < until:
            # One whose supervisor is not up yet does not hear it: it is told again.
            heard = heard or client.stop_job(found.id)
            time.sleep(0.3)
            found = _known(client, found.id)
        return found, True


def follow(address: str, job_id: str, *, every_s: float = _EVERY_S) -> Iterator[str]:
    """What the job prints, as it comes, until it ends."""
    told = 0
    with _server(address) as client:
        while True:
            # In this order: what is printed before the end is there when the end is seen.
            found = _known(client, job_id)
            job_id = found.id  # should it be submitted again meanwhile, this is another log
            text = client.get_job_logs(job_id)
            if len(text) > told:
                yield text[told:]
                told = len(text)
            if found.over:
                return
            time.sleep(every_s)


def _known(client: JobSubmissionClient, job_id: str) -> JobState:
    found = _newest(client, job_id)
    if found is None:
        raise CallError("the job server knows no such job", where=job_id, todo="`ray job list` names those that it has")
    return found


def _newest(client: JobSubmissionClient, job_id: str) -> JobState | None:
    """The submission of that id, or the last of those that are it with a number."""
    found: list[JobDetails] = [j for j in client.list_jobs() if j.submission_id and _number(j.submission_id, job_id)]
    if not found:
        return None
    last = max(found, key=lambda j: _number(j.submission_id, job_id))
    return JobState(last.submission_id, last.status.value, last.message or "", last.driver_exit_code)


def _number(submission_id: str, job_id: str) -> int:
    """1 for the job's own id, n for the n-th submission of it; 0 where it is another job."""
    if submission_id == job_id:
        return 1
    match = _NUMBER.fullmatch(submission_id.removeprefix(job_id)) if submission_id.startswith(job_id) else None
    return int(match[1]) if match else 0


@contextmanager
def _server(address: str) -> Iterator[JobSubmissionClient]:
    """Ray's client for a job server; whatever goes wrong with it is a CallError."""
    if not _is_server(address):
        # Ray would take other words for a cluster's own port, or for a Python module to import.
        raise CallError("no address of a job server", where=f"--address {address}", todo="Write it as http://HEAD:8265")
    try:
        with _as_said():
            client = _Client(address)
        yield client
    except AuthenticationError as error:
        raise _turned_away(error, address) from None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _told(error, address) from None


def _is_server(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@contextmanager
def _as_said() -> Iterator[None]:
    """Without the variables that Ray's client would put over the address that it is given."""
    kept = {name: os.environ.pop(name) for name in _OVERRIDING if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _turned_away(error: AuthenticationError, address: str) -> CallError:
    said, place = error.message, os.environ.get("RAY_AUTH_TOKEN_PATH") or _DEFAULT_PLACE
    todo = f"Put the head's token (`ray get-auth-token` prints it there) into {place}, mode 600"
    if said.startswith("Authentication failed"):
        # In this order Ray looks for it.
        found = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else place
        what = f"the cluster does not take the token of {found}"
        todo = "Set RAY_AUTH_TOKEN to the head's (`ray get-auth-token` prints it there)" if found != place else todo
    elif said.startswith("Authentication required") and os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        what, todo = "the cluster wants a token, and none was sent", f"Set RAY_AUTH_MODE=token. {todo}"
    else:
        what = f"the cluster wants a token, and there is none in {place}"
    return CallError(what, where=f"--address {address}", todo=todo)


def _told(error: Exception, address: str) -> CallError:
    where, todo = f"--address {address}", "Check the address (http://HEAD:8265) and that the cluster runs"
    if isinstance(error, OSError) and not isinstance(error, ValueError) and getattr(error, "response", None) is None:
        return CallError(f"nobody answers there ({type(error).__name__})", where=where, todo=todo)
    # The server puts whole tracebacks into its answers: their last line says what it was.
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")] or [type(error).__name__]
    text = lines[0] if len(lines) == 1 else f"{lines[0].partition(': Traceback')[0]}: {lines[-1]}"
    what = f"no job server of Ray's, or one that refuses: {text[:300].rstrip('. ')}"
    return CallError(what, where=where, todo=todo)
