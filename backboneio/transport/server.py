"""The Engine.IO v4 server that python-socketio is given in place of ``engineio.Server``."""

from __future__ import annotations

import atexit
import contextlib
import inspect
import json
import logging
import queue
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .. import forks
from ..options import refuse_unknown
from . import handover
from .connection import Connection
from .endpoint import Endpoint, Options
from .frames import TEXT, CloseCode, server_frame
from .http import CORS, Headers, Origins
from .hub import Hub, why_not
from .limits import LIMIT_OPTIONS, TransportLimits
from .parking import Parked
from .service import Service
from .session import Reason, State, frame_of

Environ = dict[str, Any]
#: Seconds at shutdown for clients to close their side.
_LAST_WORDS = 0.5

StartResponse = Callable[..., Any]
Handler = Callable[..., Any]


class Server:
    """An Engine.IO server whose clients cost memory, not threads.

    :param ping_interval: seconds between a client's answer and the next ping, or a tuple with
        seconds of grace that only the client is told of.
    :param ping_timeout: seconds for the client to answer a ping.
    :param max_http_buffer_size: bytes of one message and of one polling request's body.
    :param allow_upgrades: whether a client that polls may go on with WebSocket.
    :param http_compression: compress answers to polls of 1 KB and more.
    :param cookie: name, or dictionary of attributes with a name, of a cookie with the session id.
    :param cors_allowed_origins: see :class:`backboneio.transport.http.CORS`; None is same-origin.
    :param cors_credentials: whether pages of other origins may send cookies.
    :param transports: "websocket", "polling" or a list of both.
    :param logger: a logger, True to log all (level INFO) or False for errors only.
    :param environ_keys: keys of the WSGI environ to keep for handlers, besides the CGI variables.
    :param limits: a :class:`~backboneio.transport.TransportLimits`; or its fields as keyword
        arguments: ``max_backlog=...``, ``max_connections=...``, ``threads=...``, ...

    Other options of ``engineio.Server`` are accepted and have no effect: messages of one client are
    always handled one after the other (``async_handlers``), in threads (``async_mode``).

    :raises ValueError: for an unknown option or value.
    :raises RuntimeError: when this process cannot have a hub; :func:`why_not` tells beforehand.
    """

    reason = Reason
    event_names = ("connect", "disconnect", "message")
    valid_transports = ("polling", "websocket")
    async_mode = "threading"

    def __init__(
        self,
        *,
        ping_interval: float | tuple[float, float] = 25,
        ping_timeout: float = 20,
        max_http_buffer_size: int = 1_000_000,
        allow_upgrades: bool = True,
        http_compression: bool = True,
        cookie: str | Mapping[str, Any] | None = None,
        cors_allowed_origins: Origins = None,
        cors_credentials: bool = True,
        transports: str | Iterable[str] | None = None,
        logger: logging.Logger | bool = False,
        environ_keys: Iterable[str] = (),
        limits: TransportLimits | None = None,
        async_mode: str | None = None,
        async_handlers: bool = False,
        json: Any = None,
        monitor_clients: bool | None = None,
        compression_threshold: int | None = None,
        **options: Any,
    ) -> None:
        _check_mode(async_mode)
        self.ping_interval, grace = (
            ping_interval if isinstance(ping_interval, tuple) else (ping_interval, 0)
        )
        self.ping_interval_grace_period = grace
        self.ping_timeout = ping_timeout
        self.max_http_buffer_size = max_http_buffer_size
        self.allow_upgrades = allow_upgrades
        self.http_compression = http_compression
        self.cookie = cookie
        self.cors_allowed_origins = cors_allowed_origins
        self.transports = _transports(transports, self.valid_transports)
        self.environ_keys = tuple(environ_keys)
        self.limits = _limits(limits, max_http_buffer_size, options)
        self.logger = _logger(logger)
        self.handlers: dict[str, Handler] = {}
        self.hub = Hub(self.limits)
        self._service: Service[Connection] = Service(
            self.hub, self.limits, self.handlers, self.logger, self.ping_interval, ping_timeout
        )
        self.sockets = self._service.connections
        offer = Options(
            self.transports,
            allow_upgrades,
            http_compression,
            cookie,
            self.environ_keys,
            self.ping_interval + grace,
            ping_timeout,
            max_http_buffer_size,
        )
        cors = CORS(cors_allowed_origins, cors_credentials)
        self._endpoint = Endpoint(self._service, offer, cors, lambda: self.generate_id())
        forks.register(self)
        _servers.add(self)

    # What python-socketio asks of its Engine.IO server

    def on(self, event: str, handler: Handler | None = None) -> Any:
        """Register the handler of 'connect' (sid, environ), 'message' (sid, data) or 'disconnect'
        (sid, reason); without a handler, a decorator.

        Handlers of one client run one at a time and in order; 'disconnect' once, after all others.
        A connect handler refuses a client by returning something else than None and True.
        """
        if event not in self.event_names:
            raise ValueError("Invalid event")

        def register(handler: Handler) -> Handler:
            self.handlers[event] = handler
            return handler

        return register if handler is None else register(handler)

    def send(self, sid: str, data: Any) -> None:
        """Send a message (str, bytes, or a list or dict as JSON) to one client. Never blocks."""
        if isinstance(data, str):
            packet: str | bytes = "4" + data
        elif isinstance(data, (bytes, bytearray)):
            packet = bytes(data)
        elif isinstance(data, (list, dict)):
            packet = "4" + json.dumps(data, separators=(",", ":"))
        else:
            packet = "4" if data is None else f"4{data}"
        self._send(sid, packet)

    def send_packet(self, sid: str, pkt: Any) -> None:
        """Send an ``engineio.packet.Packet`` to one client."""
        self._send(sid, pkt.encode())

    def _send(self, sid: str, packet: str | bytes) -> None:
        connection = self.sockets.get(sid)
        if connection is None or connection.closing:
            self.logger.info("Cannot send to sid %s", sid)
            return
        self.hub.send((connection,), frame_of(packet))

    def send_many(self, sids: Iterable[str], data: str) -> None:
        """Send one text message to many clients, encoded once.

        Never blocks and may be called by any thread. For each client, messages arrive in the order
        of the calls to this method and :meth:`send`. Unknown sids are passed over.
        """
        sockets = self.sockets
        connections = list(filter(None, map(sockets.get, sids)))
        if connections:
            self.hub.send(connections, server_frame(TEXT, b"4" + data.encode("utf-8")))

    def disconnect(self, sid: str | None = None) -> None:
        """Disconnect a client (or all); its disconnect handler runs soon, in the pool."""
        for client in list(self.sockets.values()) if sid is None else [self.sockets.get(sid)]:
            if client is not None:
                client.end(Reason.SERVER_DISCONNECT, CloseCode.NORMAL_CLOSURE, farewell=True)

    def transport(self, sid: str) -> str:
        """Return "websocket" or "polling"; KeyError for an unknown client."""
        return "websocket" if self._get_connection(sid).upgraded else "polling"

    def get_session(self, sid: str) -> dict[str, Any]:
        """Return the dictionary that the application keeps for a client."""
        connection = self._get_connection(sid)
        if connection.data is None:
            connection.data = {}
        return connection.data

    def save_session(self, sid: str, session: dict[str, Any]) -> None:
        """Replace the dictionary of a client."""
        self._get_connection(sid).data = session

    @contextlib.contextmanager
    def session(self, sid: str) -> Iterator[dict[str, Any]]:
        """The dictionary of a client, saved at the end of the with block."""
        session = self.get_session(sid)
        try:
            yield session
        finally:
            self.save_session(sid, session)

    def generate_id(self) -> str:
        """Make an id that nobody can guess."""
        return secrets.token_urlsafe(15)

    def start_background_task(
        self, target: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> threading.Thread:
        """Run a function in a daemon thread of its own, and return the thread."""
        thread = threading.Thread(
            target=target, args=args, kwargs=kwargs, name="backboneio-task", daemon=True
        )
        thread.start()
        return thread

    def sleep(self, seconds: float = 0) -> None:
        """Sleep, as ``time.sleep`` does."""
        time.sleep(seconds)

    def create_queue(self, *args: Any, **kwargs: Any) -> queue.Queue[Any]:
        """Make a ``queue.Queue``."""
        return queue.Queue(*args, **kwargs)

    def get_queue_empty_exception(self) -> type[Exception]:
        """What ``get()`` of such a queue raises."""
        return queue.Empty

    def create_event(self, *args: Any, **kwargs: Any) -> threading.Event:
        """Make a ``threading.Event``."""
        return threading.Event(*args, **kwargs)

    def is_asyncio_based(self) -> bool:
        """No."""
        return False

    def _get_connection(self, sid: str) -> Connection:
        connection = self.sockets.get(sid)
        if connection is None or connection.session.state is State.CLOSED:
            raise KeyError("Session not found")
        return connection

    def _ok(
        self, packets: Any = None, headers: Headers | None = None, jsonp_index: Any = None
    ) -> Any:
        """There for python-socketio's admin instrumentation, which wraps it; not used."""

    # Extras

    def stats(self) -> dict[str, Any]:
        """Return figures of this process; cheap enough to ask each second.

        connections, websockets, polling: clients now; newcomers: those of them that have said
        nothing yet. threads, threads_busy, threads_limit: of the pool. queue_in: clients that wait
        for a thread; queue_out: messages that wait for the writer. backlog: bytes that wait for
        clients; inbox: bytes that clients have sent and that wait for their end, or to be handled
        (parts of messages below 64 KiB do not count); longest_backlog
        and longest_inbox: the most of one client (with what has come of a message). Since the
        start: bytes_in, bytes_out, messages_in, deliveries (packets sent, once per client) and
        drops (clients disconnected because they did not read).
        """
        connections = list(self.sockets.values())
        websockets = sum(1 for c in connections if c.upgraded)
        figures = self.hub.stats()
        figures.update(
            connections=len(connections),
            websockets=websockets,
            polling=len(connections) - websockets,
            newcomers=len(self._service.newcomers),
            inbox=self._service.posted,
            longest_backlog=max((c.backlog for c in connections), default=0),
            longest_inbox=max((c.unhandled for c in connections), default=0),
        )
        return figures

    def park(self, sid: str) -> Parked:
        """Handle no more input of a client until `resume` is called on what this returns.

        To be called by a message handler (or by a function that was resumed) of that client, which
        then returns: a client waits without a thread. What it sends meanwhile stays where it is (in
        the kernel; what was posted, in the bounded inbox). Messages to it, heartbeats and its
        disconnection go on.

        :raises KeyError: for an unknown client.
        :raises RuntimeError: when it is parked.
        """
        return self._get_connection(sid).park()

    def shutdown(self) -> None:
        """Say goodbye to all clients, who may come back (close code 1001), and stop.

        Waits `shutdown_timeout` at most for running handlers and for what is still to be sent.
        Called at process exit, too.
        """
        self._service.stopping = True
        self._endpoint.neighbours.close()
        hub = self.hub
        if not hub.started:
            return
        for client in list(self.sockets.values()):
            client.end(Reason.SERVER_DISCONNECT, CloseCode.GOING_AWAY)
        now = time.monotonic()
        deadline = now + self.limits.shutdown_timeout
        while now < deadline and (self.sockets or not hub.idle):
            hub.flush()
            time.sleep(0.01)
            now = time.monotonic()
        # All has been said. Clients that answer our close at once are not cut off.
        deadline = min(deadline, now + _LAST_WORDS)
        while hub.links and time.monotonic() < deadline:
            time.sleep(0.01)
        hub.stop()

    def after_fork(self) -> None:
        """In a forked child: the parent's clients stay the parent's."""
        self._service.after_fork()
        self._endpoint.after_fork()

    def handle_request(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request; a WSGI application."""
        return self._endpoint(environ, handover.truthful(environ, start_response))


def _check_mode(async_mode: str | None) -> None:
    """Refuse to serve where a hub cannot, and as it cannot."""
    problem = why_not()
    if problem is not None:
        raise RuntimeError(problem)
    if async_mode not in (None, "threading"):
        raise ValueError("Invalid async_mode specified")


def _transports(wanted: str | Iterable[str] | None, valid: Iterable[str]) -> list[str]:
    if wanted is None:
        return list(valid)
    chosen = [t for t in ([wanted] if isinstance(wanted, str) else wanted) if t in valid]
    if not chosen:
        raise ValueError("No valid transports provided")
    return chosen


def _limits(
    limits: TransportLimits | None, max_message: int, options: dict[str, Any]
) -> TransportLimits:
    """Return the limits that are given as such, or one by one as options."""
    known = inspect.signature(Server).parameters
    refuse_unknown(options, LIMIT_OPTIONS | known.keys() - {"options"})
    if limits is not None and options:
        raise ValueError(f"give {', '.join(options)} within the limits, not beside them")
    return limits or TransportLimits(max_message=max_message, **options)


def _logger(option: logging.Logger | bool) -> logging.Logger:
    if not isinstance(option, bool):
        return option
    logger = logging.getLogger("backboneio.transport")
    if option:
        logger.setLevel(logging.INFO)
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler())
    return logger


def _shutdown_all() -> None:
    for server in list(_servers):
        server.shutdown()


_servers: weakref.WeakSet[Server] = weakref.WeakSet()
atexit.register(_shutdown_all)
