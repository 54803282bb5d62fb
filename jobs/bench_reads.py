"""How many bytes of a remote master are fetched, for each byte that it has."""

from __future__ import annotations

import http.server
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.bench_film import write_film_with_sound
from jobs.bench_report import Figure, Part
from jobs.bench_run import restore, told
from pipeline import spec
from pipeline.reel.index import build
from pipeline.reel.probe import probe

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CHUNK = 1 << 20


class Server(http.server.ThreadingHTTPServer):
    """One file, with ranges. Counts the bytes that it gives, the requests, and those for the whole file."""

    daemon_threads = True

    def __init__(self, path: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path, self.sent, self.requests, self.wholes = path, 0, 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{self.path.name}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has seen enough hangs up."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Not a word."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        about = self.server.path.stat()
        first, last = 0, about.st_size - 1
        said = _RANGE.fullmatch(self.headers.get("Range", ""))
        if said:
            first, last = int(said[1]), min(last, int(said[2] or last))
        self.send_response(206 if said else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{about.st_mtime_ns}"')
        if said:
            self.send_header("Content-Range", f"bytes {first}-{last}/{about.st_size}")
        self.end_headers()
        if body:
            self._send(first, last + 1, whole=not said)

    def _send(self, first: int, last: int, *, whole: bool) -> None:
        with self.server.lock:
            self.server.requests += 1
            self.server.wholes += whole
        with self.server.path.open("rb") as file:
            file.seek(first)
            while first < last:
                data = file.read(min(_CHUNK, last - first))
                self.wfile.write(data)
                first += len(data)
                with self.server.lock:
                    self.server.sent += len(data)


@contextmanager
def served(path: Path) -> Iterator[Server]:
    """A web server on the loopback that gives this file, and counts."""
    # A proxy that stands in the environment is not for this machine.
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update(dict.fromkeys(before, "127.0.0.1"))
    server = Server(path)
    threading.Thread(target=server.serve_forever, daemon=True, name="bench-server").start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def reads(folder: Path, *, frames: int = 96, width: int = 640, height: int = 480) -> Part:
    """Bytes fetched for each byte of the source: to plan it, and to restore it."""
    with told(f"make a film of {frames} frames"):
        film = write_film_with_sound(folder / "reads.mkv", frames=frames, width=width, height=height)
    figures = []
    with served(film) as server:

        def fetched(what: str, do: Callable[[], object]) -> None:
            server.sent = server.requests = 0
            do()
            share = server.sent / film.stat().st_size
            figures.append(Figure(what, f"{share:.2f} ({server.sent / 2**20:.1f} MiB in {server.requests} requests)"))

        fetched("to probe and index it", lambda: build(probe(server.url, "reads", spec.Source())))
        words = ("--set", "chain=[]")
        fetched("to restore it, staged", lambda: restore(server.url, folder / "staged", *words))
        never = (*words, "--set", "cluster.stage=never")
        fetched("to restore it by ranges, without staging", lambda: restore(server.url, folder / "ranges", *never))
        part = (*words, "--frames", "0:24")
        fetched("to restore its first 24 frames", lambda: restore(server.url, folder / "excerpt", *part))
    return Part(
        name="reads",
        title="Bytes read of a remote master",
        how=f"A film of {frames} frames of {width}×{height} px (RGB of 10 bit, FFV1 in Matroska with PCM sound, "
        f"{film.stat().st_size / 2**20:.0f} MiB) behind a web server that counts, through the same reader as an object "
        "store: bytes sent for each byte of the film. Planning reads head, cue table and two pictures in blocks of "
        "4 MiB, which of a longer film is a smaller share. Of an excerpt, sound is looked for up to 10 s beyond its "
        "end, which here is the film's.",
        figures=figures,
    )
