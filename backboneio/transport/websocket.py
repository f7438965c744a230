"""WebSocket connections: the opening handshake, and a link that reads frames and closes well."""

from __future__ import annotations

import base64
import binascii
import hashlib
import socket
from typing import TYPE_CHECKING, Any

from .frames import FrameReader, close_frame
from .link import Link
from .pool import Task, Worker

if TYPE_CHECKING:
    from .hub import Hub

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def refusal(environ: dict[str, Any]) -> str | None:
    """Why a request is not a WebSocket handshake (RFC 6455, 4.2.1); None when it is one."""
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return "WebSocket needs HTTP/1.1"
    tokens = [part.strip() for part in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    if "upgrade" not in tokens or environ.get("HTTP_UPGRADE", "").strip().lower() != "websocket":
        return "Invalid websocket upgrade"
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() != "13":
        return "Unsupported websocket version"
    try:
        key = base64.b64decode(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        return "Invalid websocket key"
    return None


def response(environ: dict[str, Any], headers: list[tuple[str, str]]) -> bytes:
    """The answer that ends the opening handshake."""
    key = environ["HTTP_SEC_WEBSOCKET_KEY"].strip().encode("ascii")
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept.decode('ascii')}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class WebSocket(Link):
    """A link that carries WebSocket frames."""

    __slots__ = ("reader",)

    def __init__(self, hub: Hub, fd: int, task: Task) -> None:
        super().__init__(hub, fd, task)
        self.reader = FrameReader(hub.limits.max_message)

    def attach(self, data: bytes) -> None:
        """Answer the handshake and begin to listen."""
        self.hub.register(self)
        self.write(data)

    def leave(self, code: int | None) -> None:
        """Close: with a close frame of that code and time for the peer to answer; None: at once.

        A server that was asked to close answers the same way and is the first to close the
        connection (RFC 6455, 7.1.1), which it does in two steps: see sent_all().
        """
        if code is None or self._closing:
            self.close()
            return
        self.task = Lingering(self)
        self.finish(close_frame(code))

    def sent_all(self) -> None:
        """Close the sending direction."""
        # Closing at once could destroy what the peer has not read yet, if more of its data arrives
        # (TCP then resets). So: no more from us, and read on until the peer has closed too.
        self.shutdown(socket.SHUT_WR)
        if isinstance(self.task, Lingering):
            self.task.begin()


class Lingering(Task):
    """Reads and drops what comes after our close frame, until the peer closes or time is up."""

    __slots__ = ("_expired", "_link")

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._expired = False
        link.hub.timers.add(link.hub.limits.close_timeout, self._expire)

    def begin(self) -> None:
        """Look for input that was reported before this task was there."""
        self._link.readable = True
        self._link.hub.pool.schedule(self)

    def _expire(self) -> None:
        self._expired = True
        self._link.hub.pool.schedule(self)

    def turn(self, worker: Worker) -> bool:
        """Read and drop; close when the peer has."""
        link = self._link
        if link.fd < 0:
            return False
        ended = self._expired
        for _ in range(16):
            if ended:
                break
            data = worker.receive(link.fd)
            if data is None:
                return False
            ended = not data
        else:
            return True
        link.hub.outbox.call(link.close)
        link.hub.wake()
        return False
