"""SyncSocket, Audience, Audiences: the clients of one backend, and who of them hears what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from .. import json
from ..errors import SyncError, error_object
from ..execution import Parked, ParkedThread
from ..json import JSONText
from ..model import Change, Channel
from ..request import Socket
from .protocol import synced_text
from .replay import Allowance


class Room(Protocol):
    """What a socket needs of its :class:`~backboneio.sync.Sync`.

    :ivar channels_lock: protects the ``channels`` of every socket, and that who has a name leaves
        once; held for single steps, and nothing is taken inside it.
    """

    channels_lock: threading.Lock

    def in_order(self, job: Callable[[], object]) -> None:
        """Run *job* after everything that was queued before it."""

    def enter(self, socket: SyncSocket, membership: Membership) -> bool:
        """Let *socket* hear a channel; on the strand."""

    def exit(self, socket: SyncSocket, membership: Membership) -> None:
        """Let *socket* hear nothing more of a channel; on the strand."""

    def expel(self, socket: SyncSocket) -> None:
        """Let *socket* hear and do nothing more."""

    def warn_of_joining(self, channel: Channel) -> None:
        """Say once that a client was let into a channel that it did not ask for."""


class Wire(Protocol):
    """How to reach clients. Nothing here blocks, and what is sent to one client keeps its order."""

    def send(self, addresses: Collection[str], text: JSONText) -> None:
        """Send an event to clients; *text* is the JSON of the list of its name and arguments."""

    def park(self, address: str) -> Parked:
        """Handle nothing more of a client's until it is resumed; asked on a thread of its own.

        :raises KeyError: when there is no such client any more.
        """

    def disconnect(self, sid: str) -> None:
        """Close a client's connection."""


class Membership:
    """A client's place in one channel, for as long as it is in :attr:`SyncSocket.channels`.

    It is there before the stack has accepted the client, so that ``leave`` finds it meanwhile.

    :ivar accepted: whether the client may hear the channel.
    """

    __slots__ = ("accepted", "channel")

    def __init__(self, channel: Channel, accepted: bool = False) -> None:
        self.channel = channel
        self.accepted = accepted


