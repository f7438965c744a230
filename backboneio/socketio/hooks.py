"""Hooks: what happens before, after and instead of what python-socketio's server does by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import socketio
from socketio import packet as socketio_packet

from .. import forks, transport
from ..errors import client_error, error_object
from ..execution import Context, Parked, ParkedThread
from ..sync import Sync, SyncSocket
from ..transport import BadMessage
from . import sessions, threads
from .direct import BackendNamespace, Direct
from .manager import guard
from .packets import ANNOUNCEMENT, OversizedAuth, Packet, checked
from .wire import SocketIOWire

logger = logging.getLogger("backboneio.socketio")

Original = Callable[..., Any]

#: What python-socketio calls handlers for by itself; no client may pretend that it happened.
_RESERVED_EVENTS = ("connect", "disconnect")
#: What python-socketio answers when it does not know the namespace.
_UNKNOWN = "Unable to connect"


class Hooks:
    """What a ``socketio.Server`` does otherwise, once backends are served on it.

    The methods that have an *original* stand for python-socketio's methods of the same name (with
    an underscore), and call it. A client's *address* is the id of its Engine.IO session.

    ``_lock`` protects ``_waiting`` and what decides whether somebody has to wait: the manager's
    lock is taken within it, and no other. ``out`` and ``_served`` need none: single operations.
    """

    def __init__(self, sio: socketio.Server) -> None:
        self._sio = sio
        self._hub = isinstance(sio.eio, transport.Server)
        self._served: dict[str, BackendNamespace] = {}
        self._context: Context | None = None
        #: who was thrown out, by address, until the connection has ended
        self.out: set[str] = set()
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], Callable[[], object]] = {}
        sio.async_handlers = False  # guarantee G1: one client's events, one after the other
        guard(sio.manager)
        sio.packet_class = checked(sio.packet_class, sio.eio.max_http_buffer_size)
        limits = getattr(sio.eio, "limits", None) or transport.TransportLimits()
        #: bytes of all clients' attachments that wait for others: what else is not handled, too
        self._max_held = limits.max_total_inbox
        #: whether packets are text
        self._text = issubclass(sio.packet_class, Packet)
        self._direct = Direct(sio, self._served, self._part_from_gone, self._parked)
        sio.eio.on("message", self.handle_message)
        forks.register(self)

    def after_fork(self) -> None:
        """Know nobody in a forked child: the clients are the parent's."""
        self._lock = threading.Lock()
        for known in (self.out, self._waiting, self._sio.environ, self._sio._binary_packet):
            known.clear()
        threads_guard = getattr(self._sio.eio, "guard", None)
        if threads_guard is not None:
            threads_guard.after_fork()

    def serve(self, syncs: Mapping[str, Sync]) -> None:
        """Serve namespaces by name.

        :raises ValueError: when one of them is served already.
        """
        for name in syncs:
            if f"/{name}" in self._served:
                raise ValueError(f"the namespace /{name} is served by another backend already")
        for name, sync in syncs.items():
            namespace = f"/{name}"
            wire = SocketIOWire(self._sio, namespace, self.out, self.throw_out)
            self._served[namespace] = BackendNamespace(sync, wire)
            self._context = self._context or sync.context
            self._sio.packet_class.allow_auth(sync.limits.max_auth_bytes)
            if namespace not in self._sio.namespace_handlers:
                # So that it is accepted.
                self._sio.register_namespace(socketio.Namespace(namespace))

    # Messages

    def handle_message(self, address: str, message: Any) -> None:
        """Handle what a client has sent."""
        # python-engineio goes on reading what came after the client's goodbye.
        if address in self.out or (not self._hub and self._gone(address)):
            return
        try:
            if not self._direct.handle(address, message):
                self._refuse_misplaced(address, message)
                self._sio._handle_eio_message(address, message)
        except BadMessage as err:
            if self._hub:
                raise
            logger.info("%s: %s", address, err)
            self.out.add(address)
            sessions.end(self._sio.eio, address, self._sio.reason.TRANSPORT_ERROR, abort=True)

    def _refuse_misplaced(self, address: str, message: Any) -> None:
        """Refuse what python-socketio, which parses it, would take for something else."""
        if not isinstance(message, (str, bytes, bytearray)) or not message:
            raise BadMessage("not a Socket.IO packet")
        if address in self._sio._binary_packet:
            held = sum(getattr(one, "size", 0) for one in list(self._sio._binary_packet.values()))
            if held + len(message) > self._max_held:
                raise BadMessage("attachments are too much together with those of others")
            return
        if not self._text or not isinstance(message, str):
            return
        announced = ANNOUNCEMENT.match(message)
        if announced and not self._sio.manager.sid_from_eio_sid(address, announced[1] or "/"):
            raise BadMessage("attachments announced where nobody is connected")

    def handle_event(
        self, original: Original, address: str, namespace: str | None, id: int | None, data: Any
    ) -> None:
        """Handle an event that came in another form than nearly all: with attachments, say."""
        if data[0] in _RESERVED_EVENTS:
            raise BadMessage(f"{data[0]!r} is no event for clients to send")
        if not self._direct.event(address, namespace or "/", id, data):
            original(address, namespace, id, data)

    # Handlers

    def trigger_event(self, original: Original, event: str, namespace: str, *args: Any) -> Any:
        """Call a handler that the application has registered, in the application's context."""
        sid = args[0]
        address = self._sio.manager.eio_sid_from_sid(sid, namespace)
        if event == "disconnect":
            self._part(original, namespace, address, *args)
            return None
        try:
            with self._in_context(namespace, address):
                result = original(event, namespace, *args)
        except TypeError as err:
            if event in _RESERVED_EVENTS or not _called_wrongly(err):
                raise
            # What a client sends with an event decides how its handler is called.
            logger.warning("%s: the handler of %r was sent something else: %s", sid, event, err)
            return self._sio.not_handled
        served = self._served.get(namespace)
        if event == "connect" and result is not False and served is not None:
            sid, environ, *auth = args
            served.sync.connect(
                SyncSocket(served.sync, served.wire, sid, address, environ, *auth[:1])
            )
        return result

    def _in_context(self, namespace: str, address: str) -> AbstractContextManager[object]:
        served = self._served.get(namespace)
        if served is not None and not self._direct.has_handlers(namespace):
            return nullcontext()  # as for most backends; a context takes longer than all the rest
        context = self._context if served is None else served.sync.context
        environ = self._sio.environ.get(address)
        return nullcontext() if context is None or environ is None else context(environ)

    def _part(self, original: Original, namespace: str, address: str, *args: Any) -> None:
        """A client leaves a namespace: it is out first, then its handler runs."""
        self._leave_sync(address, namespace, str(args[1]) if len(args) > 1 else "")
        try:
            with self._in_context(namespace, address):
                original("disconnect", namespace, *args)
        except Exception:  # those of its other namespaces run all the same
            logger.exception("the disconnect handler of %s failed", namespace)
        finally:
            with self._lock:
                self._sio.manager.disconnect(args[0], namespace, ignore_queue=True)
                go_on = self._waiting.pop((address, namespace), None)
            if go_on is not None:
                go_on()

    # Connecting

    def handle_connect(
        self, original: Original, address: str, namespace: str | None, data: Any
    ) -> None:
        """Let a client into a namespace, or tell it why not; nothing is left of one that is not."""
        namespace = namespace or "/"
        if isinstance(data, OversizedAuth):
            self._refuse(address, namespace, data.message)
            return
        manager = self._sio.manager
        parked = None
        with self._lock:
            known = manager.sid_from_eio_sid(address, namespace)
            leaving = known is not None and known in manager.pending_disconnect.get(namespace, ())
            if leaving:
                parked = self._parked(address)
                again = partial(self.handle_connect, original, address, namespace, data)
                self._waiting[address, namespace] = partial(parked.resume, again)
        if parked is not None:
            parked.wait()
            return
        if known is not None:
            self._refuse(address, namespace, "Already connected")
            return
        try:
            original(address, namespace, data)
        except Exception as err:
            self._undo(address, namespace, err)
        self._part_from_gone(address, namespace)

    def _part_from_gone(self, address: str, namespace: str) -> None:
        """Let a client leave that has gone while it connected.

        python-socketio says no goodbye for it, and before 5.18 one that comes too early for us.
        """
        if self._gone(address):
            self._sio._handle_disconnect(address, namespace, self._sio.reason.TRANSPORT_CLOSE)
            self._leave_sync(address, namespace)

    def _parked(self, address: str) -> Parked:
        return self._sio.eio.park(address) if self._hub else ParkedThread()

    def _undo(self, address: str, namespace: str, err: Exception) -> None:
        """Refuse a client whose connect handler failed: python-socketio knows no answer to that."""
        sid = self._sio.manager.sid_from_eio_sid(address, namespace)
        self._leave_sync(address, namespace)
        if not self._gone(address):
            if client_error(err) is None:
                logger.error("the connect handler of %s failed", namespace, exc_info=err)
            served = self._served.get(namespace)
            error = error_object(err, served is not None and served.sync.debug())["error"]
            self._refuse(address, namespace, error["message"], error)
        if sid is not None:
            self._sio.manager.disconnect(sid, namespace, ignore_queue=True)

    def _refuse(self, address: str, namespace: str, message: str, data: Any = None) -> None:
        """Send what a Socket.IO client shows as ``connect_error``: its message and data."""
        error = {"message": message} if data is None else {"message": message, "data": data}
        kind = socketio_packet.CONNECT_ERROR
        self._sio._send_packet(address, self._sio.packet_class(kind, error, namespace))

    def send_packet(self, original: Original, address: str, packet: Any) -> None:
        """Send a packet, unless the client is out; refusals have the protocol's words."""
        if address in self.out:
            return
        if packet.packet_type == socketio_packet.CONNECT_ERROR and packet.data == _UNKNOWN:
            packet.data = {"message": "Invalid namespace"}
        original(address, packet)

    def send_eio_packet(self, original: Original, address: str, packet: Any) -> None:
        """Send what many are sent, unless the client is out."""
        if address not in self.out:
            original(address, packet)

    # Ends

    def _leave_sync(self, address: str, namespace: str, why: str = "refused") -> None:
        served = self._served.get(namespace)
        if served is not None:
            served.sync.disconnect(address, why)

    @property
    def environs(self) -> Mapping[str, dict[str, Any]]:
        """The handshakes of all connections, by address: of clients in no namespace yet, too."""
        environs: dict[str, dict[str, Any]] = self._sio.environ
        return environs

    def throw_out(self, address: str) -> None:
        """Close a connection, see :meth:`SocketIOWire.disconnect`; from any thread."""
        sio = self._sio
        self.out.add(address)
        if address not in sio.environ:  # it has ended: see handle_eio_disconnect
            self.out.discard(address)
            return
        for served in self._served.values():
            socket = served.sync.sockets.get(address)
            if socket is not None:
                served.sync.expel(socket)
        if self._hub:
            sio.eio.disconnect(address)
        else:
            sessions.end(sio.eio, address, sio.reason.SERVER_DISCONNECT)

    def handle_eio_disconnect(self, original: Original, address: str, reason: str) -> None:
        """A connection has ended: nothing is left of it."""
        try:
            original(address, reason)
        finally:
            self._sio._binary_packet.pop(address, None)
            self._sio.environ.pop(address, None)
            self.out.discard(address)

    def _gone(self, address: str) -> bool:
        connection = self._sio.eio.sockets.get(address)
        return connection is None or connection.closing or address in self.out


