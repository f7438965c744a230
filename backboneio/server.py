"""Everything that we ask of python-socketio beyond its documented interface, in one place."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import engineio
import socketio
from engineio import packet as engineio_packet
from engineio import payload as engineio_payload
from socketio import packet as socketio_packet

from . import json, transport
from .errors import BadRequest
from .manager import ThreadSafeManager
from .packets import Event, Malformed, Packet, strict_packet_class
from .sockets import SyncSocket
from .sync import Sync

logger = logging.getLogger("backboneio.server")

#: What python-socketio calls handlers for by itself; no client may pretend that it happened.
_RESERVED_EVENTS = ("connect", "disconnect")


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
                socketio_packet.EVENT, namespace=self._namespace, data=json.loads(text)
            )
            for address in addresses:
                self._sio._send_packet(address, packet)
            return
        message = f"{socketio_packet.EVENT}{self._namespace},{text}"
        if self._send_many is not None:
            self._send_many(addresses, message)
            return
        frame = engineio_packet.Packet(engineio_packet.MESSAGE, message)
        for address in addresses:
            self._sio.eio.send_packet(address, frame)

    def ack(self, address: str, ack_id: int, text: str) -> None:
        """Answer a client's event; *text* is the JSON of the list of the ack's arguments."""
        if self._packet_class is not None:
            packet = self._packet_class(
                socketio_packet.ACK,
                namespace=self._namespace,
                id=ack_id,
                data=json.loads(text),
            )
            self._sio._send_packet(address, packet)
            return
        self._sio.eio.send(address, f"{socketio_packet.ACK}{self._namespace},{ack_id}{text}")

    def disconnect(self, sid: str) -> None:
        """Close a client's connection to the namespace."""
        self._sio.disconnect(sid, namespace=self._namespace)


def _queue_packet(
    sockets: Mapping[str, engineio.Socket], sid: str, packet: engineio_packet.Packet
) -> None:
    """Queue a packet for a client of python-engineio, and do nothing else.

    Its own ``send_packet`` looks whether the client has been silent for too long and then calls the
    disconnect handlers right there; they are the application's, and may take their time. Its
    service task finds such clients as well.
    """
    session = sockets.get(sid)
    if session is not None and not session.closed:
        session.queue.put(packet)


class HubServer(socketio.Server):  # type: ignore[misc]
    """A ``socketio.Server`` on the epoll hub: its clients cost memory, not threads."""

    def _engineio_server_class(self) -> type[transport.Server]:
        return transport.Server


#: The transport's options: those of ``engineio.Server``, and limits that only the hub keeps.
_OPTIONS = {
    *inspect.signature(transport.Server).parameters,
    *(field.name for field in dataclasses.fields(transport.Limits)),
}