class SyncSocket(Socket):
    """A client of one :class:`Sync`.

    ``channels`` (in the order of listening) is changed under the sync's ``channels_lock``. Who
    receives what is decided by the audiences, which only the sync's strand touches.

    :ivar address: what the wire knows the client's connection by.
    :ivar client: the secret that the client's request ids are remembered under; None until it has
        told one, or one was made for it. Set under the lock, see :meth:`call`.
    :ivar told: whether it has told that itself.
    :ivar seen: the rev that it has seen when it came.
    :ivar allowance: how much may still be replayed to it; None while nothing was.
    :ivar closed: whether its connection is gone. What it had sent still counts.
    :ivar expelled: whether it was thrown out: nothing that it asks is done any more.
    """

    __slots__ = (
        "_parted",
        "address",
        "allowance",
        "auth",
        "channels",
        "client",
        "closed",
        "environ",
        "expelled",
        "seen",
        "sid",
        "sync",
        "told",
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
        self.channels: dict[Channel, Membership] = {}
        self.client: str | None = None
        self.told = False
        self.seen = 0
        self.allowance: Allowance | None = None
        self.closed = False
        self.expelled = False
        self._parted = False

    def emit(self, event: str, *args: Any) -> None:
        """Send an event of your own."""
        text = json.dumps([event, *args])
        if not self.closed:
            self.sync.in_order(partial(self._send, text))

    def _send(self, text: JSONText) -> None:
        if not self.closed:
            self.wire.send((self.address,), text)

    def join(self, channel: str | None) -> None:
        """Let the client hear *channel*."""
        with self.sync.channels_lock:
            membership = self.channels.get(channel)
            uninvited = membership is None
            if membership is None:
                membership = self.channels[channel] = Membership(channel)
            membership.accepted = True
        if uninvited:
            self.sync.warn_of_joining(channel)
        self.sync.in_order(partial(self.sync.enter, self, membership))

    def leave(self, channel: str | None, err: SyncError | None = None) -> None:
        """Take the client out of *channel* and tell it."""
        told = json.dumps(["leave", channel, *([] if err is None else [error_object(err)])])
        self.drop(channel, told)

    def disconnect(self) -> None:
        """Close the connection."""
        self.sync.expel(self)
        self.wire.disconnect(self.sid)

    def hears(self, channel: str | None) -> bool:
        """Whether the client hears *channel*."""
        membership = self.channels.get(channel)
        return membership is not None and membership.accepted and not self.closed

    # For the sync

    def failed(self, err: BaseException) -> None:
        """A request failed with what no client may know; a test's client may."""

    def park(self) -> Parked:
        """Handle nothing more of the client's until it is resumed."""
        try:
            return self.wire.park(self.address)
        except KeyError:  # its connection has just ended, and what it has sent still counts
            return ParkedThread()

    def call(self, name: str, told: bool) -> str | None:
        """Give it its name.

        :returns: the name that nobody says of that it left: one that was made for it before, or
            this one, when it has parted meanwhile.
        """
        with self.sync.channels_lock:
            before, self.client, self.told = self.client, name, told
            return name if self._parted else before

    def part(self) -> str | None:
        """Its connection has gone: return its name, if it has one by now."""
        with self.sync.channels_lock:
            self.closed = self._parted = True
            return self.client

    def ask_for(self, channel: Channel) -> Membership:
        """Return the place in a channel that the client asks to listen to, now the last one."""
        with self.sync.channels_lock:
            membership = self.channels.pop(channel, None) or Membership(channel)
            self.channels[channel] = membership
            return membership

    def accept(self, membership: Membership) -> bool:
        """Let the client into a channel, unless it was taken out of it meanwhile."""
        with self.sync.channels_lock:
            if self.channels.get(membership.channel) is not membership:
                return False
            membership.accepted = True
            return True

    def drop(self, channel: Channel, told: JSONText | None = None) -> None:
        """Take the client out of a channel that it is in, or about to be, and tell it so.

        :param told: an event; the client is sent nothing between what it heard last and that.
        """
        with self.sync.channels_lock:
            membership = self.channels.pop(channel, None)
            if membership is None:
                return
            membership.accepted = False
        self.sync.in_order(partial(self._exit, membership, told))

    def _exit(self, membership: Membership, told: JSONText | None) -> None:
        self.sync.exit(self, membership)
        if told is not None:
            self._send(told)

    def may_write(self, channel: Channel) -> bool:
        """Whether it was accepted in *channel*; a connection that is gone does not matter."""
        membership = self.channels.get(channel)
        return membership is not None and membership.accepted

    def newest(self) -> Membership | None:
        """Return its place in that channel it may write to which it listened to last."""
        with self.sync.channels_lock:
            for membership in reversed(self.channels.values()):
                if membership.accepted:
                    return membership
        return None


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

    def send(self, change: Change, to: tuple[Channel] | None, but: str | None) -> None:
        """Tell everyone but the client at the address *but* of a change.

        :param to: the channel that these listen to; None for a change that everyone is told of.
        """
        text: JSONText | None = None
        for wire, addresses in self.addresses.items():
            if but is not None and but in addresses:
                told: Collection[str] = (others := addresses.copy())
                del others[but]
            else:
                told = addresses
            if told:
                text = text or synced_text(change, to)
                wire.send(told, text)


class Audiences:
    """Who hears what. Only the strand touches it, so it needs no lock.

    :ivar everyone: all who hear anything.
    :ivar by_channel: who hears a channel; none is empty.
    """

    def __init__(self) -> None:
        self.everyone = Audience()
        self.by_channel: dict[Channel, Audience] = {}
        self._heard_by: dict[SyncSocket, dict[Channel, Membership]] = {}

    def __len__(self) -> int:
        """The number of channels that somebody hears."""
        return len(self.by_channel)

    def count(self, channels: tuple[Channel, ...] | None) -> int:
        """Return how many clients hear any of these channels; None for all there are."""
        heard = self._heard_by.values()
        if channels is None:
            return len(heard)
        if len(channels) == 1:
            audience = self.by_channel.get(channels[0])
            return 0 if audience is None else sum(map(len, audience.addresses.values()))
        return sum(1 for one in heard if not one.keys().isdisjoint(channels))

    def enter(self, socket: SyncSocket, membership: Membership) -> bool:
        """Let *socket* hear a channel, unless it left or went away meanwhile."""
        channel = membership.channel
        if socket.closed or socket.channels.get(channel) is not membership:
            return False
        heard = self._heard_by.get(socket)
        if heard is None:
            heard = self._heard_by[socket] = {}
            self.everyone.add(socket)
        if channel not in heard:
            self.by_channel.setdefault(channel, Audience()).add(socket)
        heard[channel] = membership
        return True

    def exit(self, socket: SyncSocket, membership: Membership) -> None:
        """Let *socket* hear nothing more of a channel, unless it has entered it anew."""
        channel = membership.channel
        heard = self._heard_by.get(socket)
        if heard is None or heard.get(channel) is not membership:
            return
        del heard[channel]
        audience = self.by_channel[channel]
        audience.discard(socket)
        if not audience.addresses:
            del self.by_channel[channel]
        if not heard:
            del self._heard_by[socket]
            self.everyone.discard(socket)

    def forget(self, socket: SyncSocket) -> None:
        """Let *socket* hear nothing more at all."""
        for membership in list(self._heard_by.get(socket, {}).values()):
            self.exit(socket, membership)
