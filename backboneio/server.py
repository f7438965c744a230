"""Everything that we ask of python-socketio beyond its documented interface, in one place."""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import socketio
from engineio import exceptions as engineio_exceptions
from engineio import json as engineio_json
from engineio import packet as engineio_packet
from socketio import packet as socketio_packet

from . import encoding, transport
from .errors import BadRequest
from .sockets import SyncSocket
from .sync import Sync

logger = logging.getLogger("backboneio.server")


class SocketIOWire:
    """Reaches the clients of one namespace through a ``socketio.Server``."""

    def __init__(self, sio: socketio.Server, namespace: str) -> None:
        self._sio = sio
        self._namespace = namespace
        self._send_many = getattr(sio.eio, "send_many", None)
        # With another serializer (msgpack, say) packets are made by python-socketio, from values.
        self._packet_class = None if issubclass(sio.packet_class, Packet) else sio.packet_class

    def send(self, addresses: Collection[str], text: str) -> None:
        """Send an event, encoded once, to Engine.IO sessions."""
        if self._packet_class is not None:
            packet = self._packet_class(
                socketio_packet.EVENT, namespace=self._namespace, data=encoding.loads(text)
            )
            for address in addresses:
                with _gone():
                    self._sio._send_packet(address, packet)
            return
        message = f"{socketio_packet.EVENT}{self._namespace},{text}"
        if self._send_many is not None:
            self._send_many(addresses, message)
            return
        frame = engineio_packet.Packet(engineio_packet.MESSAGE, message)
        for address in addresses:
            with _gone():
                self._sio.eio.send_packet(address, frame)

    def ack(self, address: str, ack_id: int, text: str) -> None:
        """Answer a client's event; *text* is the JSON of the list of the ack's arguments."""
        if self._packet_class is not None:
            packet = self._packet_class(
                socketio_packet.ACK,
                namespace=self._namespace,
                id=ack_id,
                data=encoding.loads(text),
            )
            with _gone():
                self._sio._send_packet(address, packet)
            return
        with _gone():
            self._sio.eio.send(address, f"{socketio_packet.ACK}{self._namespace},{ack_id}{text}")

    def disconnect(self, sid: str) -> None:
        """Close a client's connection to the namespace."""
        self._sio.disconnect(sid, namespace=self._namespace)


def _gone() -> AbstractContextManager[object]:
    """Let a connection close while something is sent to it: the others are sent it still."""
    return suppress(engineio_exceptions.SocketIsClosedError)


class _StrictJSON:
    """Our JSON, in the form in which python-socketio calls the standard library's."""

    @staticmethod
    def dumps(value: Any, **_options: Any) -> str:
        return encoding.dumps(value)

    @staticmethod
    def loads(text: str | bytes, **_options: Any) -> Any:
        return encoding.loads(text)


class Malformed:
    """Stands for the arguments of an event that could not be parsed."""

    def __init__(self, message: str) -> None:
        self.message = message


class Packet(socketio_packet.Packet):  # type: ignore[misc]
    """A Socket.IO packet whose JSON is strict, and whose bad JSON still gets an answer.

    python-socketio drops an event that it cannot parse, and its client waits for ever. Here such an
    event arrives with its ack id and with :class:`Malformed` in place of its arguments. Whatever
    else is no Socket.IO packet closes the connection, as the protocol has it.
    """

    json = _StrictJSON
    #: Binary attachments that one packet may announce; they are held until all are there.
    max_attachments = 64

    def decode(self, encoded_packet: str) -> int:
        """Parse a packet and return how many attachments are to follow."""
        if not isinstance(encoded_packet, str):
            raise transport.BadMessage("an attachment without a packet")
        try:
            attachments = int(super().decode(encoded_packet) or 0)
        except (ValueError, RecursionError) as err:
            # The head (type, namespace, id) is parsed before the JSON, which is what failed.
            event = _OUR_EVENT.search(encoded_packet, 0, 600)
            if self.packet_type != socketio_packet.EVENT or event is None:
                raise transport.BadMessage("malformed packet") from err
            self._replace_arguments(event[1], err)
            return 0
        if attachments > self.max_attachments:
            raise transport.BadMessage("too many attachments")
        if not attachments and self.packet_type in _BINARY:
            # python-socketio would take the client's next message for an attachment.
            raise transport.BadMessage("a binary packet without attachments")
        if self.packet_type in (socketio_packet.EVENT, socketio_packet.BINARY_EVENT):
            data = self.data
            if not (isinstance(data, list) and data and isinstance(data[0], str)):
                raise transport.BadMessage("an event is a list that starts with its name")
        return attachments

    def add_attachment(self, attachment: bytes) -> bool:
        """Take an attachment, and return whether it was the last one."""
        try:
            return bool(super().add_attachment(attachment))
        except (LookupError, TypeError, RecursionError) as err:  # a placeholder for none of them
            if self.packet_type == socketio_packet.BINARY_EVENT:
                self._replace_arguments(str(self.data[0]), err)
            return True

    def _replace_arguments(self, event: str, err: Exception) -> None:
        if self.id is None or event not in _OUR_EVENTS:
            raise transport.BadMessage("malformed packet") from err
        reason = "nested too deeply" if isinstance(err, RecursionError) else str(err)
        self.data = [event, Malformed(f"{event}: not the JSON it should be: {reason}")]


