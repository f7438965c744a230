"""Direct: nearly all messages of nearly all clients, straight to their ``Sync`` and back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import socketio

from .. import json
from ..answers import digest_of
from ..errors import BadRequest
from ..execution import Parked
from ..sync import Sync, SyncSocket
from .packets import CONNECT, EVENT, Malformed, Packet, malformed
from .wire import SocketIOWire

#: Characters of an event of which, while it is handled, only a digest is kept beside what it says:
#: nobody who has read it has it, or the bytes that it was, on the stack any more.
_LONG = 16_384


@dataclass(frozen=True, slots=True)
class BackendNamespace:
    """A backend's namespace, and the way to its clients."""

    sync: Sync
    wire: SocketIOWire


class Direct:
    """Handles what python-socketio would take several times as long for, and nobody would notice.

    That is: the events of a backend, and connecting to its namespace where the application has no
    handlers of its own. Whatever comes in another form is left to python-socketio. One of these
    belongs to a :class:`~.hooks.Hooks`; each client's messages come one after the other.

    :param served: the namespaces of backends.
    :param after_connect: called with the address and the namespace of a client that was let in.
    :param park: has a client, by its address, wait for what its own thread is to go on with.
    """

    def __init__(
        self,
        sio: socketio.Server,
        served: Mapping[str, BackendNamespace],
        after_connect: Callable[[str, str], object],
        park: Callable[[str], Parked],
    ) -> None:
        self._sio = sio
        self._served = served
        self._after_connect = after_connect
        self._park = park
        #: whether packets are text: what other serializers make is not read here
        self._text = issubclass(sio.packet_class, Packet)
        manager = sio.manager
        # Since python-socketio 5.18 a client enters in two steps.
        self._enter = getattr(manager, "pre_connect", manager.connect)
        self._entered = manager.connect if hasattr(manager, "pre_connect") else None

    def handle(self, address: str, message: Any) -> bool:
        """Handle a message if it is one of these, and return whether it was."""
        if not self._text or type(message) is not str or address in self._sio._binary_packet:
            return False
        head = EVENT.match(message)
        if head is None:
            return self._connect(address, message)
        namespace, number = head.groups()
        if namespace not in self._served:
            return False
        text = message[head.end() :]
        try:
            data = json.parse(text)
        except (ValueError, RecursionError) as err:
            data = malformed(text, err) if number else None
        if not data or type(data[0]) is not str:
            return False
        id = int(number) if number else None
        if len(text) <= _LONG:
            return self.event(address, namespace, id, data, text)
        if data[0] not in self._served[namespace].sync.handlers:
            return False
        digest = digest_of(text).hex()
        parked = self._park(address)
        parked.resume(partial(self.event, address, namespace, id, data, digest))
        parked.wait()
        return True

    def event(
        self, address: str, namespace: str, id: int | None, data: list[Any], text: str | None = None
    ) -> bool:
        """Handle an event if it is one of a backend's, and return whether it was.

        :param data: its name, and the arguments.
        :param text: that, as it came, or a digest of it: the same when it is sent again.
        """
        served = self._served.get(namespace)
        if served is None:
            return False
        sync, wire = served.sync, served.wire
        socket, handler = sync.sockets.get(address), sync.handlers.get(data[0])
        if handler is None:
            return False
        if socket is None:  # it is being thrown out; python-socketio would answer with nothing
            return True
        log = self._sio.logger
        if log.isEnabledFor(logging.INFO):
            log.info('received event "%s" from %s [%s]', data[0], socket.sid, namespace)
        ack = None if id is None else partial(wire.ack, address, id)
        args = data[1:]
        if ack is not None and args and isinstance(args[0], Malformed):
            sync.refuse(ack, BadRequest(args[0].message))
        else:
            handler(socket, args, ack, text)
        return True

    def _connect(self, address: str, message: str) -> bool:
        """Let a client into a backend's namespace, unless it is there already, or still leaving."""
        head = CONNECT.fullmatch(message)
        if head is None:
            return False
        namespace, auth = head.groups()
        served = self._served.get(namespace)
        if served is None or self._is_watched or self.has_handlers(namespace):
            return False
        given = None
        if auth is not None:
            if self._sio.packet_class.is_oversized(message):
                return False
            try:
                given = json.parse(auth)
            except (ValueError, RecursionError):
                return False
        environ = self._sio.environ[address]
        sid = self._enter(address, namespace)
        if sid is None:
            return False
        sync, wire = served.sync, served.wire
        sync.connect(SyncSocket(sync, wire, sid, address, environ, given or None))
        wire.welcome(address, sid)
        if self._entered is not None:
            self._entered(sid, namespace)
        self._after_connect(address, namespace)
        return True

    @property
    def _is_watched(self) -> bool:
        """Whether somebody else wants to know of connects, as python-socketio's admin does.

        A server that existed already is, by our own hooks: whatever is done otherwise there stays.
        """
        return "_trigger_event" in vars(self._sio)

    def has_handlers(self, namespace: str) -> bool:
        """Whether the application has registered handlers of its own for a namespace of ours."""
        sio = self._sio
        return (
            namespace in sio.handlers
            or "*" in sio.handlers
            or type(sio.namespace_handlers.get(namespace)) is not socketio.Namespace
        )
