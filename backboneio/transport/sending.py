"""What a connection sends, and what carries it: the part of one for the thread that sends."""

from __future__ import annotations

from typing import Any

from .frames import CloseCode
from .heartbeat import Heartbeat
from .inbox import Inbox
from .outbox import NOWHERE
from .poll import NOOP, Poll, PollQueue
from .service import Service
from .session import CLOSE, Reason, Session, frame_of
from .websocket import WebSocket

_GOODBYE = frame_of(CLOSE)
#: Bytes that a client of whom nothing waits may always post: a heartbeat, say.
_SHORT = 1_024


class Sending(Heartbeat):
    """A connection as the thread that holds the outbox's lock has it.

    `sink`, `queue` and `pieces` are its. `link` and `probe` are the owner's, who asks for them to
    be written to. What has come and was not handled is counted here, since many have to agree on
    how much that is.
    """

    __slots__ = ("_ending", "_partial", "inbox", "link", "probe", "queue")

    def __init__(self, service: Service[Any], session: Session) -> None:
        super().__init__(service, session)
        #: what polls are answered from; None once WebSocket carries all
        self.queue: PollQueue | None = PollQueue(service.hub, self._overflow)
        self.sink = self.queue
        #: the WebSocket that is read from, and one that may become it (which is put there under the
        #: outbox's lock); the owner's
        self.link: WebSocket | None = None
        self.probe: WebSocket | None = None
        #: what was posted; made under the outbox's lock
        self.inbox: Inbox | None = None
        #: bytes counted of a long message that has come in part; the owner's
        self._partial = 0
        #: why and how to end: (reason, code, farewell)
        self._ending: tuple[str, int | None, bool] | None = None

    # To look at, for any thread

    @property
    def ending(self) -> bool:
        """Whether end() was called, or all is over."""
        return self._ending is not None or self.closing

    @property
    def backlog(self) -> int:
        """Bytes that wait for the client."""
        queue, link = self.queue, self.link
        return (0 if queue is None else queue.backlog) + (0 if link is None else link.backlog)

    @property
    def unhandled(self) -> int:
        """Bytes that the client has sent and that wait here to be handled."""
        inbox, link = self.inbox, self.link
        return (0 if inbox is None else inbox.size) + (0 if link is None else link.reader.waiting)

    # The thread that sends

    def _overflow(self) -> None:
        self.end(Reason.TRANSPORT_ERROR)

    def carry(self, link: WebSocket, head: bytes | None = None) -> None:
        """Send by WebSocket from now on; `head` answers a handshake that has not been answered."""
        assert self._service.hub.sending
        queue, self.queue = self.queue, None
        assert queue is not None
        frames = queue.close()
        if head is not None:
            link.attach(head + b"".join(frames))
        elif frames:
            link.deliver(frames)
        if self.sink is queue:
            self.sink = link
        queue.release([])

    def _probed(self, probe: WebSocket, answer: str) -> None:
        """Answer a probe, and end the poll that is under way."""
        probe.write(frame_of(answer))
        if self.queue is not None:
            self.queue.hurry()

    def _unprobed(self, probe: WebSocket, code: int | None) -> None:
        probe.leave(code)
        if self.queue is not None:
            self.queue.rest()

    def _detach(self, code: int | None, farewell: bool) -> None:
        """Let go of what carries the session, once the owner has ended it."""
        assert self._service.hub.sending
        self._handled(self._partial)
        if self.inbox is not None:
            self._handled(self.inbox.size)
            self.inbox = None
        if self.probe is not None:
            self.probe.leave(code)
        link, queue = self.link, self.queue
        if link is not None:
            if farewell:
                link.write(_GOODBYE)
            link.leave(code)
        if queue is not None:
            queue.hurry() if not farewell else queue.release([_GOODBYE])
            queue.close()
        self.sink = NOWHERE
        self.link = self.probe = self.queue = None

    def due(self) -> list[bytes]:
        """Take what a poll is to be answered with at once; empty: it may wait.

        :raises Overlap: when another poll waits.
        """
        assert self._service.hub.sending
        return [NOOP] if self.queue is None else self.queue.due()

    def forget_poll(self, poll: Poll) -> None:
        """A poll does not wait any more."""
        if self.queue is not None and self.queue.poll is poll:
            self.queue.poll = None

    def accept(self, packets: list[bytes]) -> bool:
        """Queue packets that were posted; False: too many wait already."""
        assert self._service.hub.sending
        service = self._service
        if self.ending:
            return True  # and nobody will look at them
        if self.inbox is None:
            self.inbox = Inbox()
        size = sum(map(len, packets))
        full = service.posted + size > service.limits.max_total_inbox
        if full and (self.inbox or size > _SHORT):
            return False
        if not self.inbox.put(packets, size, service.limits):
            return False
        service.posted += size
        return True

    def _handled(self, size: int) -> None:
        self._service.posted -= size

    def _count(self, more: int) -> None:
        service = self._service
        service.posted += more
        if more > 0 and service.posted > service.limits.max_total_inbox:
            self.end(Reason.TRANSPORT_ERROR, CloseCode.TRY_AGAIN_LATER)