def _called_wrongly(err: TypeError) -> bool:
    """Whether a handler was called with other arguments than it takes, and did not even start."""
    trace = err.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(
        "socketio."
    )


#: The methods of a ``socketio.Server`` that hooks stand for.
_HOOKED: dict[str, Callable[..., Any]] = {
    "_handle_connect": Hooks.handle_connect,
    "_handle_eio_disconnect": Hooks.handle_eio_disconnect,
    "_handle_event": Hooks.handle_event,
    "_send_eio_packet": Hooks.send_eio_packet,
    "_send_packet": Hooks.send_packet,
    "_trigger_event": Hooks.trigger_event,
}


def attach(sio: socketio.Server, syncs: Mapping[str, Sync]) -> Hooks:
    """Let the *syncs*, by name, serve their namespaces on *sio*.

    Other events of these namespaces, and the connect and disconnect handlers that users register,
    work as ever, in the application's context. ``sio`` handles the events of one client one after
    the other from now on (``async_handlers=False``): guarantee G1.

    :returns: the server's connections.
    :raises ValueError: when one of the namespaces is served already.
    """
    hooks: Hooks | None = getattr(sio, "_backboneio", None)
    if hooks is None:  # not one of our own
        hooks = sio._backboneio = Hooks(sio)
        for name, hook in _HOOKED.items():
            setattr(sio, name, partial(hook, hooks, getattr(sio, name)))
        sio.eio.on("disconnect", sio._handle_eio_disconnect)
        if not isinstance(sio.eio, transport.Server):
            threads.install(sio.eio)
    hooks.serve(syncs)
    return hooks