_BINARY = (socketio_packet.BINARY_EVENT, socketio_packet.BINARY_ACK)
_OUR_EVENTS = ("sync", "listen", "leave")
_OUR_EVENT = re.compile(rf'\[\s*"({"|".join(_OUR_EVENTS)})"')
#: What python-socketio calls handlers for by itself; no client may pretend that it happened.
_RESERVED_EVENTS = ("connect", "disconnect")


class ThreadSafeManager:
    """Mixed into a client manager, so that clients may come, go and join rooms on many threads.

    python-socketio's managers create and drop rooms in several steps: two clients that enter a room
    at once, or one that enters as the last one leaves, could lose their membership. They also look
    through every room for each client that goes; here the rooms of a client are known.

    ``_lock`` protects the manager's dictionaries. It is re-entrant, and nothing is sent under it.
    """

    _lock: threading.RLock
    _rooms_of: dict[tuple[str, str], set[str | None]]
    # Of python-socketio's BaseManager:
    callbacks: dict[str, Any]
    pending_connect: dict[str, list[str]]
    pending_disconnect: dict[str, list[str]]

    @classmethod
    def guard(cls, manager: Any) -> None:
        """Make *manager* thread-safe; before it has clients."""
        if not isinstance(manager, cls):
            manager._lock = threading.RLock()
            manager._rooms_of = {}
            kind = type(manager)
            manager.__class__ = type(kind.__name__, (cls, kind), {"__module__": kind.__module__})

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Add a client to a room."""
        with self._lock:
            super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)  # type: ignore[misc]
            self._rooms_of.setdefault((namespace, sid), set()).add(room)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        """Remove a client from a room."""
        with self._lock:
            super().basic_leave_room(sid, namespace, room)  # type: ignore[misc]
            rooms = self._rooms_of.get((namespace, sid))
            if rooms is not None:
                rooms.discard(room)
                if not rooms:
                    del self._rooms_of[namespace, sid]

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Remove a client from all its rooms."""
        with self._lock:
            for room in list(self._rooms_of.get((namespace, sid), ())):
                self.basic_leave_room(sid, namespace, room)
            # The rest of what super() does, which would look through all rooms first.
            self.callbacks.pop(sid, None)
            for pending in (self.pending_connect, self.pending_disconnect):
                waiting = pending.get(namespace, [])
                if sid in waiting:
                    waiting.remove(sid)
                    if not waiting:
                        del pending[namespace]

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Return who is in a room, or in one of several, by sid and Engine.IO session."""
        with self._lock:
            return iter(list(super().get_participants(namespace, room)))  # type: ignore[misc]

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """Return the rooms of a client."""
        with self._lock:
            rooms = self._rooms_of.get((namespace, sid), ())
            return [room for room in rooms if room is not None]


def _locked(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return getattr(super(ThreadSafeManager, self), name)(*args, **kwargs)

    method.__name__ = name
    return method


for _name in (
    "pre_connect",
    "connect",
    "is_connected",
    "pre_disconnect",
    "sid_from_eio_sid",
    "eio_sid_from_sid",
    "_generate_ack_id",
):
    setattr(ThreadSafeManager, _name, _locked(_name))


class HubServer(socketio.Server):  # type: ignore[misc]
    """A ``socketio.Server`` on the epoll hub: its clients cost memory, not threads."""

    def _engineio_server_class(self) -> type[transport.Server]:
        return transport.Server


def make_server(transport_name: str = "auto", **options: Any) -> socketio.Server:
    """Return a ``socketio.Server`` for blocking handlers on threads.

    :param transport_name: ``"hub"`` for the epoll hub, ``"threads"`` for python-engineio's
        threading mode, ``"auto"`` for the hub where it can serve and a log line where it cannot.
    :param options: those of ``socketio.Server`` and of the transport.
    :raises ValueError: for any other transport.
    :raises RuntimeError: for ``"hub"`` where it cannot serve.
    """
    if transport_name not in ("auto", "hub", "threads"):
        raise ValueError(f"transport: 'auto', 'hub' or 'threads', not {transport_name!r}")
    options.setdefault("async_mode", "threading")
    options.setdefault("async_handlers", False)
    problem = None if transport_name == "threads" else transport.why_not()
    if transport_name == "hub" and problem is not None:
        raise RuntimeError(f"the hub cannot serve here: {problem}")
    if transport_name == "threads" or problem is not None:
        if problem is not None:
            logger.warning("python-engineio's threads serve the clients: %s", problem)
        return socketio.Server(**options)
    return HubServer(**options)


def stats(sio: socketio.Server) -> dict[str, Any]:
    """Return the transport's figures."""
    if isinstance(sio.eio, transport.Server):
        return {"transport": "hub", **sio.eio.stats()}
    return {"transport": "threads", "connections": len(sio.eio.sockets)}


