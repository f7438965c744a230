"""A network that can be taken away: a TCP proxy between the browser and the server."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from urllib.parse import urlsplit


class Proxy:
    """Passes connections on to *target*, until told otherwise; ``url`` is where to connect to."""

    def __init__(self, target: str) -> None:
        self.up = True
        #: What happens to WebSockets: "passed", "refused" (with 403, by a company's gateway, say),
        #: "swallowed" (they open, and nothing comes through) or "closed" (as soon as they open).
        self.websockets = "passed"
        self.point_to(target)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._spawn(self._accept)

    def point_to(self, target: str) -> None:
        """Connect to another server from now on."""
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)

    def cut(self) -> None:
        """Break every connection, as a router that restarts does; new ones may be made."""
        with self._lock:
            broken, self._open = self._open, set()
        for end in broken:
            with contextlib.suppress(OSError):
                # Without lingering, the close is a reset.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _close(end)

    def down(self) -> None:
        """Break every connection and refuse new ones."""
        self.up = False
        self.cut()

    def restore(self) -> None:
        """Let connections pass again."""
        self.up = True

    def close(self) -> None:
        self.down()
        _close(self._listener)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _spawn(self, function: object, *args: object) -> None:
        thread = threading.Thread(target=function, args=args, name="proxy")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                browser, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                if not self.up:
                    raise ConnectionRefusedError
                server = socket.create_connection(self._target)
            except OSError:
                _close(browser)
                continue
            with self._lock:
                self._open |= {browser, server}
            self._spawn(self._pump, browser, server)
            self._spawn(self._pump, server, browser)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            upgraded = False
            while data := source.recv(65536):
                if self.websockets == "refused" and b"Upgrade: websocket" in data:
                    source.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                    break
                if self.websockets != "passed" and data.startswith(b"HTTP/1.1 101 "):
                    upgraded = True
                    data = data[: data.index(b"\r\n\r\n") + 4]
                elif upgraded:
                    continue
                sink.sendall(data)
                if upgraded and self.websockets == "closed":
                    break
        with self._lock:
            self._open -= {source, sink}
        _close(source)
        _close(sink)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes up whoever waits for it in another thread
    end.close()
