"""A WebSocket connection: a link that reads frames, and closes well."""

from __future__ import annotations

import socket
from collections.abc import Callable

from . import native
from .frames import FrameReader, close_frame
from .hub import Hub
from .link import Link
from .task import Task, Worker


class WebSocket(Link):
    """A link that carries WebSocket frames."""

    __slots__ = ("reader",)

    def __init__(self, hub: Hub, fd: int, task: Task, ahead: bytes = b"") -> None:
        """`ahead` is what came along with the request."""
        super().__init__(hub, fd, task)
        self.reader = FrameReader(hub.limits.max_message)
        self.reader.feed(ahead)

    # The task's owner

    def receive(self, receive: Callable[[int], bytes | None]) -> int | None:
        """Read what has arrived; return how many bytes, None: none have, 0: and none will."""
        # Before reading: what arrives from now on is reported again.
        self.readable = False
        data = receive(self.fd)
        if not data:
            return None if data is None else 0
        if self.hangup or len(data) == native.RECEIVE_SIZE:
            self.readable = True
        self.reader.feed(data)
        return len(data)

    # The thread that sends

    def attach(self, data: bytes) -> None:
        """Answer the handshake and begin to listen."""
        self.hub.watch(self)
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
        link.hub.later(link.hub.limits.close_timeout, self._expire)

    def begin(self) -> None:
        """Look for input that was reported before this task was there."""
        self._link.readable = True
        self._link.hub.schedule(self)

    def _expire(self) -> None:
        self._expired = True
        self._link.hub.schedule(self)

    def slice(self, worker: Worker) -> bool:
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
        link.hub.call(link.close)
        return False
