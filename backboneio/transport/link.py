"""One socket of the hub: its file descriptor, and the bytes that it could not send yet."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Iterable

from . import native
from .hub import Hub
from .task import Task

#: Smaller pieces that have to wait are kept in one, as an object for each would cost more than
#: they do; longer ones as they are, since all clients of a broadcast wait for the same object.
SMALL = 1_024
#: How long such a common piece gets.
_PACK = 65_536


class Link:
    """A connected socket that left its WSGI server.

    The sending side (`deliver`, `drain`, `finish`, `close` and the attributes they use) belongs to
    the thread that holds the outbox's lock. The receiving side belongs to the owner of `task`.
    `close` is only put into the outbox when that owner will not read any more, so nobody ever uses
    a file descriptor that has been closed and given to somebody else.
    """

    __slots__ = (
        "_closing",
        "_head",
        "_offset",
        "_unsent",
        "backlog",
        "fd",
        "hangup",
        "hub",
        "readable",
        "task",
    )

    def __init__(self, hub: Hub, fd: int, task: Task) -> None:
        self.hub = hub
        self.fd = fd
        #: whose slice it is when the socket becomes readable
        self.task = task
        #: the pool reported input and nobody has read since
        self.readable = False
        #: the pool reported the end of the stream, once; so read until it comes
        self.hangup = False
        #: bytes that wait for the socket to take them
        self.backlog = 0
        self._unsent: deque[bytes | bytearray] | None = None
        #: of the first piece of _unsent: bytes that were sent, and bytes of the message that is
        #: being sent, which may be longer than a backlog may
        self._offset = 0
        self._head = 0
        self._closing = False

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until the socket takes more."""
        self.deliver([data])

    def deliver(self, frames: list[bytes]) -> None:
        """Send frames, or keep what the socket does not take until it takes more."""
        if self._unsent is not None:
            self._wait(frames)
            return
        if self.fd < 0 or self._closing:
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            count = native.send(self.fd, data)
        except OSError:
            self.broken()
            return
        self.hub.backlog.sent += count
        if count < len(data):
            self._unsent = deque()
            for frame in frames:
                if count >= len(frame):
                    count -= len(frame)
                else:
                    if not self._unsent:
                        self._offset = count
                        self._head = len(frame) - count
                    self._keep(frame)
            self.backlog -= self._offset
            self.hub.await_output(self.fd)

    def _wait(self, frames: Iterable[bytes]) -> None:
        """Keep more, unless it is too much."""
        if self.fd < 0 or self._closing:
            return
        for frame in frames:
            self._keep(frame)
        if self.backlog - self._head > self.hub.limits.max_backlog or self.hub.backlog.full:
            self.hub.dropped()
            self.broken()

    def _keep(self, frame: bytes) -> None:
        unsent = self._unsent
        assert unsent is not None
        self.backlog += len(frame)
        if len(frame) >= SMALL:
            unsent.append(frame)
            self.hub.backlog.keep(frame)
            return
        self.hub.backlog.total += len(frame)
        if unsent and type(unsent[-1]) is bytearray and len(unsent[-1]) < _PACK:
            unsent[-1] += frame
        else:
            unsent.append(bytearray(frame))

    def _let_go(self, piece: bytes | bytearray) -> None:
        if type(piece) is bytes:
            self.hub.backlog.release(piece)
        else:
            self.hub.backlog.total -= len(piece)

    def drain(self) -> None:
        """Send leftovers."""
        unsent = self._unsent
        while unsent:
            offset = self._offset
            first = unsent[0]
            piece = bytes(memoryview(first)[offset : offset + native.SEND_SIZE])
            try:
                count = native.send(self.fd, piece)
            except OSError:
                self.broken()
                return
            self.hub.backlog.sent += count
            self.backlog -= count
            self._head = max(0, self._head - count)
            self._offset = offset + count
            if self._offset == len(first):
                self._offset = 0
                self._let_go(unsent.popleft())
                if unsent and type(unsent[0]) is bytes:
                    self._head = len(unsent[0])
            if count < len(piece):
                return
        if unsent is not None:
            self._unsent = None
            self._head = 0
            if self._closing:
                self.sent_all()

    def finish(self, data: bytes = b"") -> None:
        """Send the last bytes; sent_all() is called when all have left."""
        if data:
            self.write(data)
        self._closing = True
        if self._unsent is None:
            self.sent_all()

    def sent_all(self) -> None:
        """What to do once everything was sent after finish()."""
        self.close()

    def broken(self) -> None:
        """Sending failed, or the peer does not read: cut the connection. Its reader will notice."""
        self._forget_unsent()
        self._closing = True
        self.shutdown(socket.SHUT_RDWR)

    def shutdown(self, how: int) -> None:
        """Shut down the socket, which stays open."""
        if self.fd >= 0:
            try:
                _shutdown(self.fd, how)
            except OSError as err:
                if err.errno != errno.ENOTCONN:
                    raise

    def close(self) -> None:
        """Close the socket. The peer sees the end even if a forked child still holds a copy."""
        fd = self.fd
        if fd < 0:
            return
        self.fd = -1
        self._forget_unsent()
        self.hub.forget(fd)
        try:
            _shutdown(fd, socket.SHUT_RDWR)
        except OSError:
            pass
        os.close(fd)

    def _forget_unsent(self) -> None:
        for piece in self._unsent or ():
            self._let_go(piece)
        self._unsent = None
        self.backlog = self._offset = self._head = 0


def _shutdown(fd: int, how: int) -> None:
    view = socket.socket(fileno=fd)
    try:
        view.shutdown(how)
    finally:
        view.detach()
