"""Sync: one backend on one Socket.IO namespace: listen, sync, synced."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import forks, json
from ..application import no_context
from ..backend import Backend
from ..errors import (
    BadRequest,
    Conflict,
    Forbidden,
    SyncError,
    Timeout,
    Unauthorized,
    Unavailable,
    client_error,
    error_object,
)
from ..execution import Context
from ..journal import Journal
from ..json import JSONText
from ..limits import Limits
from ..model import Change, Channel
from ..request import Request, Socket
from .base import Ack
from .clients import Audiences, Membership, SyncSocket
from .listening import Listening
from .protocol import (
    EVENTS,
    parse_channel,
    parse_listen,
    parse_sync,
)
from .replay import Joining
from .requests import Asked
from .watching import Watcher

logger = logging.getLogger("backboneio.sync")


class Sync:
    """One backend on one namespace of one application: what delivers to its clients there.

    Requests run on the threads of their clients. Everything that is sent goes through the
    backend's strand, in this order: what the journal delivers, in the order of revs, each change
    first as the ack to the client that made it and then as ``synced`` to the others; in between,
    who begins and ceases to listen. So every client sees one order, nothing falls between a replay
    and the first live change, and the audiences need no lock.

    ``channels_lock`` protects the channels and the name of every socket, for single steps; nothing
    is taken inside it. The strand runs with no lock held.

    :param name: the backend's name: its namespace without the slash.
    :param event: the prefix of the events in the browser.
    :param debug: tells whether clients see the messages and stacks of unexpected exceptions.
    :param context: the application context that stacks run in.
    :param is_current: tells whether this thread is in such a context.
    :param make_journal: makes the backend's journal when it has none.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        *,
        event: str = "backend",
        debug: Callable[[], bool] = bool,
        limits: Limits | None = None,
        context: Context | None = None,
        is_current: Callable[[], bool] = bool,
        make_journal: Callable[[str], Journal] | None = None,
    ) -> None:
        self.backend = backend
        self.name = name
        self.event = event
        self.debug = debug
        self.limits = limits or Limits()
        self.context: Context = context or no_context
        self.is_current = is_current
        self.sockets: dict[str, SyncSocket] = {}  # by address; single dictionary operations
        self.channels_lock = threading.Lock()
        self._strand = backend.strand
        self.audiences = Audiences()  # the strand's
        self.delivered = 0  # the last rev that was sent; written by the strand
        # Whose replays are being put together; single dictionary operations.
        self._joinings: dict[Joining, None] = {}
        self.watcher: Watcher | None = None  # read once where something happens; see _deliver
        self._has_warned = self._has_doubted = False
        self._has_begun = False  # whether the journal delivers here; for label()
        forks.register(self)
        self.handlers = {event: getattr(self, event) for event in EVENTS}
        backend.attach(self, limits, make_journal)
        assert backend.journal is not None
        self.journal: Journal = backend.journal

    def after_fork(self) -> None:
        """Have no clients: they are the parent's."""
        self.channels_lock = threading.Lock()
        self.sockets.clear()
        self.watcher = None
        self.audiences = Audiences()
        self._joinings.clear()
        self._has_begun = False

    def seen(self) -> int:
        """Return the last rev that clients here have seen, or that came before all of them.

        :raises Unavailable: when the journal is away, which has told nothing yet.
        """
        begun = self.journal.begun
        self._has_begun = True
        return max(self.delivered, begun)

    def label(self) -> str | None:
        """Return ``<epoch>:<rev>`` of what was delivered here, which is in the store by now.

        None before the first client has listened here: a page that reads without listening is not
        to wait for a journal to begin. None, too, when the journal is away.
        """
        if not self._has_begun:
            return None
        try:
            rev = self.seen()
            return f"{self.journal.epoch}:{rev}"
        except Unavailable:
            return None

    # Connections

    def connect(self, socket: SyncSocket) -> None:
        """A client has connected to the namespace."""
        self.sockets[socket.address] = socket
        self.backend.is_served = True

    def disconnect(self, address: str, why: str = "thrown out") -> None:
        """A client has gone: it hears nothing more."""
        socket = self.sockets.pop(address, None)
        if socket is not None:
            watcher = self.watcher
            if watcher is not None:
                watcher.left(self.name, socket, why)
            # Its channels stay: what it has sent still counts, and no refusal is to be remembered.
            name = socket.part()
            self.in_order(partial(self._forget, socket))
            if name is not None:
                self.backend.answers.left(name)

    def expel(self, socket: SyncSocket) -> None:
        """A client was thrown out: it hears nothing more, and nothing that it asks is done."""
        socket.expelled = socket.closed = True
        self.disconnect(socket.address)

    def warn_of_joining(self, channel: Channel) -> None:
        """Say once that a client was let into a channel that it did not ask for."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "backend %r: a client was joined to channel %r, to which it has not listened: its "
                "page drops what it is told there, unless a collection is bound to that channel",
                self.name,
                channel,
            )

    def clients(self) -> list[Socket]:
        """Return the clients that are connected."""
        return list(self.sockets.values())

    # What clients send. Each takes the event's arguments, the ack or None, and the JSON as it came.

    def listen(
        self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None, text: str | None = None
    ) -> None:
        """Handle ``listen``: run it through the stack and, when accepted, join the channel."""
        if ack is None:
            self._complain(socket, "listen")
            return
        try:
            asked = parse_listen(args, self.limits)
            if len(socket.channels) >= self.limits.max_channels and (
                asked.channel not in socket.channels
            ):
                raise Forbidden(f"channel: at most {self.limits.max_channels} at a time")
            if socket.told and asked.client not in (None, socket.client):
                raise BadRequest("client: it stays the same for as long as a client is connected")
            self.seen()  # a journal begins when it is asked first, which takes time
        except SyncError as err:
            self.refuse(ack, err)
            return
        if not socket.expelled:
            Listening(self, socket, asked, ack).run()

    def leave(
        self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None, text: str | None = None
    ) -> None:
        """Handle ``leave``: cease to hear a channel."""
        try:
            channel = parse_channel(args[0] if args else None, self.limits)
        except SyncError as err:
            if ack is not None:
                self.refuse(ack, err)
            return
        socket.drop(channel)
        if ack is not None:
            self.in_order(partial(ack, json.dumps([{"channel": channel}])))

    def sync(
        self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None, text: str | None = None
    ) -> None:
        """Handle ``sync``: run a request through the stack, answer it, announce the change."""
        if ack is None:
            self._complain(socket, "sync")
            return
        try:
            sent = parse_sync(args, self.limits, self.backend.id_attribute)
        except SyncError as err:
            self.refuse(ack, err)
            return
        if not socket.expelled:
            Asked(self, socket, sent, ack).begin(text or repr(args))

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
        backend = self.backend
        return Request(  # keywords would double what it takes
            method,
            model,
            options,
            self.name,
            channel,
            socket,
            id,
            backend.id_attribute,
            backend.turns.hold,
        )

    def stats(self) -> dict[str, int]:
        """Return figures, see ``WSGIApp.stats``."""
        return {
            "sockets": len(self.sockets),
            "channels": len(self.audiences),
            **self.backend.turns.stats(),
            **self.backend.answers.stats(),
            **self.journal.stats(),
        }

    def refuse(self, ack: Ack, err: BaseException) -> None:
        """Answer a request with an error."""
        self.in_order(partial(ack, self.refusal(err)))

    def refusal(self, err: BaseException) -> JSONText:
        """Return the JSON of the ack of a request that failed."""
        return json.dumps([error_object(err, self.debug())])

    def report(self, req: Request, err: BaseException) -> None:
        """Log an error that nobody outside may know."""
        if client_error(err) is None:
            logger.error("%s %s failed", self.name, req.method, exc_info=err)
            if isinstance(req.socket, SyncSocket):
                req.socket.failed(err)

    def doubt_refusal(self, err: BaseException) -> None:
        """Say once that it may be a store, and no guard, that lets nobody listen."""
        if self._has_doubted or not _knows_no_listen(err):
            return
        self._has_doubted = True
        logger.warning(
            "backend %r: nobody hears a channel, since a layer refuses 'listen': %.200r. If it is "
            "a store, which knows no such method, register it for those that it knows: "
            "use('create', 'read', 'update', 'delete', store). Else put a layer for 'listen' "
            "before it, which calls res.end() for whoever may hear",
            self.name,
            err,
        )

    def _complain(self, socket: SyncSocket, event: str) -> None:
        """Tell a client that its request cannot be answered."""
        err = BadRequest(
            f"{event}: an acknowledgement callback is needed, there is no other answer"
        )
        socket.emit("error", error_object(err))

    # Sending

    def in_order(self, job: Callable[[], object]) -> None:
        """Run *job* after everything that was queued before it."""
        self._strand.do(job)

    # What follows runs on the strand.

    def deliver(self, change: Change, token: object) -> None:
        """Tell the listeners of a change, and answer the request that made it."""
        rev, channels = change.rev, change.channels
        # Before it looks for joinings, see Joining.
        if rev > self.delivered:
            self.delivered = rev
        if self._joinings:
            for joining in list(self._joinings):
                joining.tail.append(change)
        origin = None
        if isinstance(token, Asked) and token.sync is self:
            token.acknowledge(rev)
            origin = token.socket.address
        watcher = self.watcher
        if watcher is not None:
            watcher.delivered(self.name, change, self.audiences.count(channels))
        if channels is None:
            self.audiences.everyone.send(change, None, None)
            return
        for channel in channels:
            audience = self.audiences.by_channel.get(channel)
            if audience is not None:
                # The client that caused it got the ack, which stands for its own channel.
                but = origin if channel == change.channel else None
                audience.send(change, (channel,), but)

    def enter(self, socket: SyncSocket, membership: Membership) -> bool:
        """Let *socket* hear a channel, unless it left or went away meanwhile."""
        assert self._strand.is_inside()
        return self.audiences.enter(socket, membership)

    def exit(self, socket: SyncSocket, membership: Membership) -> None:
        """Let *socket* hear nothing more of a channel."""
        assert self._strand.is_inside()
        self.audiences.exit(socket, membership)

    def _forget(self, socket: SyncSocket) -> None:
        assert self._strand.is_inside()
        self.audiences.forget(socket)

    # For those who listen

    def begin_joining(self, channel: Channel, seen: int, limit: int) -> Joining:
        """Put together what was missed after *seen*; what is delivered meanwhile is added."""
        joining = Joining(channel, limit)
        self._joinings[joining] = None
        try:
            joining.read(self.journal, seen, self.seen())
        except BaseException:
            self.end_joining(joining)
            raise
        return joining

    def end_joining(self, joining: Joining) -> None:
        """Add nothing more."""
        self._joinings.pop(joining, None)


def _knows_no_listen(err: BaseException) -> bool:
    """Whether somebody was refused since a method is not known, as far as an error can tell."""
    if isinstance(err, (Forbidden, Unauthorized, Unavailable, Conflict, Timeout)):
        return False
    shown = client_error(err)
    code = None if shown is None else shown.attributes.get("code")
    return isinstance(err, NotImplementedError) or code in (405, 501) or "listen" in str(err)