def attach(sio: socketio.Server, syncs: Mapping[str, Sync]) -> None:
    """Let the *syncs*, by name, serve their namespaces on *sio*.

    Other events of these namespaces, and the connect and disconnect handlers that users register,
    work as ever. ``sio`` handles the events of one client one after the other from now on
    (``async_handlers=False``): guarantee G1.

    :raises ValueError: when one of the namespaces is served already.
    """
    served: dict[str, tuple[Sync, SocketIOWire]] = getattr(sio, "_backboneio", {})
    for name in syncs:
        if f"/{name}" in served:
            raise ValueError(f"the namespace /{name} is served by another backend already")
    if not served:
        _install(sio, served)
    for name, sync in syncs.items():
        namespace = f"/{name}"
        served[namespace] = (sync, SocketIOWire(sio, namespace))
        if namespace not in sio.namespace_handlers:
            sio.register_namespace(socketio.Namespace(namespace))  # so that it is accepted


def _install(sio: socketio.Server, served: dict[str, tuple[Sync, SocketIOWire]]) -> None:
    """Hook into *sio*, in the way of python-socketio's own admin instrumentation."""
    sio._backboneio = served
    sio.async_handlers = False
    ThreadSafeManager.guard(sio.manager)
    if sio.packet_class is socketio_packet.Packet:
        own_json = socketio_packet.Packet.json  # where the option ``json`` is kept, for all servers
        sio.packet_class = (
            Packet if own_json is engineio_json else type("Packet", (Packet,), {"json": own_json})
        )
    trigger_event, handle_connect = sio._trigger_event, sio._handle_connect
    handle_event = sio._handle_event_internal

    @functools.wraps(trigger_event)
    def on_trigger(event: str, namespace: str, *args: Any) -> Any:
        found = served.get(namespace)
        if found is None or event not in ("connect", "disconnect"):
            return trigger_event(event, namespace, *args)
        sync, wire = found
        if event == "disconnect":
            try:
                return trigger_event(event, namespace, *args)
            finally:
                sync.disconnect(args[0])
        accepted = trigger_event(event, namespace, *args)
        if accepted is not False:
            sid, environ, *auth = args
            address = sio.manager.eio_sid_from_sid(sid, namespace)
            sync.connect(SyncSocket(sync, wire, sid, address, environ, auth[0] if auth else None))
        return accepted

    @functools.wraps(handle_connect)
    def on_connect(eio_sid: str, namespace: str | None, data: Any) -> None:
        handle_connect(eio_sid, namespace, data)
        # python-socketio says no goodbye for a client that goes while it connects.
        connection = sio.eio.sockets.get(eio_sid)
        if connection is None or connection.closing:
            sio._handle_disconnect(eio_sid, namespace, sio.reason.TRANSPORT_CLOSE)

    @functools.wraps(handle_event)
    def on_event(
        server: socketio.Server, sid: str, eio_sid: str, data: list[Any], namespace: str, id: Any
    ) -> None:
        if data[0] in _RESERVED_EVENTS:
            raise transport.BadMessage(f"{data[0]!r} is no event for clients to send")
        found = served.get(namespace)
        handler = None if found is None else found[0].handlers.get(data[0])
        socket = None if found is None else found[0].sockets.get(sid)
        if found is None or handler is None or socket is None:
            handle_event(server, sid, eio_sid, data, namespace, id)
            return
        ack = None if id is None else partial(found[1].ack, eio_sid, id)
        args = data[1:]
        if ack is not None and args and isinstance(args[0], Malformed):
            found[0].refuse(ack, BadRequest(args[0].message))
            return
        handler(socket, args, ack)

    sio._trigger_event = on_trigger
    sio._handle_connect = on_connect
    sio._handle_event_internal = on_event
