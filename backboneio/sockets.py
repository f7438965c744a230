"""SyncSocket, Audience: the clients of one backend, and who of them hears what."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from . import json
from .errors import SyncError, error_object
from .request import Socket


class Room(Protocol):
    """What a socket needs of its :class:`~backboneio.sync.Sync`."""

    def in_order(self, job: Callable[[], object]) -> None:
        """Run *job* after everything that was queued before it."""

    def enter(self, socket: SyncSocket, channel: str | None) -> bool:
        """Let *socket* hear *channel*."""

    def remove(self, socket: SyncSocket, channel: str | None) -> None:
        """Let *socket* hear nothing more of *channel*."""


class Wire(Protocol):
    """How to reach clients. Nothing here blocks, and what is sent to one client keeps its order."""

    def send(self, addresses: Collection[str], text: str) -> None:
        """Send an event to clients; *text* is the JSON of the list of its name and arguments."""

    def disconnect(self, sid: str) -> None:
        """Close a client's connection to the namespace."""


class Membership:
    """A client's place in one channel, for as long as it is in :attr:`SyncSocket.channels`.

    It is there before the stack has accepted the client, so that ``leave`` finds it meanwhile.

    :ivar accepted: whether the client may hear the channel.
    """

    __slots__ = ("accepted",)

    def __init__(self, accepted: bool) -> None:
        self.accepted = accepted


class SyncSocket(Socket):
    """A client of one :class:`Sync`.

    ``channels`` (in the order of listening) belongs to the threads that handle the client's
    requests and to ``leave``; single dictionary operations, so no lock. Who receives what is
    decided by the audiences, which only the sync's strand touches.
    """

    __slots__ = (
        "address",
        "auth",
        "channels",
        "client",
        "closed",
        "environ",
        "sid",
        "sync",
        "wire",
    )

    def __init__(
        self,
        sync: Room,
        wire: Wire,
        sid: str,
        address: str,
        environ: dict[str, Any],
        auth: Any = None,
    ) -> None:
        self.sync = sync
        self.wire = wire
        self.sid = sid
        self.address = address
        self.environ = environ
        self.auth = auth
        self.channels: dict[str | None, Membership] = {}
        self.client = sid  # what request ids are remembered under
        self.closed = False

    def emit(self, event: str, *args: Any) -> None:
        """Send an event of your own."""
        text = json.dumps([event, *args])
        if not self.closed:
            self.sync.in_order(partial(self.wire.send, (self.address,), text))

    def join(self, channel: str | None) -> None:
        """Let the client hear *channel*."""
        self.channels[channel] = Membership(accepted=True)
        self.sync.in_order(partial(self.sync.enter, self, channel))

    def leave(self, channel: str | None, err: SyncError | None = None) -> None:
        """Take the client out of *channel* and tell it."""
        if channel in self.channels:
            self.sync.remove(self, channel)
            self.emit("leave", channel, *([] if err is None else [error_object(err)]))

    def may_hear(self, channel: str | None) -> bool:
        """Whether the client was accepted in *channel*, and is still there."""
        membership = self.channels.get(channel)
        return membership is not None and membership.accepted and not self.closed

    def disconnect(self) -> None:
        """Close the connection."""
        self.wire.disconnect(self.sid)


class Audience:
    """Who listens to a channel, by the wire that reaches them. Only the strand touches it."""

    __slots__ = ("addresses",)

    def __init__(self) -> None:
        self.addresses: dict[Wire, dict[str, None]] = {}

    def add(self, socket: SyncSocket) -> None:
        """Let *socket* hear."""
        self.addresses.setdefault(socket.wire, {})[socket.address] = None

    def discard(self, socket: SyncSocket) -> None:
        """Let *socket* hear nothing more."""
        addresses = self.addresses.get(socket.wire)
        if addresses is not None:
            addresses.pop(socket.address, None)
            if not addresses:
                del self.addresses[socket.wire]

    def send(self, make_text: Callable[[], str], but: str | None) -> None:
        """Send an event to everyone but the client at the address *but*.

        :param make_text: called once, and only when there is somebody to send it to.
        """
        text = ""
        for wire, addresses in self.addresses.items():
            if but is not None and but in addresses:
                told: Collection[str] = [address for address in addresses if address != but]
            else:
                told = addresses.keys()
            if told:
                text = text or make_text()
                wire.send(told, text)
