"""python-engineio's threads: a client costs what it may cost, and its mistakes are its own.

Used where the hub cannot serve, where ``transport="threads"`` asks for it, and for servers that
exist already.
"""

from __future__ import annotations

import errno
import io
import logging
import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import engineio
import simple_websocket
from engineio import packet as engineio_packet
from engineio import payload as engineio_payload
from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI
from wsproto.utilities import ProtocolError

from ..transport import Limits

logger = logging.getLogger("backboneio.socketio")

_LIMITS = Limits()

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Backlog(queue.Queue[Any]):
    """What waits for one client: the queue of a python-engineio session, which counts its bytes.

    ``mutex``, the queue's own lock, protects the figures.
    """

    def __init__(self, max_bytes: int, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._ending = False
        #: whether more waits than may
        self.over = False
        #: cuts the connection, where a WebSocket carries the session
        self.cut: Callable[[], None] | None = None

    def _put(self, item: Any) -> None:
        size = _size(item)
        # As on the hub: one message may be bigger than the limit.
        if self._bytes and self._bytes + size > self._max_bytes:
            self.over = True
        super()._put(item)
        self._bytes += size

    def _get(self) -> Any:
        item = super()._get()
        self._bytes -= _size(item)
        return item

    def claim_end(self) -> bool:
        """Whether the caller is the one who has to end the client: True once."""
        with self.mutex:
            first = not self._ending
            self._ending = True
            return first


def _size(packet: Any) -> int:
    data = getattr(packet, "data", None)
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
    return len(data) if isinstance(data, (bytes, bytearray)) else 0


#: Seconds after which a thread that waits for its client looks whether there is still one:
#: simple-websocket 1.1 may not wake it when it has closed what sent too large a message.
_LOOK = 2.0


class Brake(threading.Event):
    """Tells that there are messages, and holds up the thread that reads them while many wait.

    simple-websocket reads on while the client's other thread is in a handler.
    """

    def __init__(self, is_full: Callable[[], bool]) -> None:
        super().__init__()
        self._is_full = is_full
        self._taken = threading.Event()

    def set(self) -> None:
        """Tell that there is a message; return when there is room for another one."""
        super().set()
        while self._is_full():
            self._taken.clear()
            if self._is_full():
                self._taken.wait(_LOOK)

    def release(self) -> None:
        """A message was taken."""
        self._taken.set()


class WebSocket(SimpleWebSocketWSGI):  # type: ignore[misc]
    """A WebSocket whose client cannot make python-engineio fail, nor keep what it does not handle.

    As on the hub, messages that are not handled yet are bounded in number and bytes.
    """

    def __init__(self, handler: Any, server: Any, **options: Any) -> None:
        # Otherwise it is looked at when all of it is in memory.
        options.setdefault("max_message_size", server.max_http_buffer_size)
        self._brake = Brake(self._is_full)
        super().__init__(handler, server, event_class=lambda: self._brake, **options)
        self._session: engineio.socket.Socket = handler.__self__
        self._max_waiting = server.max_http_buffer_size * _LIMITS.max_inbox_messages

    def _is_full(self) -> bool:
        ws = getattr(self, "ws", None)
        if ws is None or not ws.connected or self._session.closed:
            return False
        waiting = list(ws.input_buffer)
        return len(waiting) > 1 and (
            len(waiting) > _LIMITS.max_inbox_packets or sum(map(len, waiting)) > self._max_waiting
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        """Open the WebSocket and stay until its end."""
        if isinstance(self._session.queue, Backlog):
            self._session.queue.cut = self._cut
        try:
            return super().__call__(environ, start_response)
        except (ProtocolError, simple_websocket.ConnectionError) as err:
            # No WebSocket handshake. What WSGI servers take for a client that went away:
            raise ConnectionResetError(errno.ECONNRESET, str(err)) from err

    def _cut(self) -> None:
        with suppress(OSError, AttributeError):  # there may be no connection yet, or any more
            self.ws.sock.shutdown(socket.SHUT_RDWR)

    def wait(self) -> Any:
        """Return the next packet; None at the end, which one that is none is, too."""
        packet = None
        while packet is None:
            try:
                packet = self.ws.receive(timeout=_LOOK)
                self._brake.release()
            except simple_websocket.ConnectionClosed:
                return None
            if packet is None and not self.ws.connected:
                return None
        if isinstance(packet, str) and not _is_packet(packet):
            logger.info("not an Engine.IO packet for a server: %.40r", packet)
            return None
        return packet

    def close(self) -> None:
        """Close the connection, which may be gone already."""
        with suppress(OSError, ProtocolError, simple_websocket.ConnectionClosed):
            super().close()


def _is_packet(text: str, kinds: str = "123456b") -> bool:
    """Whether text is an Engine.IO packet that a client may send."""
    if text[:1] not in kinds or not text:
        return False
    if text[0] == "4" and text[1:2].isdigit():
        return True  # a packet of Socket.IO, as nearly all are
    try:
        engineio_packet.Packet(encoded_packet=text)
    except (ValueError, RecursionError):  # what is no packet of Socket.IO is tried as JSON
        return False
    return True


def _are_packets(body: bytes, limit: int) -> bool:
    """Whether all that was posted is Engine.IO packets that a client may post."""
    try:
        packets = body.decode().split("\x1e")
    except UnicodeDecodeError:
        return False
    return len(packets) <= limit and all(_is_packet(packet, "1345b") for packet in packets)


class Guard:
    """What is done otherwise than in ``engineio.Server``, for a server in threading mode."""

    def __init__(self, eio: engineio.Server, max_backlog: int) -> None:
        self._eio = eio
        self._max_backlog = max_backlog
        # python-engineio drops a polling client's message of more than 16 packets and says "OK". A
        # page that was offline sends all its requests at once.
        polled = engineio_payload.Payload
        polled.max_decode_packets = max(polled.max_decode_packets, _LIMITS.max_packets)
        eio._async = {**eio._async, "websocket": WebSocket}

    def create_queue(self, original: Any, *args: Any, **kwargs: Any) -> Backlog:
        """Make what a session's packets wait in."""
        return Backlog(self._max_backlog, *args, **kwargs)

    def send_packet(self, original: Any, sid: str, packet: engineio_packet.Packet) -> None:
        """Queue a packet for a client, unless too much waits for it, and do nothing else.

        python-engineio looks whether the client has been silent for too long and then calls the
        disconnect handlers right there; they are the application's, and may take their time. Its
        service task finds such clients as well.
        """
        session = self._eio.sockets.get(sid)
        if session is None or session.closing or session.closed:
            return
        waiting = session.queue
        if not isinstance(waiting, Backlog):  # a session that is older than this guard
            waiting.put(packet)
            return
        if not waiting.over:
            waiting.put(packet)
        if waiting.over and waiting.claim_end():
            logger.info("%s: does not read what it is sent", sid)
            if waiting.cut is not None:
                waiting.cut()
            end(self._eio, sid, self._eio.reason.TRANSPORT_ERROR, abort=True)

    def handle_request(self, original: Any, environ: Environ, start_response: StartResponse) -> Any:
        """Handle an HTTP request; what was posted only when it is whole, and packets."""
        if environ.get("REQUEST_METHOD") == "POST":
            body = self._read(environ)
            limit = engineio_payload.Payload.max_decode_packets
            if body is None or not _are_packets(body, limit):
                return self._refuse(environ, start_response)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        query = environ.get("QUERY_STRING", "")
        if "transport" not in parse_qs(query):  # python-engineio takes that for polling
            environ["QUERY_STRING"] = f"{query}&transport=none"
        try:
            return original(environ, start_response)
        except ConnectionError:
            # So python-engineio ends a WebSocket under Werkzeug, which then waits on the same
            # connection for another HTTP request: the client's closing frames, or nothing at all.
            with suppress(OSError, KeyError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise
        except KeyError:
            # So it finds out that the session has ended in this moment.
            if self._sid(environ) in self._eio.sockets:
                raise
            return self._refuse(environ, start_response)

    def _read(self, environ: Environ) -> bytes | None:
        """Read what was posted; None when it is too much, or not all that was announced."""
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            if not 0 <= length <= self._eio.max_http_buffer_size:
                return None
            body: bytes = environ["wsgi.input"].read(length)
        except (ValueError, OSError):
            return None
        return body if len(body) == length else None

    def _refuse(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """End the session: what got lost is sent again in the next one."""
        end(self._eio, self._sid(environ), self._eio.reason.TRANSPORT_ERROR)
        start_response("400 BAD REQUEST", [("Content-Type", "text/plain")])
        return [b"not a whole Engine.IO payload, or of no session"]

    def _sid(self, environ: Environ) -> str:
        """Return the session that a request is of."""
        sid: str = parse_qs(environ.get("QUERY_STRING", "")).get("sid", [""])[0]
        return sid


class Engine(engineio.Server):  # type: ignore[misc]
    """The Engine.IO server of our own Socket.IO servers on threads.

    :param max_backlog: bytes that may wait for one client, as on the hub. What the thread that
        writes to it has taken comes on top, so it is twice that at most.
    """

    def __init__(self, max_backlog: int = _LIMITS.max_backlog, **options: Any) -> None:
        super().__init__(**options)
        self._guard = Guard(self, max_backlog)

    def create_queue(self, *args: Any, **kwargs: Any) -> Backlog:
        """Make what a session's packets wait in."""
        return self._guard.create_queue(None, *args, **kwargs)

    def send_packet(self, sid: str, pkt: engineio_packet.Packet) -> None:
        """Send a packet to a client. Never blocks."""
        self._guard.send_packet(None, sid, pkt)

    def handle_request(self, environ: Environ, start_response: StartResponse) -> Any:
        """Handle an HTTP request.

        What a proxy forwards is believed only where ProxyFix has put it into the other keys, as on
        the hub; python-engineio believes anybody.
        """
        for name in ("HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST"):
            environ.pop(name, None)
        return self._guard.handle_request(super().handle_request, environ, start_response)


def install(eio: engineio.Server) -> None:
    """Guard the Engine.IO server of a Socket.IO server that exists already.

    In another mode than threading (gevent, say) it stays as it is.
    """
    if eio.async_mode != "threading":
        return
    guard = Guard(eio, _LIMITS.max_backlog)
    for name in ("create_queue", "send_packet", "handle_request"):
        setattr(eio, name, partial(getattr(guard, name), getattr(eio, name)))


def forget(eio: engineio.Server) -> None:
    """Know nobody, and start anew what looks after clients: in a forked child, without threads."""
    eio.sockets.clear()
    if eio.service_task_handle is not None:
        eio.service_task_handle = None
        eio.start_service_task = True


def end(eio: engineio.Server, sid: str, reason: str, *, abort: bool = False) -> None:
    """End a client's session; its disconnect handlers run in a thread that ends with them.

    python-engineio would wait for a client that polls until it has fetched all that is for it.

    :param abort: whether to leave out the goodbye.
    """
    session = eio.sockets.get(sid)
    if session is None:
        return

    def close() -> None:
        session.close(wait=False, abort=abort, reason=reason)
        eio.sockets.pop(sid, None)

    threading.Thread(target=close, name="backboneio-goodbye", daemon=True).start()
