"""Clients on python-engineio's threads: what their sessions do otherwise than there."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FunctionType, SimpleNamespace
from typing import Any

import engineio
from engineio import exceptions
from engineio import packet as engineio_packet

from ..deadlines import Deadline, deadlines
from ..transport import TransportLimits
from ..transport.newcomers import Newcomers

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

#: Seconds for which a poll that comes amid an upgrade is held: its client's "5" may be on the way.
_HOLD = 0.05

#: Seconds until it is tried again to end a client for which there was no thread.
_AGAIN = 1.0

_NOOP = engineio_packet.NOOP


class BoundedQueue(queue.Queue[Any]):
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
        #: whether a poll is there to take what comes
        self.polled = False
        #: cuts the connection, where a WebSocket carries the session
        self.cut: Callable[[], None] | None = None

    def _put(self, item: Any) -> None:
        if not self.polled and getattr(item, "packet_type", None) == _NOOP:
            return  # it ends a poll; a WebSocket that takes over is not to be sent it
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

    def end_poll(self) -> None:
        """The poll takes nothing: it came too late."""
        with self.mutex:
            self.polled = False
            rest = [item for item in self.queue if getattr(item, "packet_type", None) != _NOOP]
            self.queue.clear()
            self.queue.extend(rest)

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


class BoundedSocket(engineio.socket.Socket):  # type: ignore[misc]
    """A session of python-engineio's, made by :func:`handle_connect`.

    Pings and their timeouts are deadlines: python-engineio has a thread for each client that
    sleeps until the next ping, also when the client is long gone, and looks for those that do not
    answer from time to time. What a request may do beside others is as in the protocol's suite.

    ``_lock`` protects what changes in a step, ``_timer`` included; the lock of the deadlines is
    taken inside it.
    """

    queue: BoundedQueue
    last_ping: float | None  # None until it was sent

    def __init__(self, server: engineio.Server, sid: str) -> None:
        self._settled = threading.Event()  # no upgrade is under way
        super().__init__(server, sid)

    def begin(self, limits: TransportLimits, newcomers: Newcomers) -> None:
        """Have a place, and these limits."""
        self._limits = limits
        self._newcomers = newcomers
        self._lock = threading.Lock()
        self._probing = self._polling = self._over = self._greeted = False
        self._timer: Deadline | None = None
        self._patience: Deadline | None = None
        if limits.handshake_timeout is not None:
            self._patience = deadlines.after(limits.handshake_timeout, self._give_up)

    # As python-engineio has it

    @property
    def upgrading(self) -> bool:
        """Whether a WebSocket is about to take over."""
        return self._upgrading

    @upgrading.setter
    def upgrading(self, upgrading: bool) -> None:
        self._upgrading = upgrading
        if upgrading:
            self._settled.clear()
        else:
            self._settled.set()

    def send(self, pkt: engineio_packet.Packet) -> None:
        """Queue a packet."""
        if pkt.packet_type == engineio_packet.OPEN:  # python-engineio has whole seconds there
            server = self.server
            interval = server.ping_interval + server.ping_interval_grace_period
            pkt.data["pingInterval"] = int(interval * 1000)
        super().send(pkt)

    def receive(self, pkt: engineio_packet.Packet) -> None:
        """Handle a packet."""
        if not self._greeted and pkt.packet_type == engineio_packet.MESSAGE:
            self._greeted = True
            self._welcome()
        super().receive(pkt)

    def check_ping_timeout(self) -> bool:
        """Nothing to check: there is a deadline."""
        if self.closed:
            raise exceptions.SocketIsClosedError()
        return True

    def schedule_ping(self) -> None:
        """Send the next ping in time, when the client has answered the last one."""
        with self._lock:
            if not self.last_ping or self.closing or self._over:
                return
            self.last_ping = None
            self._cancel()
            self._timer = deadlines.after(self.server.ping_interval, self._ping)

    def _ping(self) -> None:
        with self._lock:
            if self.closing or self._over:
                return
            self.last_ping = time.time()
            self._timer = deadlines.after(self.server.ping_timeout, self._time_out)
        self.queue.put(engineio_packet.Packet(engineio_packet.PING))

    def _time_out(self) -> None:
        end(self.server, self.sid, self.server.reason.PING_TIMEOUT)

    def _give_up(self) -> None:
        self.server.logger.info("%s: no message since it was let in", self.sid)
        end(self.server, self.sid, self.server.reason.TRANSPORT_ERROR)

    def close(self, wait: bool = True, abort: bool = False, reason: Any = None) -> None:
        """End the session; what waits for the client is not waited for."""
        try:
            super().close(wait=False, abort=abort, reason=reason)
        finally:
            self.forget()
            if self.closed:  # python-engineio knows it until its service task comes by
                self.server.sockets.pop(self.sid, None)

    def forget(self) -> None:
        """Let nothing happen any more."""
        with self._lock:
            self._over = True
            self._cancel()
        self._welcome()

    def _cancel(self) -> None:
        assert self._lock.locked()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _welcome(self) -> None:
        """The client has said something, or is gone."""
        self._newcomers.discard(self.sid)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    # Requests

    def handle_post_request(self, environ: Environ) -> None:
        """Handle what was posted."""
        self._newcomers.came_back(self.sid)
        super().handle_post_request(environ)

    def handle_get_request(self, environ: Environ, start_response: StartResponse) -> Any:
        """Answer a poll, or let a WebSocket take over, or turn either away."""
        if environ.get("HTTP_UPGRADE", "").lower() in self.upgrade_protocols:
            return self._on_websocket(environ, start_response)
        self._newcomers.came_back(self.sid)
        with self._lock:
            twice, self._polling, self.queue.polled = self._polling, True, True
        if twice:  # the client has given up the other one, or is none
            raise exceptions.EngineIOError("two polls at once")
        try:
            packets = None
            if self.upgrading or self.upgraded:
                self.queue.end_poll()
                self._settled.wait(_HOLD)
                if self.upgraded:
                    return self.server._bad_request("Unexpected HTTP request")
            else:
                packets = super().handle_get_request(environ, start_response)
            return packets or [engineio_packet.Packet(_NOOP)]
        finally:
            with self._lock:
                self._polling = self.queue.polled = False

    def _on_websocket(self, environ: Environ, start_response: StartResponse) -> Any:
        if not self.connected:  # it comes without polling before
            return super().handle_get_request(environ, start_response)
        self._newcomers.came_back(self.sid)
        with self._lock:
            late, self._probing = self._probing or self.upgraded, True
        if late:
            return self.turn_away(environ, start_response)
        try:
            return super().handle_get_request(environ, start_response)
        finally:
            self._probing = False

    def turn_away(self, environ: Environ, start_response: StartResponse) -> Any:
        """Close a WebSocket that comes while another one carries the session, or is to."""
        return self.server._async["websocket"](self._say_goodbye, self.server)(
            environ, start_response
        )

    def _say_goodbye(self, ws: Any) -> list[bytes]:
        ws.close()
        return []

    def _websocket_handler(self, ws: Any) -> Any:
        self.queue.cut = ws.cut
        return super()._websocket_handler(ws)

    def patience(self) -> float | None:
        """Return the seconds that a WebSocket has for its next packet, None without a limit."""
        return None if self.upgraded else self._limits.upgrade_timeout


def _making(function: Any, session: type[BoundedSocket]) -> Any:
    """Return a method of python-engineio's that makes sessions of a class of ours.

    It makes them without asking anybody, by a name of its module: ``socket.Socket``. The same code
    gets that name from here; the module stays as it is, for servers that are not ours.
    """
    names = {**function.__globals__, "socket": SimpleNamespace(Socket=session)}
    return FunctionType(
        function.__code__,
        names,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


#: ``engineio.Server._handle_connect``, whose sessions are ours.
handle_connect = _making(engineio.Server._handle_connect, BoundedSocket)


class Sessions(dict[str, Any]):
    """The sessions of a python-engineio server, by sid.

    :param begin: called with each that comes; it may raise.
    """

    def __init__(self, begin: Callable[[BoundedSocket], None]) -> None:
        super().__init__()
        self._begin = begin

    def __setitem__(self, sid: str, session: BoundedSocket) -> None:
        self._begin(session)
        super().__setitem__(sid, session)

    def __delitem__(self, sid: str) -> None:
        session = self.get(sid)
        super().__delitem__(sid)
        if isinstance(session, BoundedSocket):  # and not one that is older than this
            session.forget()


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
        eio.sockets.pop(sid, None)  # for one that is older than this

    try:
        threading.Thread(target=close, name="backboneio-goodbye", daemon=True).start()
    except RuntimeError:  # who ends a client is telling others, too, and does not fail
        deadlines.after(_AGAIN, partial(end, eio, sid, reason, abort=abort))