class _ThreadsEngine(engineio.Server):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        unknown = options.keys() - _OPTIONS
        if unknown:  # python-engineio would not mind
            raise ValueError(f"unknown option: {', '.join(unknown)}")
        super().__init__(**options)

    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Handle an HTTP request; a torn one, which python-engineio takes for a whole one, here."""
        if environ.get("REQUEST_METHOD") == "POST":
            with suppress(ValueError):
                length = int(environ.get("CONTENT_LENGTH") or 0)
                if length <= self.max_http_buffer_size:
                    body = _read(environ["wsgi.input"], length)
                    environ["wsgi.input"] = io.BytesIO(body)
                    if len(body) < length:
                        return self._refuse_torn(environ, start_response)
        return super().handle_request(environ, start_response)

    def _refuse_torn(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """End the session: what got lost is sent again in the next one."""
        sid = parse_qs(environ.get("QUERY_STRING", "")).get("sid", [""])[0]
        session = self.sockets.get(sid)
        if session is not None:
            session.close(wait=False, reason=self.reason.TRANSPORT_ERROR)
            self.sockets.pop(sid, None)
        start_response("400 BAD REQUEST", [("Content-Type", "text/plain")])
        return [b"incomplete body"]


def _read(stream: Any, length: int) -> bytes:
    try:
        body: bytes = stream.read(length)
    except OSError:
        return b""
    return body


class ThreadsServer(socketio.Server):  # type: ignore[misc]
    """A ``socketio.Server`` on python-engineio's threads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # python-engineio drops a polling client's message of more than 16 packets and says "OK".
        # A page that was offline sends all its requests at once.
        polled = engineio_payload.Payload
        polled.max_decode_packets = max(polled.max_decode_packets, transport.Limits().max_packets)

    def _engineio_server_class(self) -> type[engineio.Server]:
        return _ThreadsEngine


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
        return ThreadsServer(**options)
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
        sio.packet_class = strict_packet_class()
    trigger_event, handle_connect = sio._trigger_event, sio._handle_connect
    handle_event, handle_message = sio._handle_event_internal, sio._handle_eio_message

    @functools.wraps(trigger_event)
    def on_trigger(event: str, namespace: str, *args: Any) -> Any:
        found = served.get(namespace)
        if found is None or event not in _RESERVED_EVENTS:
            return trigger_event(event, namespace, *args)
        sync, wire = found
        address = sio.manager.eio_sid_from_sid(args[0], namespace)
        if event == "disconnect":
            try:
                return trigger_event(event, namespace, *args)
            finally:
                sync.disconnect(address)
        accepted = trigger_event(event, namespace, *args)
        if accepted is not False:
            sid, environ, *auth = args
            sync.connect(SyncSocket(sync, wire, sid, address, environ, auth[0] if auth else None))
        return accepted

    @functools.wraps(handle_connect)
    def on_connect(eio_sid: str, namespace: str | None, data: Any) -> None:
        handle_connect(eio_sid, namespace, data)
        # python-socketio says no goodbye for a client that goes while it connects, and before 5.18
        # one that comes too early for us.
        connection = sio.eio.sockets.get(eio_sid)
        if connection is None or connection.closing:
            sio._handle_disconnect(eio_sid, namespace, sio.reason.TRANSPORT_CLOSE)
            if namespace in served:
                served[namespace][0].disconnect(eio_sid)

    def ours(eio_sid: str, namespace: str, data: list[Any], ack_id: int | None) -> bool:
        """Handle an event if it is one of a backend's, and return whether it was."""
        found = served.get(namespace)
        socket = None if found is None else found[0].sockets.get(eio_sid)
        handler = None if found is None else found[0].handlers.get(data[0])
        if found is None or socket is None or handler is None:
            return False
        sync, wire = found
        sio.logger.info('received event "%s" from %s [%s]', data[0], socket.sid, namespace)
        ack = None if ack_id is None else partial(wire.ack, eio_sid, ack_id)
        args = data[1:]
        if ack is not None and args and isinstance(args[0], Malformed):
            sync.refuse(ack, BadRequest(args[0].message))
        else:
            handler(socket, args, ack)
        return True

    @functools.wraps(handle_message)
    def on_message(eio_sid: str, message: str | bytes) -> None:
        # The short way for nearly all messages: python-socketio's takes several times as long.
        event = None if eio_sid in sio._binary_packet else Event.of(message)
        if event is not None and event.namespace in served:
            data = event.parse()
            if data is not None and ours(eio_sid, event.namespace, data, event.id):
                return
        handle_message(eio_sid, message)

    @functools.wraps(handle_event)
    def on_event(
        server: socketio.Server, sid: str, eio_sid: str, data: list[Any], namespace: str, id: Any
    ) -> None:
        if data[0] in _RESERVED_EVENTS:
            raise transport.BadMessage(f"{data[0]!r} is no event for clients to send")
        if not ours(eio_sid, namespace, data, id):
            handle_event(server, sid, eio_sid, data, namespace, id)

    if not isinstance(sio.eio, transport.Server):
        sio.eio.send_packet = partial(_queue_packet, sio.eio.sockets)
    sio._trigger_event = on_trigger
    sio._handle_connect = on_connect
    sio._handle_event_internal = on_event
    if isinstance(sio.packet_class, type) and issubclass(sio.packet_class, Packet):
        sio.eio.on("message", on_message)
