"""Ray's job server: submitting a run, and asking after it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import CallError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from ray.job_submission import JobStatus, JobSubmissionClient

_OVER = (JobStatus.STOPPED, JobStatus.FAILED)


@dataclass(frozen=True, slots=True)
class JobState:
    """What the job server says of a job."""

    id: str
    status: str
    """``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``."""
    message: str
    entrypoint: str


def _client(address: str) -> JobSubmissionClient:
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # noqa: BLE001 - the client raises RuntimeError, ConnectionError, requests' own…
        raise _told(error, address) from None


def _told(error: Exception, address: str) -> CallError:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    todo = "Check the address (http://HEAD:8265) and that the cluster runs"
    if "401" in text or "403" in text or "nauthenticated" in text or "oken" in text:
        todo = "The cluster wants its token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH)"
    return CallError(f"the job server did not take the call: {text}", where=f"--address {address}", todo=todo)


def submit(address: str, job_id: str, command: Sequence[str]) -> None:
    """Hand a command to the cluster under a given id. Raises CallError where this very job is there already.

    A job of this id that failed or was stopped is cleared away first: submitting it again goes on with its work.
    """
    client = _client(address)
    try:
        known = {j.submission_id: j for j in client.list_jobs()}
        if job_id in known:
            status = known[job_id].status
            if status not in _OVER:
                done = status == JobStatus.SUCCEEDED
                raise CallError(
                    f"this very job {'has been done' if done else 'is there already'} ({status.value})",
                    where=job_id,
                    todo="Look with `reelmend status OUT`" if done else f"Follow it with `reelmend logs {job_id}`",
                )
            client.delete_job(job_id)
        # The job server runs its entrypoint in a shell: every word is quoted.
        client.submit_job(entrypoint=shlex.join(command), submission_id=job_id)
    except CallError:
        raise
    except Exception as error:  # noqa: BLE001 - see _client
        if "already exists" in str(error):
            raise CallError("this very job is there already", where=job_id) from None
        raise _told(error, address) from None


def state(address: str, job_id: str) -> JobState:
    """What has become of a job. Raises CallError where the server knows none of that id."""
    info = _ask(address, job_id, "get_job_info")
    return JobState(job_id, info.status.value, info.message or "", info.entrypoint)


def logs(address: str, job_id: str) -> str:
    """What the job has printed so far."""
    return str(_ask(address, job_id, "get_job_logs"))


def stop(address: str, job_id: str) -> bool:
    """Ask a job to stop: it has 3 s after SIGTERM. False where it had ended already."""
    return bool(_ask(address, job_id, "stop_job"))


def _ask(address: str, job_id: str, method: str) -> Any:
    client = _client(address)
    try:
        return getattr(client, method)(job_id)
    except Exception as error:  # noqa: BLE001 - see _client
        if "does not exist" in str(error) or "404" in str(error):
            raise CallError(
                "the job server knows no such job", where=job_id, todo="`ray job list` names them"
            ) from None
        raise _told(error, address) from None


def follow(address: str, job_id: str, *, every_s: float = 2.0) -> Iterator[str]:
    """What the job prints, as it comes, until it ends."""
    told = 0
    while True:
        ended = state(address, job_id).status not in ("PENDING", "RUNNING")
        text = logs(address, job_id)
        if len(text) > told:
            yield text[told:]
            told = len(text)
        if ended:
            return
        time.sleep(every_s)
