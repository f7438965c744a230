"""HTTP long-polling: payloads, and polls that wait for something to say."""

from __future__ import annotations

import base64
import binascii
import gzip
import threading
import zlib
from typing import TYPE_CHECKING, Protocol

from . import native
from .link import Link

if TYPE_CHECKING:
    from .hub import Hub
    from .pool import Task, Worker

_SEPARATOR = "\x1e"
_TYPES = frozenset("0123456")

#: Smaller bodies are not worth compressing (python-engineio's default, too).
COMPRESSION_THRESHOLD = 1024


def encode_payload(packets: list[str | bytes]) -> bytes:
    """Join packets to the body of an answer; binary ones in base64."""
    return _SEPARATOR.join(
        packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode("ascii")
        for packet in packets
    ).encode("utf-8")


def decode_payload(body: bytes, max_packets: int) -> list[str | bytes]:
    """Split a request's body into packets. Raises ValueError when it is not what it should be."""
    parts = body.decode("utf-8").split(_SEPARATOR, max_packets)
    if len(parts) > max_packets:
        raise ValueError("Too many packets in payload")
    packets: list[str | bytes] = []
    for part in parts:
        if part[:1] == "b":
            try:
                packets.append(base64.b64decode(part[1:], validate=True))
            except binascii.Error as err:
                raise ValueError("Invalid base64 in payload") from err
        elif part[:1] in _TYPES and part:
            if part[0] == "2":
                raise ValueError("Invalid heartbeat direction")
            packets.append(part)
        else:
            raise ValueError("Invalid packet in payload")
    return packets


def choose_encoding(accepted: str, enabled: bool) -> str | None:
    """The content encoding to use, by the client's Accept-Encoding."""
    if enabled:
        for part in accepted.split(","):
            name, _, weight = part.partition(";")
            if name.strip() in ("gzip", "deflate") and weight.replace(" ", "") != "q=0":
                return name.strip()
    return None


def compress(body: bytes, encoding: str | None) -> tuple[bytes, list[tuple[str, str]]]:
    """Compress a body if that is worth while; return it and the headers that say so."""
    if encoding is None or len(body) < COMPRESSION_THRESHOLD:
        return body, []
    # Quickly rather than well: the writer does this while other clients wait.
    packed = gzip.compress(body, 1) if encoding == "gzip" else zlib.compress(body, 1)
    return packed, [("Content-Encoding", encoding)]


class Poll(Protocol):
    """A GET that waits."""

    def respond(self, packets: list[str | bytes]) -> bool:
        """Answer it; False when the client is gone. Called once, by the thread that flushes."""


class ParkedPoll(Link):
    """A poll whose connection left the WSGI server; the answer is written right here.

    It is read, and closed, only under the outbox's lock.
    """

    __slots__ = ("_encoding", "_headers", "_said")

    def __init__(
        self, hub: Hub, fd: int, task: Task, headers: list[tuple[str, str]], encoding: str | None
    ) -> None:
        super().__init__(hub, fd, task)
        self._headers = headers
        self._encoding = encoding
        #: bytes that came since; they are dropped, and the answer closes the connection
        self._said = 0

    def respond(self, packets: list[str | bytes]) -> bool:
        """Write the whole HTTP response, and close."""
        body, extra = compress(encode_payload(packets), self._encoding)
        lines = [
            "HTTP/1.1 200 OK",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in [*self._headers, *extra]),
        ]
        self.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
        if self.fd < 0:
            return False
        if self.backlog:
            self.hub.timers.add(self.hub.limits.poll_wait, self._expire)
        self.finish()
        return True

    def _expire(self) -> None:
        self.hub.outbox.call(self.close)
        self.hub.wake()

    def given_up(self, worker: Worker) -> bool:
        """Whether the client has closed the connection, or says more than another request."""
        self.readable = False
        while self._said < native.RECEIVE_SIZE:
            data = worker.receive(self.fd)
            if not data:
                return data is not None
            self._said += len(data)
        return True

    def broken(self) -> None:
        """Close at once: nobody else looks after the connection."""
        self.close()


class WaitingPoll:
    """A poll that waits in its WSGI thread, where the connection cannot leave the server."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._packets: list[str | bytes] = []

    def respond(self, packets: list[str | bytes]) -> bool:
        """Wake the thread that waits."""
        self._packets = packets
        self._event.set()
        return True

    def wait(self, timeout: float) -> list[str | bytes] | None:
        """The packets to answer with, or None when time is up."""
        return self._packets if self._event.wait(timeout) else None
