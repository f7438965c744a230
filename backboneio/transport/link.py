"""One socket of the hub: its file descriptor, and the bytes that it could not send yet."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from . import native

if TYPE_CHECKING:
    from .hub import Hub
    from .pool import Task


class Link:
    """A connected socket that left its WSGI server.

    The sending side (`write`, `drain`, `finish`, `close` and the attributes they use) belongs to
    the thread that flushes the outbox. The receiving side belongs to the owner of `task`. `close`
    is only put into the outbox when that owner will not read any more, so nobody ever uses a file
    descriptor that has been closed and given to somebody else.
    """

    __slots__ = ("_closing", "_unsent", "fd", "hangup", "hub", "readable", "task")

    def __init__(self, hub: Hub, fd: int, task: Task) -> None:
        self.hub = hub
        self.fd = fd
        #: whose turn it is when the socket becomes readable
        self.task = task
        #: epoll reported it and nobody has read since
        self.readable = False
        #: epoll reported the end of the stream, once; so read until it comes
        self.hangup = False
        self._unsent: bytearray | None = None
        self._closing = False

    @property
    def backlog(self) -> int:
        """Bytes that wait for the socket to take them."""
        unsent = self._unsent
        return 0 if unsent is None else len(unsent)

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until the socket takes more."""
        if self.fd < 0 or self._closing:
            return
        unsent = self._unsent
        if unsent is not None:
            if len(unsent) + len(data) > self.hub.limits.max_backlog:
                self.hub.drops += 1
                self.broken()
            else:
                unsent += data
            return
        try:
            count = native.send(self.fd, data)
        except OSError:
            self.broken()
            return
        self.hub.outbox.bytes_out += count
        if count < len(data):
            self._unsent = bytearray(memoryview(data)[count:])
            # The socket may have become writable before `_unsent` was there to be seen, and edges
            # are reported once. After this second attempt the next edge is still to come.
            self.drain()

    def drain(self) -> None:
        """Send leftovers."""
        unsent = self._unsent
        while unsent:
            piece = bytes(memoryview(unsent)[: native.SEND_SIZE])
            try:
                count = native.send(self.fd, piece)
            except OSError:
                self.broken()
                return
            self.hub.outbox.bytes_out += count
            del unsent[:count]
            if count < len(piece):
                return
        if unsent is not None:
            self._unsent = None
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
        self._unsent = None
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
        self._unsent = None
        self.hub.forget(fd)
        try:
            _shutdown(fd, socket.SHUT_RDWR)
        except OSError:
            pass
        os.close(fd)


def _shutdown(fd: int, how: int) -> None:
    view = socket.socket(fileno=fd)
    try:
        view.shutdown(how)
    finally:
        view.detach()
