"""HTTP long-polling: packets that wait for a GET, and GETs that wait for packets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from . import native
from .frames import TEXT, server_frame
from .hub import Hub
from .link import Link
from .payload import compress, encode_payload, worth_compressing
from .task import Task, Worker

#: Says nothing; ends a poll.
NOOP = server_frame(TEXT, b"6")


class Poll(Protocol):
    """A GET that waits."""

    def respond(self, frames: list[bytes]) -> None:
        """Answer it. Called once, by the thread that sends."""


class Overlap(Exception):
    """A poll came while another one was waiting."""


class PollQueue:
    """What is to be said to a client that polls. It belongs to the thread that sends.

    :param hub: for its limits and what waits for all clients together.
    :param overflow: called when the client has not come for what waits.
    """

    __slots__ = ("_busy", "_hub", "_overflow", "_size", "_waiting", "poll")

    def __init__(self, hub: Hub, overflow: Callable[[], object]) -> None:
        self._hub = hub
        self._overflow = overflow
        #: frames, and their bytes
        self._waiting: list[bytes] = []
        self._size = 0
        #: the GET that waits for them
        self.poll: Poll | None = None
        #: polls end at once, as the client is about to go on otherwise
        self._busy = False

    @property
    def backlog(self) -> int:
        """Bytes that wait."""
        return self._size

    def deliver(self, frames: list[bytes]) -> None:
        """Answer the poll that waits, or keep the frames until there is one."""
        poll = self.poll
        if poll is None and not self._fits(frames):
            self._hub.dropped()
            self._overflow()
            return
        backlog = self._hub.backlog
        for frame in frames:
            backlog.keep(frame)
            self._size += len(frame)
        self._waiting += frames
        if poll is not None:
            self.poll = None
            poll.respond(self.take())

    def _fits(self, frames: list[bytes]) -> bool:
        """Whether so much more may wait. A single frame may always, whatever its size."""
        limits, count = self._hub.limits, len(self._waiting) + len(frames)
        return count <= 1 or not (
            self._size + sum(map(len, frames)) > limits.max_backlog
            or count > limits.max_backlog_packets
            or self._hub.backlog.full
        )

    def wait(self, poll: Poll) -> None:
        """Answer a poll with what comes next."""
        assert self.poll is None
        self.poll = poll

    def due(self) -> list[bytes]:
        """Take what a poll is to be answered with at once; empty: it may wait.

        :raises Overlap: when another poll waits.
        """
        if self.poll is not None:
            raise Overlap
        return self.take() or ([NOOP] if self._busy else [])

    def due_size(self) -> int:
        """Bytes that due() would take, at most."""
        return min(self._size, self._hub.limits.max_message) if self.poll is None else 0

    def take(self) -> list[bytes]:
        """Take packets for one answer, as many as go into it."""
        limits, backlog = self._hub.limits, self._hub.backlog
        count = size = 0
        for frame in self._waiting:
            size += len(frame)
            if count and (size > limits.max_message or count >= limits.max_packets):
                size -= len(frame)
                break
            count += 1
            backlog.release(frame)
        taken = self._waiting[:count]
        del self._waiting[:count]
        self._size -= size
        return taken

    def hurry(self) -> None:
        """Let no poll wait from now on: the client says its "5" when none is under way."""
        self._busy = True
        self.release([])

    def rest(self) -> None:
        """Let polls wait again."""
        self._busy = False

    def release(self, last: list[bytes]) -> None:
        """Answer the poll that waits, if there is one, with what there is and these frames."""
        poll = self.poll
        if poll is not None:
            self.poll = None
            poll.respond([*self.take(), *last] or [NOOP])

    def close(self) -> list[bytes]:
        """Return all that waits, for somebody else to send."""
        rest, self._waiting, self._size = self._waiting, [], 0
        for frame in rest:
            self._hub.backlog.release(frame)
        return rest


class MovedPoll(Link):
    """A poll whose connection left the WSGI server; the hub writes the answer.

    It is read, and closed, only by the thread that holds the outbox's lock.
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

    def respond(self, frames: list[bytes]) -> None:
        """Write the whole HTTP response, and close."""
        body = encode_payload(frames)
        if worth_compressing(body, self._encoding):
            self.hub.schedule(Packing(self, body))
        else:
            self.answer(body, [])

    def pack(self, body: bytes) -> None:
        """Compress an answer, and have it written; not by the thread that sends."""
        packed, headers = compress(body, self._encoding)
        self.hub.call(self.answer, packed, headers)

    def answer(self, body: bytes, headers: list[tuple[str, str]]) -> None:
        """Write the answer, and close once it has left."""
        lines = [
            "HTTP/1.1 200 OK",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in [*self._headers, *headers]),
        ]
        self.deliver([("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body])
        if self.backlog:
            self.hub.later(self.hub.limits.poll_wait, self._expire)
        self.finish()

    def _expire(self) -> None:
        self.hub.call(self.close)

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


class Packing(Task):
    """An answer to a poll that a thread of the pool compresses."""

    __slots__ = ("_body", "_poll")

    def __init__(self, poll: MovedPoll, body: bytes) -> None:
        super().__init__()
        self._poll = poll
        self._body = body

    def slice(self, worker: Worker) -> bool:
        """Compress it."""
        self._poll.pack(self._body)
        return False


class WaitingPoll:
    """A poll that waits in its WSGI thread, where the connection cannot leave the server."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._frames: list[bytes] = []

    def respond(self, frames: list[bytes]) -> None:
        """Wake the thread that waits."""
        self._frames = frames
        self._event.set()

    def wait(self, timeout: float) -> list[bytes] | None:
        """What to answer with, or None when time is up."""
        return self._frames if self._event.wait(timeout) else None
