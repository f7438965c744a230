"""python-engineio's threads: a client costs what it may cost, and its mistakes are its own.

Used where the hub cannot serve, where ``transport="threads"`` asks for it, and for servers that
exist already.
"""

from __future__ import annotations

import io
import logging
import signal
import socket
import threading
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import engineio
from engineio import packet as engineio_packet
from engineio import payload as engineio_payload

from ..deadlines import deadlines
from ..transport import TransportLimits
from ..transport.http import Environs, Refused, refused_origin
from ..transport.newcomers import Newcomers, NoRoom
from .sessions import (
    BoundedQueue,
    BoundedSocket,
    Environ,
    Sessions,
    StartResponse,
    end,
    handle_connect,
)
from .websockets import BoundedWebSocket, is_packet

logger = logging.getLogger("backboneio.socketio")

_LIMITS = TransportLimits()

#: The limits that are kept here; the others are the hub's alone. (``max_message`` has its own name
#: here, ``max_http_buffer_size``.)
KEPT = frozenset(
    {
        "max_backlog",
        "max_connections",
        "max_environ",
        "max_inbox_messages",
        "max_inbox_packets",
        "max_newcomers",
        "max_newcomers_per_address",
        "max_packets",
        "max_total_inbox",  # of attachments
        "handshake_timeout",
        "upgrade_timeout",
    }
)


def _are_packets(body: bytes, limit: int) -> bool:
    """Whether all that was posted is Engine.IO packets that a client may post."""
    try:
        packets = body.decode().split("\x1e")
    except UnicodeDecodeError:
        return False
    return len(packets) <= limit and all(is_packet(packet, "1345b") for packet in packets)


#: Seconds after which it is looked whether the WSGI server is about to end.
_GLANCE = 0.5


