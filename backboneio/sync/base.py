"""Namespace: what a client's request needs of where it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..answers import Answers
from ..backend import Backend
from ..execution import Context
from ..journal import Journal
from ..json import JSONText
from ..limits import Limits
from ..model import Channel
from ..request import Request
from .clients import Membership, SyncSocket
from .replay import Joining
from .watching import Watcher

#: Sends the arguments of an ack, given as the JSON text of a list.
Ack = Callable[[JSONText], None]


class Namespace(Protocol):
    """What a request needs of where it was asked: a :class:`~backboneio.sync.Sync`."""

    backend: Backend
    name: str
    event: str
    context: Context
    limits: Limits
    delivered: int
    watcher: Watcher | None
    sockets: dict[str, SyncSocket]
    journal: Journal

    def seen(self) -> int:
        """Return the last rev that clients here have seen, or that came before all of them.

        :raises Unavailable: when the journal is away, which has told nothing yet.
        """

    def request(
        self,
        socket: SyncSocket,
        method: str,
        channel: Channel,
        model: dict[str, Any],
        options: dict[str, Any] | None = None,
        id: str | None = None,
    ) -> Request:
        """Return a request of a client's."""

    def refuse(self, ack: Ack, err: BaseException) -> None:
        """Answer a request with an error."""

    def refusal(self, err: BaseException) -> JSONText:
        """Return the JSON of the ack of a request that failed."""

    def report(self, req: Request, err: BaseException) -> None:
        """Log an error that nobody outside may know."""

    def doubt_refusal(self, err: BaseException) -> None:
        """Say once that it may be a store, and no guard, that lets nobody listen."""

    def in_order(self, job: Callable[[], object]) -> None:
        """Run *job* after everything that was queued before it."""

    def begin_joining(self, channel: Channel, seen: int, limit: int) -> Joining:
        """Put together what was missed after *seen*; what is delivered meanwhile is added."""

    def end_joining(self, joining: Joining) -> None:
        """Add nothing more."""

    def enter(self, socket: SyncSocket, membership: Membership) -> bool:
        """Let *socket* hear a channel, unless it left or went away meanwhile; on the strand."""


def give_name(answers: Answers, socket: SyncSocket, name: str, told: bool) -> None:
    """Give a client a name, which its answers are kept under from now on."""
    answers.arrived(name)
    left = socket.call(name, told)
    if left is not None:
        answers.left(left)
