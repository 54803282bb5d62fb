"""``reelmend submit`` and what asks after it: the same as ``restore``, as a job of a Ray cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import yaml

from jobs.common import find_sources, find_span, load_spec, print_json, say
from pipeline.cluster import submission
from pipeline.errors import CallError
from pipeline.plan.document import canonical
from pipeline.storage import store


def submit(
    sources: Sequence[str],
    out: str,
    *,
    address: str,
    config: str,
    overrides: Sequence[str],
    frames: str | None,
    overwrite: bool,
    shard: str | None,
    as_json: bool,
) -> int:
    """Hand a call of ``restore`` to a cluster. Its id follows from what it says, so that the same job twice is refused.

    The config travels through the output, where every node of the cluster can read it.
    """
    spec = load_spec(config, overrides)
    find_span(frames)
    for uri in (*sources, out):
        if store.local_path(uri) is not None and not uri.startswith(("/", "file:")):
            raise CallError("a relative path means another place on the cluster", where=uri, todo="Give a URI")
    find_sources(sources, out=out, shard=shard)  # a collision of names or a missing film is told here, not in the night
    said = canonical([list(sources), out, spec.canonical(), frames, overwrite, shard])
    job_id = "reelmend-" + hashlib.sha256(said.encode()).hexdigest()[:16]
    kept = store.join(out, ".work", ".jobs", f"{job_id}.yaml")
    store.put_bytes(kept, yaml.safe_dump(spec.canonical(), sort_keys=False, allow_unicode=True).encode())
    command = ["reelmend", "restore", *sources, "--out", out, "-c", kept, "--address", "auto"]
    command += ["--frames", frames] if frames else []
    command += ["--overwrite"] if overwrite else []
    command += ["--shard", shard] if shard else []
    submission.submit(address, job_id, command)
    if as_json:
        print_json({"job": job_id, "address": address, "config": kept})
    else:
        print(job_id)
        say(f"follow it with: reelmend logs {job_id} --follow --address {address}")
        say(f"or, from anywhere that reads the output: reelmend status {out}")
    return 0


def show_job(job_id: str, *, address: str, as_json: bool) -> int:
    """Print what the job server says of a job; status 1 where it failed."""
    found = submission.state(address, job_id)
    if as_json:
        print_json({"job": found.id, "status": found.status, "message": found.message})
    else:
        print(f"{found.id}: {found.status}{' — ' + found.message if found.message else ''}")
    return 1 if found.status == "FAILED" else 0


def show_logs(job_id: str, *, address: str, follow: bool) -> int:
    """Print what a job has printed."""
    for text in submission.follow(address, job_id) if follow else [submission.logs(address, job_id)]:
        print(text, end="", flush=True)
    return 0


def stop(job_id: str, *, address: str) -> int:
    """Stop a job; what its ledger holds by then is kept."""
    if submission.stop(address, job_id):
        say(f"{job_id}: asked to stop; submitting the same job again goes on from there")
    else:
        say(f"{job_id}: had ended already")
    return 0
