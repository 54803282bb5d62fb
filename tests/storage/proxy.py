"""A wire between a client and the S3 server that counts what passes and, when told, misbehaves as networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Proxy:
    """Passes bytes on to ``endpoint``. Requests are told apart by how they begin, e.g. ``b"PUT /out/a"``."""

    def __init__(self, endpoint: str):
        parts = urlsplit(endpoint)
        self._server = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._lose: list[bytes] = []
        self._refuse: list[bytes] = []
        self.requests: list[bytes] = []
        """The first line of every request, in order."""
        self.received = 0
        """Bytes that came back from the server."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def lose_answer(self, start: bytes) -> None:
        """The next request that begins so reaches the server, but the connection breaks before its answer is back."""
        self._lose.append(start)

    def refuse(self, start: bytes, times: int = 1) -> None:
        """The next requests that begin so get ``503 SlowDown`` and do not reach the server."""
        self._refuse += [start] * times

    def count(self, start: bytes) -> int:
        return sum(line.startswith(start) for line in self.requests)

    def reset(self) -> None:
        """Forget what was counted, and what was to be done."""
        self.requests, self.received = [], 0
        self._lose.clear()
        self._refuse.clear()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            server = socket.create_connection(self._server)
            doomed = threading.Event()
            with server:
                threading.Thread(target=self._answers, args=(server, client, doomed), daemon=True).start()
                while data := client.recv(1 << 16):
                    line = data.split(b"\r\n", 1)[0]
                    if b" HTTP/1.1" in line:
                        with self._lock:
                            self.requests.append(line)
                            if _taken(self._refuse, line):
                                head = b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                                client.sendall(head % len(_SLOW_DOWN) + _SLOW_DOWN)
                                return
                            if _taken(self._lose, line):
                                doomed.set()
                    server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                with self._lock:
                    self.received += len(data)
                if doomed.is_set() and not data.startswith(b"HTTP/1.1 100"):
                    break
                client.sendall(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _taken(starts: list[bytes], line: bytes) -> bool:
    found = next((s for s in starts if line.startswith(s)), None)
    if found is not None:
        starts.remove(found)
    return found is not None


@contextlib.contextmanager
def proxy(endpoint: str) -> Iterator[Proxy]:
    made = Proxy(endpoint)
    try:
        yield made
    finally:
        made.close()
