"""Pings, and what becomes of clients that do not answer; the part of a connection that does it."""

from __future__ import annotations

from functools import partial
from typing import Any

from .frames import CloseCode
from .outbox import NOWHERE, Sink
from .service import Service
from .session import PING, Reason, Session, State, frame_of
from .task import Task

_PING = frame_of(PING)


class Heartbeat(Task):
    """A task with a session whose client has to answer pings.

    The methods with an underscore run in the timer thread; `answered` and `heard` are the owner's.
    """

    __slots__ = ("_heard_before", "_service", "heard", "pieces", "session", "sink")

    def __init__(self, service: Service[Any], session: Session) -> None:
        super().__init__()
        self._service = service
        self.session = session
        # The sender's: where frames go, and those of a round.
        self.sink: Sink = NOWHERE
        self.pieces: list[bytes] | None = None
        #: how often something came
        self.heard = 0
        #: that, when the last ping went; the timer's
        self._heard_before = 0

    @property
    def closing(self) -> bool:
        """Whether the disconnect handler runs, or has run."""
        state = self.session.state
        return state is State.CLOSING or state is State.CLOSED

    def end(self, reason: str, code: int | None = None, farewell: bool = False) -> None:
        """End the session."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begin the heartbeat and the time to greet."""
        service = self._service
        service.hub.later(service.ping_interval, self._ping)
        if service.limits.handshake_timeout is not None:
            service.hub.later(service.limits.handshake_timeout, self._check_greeting)

    def answered(self) -> None:
        """A ping was answered: the next one comes after a while."""
        self._service.hub.later(self._service.ping_interval, self._ping)

    def _ping(self) -> None:
        if self.closing:
            return
        service = self._service
        number = self.session.ping()
        self._heard_before = self.heard
        service.hub.later(service.ping_timeout, partial(self._check_pong, number))
        service.hub.send((self,), _PING)

    def _check_pong(self, number: int) -> None:
        if self.closing or not self.session.awaits_pong(number):
            return
        service = self._service
        if self.heard != self._heard_before or self._occupied():
            self._heard_before = self.heard
            service.hub.later(service.ping_timeout, partial(self._check_pong, number))
        else:
            self.end(Reason.PING_TIMEOUT, CloseCode.GOING_AWAY)

    def _occupied(self) -> bool:
        """Whether we are the ones who are late: in a handler, or with input still unread."""
        raise NotImplementedError

    def _check_greeting(self) -> None:
        if not self.session.greeted and not self.closing:
            self.end(Reason.TRANSPORT_ERROR, CloseCode.POLICY_VIOLATION)
