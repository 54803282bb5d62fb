"""``reelmend submit`` and what asks after it: the same as ``restore``, as a job of a Ray cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import yaml

from jobs.common import find_sources, find_span, load_spec, print_json, say, take_shard
from pipeline.cluster import submission
from pipeline.errors import CallError
from pipeline.plan.document import canonical
from pipeline.spec import NetPass, Spec
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
    bag: bool,
    shard: str | None,
    as_json: bool,
) -> int:
    """Hand a call of ``restore`` to a cluster. Its id follows from what it says, so that the same job twice is refused.

    The config travels through the output, where every node of the cluster can read it. A pattern or folder counts as
    the films that are there now: with new ones it is another job.
    """
    spec = load_spec(config, overrides)
    span = find_span(frames)
    for uri in (*sources, out, *_weight_files(spec)):
        if store.local_path(uri) is not None and not uri.startswith(("/", "file:", "local:")):
            raise CallError(
                "a relative path means another place on the cluster", where=uri, todo="Give a URI or an absolute path"
            )
    # A collision of names or a missing film is told here, not in the night.
    reels = take_shard(find_sources(sources, out=out), shard)
    words = [overwrite, shard, *(["bag"] if bag else [])]
    said = canonical([list(reels), store.absolute(out), spec.canonical(), span, *words])
    job_id = "reelmend-" + hashlib.sha256(said.encode()).hexdigest()[:16]
    kept = store.join(out, ".work", ".jobs", f"{job_id}.yaml")
    store.put_bytes(kept, yaml.safe_dump(spec.canonical(), sort_keys=False, allow_unicode=True).encode())
    command = ["reelmend", "restore", *sources, "--out", out, "-c", kept, "--address", "auto"]
    command += ["--frames", frames] if frames else []
    command += ["--overwrite"] if overwrite else []
    command += ["--bag"] if bag else []
    command += ["--shard", shard] if shard else []
    found = submission.submit(address, job_id, command, look=f"reelmend status {out}")
    if as_json:
        print_json({"job": job_id, "submission": found, "address": address, "config": kept})
    else:
        print(job_id)
        if found != job_id:
            say(f"it goes on where it was; Ray calls this submission {found}")
        say(f"follow it with: reelmend logs {job_id} --follow --address {address}")
        say(f"or, from anywhere that reads the output: reelmend status {out}")
    return 0


def _weight_files(spec: Spec) -> list[str]:
    """The weights that a spec names by path or URI."""
    from pipeline.restore.weights import names, use  # torch comes with it, and the other commands do without

    named = (p.weights for p in spec.chain if isinstance(p, NetPass))
    return [w for w in named if w not in names() and ("/" in w or w.endswith(use.SUFFIXES))]


def show_job(job_id: str, *, address: str, as_json: bool) -> int:
    """Print what the job server says of a job; status 1 where it failed."""
    found = submission.state(address, job_id)
    if as_json:
        print_json(
            {
                "job": job_id,
                "submission": found.id,
                "status": found.status,
                "message": found.message,
                "exit_status": found.exit_status,
            }
        )
    else:
        print(f"{found.id}: {found.status}{' — ' + found.message.strip() if found.message else ''}")
    return 1 if found.status == "FAILED" else 0


def show_logs(job_id: str, *, address: str, follow: bool) -> int:
    """Print what a job has printed."""
    for text in submission.follow(address, job_id) if follow else [submission.logs(address, job_id)]:
        print(text, end="", flush=True)
    return 0


def stop(job_id: str, *, address: str) -> int:
    """Stop a job; what its ledger holds by then is kept. Status 1 where it has not ended in time."""
    found, was_going = submission.stop(address, job_id)
    if not found.over:
        say(f"{found.id}: asked to stop, but still {found.status}; look again with `reelmend status`")
        return 1
    if not was_going:
        say(f"{found.id}: had ended already ({found.status})")
    elif found.status == "STOPPED":
        say(f"{found.id}: stopped; submitting the same job again goes on from there")
    else:
        say(f"{found.id}: ended by itself ({found.status})")
    return 0
