"""The WebSocket of a client that python-engineio's threads serve."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import simple_websocket
from engineio import packet as engineio_packet
from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI
from wsproto.utilities import ProtocolError

from ..transport import TransportLimits
from .sessions import BoundedSocket, Environ, StartResponse

logger = logging.getLogger("backboneio.socketio")

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


class BoundedWebSocket(SimpleWebSocketWSGI):  # type: ignore[misc]
    """A WebSocket whose client cannot make python-engineio fail, nor keep what it does not handle.

    As on the hub, messages that are not handled yet are bounded in number and bytes.
    """

    def __init__(self, handler: Any, server: Any, **options: Any) -> None:
        # Otherwise it is looked at when all of it is in memory.
        options.setdefault("max_message_size", server.max_http_buffer_size)
        # The process is not to wait for what a client sends.
        options.setdefault("thread_class", partial(threading.Thread, daemon=True))
        self._brake = Brake(self._is_full)
        super().__init__(handler, server, event_class=lambda: self._brake, **options)
        self._session: BoundedSocket = handler.__self__
        limits: TransportLimits = server.guard.limits
        self._max_waiting = server.max_http_buffer_size * limits.max_inbox_messages
        self._max_packets = limits.max_inbox_packets

    def _is_full(self) -> bool:
        ws = getattr(self, "ws", None)
        if ws is None or not ws.connected or self._session.closed:
            return False
        waiting = list(ws.input_buffer)
        return len(waiting) > 1 and (
            len(waiting) > self._max_packets or sum(map(len, waiting)) > self._max_waiting
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        """Open the WebSocket and stay until its end."""
        try:
            return super().__call__(environ, start_response)
        except (ProtocolError, simple_websocket.ConnectionError) as err:
            # No WebSocket handshake. What WSGI servers take for a client that went away:
            raise ConnectionResetError(errno.ECONNRESET, str(err)) from err
        finally:
            self.cut()  # simple-websocket's thread reads for as long as the client likes

    def cut(self) -> None:
        """Cut the connection, without a word."""
        with suppress(OSError, AttributeError):  # there may be no connection yet, or any more
            self.ws.sock.shutdown(socket.SHUT_RDWR)

    def wait(self) -> Any:
        """Return the next packet; None at the end, which one that is none is, too."""
        packet = None
        patience = self._session.patience()
        deadline = None if patience is None else time.monotonic() + patience
        while packet is None:
            if deadline is not None and time.monotonic() > deadline:
                return None
            try:
                packet = self.ws.receive(timeout=_LOOK)
                self._brake.release()
            except simple_websocket.ConnectionClosed:
                return None
            if packet is None and not self.ws.connected:
                return None
        if isinstance(packet, str) and not is_packet(packet):
            logger.info("not an Engine.IO packet for a server: %.40r", packet)
            return None
        return packet

    def close(self) -> None:
        """Close the connection, which may be gone already."""
        with suppress(OSError, ProtocolError, simple_websocket.ConnectionClosed):
            super().close()


def is_packet(text: str, kinds: str = "123456b") -> bool:
    """Whether text is an Engine.IO packet that a client may send.

    What is no packet of Socket.IO python-engineio tries as JSON: not lists and objects, of any size
    and depth.
    """
    if text[:1] not in kinds or not text:
        return False
    if text[0] == "b":
        try:
            engineio_packet.Packet(encoded_packet=text)
        except ValueError:
            return False
    return text[1:2].isdigit() or text[1:].lstrip()[:1] not in ("[", "{")