class EngineGuard:
    """What is done otherwise than in ``engineio.Server``, for a server in threading mode."""

    def __init__(self, eio: engineio.Server, limits: TransportLimits) -> None:
        self._eio = eio
        self.limits = limits
        self._newcomers = Newcomers(limits)
        self._environs = Environs((), limits.max_environ)
        self._request = threading.local()  # its `environ`, on the thread that handles it
        self._watching = threading.Lock()  # taken while the server's end is looked for
        self._has_warned = False
        # python-engineio drops a polling client's message of more than 16 packets and says "OK". A
        # page that was offline sends all its requests at once.
        polled = engineio_payload.Payload
        polled.max_decode_packets = max(polled.max_decode_packets, limits.max_packets)
        eio._async = {**eio._async, "websocket": BoundedWebSocket}
        eio.sockets = Sessions(self._begin)

    def after_fork(self) -> None:
        """Know nobody, and start anew what looks after clients: in a child, without threads."""
        self._newcomers.after_fork()
        self._watching = threading.Lock()
        self._eio.sockets = Sessions(self._begin)
        if self._eio.service_task_handle is not None:
            self._eio.service_task_handle = None
            self._eio.start_service_task = True

    def _begin(self, session: BoundedSocket) -> None:
        """Let a client in, if there is room for it."""
        environ = self._request.environ
        eio = self._eio
        gone = self._newcomers.enter(
            session.sid,
            environ.get("REMOTE_ADDR", ""),
            comes_back="HTTP_UPGRADE" not in environ,
            full=len(eio.sockets) >= self.limits.max_connections,
        )
        if gone is not None:
            end(eio, str(gone), eio.reason.TRANSPORT_ERROR, abort=True)
        session.begin(self.limits, self._newcomers)
        if self._watching.acquire(blocking=False):
            deadlines.after(_GLANCE, self._glance)

    def _glance(self) -> None:
        """End the clients when the WSGI server ends: it would wait for them, for half a minute."""
        if _is_ending():
            for sid in list(self._eio.sockets):
                end(self._eio, sid, self._eio.reason.SERVER_DISCONNECT)
        if self._eio.sockets:
            deadlines.after(_GLANCE, self._glance)
            return
        self._watching.release()
        if self._eio.sockets and self._watching.acquire(blocking=False):  # one came since
            deadlines.after(_GLANCE, self._glance)

    def create_queue(self, original: Any, *args: Any, **kwargs: Any) -> BoundedQueue:
        """Make what a session's packets wait in."""
        return BoundedQueue(self.limits.max_backlog, *args, **kwargs)

    def send_packet(self, original: Any, sid: str, packet: engineio_packet.Packet) -> None:
        """Queue a packet for a client, unless too much waits for it, and do nothing else.

        python-engineio looks whether the client has been silent for too long and then calls the
        disconnect handlers right there; they are the application's, and may take their time. A
        :class:`BoundedSocket` has deadlines for that.
        """
        session = self._eio.sockets.get(sid)
        if session is None or session.closing or session.closed:
            return
        waiting = session.queue
        if not isinstance(waiting, BoundedQueue):  # a session that is older than this guard
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
        method, query = environ.get("REQUEST_METHOD"), environ.get("QUERY_STRING", "")
        self._request.environ = environ
        try:
            session = self._eio.sockets.get(self._sid(environ))
            if isinstance(session, BoundedSocket) and session.upgraded and method != "OPTIONS":
                if method == "GET" and "HTTP_UPGRADE" in environ:
                    return session.turn_away(environ, start_response)
                return _answer(start_response, "400 BAD REQUEST", "Unexpected HTTP request")
            if method == "POST":
                return self._post(original, environ, start_response)
            if method not in ("GET", "OPTIONS"):
                return _answer(start_response, "400 BAD REQUEST", "Bad request method")
            if not self._has_warned:
                self._look_at_origin(environ)
            if "transport" not in parse_qs(query):  # python-engineio takes that for polling
                environ["QUERY_STRING"] = f"{query}&transport=none"
            if session is None:
                self._environs.small(environ)
            return original(environ, start_response)
        except ConnectionError:
            # So python-engineio ends a WebSocket under Werkzeug, which then waits on the same
            # connection for another HTTP request: the client's closing frames, or nothing at all.
            with suppress(OSError, KeyError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise
        except NoRoom:
            return _answer(start_response, "503 SERVICE UNAVAILABLE", "Too many connections")
        except Refused as err:
            return _answer(start_response, err.status, str(err))
        except KeyError:
            # So it finds out that the session has ended in this moment.
            if self._sid(environ) in self._eio.sockets:
                raise
            return self._refuse(environ, start_response)
        finally:
            del self._request.environ

    def _look_at_origin(self, environ: Environ) -> None:
        """Say once what is accepted, when another one is about to be refused."""
        origin, chosen = environ.get("HTTP_ORIGIN"), self._eio.cors_allowed_origins
        if not origin or chosen == [] or environ.get("REQUEST_METHOD") == "OPTIONS":
            return
        accepted = self._eio._cors_allowed_origins(environ)
        if accepted is not None and origin not in accepted:
            self._has_warned = True
            logger.warning("%s", refused_origin(origin, accepted))

    def _post(self, original: Any, environ: Environ, start_response: StartResponse) -> Any:
        body = self._read(environ)
        if body is None or not _are_packets(body, self.limits.max_packets):
            return self._refuse(environ, start_response)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        result = original(environ, start_response)
        return [b"ok"] if result == [b"OK"] else result  # as Node's server has it

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
        problem = "not a whole Engine.IO payload, or of no session"
        return _answer(start_response, "400 BAD REQUEST", problem)

    def _sid(self, environ: Environ) -> str:
        """Return the session that a request is of."""
        sid: str = parse_qs(environ.get("QUERY_STRING", "")).get("sid", [""])[0]
        return sid


def _answer(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain")])
    return [text.encode()]


def _is_ending() -> bool:
    """Whether gunicorn's worker is about to end: its handlers of signals are its own methods."""
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(worker, "alive", True) is False


class Engine(engineio.Server):  # type: ignore[misc]
    """The Engine.IO server of our own Socket.IO servers on threads.

    :param limits: what clients may cost, as on the hub, as far as threads can keep to it. What the
        thread that writes to a client has taken comes on top of ``max_backlog``.
    """

    def __init__(self, limits: TransportLimits = _LIMITS, **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits
        self.guard = EngineGuard(self, limits)

    def create_queue(self, *args: Any, **kwargs: Any) -> BoundedQueue:
        """Make what a session's packets wait in."""
        return self.guard.create_queue(None, *args, **kwargs)

    def send_packet(self, sid: str, pkt: engineio_packet.Packet) -> None:
        """Send a packet to a client. Never blocks."""
        self.guard.send_packet(None, sid, pkt)

    def handle_request(self, environ: Environ, start_response: StartResponse) -> Any:
        """Handle an HTTP request.

        What a proxy forwards is believed only where ProxyFix has put it into the other keys, as on
        the hub; python-engineio believes anybody.
        """
        for name in ("HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST"):
            environ.pop(name, None)
        return self.guard.handle_request(super().handle_request, environ, start_response)

    _handle_connect = handle_connect


def install(eio: engineio.Server) -> None:
    """Guard the Engine.IO server of a Socket.IO server that exists already.

    In another mode than threading (gevent, say) it stays as it is.
    """
    if eio.async_mode != "threading":
        return
    eio.guard = guard = EngineGuard(eio, _LIMITS)
    for name in ("create_queue", "send_packet", "handle_request"):
        setattr(eio, name, partial(getattr(guard, name), getattr(eio, name)))
    eio._handle_connect = partial(handle_connect, eio)
