"""Serving HTTP requests: who may come in, and what each request means to its connection."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from . import handover, handshake, payload
from .connection import Connection
from .frames import CloseCode
from .http import CORS, Environs, Refused, bad_request, cookie_header, read_query, refused_origin
from .longpolling import LongPolling
from .neighbours import Neighbours
from .newcomers import NoRoom
from .replies import Replies
from .service import Service
from .session import Reason, State, frame_of
from .websocket import WebSocket

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_WEBSOCKET = '["websocket"]'


@dataclasses.dataclass(frozen=True)
class Options:
    """What clients are offered."""

    transports: list[str]
    allow_upgrades: bool
    http_compression: bool
    cookie: str | Mapping[str, Any] | None
    environ_keys: tuple[str, ...]
    ping_interval: float
    ping_timeout: float
    max_payload: int


class Endpoint:
    """The WSGI side of a Server. Runs in the WSGI server's threads.

    :param new_id: makes session ids.
    """

    def __init__(
        self, service: Service[Connection], options: Options, cors: CORS, new_id: Callable[[], str]
    ) -> None:
        self._service = service
        self._hub = service.hub
        self._limits = service.limits
        self._options = options
        self._cors = cors
        self._new_id = new_id
        self.neighbours = Neighbours(
            self,
            service.limits.max_message,
            partial(self._log_once, key="neighbours", level="warning"),
        )
        self._environs = Environs(options.environ_keys, service.limits.max_environ)
        self._told: set[str] = set()
        self._replies = Replies(cors, options.http_compression)
        self._polling = LongPolling(service, self._replies)
        self._may_upgrade = options.allow_upgrades and "websocket" in options.transports
        #: the same in every open packet
        self._offer = (
            f'"pingTimeout":{int(options.ping_timeout * 1000)},'
            f'"pingInterval":{int(options.ping_interval * 1000)},'
            f'"maxPayload":{options.max_payload}'
        )

    def after_fork(self) -> None:
        """In a forked child: other threads' requests are the parent's."""
        self._polling.after_fork()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request, as a WSGI application."""
        try:
            self._check_origin(environ)
            query = read_query(environ.get("QUERY_STRING", ""))
            return self._route(environ, start_response, query)
        except Refused as refused:
            self._log_once(f"{environ.get('REQUEST_METHOD')} refused: {refused}", str(refused))
            return self._replies.refuse(refused, environ, start_response)

    def _check_origin(self, environ: Environ) -> None:
        if self._cors.refuses(environ):
            preflight = environ["REQUEST_METHOD"] == "OPTIONS"  # what it is for says more
            self._log_once(
                refused_origin(environ["HTTP_ORIGIN"], self._cors.accepted(environ)),
                "preflight" if preflight else "origin",
                level="info" if preflight else "warning",
            )
            raise bad_request("Not an accepted origin.")

    def _route(
        self, environ: Environ, start_response: StartResponse, query: dict[str, str]
    ) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return self._replies.ok(environ, start_response)
        transport = query.get("transport")
        if transport not in self._options.transports:
            raise bad_request("Invalid transport")
        if "j" in query:
            raise bad_request("JSONP is not supported")
        if "sid" not in query:
            if query.get("EIO") != "4":
                raise bad_request(
                    "The client is using an unsupported version of the Socket.IO or "
                    "Engine.IO protocols"
                )
            if method != "GET":
                raise bad_request("Bad handshake method")
            return self._connect(environ, start_response, transport)
        connection = self._service.connections.get(query["sid"])
        if connection is None and environ.get("wsgi.multiprocess"):
            response = self._hand_on(query["sid"], environ, start_response)
            if response is not None:
                return response
        if connection is None or connection.ending:
            raise bad_request("Invalid session")
        problem = connection.session.refusal()
        if problem is not None and not (transport == "websocket" and connection.upgraded):
            raise bad_request(problem)
        if not connection.session.greeted:
            self._service.newcomers.came_back(connection)
        if method == "GET" and transport == "websocket":
            return self._upgrade(connection, environ, start_response)
        if transport != "polling":
            raise bad_request("Invalid transport")
        if method == "GET":
            return self._polling.get(connection, environ, start_response)
        if method == "POST":
            return self._polling.post(connection, environ, start_response)
        raise bad_request("Bad request method")

    def _hand_on(
        self, sid: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """Let the process answer that has a session; None when there is none."""
        sock = handover.find(environ)
        neighbour = self.neighbours.reach(sid, environ) if handover.takeable(sock) else None
        if sock is None or neighbour is None:
            return None
        with neighbour:
            body = self._polling.body(environ) if environ["REQUEST_METHOD"] == "POST" else b""
            try:
                fd, ahead, ended = handover.take(sock)
            except OSError as err:
                raise Refused("503 Service Unavailable", "Too many open files") from err
            try:
                self.neighbours.hand_on(neighbour, environ, body, fd, ahead)
            except OSError as err:  # the client sees its connection end, and comes back
                self._log_once(f"a request could not be handed on: {err}", "hand on")
            finally:
                os.close(fd)
        return ended.respond(start_response, "200 OK")

    # Connecting

    def _connect(
        self, environ: Environ, start_response: StartResponse, transport: str
    ) -> Iterable[bytes]:
        """Let a client in; this thread owns the connection until it is open.

        What fails then, as a ``start_response`` of the application's middleware, ends it like any
        other, in a slice of its own: it may be in one.
        """
        service = self._service
        small = self._environs.small(environ)
        sock = self._socket_for_websocket(environ) if transport == "websocket" else None
        connection = self._enter(environ, transport)
        sid = connection.sid
        told = False
        try:
            accepted = service.connect(sid, small)
            if accepted is not None and accepted is not True:
                raise Refused("401 Unauthorized", accepted or "Unauthorized")
            told = True
            packet = frame_of(self._open_packet(sid, environ, transport))
            cookie = cookie_header(self._options.cookie, sid)
            if transport == "polling":
                body = self._open_polling(connection, packet)
                return self._replies.poll(environ, start_response, body, cookie)
            head = handshake.response(environ, cookie) + packet
            return self._open_websocket(connection, environ, start_response, sock, head)
        except BaseException:
            if connection.session.state is not State.CONNECTING:
                connection.end(Reason.TRANSPORT_ERROR, CloseCode.INTERNAL_ERROR)
                raise
            connection.refuse()
            if told:
                service.disconnected(sid, Reason.TRANSPORT_ERROR)
            raise

    def _enter(self, environ: Environ, transport: str) -> Connection:
        """Make a connection, if there is room for it; owned by this thread."""
        service, connections = self._service, self._service.connections
        if service.stopping:
            raise _stopping()
        connection = Connection(service, self._begin(environ, transport))
        connection.owner.acquire()
        try:
            gone = service.newcomers.enter(
                connection,
                environ.get("REMOTE_ADDR", ""),
                comes_back=transport == "polling",
                full=len(connections) >= self._limits.max_connections,
            )
        except NoRoom:
            raise Refused(
                "503 Service Unavailable", "Too many connections", [("Retry-After", "5")]
            ) from None
        if isinstance(gone, Connection):
            gone.end(Reason.TRANSPORT_ERROR)
        connections[connection.sid] = connection
        if service.stopping:  # since then: shutdown() may not have seen the connection
            connection.refuse()
            raise _stopping()
        return connection

    def _begin(self, environ: Environ, transport: str) -> str:
        """Start what serves clients, unless that is done; return an id for a new one."""
        sid = self._new_id()
        try:
            self._hub.start()
            if transport == "polling" and environ.get("wsgi.multiprocess"):
                sid = self.neighbours.sign(sid)
        except OSError as err:
            raise Refused("503 Service Unavailable", "Too many open files") from err
        except RuntimeError as err:
            self._service.logger.warning("cannot start another thread: %s", err)
            headers = [("Retry-After", "5")]
            raise Refused("503 Service Unavailable", "Too many threads", headers) from err
        return sid

    def _open_packet(self, sid: str, environ: Environ, transport: str) -> str:
        upgrades = self._may_upgrade and transport == "polling"
        if upgrades and self._find_for_websocket(environ) is None:
            upgrades = False
        return f'0{{"sid":"{sid}","upgrades":{_WEBSOCKET if upgrades else "[]"},{self._offer}}}'

    def _open_polling(self, connection: Connection, packet: bytes) -> bytes:
        self._hub.flush()
        frames: list[bytes] = self._hub.run(connection.due)
        connection.open()
        try:
            connection.begin()
        finally:
            connection.let_go()
        return payload.encode_payload([packet, *frames])

    def _open_websocket(
        self,
        connection: Connection,
        environ: Environ,
        start_response: StartResponse,
        sock: Any,
        head: bytes,
    ) -> Iterable[bytes]:
        hub = self._hub
        fd, ahead, pair, ended = self._take(environ, sock)
        link = WebSocket(hub, fd, connection, ahead)
        connection.open(link)
        try:
            hub.run(connection.carry, link, head)
            connection.begin()
            if ahead:
                connection.look()
        finally:
            connection.let_go()
        if pair is not None:
            ended = handover.relay(sock, pair)
        return ended.respond(start_response, "101 Switching Protocols")

    def _upgrade(
        self, connection: Connection, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Begin to go on with WebSocket; see Connection._on_probe()."""
        sock = self._socket_for_websocket(environ)
        if not self._options.allow_upgrades:
            raise bad_request("Upgrades are not allowed")
        ended: handover.Ended
        pair, ended = self._hub.run(self._take_probe, connection, environ, sock)
        connection.look()
        if pair is not None:
            ended = handover.relay(sock, pair)
        return ended.respond(start_response, "101 Switching Protocols")

    def _take_probe(
        self, connection: Connection, environ: Environ, sock: Any
    ) -> tuple[socket.socket | None, handover.Ended]:
        late = connection.probe is not None or connection.upgraded or connection.closing
        fd, ahead, pair, ended = self._take(environ, sock)
        link = WebSocket(self._hub, fd, connection, ahead)
        head = handshake.response(environ, [])
        if late:  # as Node's server does it: the session stays with what carries it
            link.attach(head)
            link.leave(CloseCode.NORMAL_CLOSURE)
        else:
            connection.begin_upgrade(link, head)
        return pair, ended

    def _socket_for_websocket(self, environ: Environ) -> handover.ClientSocket:
        problem = handshake.refusal(environ)
        if problem is not None:
            headers = [("Sec-WebSocket-Version", "13")] if "version" in problem else []
            raise Refused("400 Bad Request", problem, headers)
        sock = self._find_for_websocket(environ)
        if sock is None:
            raise bad_request("WebSocket is not available")
        return sock

    def _find_for_websocket(self, environ: Environ) -> handover.ClientSocket | None:
        """Return the connection; None, and say why once, when the WSGI server keeps it."""
        try:
            return handover.find_for_websocket(environ)
        except handover.Kept as kept:
            message = f"no WebSocket, clients go on with long-polling: {kept}"
            self._log_once(message, "no socket", level="warning")
            return None

    def _take(
        self, environ: Environ, sock: Any
    ) -> tuple[int, bytes, socket.socket | None, handover.Ended]:
        """Return (the hub's fd, bytes read ahead, our end of a relay's pair, the response body)."""
        try:
            if handover.takeable(sock):
                fd, ahead, ended = handover.take(sock)
                return fd, ahead, None, ended
            self._log_once(
                "TLS ends in Python: each WebSocket keeps a WSGI thread (end TLS in a proxy)",
                "relay",
                level="warning",
            )
            ours, theirs = socket.socketpair()
            return theirs.detach(), b"", ours, handover.Ended(sock)
        except OSError as err:
            raise Refused("503 Service Unavailable", "Too many open files") from err

    def _log_once(self, message: str, key: str, level: str = "info") -> None:
        """Log a message at `level` the first time and at debug level from then on."""
        if key in self._told or len(self._told) > 100:
            level = "debug"
        self._told.add(key)
        getattr(self._service.logger, level)(message)


def _stopping() -> Refused:
    return Refused("503 Service Unavailable", "Shutting down", [("Retry-After", "1")])
