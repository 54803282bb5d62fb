"""Connecting to a Ray cluster, or starting one on this machine for one run."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from pipeline.errors import CallError

# Before Ray is imported: it reads these once. No usage reports leave an archive's network.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Every failure is told once, in our words; Ray would print a traceback for each ref that is let go of with one.
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Of a Ray that is started here. It ends workers that idle for a second, and a new one spends another on its imports.
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")

import ray
from ray._private import ray_constants

_CLUSTERS = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
_AUTH_MODE, _AUTH_TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
_KNOCK_S = 5.0
"""Seconds that a cluster's head may take to accept a connection."""
_ANSWER_S = 1.0
"""Seconds that a raylet may take to accept a connection."""
_AT_ONCE = 64
_SHUTDOWN_S = 1.5
"""Seconds that Ray may take to go down after a stop; then the process ends without it, and its children with it."""


@contextmanager
def connected(address: str, *, cpus: int | None = None) -> Iterator[None]:
    """A connection to Ray for the length of a run.

    address: ``local`` starts a Ray of its own on this machine; ``auto`` finds the one that runs on it; else
    ``host:port`` or ``ray://host:port``. cpus: of one that is started here; None: all of the machine. A connection that
    exists already is used and left alone. Raises CallError.
    """
    if ray.is_initialized():
        yield
        return
    _knock(address)
    local = address == "local"
    with _on_this_machine_alone() if local else nullcontext():
        try:
            ray.init(
                # Said outright: without an address Ray joins a cluster that happens to run on this machine.
                address=address,
                include_dashboard=False if local else None,
                num_cpus=cpus if local else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                namespace="reelmend",
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            told = str(error).strip().splitlines() or [type(error).__name__]
            raise CallError(
                f"{'Ray does not start on this machine' if local else 'no Ray cluster answers'}: {told[0]}",
                where=f"--address {address}",
                todo="Look at its logs in /tmp/ray/session_latest/logs, and for room in /tmp and /dev/shm"
                if local
                else "Check the address, that `ray start --head` runs there, and its token",
            ) from None
        try:
            yield
        finally:
            _shutdown()


@contextmanager
def _on_this_machine_alone() -> Iterator[None]:
    """What a Ray that is started here must find when it starts: it listens on the loopback only, and has a token of its
    own, in the environment of its processes, so that it writes none into a home that may not be writable.

    Ray listens on every interface unless it holds this for a system on which it knows no clusters.
    """
    settings = {_CLUSTERS: "0"}
    wanted = os.environ.get(_AUTH_MODE, "token").lower() == "token"  # as Ray has it for one that it starts
    if wanted and not os.environ.keys() & {_AUTH_TOKEN, "RAY_AUTH_TOKEN_PATH"}:
        settings[_AUTH_TOKEN] = _own_token()
    before = {name: os.environ.get(name) for name in (*settings, _AUTH_MODE)}  # the mode is set by Ray, not by us
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(settings)
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when Ray was imported
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@functools.cache
def _own_token() -> str:
    """One for the life of this process: Ray reads it once, and a second start would be refused with another."""
    return secrets.token_hex(32)


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself goes on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise CallError(
            f"nobody answers there: {error}",
            where=f"--address {address}",
            todo="Check the address, and that `ray start --head` runs there",
        ) from None


def _shutdown() -> None:
    """Take Ray down, but never wait long for it: a stop must be quick, and nothing of ours is lost by a hard end."""
    thread = threading.Thread(target=ray.shutdown, daemon=True, name="ray-shutdown")
    thread.start()
    thread.join(_SHUTDOWN_S)


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster that Ray holds to be alive."""

    resources: Mapping[str, float]
    door: tuple[str, int]
    """Host and port that its raylet listens on."""


def alive_nodes() -> dict[str, Node]:
    """Node id → node, of those that Ray holds to be alive. A lost one stands here for up to half a minute."""
    return {
        n["NodeID"]: Node(dict(n["Resources"]), (n["NodeManagerAddress"], n["NodeManagerPort"]))
        for n in ray.nodes()
        if n["Alive"]
    }


def answering(nodes: Mapping[str, Node]) -> frozenset[str]:
    """Ids of the nodes whose raylet takes a connection now: known at once, where Ray waits for missed heartbeats."""

    def answers(node: Node) -> bool:
        try:
            socket.create_connection(node.door, timeout=_ANSWER_S).close()
        except OSError:
            return False
        return True

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return frozenset(i for i, ok in zip(nodes, pool.map(answers, nodes.values()), strict=True) if ok)
