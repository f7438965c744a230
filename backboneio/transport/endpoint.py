"""Serving HTTP requests: who may come in, and what each request means to its session."""

from __future__ import annotations

import json
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import handover, polling, websocket
from .http import CORS, Headers, Refused, bad_request, cookie_header, small_environ
from .polling import ParkedPoll, WaitingPoll
from .sending import Packet, frame_of
from .session import Session

if TYPE_CHECKING:
    from .server import Server

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Query = dict[str, list[str]]

_TEXT: Headers = [("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store")]


class Endpoint:
    """The WSGI side of a Server. Runs in the WSGI server's threads.

    _count_lock: protects _waiting, the number of polls that hold a WSGI thread.
    """

    def __init__(self, server: Server, cors: CORS) -> None:
        self._server = server
        self._cors = cors
        self._told: set[str] = set()
        self._waiting = 0
        self._count_lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request, as a WSGI application."""
        try:
            self._cors.check(environ)
            query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
            return self._route(environ, start_response, query)
        except Refused as refused:
            self._log_once(f"{environ.get('REQUEST_METHOD')} refused: {refused}", str(refused))
            headers = [*refused.headers, *self._cors.headers(environ)]
            return _answer(start_response, refused.status, headers, refused.body)

    def _route(
        self, environ: Environ, start_response: StartResponse, query: Query
    ) -> Iterable[bytes]:
        server = self._server
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return self._ok(environ, start_response)
        transport = query.get("transport", ["polling"])[0]
        if transport not in server.transports:
            raise bad_request("Invalid transport")
        if "j" in query:
            raise bad_request("JSONP is not supported")
        if "sid" not in query:
            if query.get("EIO") != ["4"]:
                raise bad_request(
                    "The client is using an unsupported version of the Socket.IO or "
                    "Engine.IO protocols"
                )
            if method != "GET":
                raise bad_request("Bad handshake method")
            return self._connect(environ, start_response, transport)
        session = server.sockets.get(query["sid"][0])
        if session is None or session.doomed:
            raise bad_request("Invalid session")
        if not session.connected:
            raise bad_request("Not connected")
        if session.upgraded:
            raise bad_request("Unexpected HTTP request")
        if method == "GET" and transport == "websocket":
            return self._upgrade(session, environ, start_response)
        if transport != "polling":
            raise bad_request("Invalid transport")
        if method == "GET":
            return self._poll(session, environ, start_response)
        if method == "POST":
            return self._post(session, environ, start_response)
        raise bad_request("Bad request method")

    # Connecting

    def _connect(
        self, environ: Environ, start_response: StartResponse, transport: str
    ) -> Iterable[bytes]:
        """Let a client in; this thread owns the session until it is open."""
        server = self._server
        sock = self._socket_for_websocket(environ) if transport == "websocket" else None
        stopping = Refused("503 Service Unavailable", "Shutting down", [("Retry-After", "1")])
        if server.stopping:
            raise stopping
        if len(server.sockets) >= server.limits.max_connections:
            raise Refused("503 Service Unavailable", "Too many connections", [("Retry-After", "5")])
        server.hub.start()
        session = Session(server, server.generate_id())
        session.owner.acquire()
        server.sockets[session.sid] = session
        if server.stopping:  # since then: shutdown() may not have seen the session
            del server.sockets[session.sid]
            raise stopping
        try:
            accepted = server.call_connect(session.sid, small_environ(environ, server.environ_keys))
            if accepted is not None and accepted is not True:
                raise Refused("401 Unauthorized", accepted or "Unauthorized")
            handshake = self._handshake(session, environ, transport)
            cookie = cookie_header(server.cookie, session.sid)
            if transport == "polling":
                body = self._open_polling(session, handshake)
                return self._reply(environ, start_response, body, cookie)
            return self._open_websocket(session, environ, start_response, sock, handshake, cookie)
        except BaseException as err:
            server.sockets.pop(session.sid, None)
            session.closing = session.closed = True
            if not isinstance(err, Refused) or not err.status.startswith("401"):
                server.call_disconnect(session.sid, server.reason.TRANSPORT_ERROR)
            raise

    def _handshake(self, session: Session, environ: Environ, transport: str) -> str:
        server = self._server
        upgrades = (
            transport == "polling"
            and server.allow_upgrades
            and "websocket" in server.transports
            and handover.find(environ) is not None
        )
        interval = server.ping_interval + server.ping_interval_grace_period
        return "0" + json.dumps(
            {
                "sid": session.sid,
                "upgrades": ["websocket"] if upgrades else [],
                "pingTimeout": int(server.ping_timeout * 1000),
                "pingInterval": int(interval * 1000),
                "maxPayload": server.max_http_buffer_size,
            },
            separators=(",", ":"),
        )

    def _open_polling(self, session: Session, handshake: str) -> bytes:
        hub = self._server.hub
        hub.outbox.flush()
        with hub.outbox.exclusive():
            packets = [handshake, *session.take()]
        session.connected = True
        session.start_timers()
        _let_go(session)
        return polling.encode_payload(packets)

    def _open_websocket(
        self,
        session: Session,
        environ: Environ,
        start_response: StartResponse,
        sock: Any,
        handshake: str,
        cookie: Headers,
    ) -> Iterable[bytes]:
        hub = self._server.hub
        fd, ahead, pair, ended = self._take(environ, sock)
        link = websocket.WebSocket(hub, fd, session)
        session.source = link
        session.connected = True
        link.reader.feed(ahead)
        head = websocket.response(environ, cookie) + frame_of(handshake)
        hub.outbox.call(session.carry, link, head)
        hub.outbox.flush()
        session.start_timers()
        hub.pool.queue(session)  # its first turn reads what came along with the request
        if pair is not None:
            ended = handover.relay(sock, pair)
        return self._gone(start_response, "101 Switching Protocols", ended)

    def _upgrade(
        self, session: Session, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Begin to go on with WebSocket; see Session._read_probe()."""
        server, hub = self._server, self._server.hub
        sock = self._socket_for_websocket(environ)
        if not server.allow_upgrades:
            raise bad_request("Upgrades are not allowed")
        with hub.outbox.exclusive():
            if session.probe is not None or session.upgraded or session.closing:
                raise bad_request("Session is upgrading already")
            fd, ahead, pair, ended = self._take(environ, sock)
            link = websocket.WebSocket(hub, fd, session)
            link.reader.feed(ahead)
            link.readable = True
            session.probe = link
            link.attach(websocket.response(environ, []))
        hub.timers.add(server.limits.upgrade_timeout, lambda: session.upgrade_timeout(link))
        hub.pool.schedule(session)
        if pair is not None:
            ended = handover.relay(sock, pair)
        return self._gone(start_response, "101 Switching Protocols", ended)

    def _socket_for_websocket(self, environ: Environ) -> Any:
        problem = websocket.refusal(environ)
        if problem is not None:
            headers = [("Sec-WebSocket-Version", "13")] if "version" in problem else []
            raise Refused("400 Bad Request", problem, headers)
        sock = handover.find(environ)
        if sock is None:
            self._log_once(
                "no WebSocket, clients go on with long-polling: the WSGI server keeps its sockets "
                f"to itself ({environ.get('SERVER_SOFTWARE', 'unknown')})",
                "no socket",
                level="warning",
            )
            raise bad_request("WebSocket is not available")
        return sock

    def _take(
        self, environ: Environ, sock: Any
    ) -> tuple[int, bytes, socket.socket | None, handover.Ended]:
        """Return (the hub's fd, bytes read ahead, our end of a relay's pair, the response body)."""
        try:
            if handover.takeable(sock):
                fd, ahead, ended = handover.take(environ, sock)
                return fd, ahead, None, ended
            self._log_once(
                "TLS ends in Python: each WebSocket keeps a WSGI thread (end TLS in a proxy)",
                "relay",
                level="warning",
            )
            ours, theirs = socket.socketpair()
            return theirs.detach(), b"", ours, handover.Ended()
        except OSError as err:
            raise Refused("503 Service Unavailable", "Too many open files") from err

    # Polling

    def _poll(
        self, session: Session, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a GET: at once when there is something to say, else when there is."""
        server, hub = self._server, self._server.hub
        sock = handover.find(environ)
        waiting: WaitingPoll | None = None
        ended: handover.Ended | None = None
        hub.outbox.flush()
        with hub.outbox.exclusive():
            if session.poll is not None:
                session.end(server.reason.TRANSPORT_ERROR, farewell=True)
                raise bad_request("Overlapping polls")
            packets = session.due()
            if not packets:
                if handover.takeable(sock):
                    ended = self._park(session, environ, sock)
                else:
                    session.poll = waiting = WaitingPoll()
        if ended is not None:
            return self._gone(start_response, "200 OK", ended)
        if waiting is not None:
            packets = self._wait(session, waiting)
        return self._reply(environ, start_response, polling.encode_payload(packets))

    def _park(self, session: Session, environ: Environ, sock: socket.socket) -> handover.Ended:
        """Move a poll's connection to the hub, which answers it."""
        hub = self._server.hub
        headers = [*_TEXT, *self._cors.headers(environ)]
        encoding = polling.choose_encoding(
            environ.get("HTTP_ACCEPT_ENCODING", ""), self._server.http_compression
        )
        try:
            fd, _ahead, ended = handover.take(environ, sock)
        except OSError as err:
            raise Refused("503 Service Unavailable", "Too many open files") from err
        poll = ParkedPoll(hub, fd, session, headers, encoding)
        session.poll = poll  # before it can be reported, once, that the client is gone
        hub.register(poll)
        return ended

    def _wait(self, session: Session, poll: WaitingPoll) -> list[Packet]:
        """Wait in this thread, for a bounded time: threads are few."""
        limits = self._server.limits
        with self._count_lock:
            self._waiting += 1
            patient = self._waiting <= limits.waiting_polls
        try:
            packets = poll.wait(limits.poll_wait if patient else limits.short_poll_wait)
        finally:
            with self._count_lock:
                self._waiting -= 1
        if packets is None:
            with self._server.hub.outbox.exclusive():
                if session.poll is poll:
                    session.poll = None
            packets = poll.wait(0) or ["6"]
        return packets

    def _post(
        self, session: Session, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Queue posted packets for the session's owner."""
        server, limits = self._server, self._server.limits
        try:
            packets = polling.decode_payload(self._body(environ), limits.max_packets)
        except Refused:
            session.end(server.reason.TRANSPORT_ERROR)
            raise
        except ValueError as err:
            session.end(server.reason.TRANSPORT_ERROR)
            message = "Invalid UTF-8" if isinstance(err, UnicodeError) else str(err)
            raise bad_request(message) from None
        if not session.accept(packets):
            session.end(server.reason.TRANSPORT_ERROR)
            raise Refused("429 Too Many Requests", "Too many messages are waiting")
        return self._ok(environ, start_response)

    def _body(self, environ: Environ) -> bytes:
        limit = self._server.limits.max_message
        try:
            length = int(environ.get("CONTENT_LENGTH") or -1)
        except ValueError:
            raise bad_request("Invalid Content-Length") from None
        if length < 0 and not environ.get("wsgi.input_terminated"):
            length = 0
        if length > limit:
            raise Refused("413 Content Too Large", "Payload too large")
        stream = environ["wsgi.input"]
        try:
            body = bytes(stream.read(length if length >= 0 else limit + 1))
        except OSError:
            raise bad_request("Incomplete body") from None
        if len(body) < length:
            raise bad_request("Incomplete body")
        if len(body) > limit:
            raise Refused("413 Content Too Large", "Payload too large")
        return body

    # Answers

    def _ok(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return _answer(start_response, "200 OK", [*_TEXT, *self._cors.headers(environ)], b"ok")

    def _reply(
        self,
        environ: Environ,
        start_response: StartResponse,
        body: bytes,
        headers: Headers | None = None,
    ) -> Iterable[bytes]:
        encoding = polling.choose_encoding(
            environ.get("HTTP_ACCEPT_ENCODING", ""), self._server.http_compression
        )
        body, extra = polling.compress(body, encoding)
        own = [*_TEXT, *(headers or []), *extra, *self._cors.headers(environ)]
        return _answer(start_response, "200 OK", own, body)

    def _gone(
        self, start_response: StartResponse, status: str, ended: handover.Ended
    ) -> Iterable[bytes]:
        """Let the WSGI server answer into the void; status is what its access log shows."""
        start_response(status, [] if status.startswith("101") else [("Content-Length", "0")])
        return ended

    def _log_once(self, message: str, key: str, level: str = "info") -> None:
        """Log a message at `level` the first time and at debug level from then on."""
        if key in self._told or len(self._told) > 100:
            level = "debug"
        self._told.add(key)
        getattr(self._server.logger, level)(message)


def _answer(
    start_response: StartResponse, status: str, headers: Headers, body: bytes
) -> Iterable[bytes]:
    start_response(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]


def _let_go(session: Session) -> None:
    """Give up ownership, and hand on what was asked for meanwhile."""
    session.owner.release()
    if session.again:
        session.server.hub.pool.schedule(session)
