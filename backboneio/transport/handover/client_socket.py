"""A client's connection in the hands of a WSGI server, and how it leaves them."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

_FAMILIES = {socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_UNIX", socket.AF_INET)}


class Kept(Exception):
    """The WSGI server has to keep its connection; the message says why, and what to do about it."""


class ClientSocket:
    """Where the client's socket is, and what its server has read from it ahead of time.

    An adapter of a server returns one from its ``find(environ)``, and overrides what is different
    there. `source` is what :meth:`read_ahead` looks into.
    """

    #: Why a poll may leave with this connection and a WebSocket may not; empty when it may.
    no_websocket = ""

    def __init__(self, sock: Any, source: Any = None) -> None:
        self.socket = sock
        self.source = source

    @property
    def plain(self) -> bool:
        """Whether the bytes on the file descriptor are what client and application say."""
        return not isinstance(self.socket, ssl.SSLSocket)

    def fileno(self) -> int:
        """Return the server's file descriptor; raises OSError where it has been closed."""
        fd: int = self.socket.fileno()
        if fd < 0:
            raise OSError("the connection has been closed")
        return fd

    def exchange(self, function: Callable[[], Any]) -> Any:
        """Call a function, and return its result, where nobody else uses the descriptor."""
        return function()

    def read_ahead(self) -> bytes:
        """Return what the server's parser holds beyond the request (frames sent with an upgrade).

        Called once, after the exchange: the server's descriptor is at its end by now, so reading
        "everything" returns just the buffer.

        :raises OSError: where bytes are lost.
        """
        return b""

    def hang_up_after(self, start_response: Callable[..., Any]) -> None:
        """Have the server close its end after this response, where that spares it work."""


class Buffered(ClientSocket):
    """A connection that its server reads through a binary file, the `source`."""

    def read_ahead(self) -> bytes:
        """Empty the file's buffer."""
        return bytes(self.source.read()) if socket_under(self.source) is not None else b""


def checked(connection: ClientSocket, environ: dict[str, Any]) -> ClientSocket:
    """Return a connection over a Python socket; raise Kept when only its server can use it."""
    sock = connection.socket
    if type(sock) is socket.socket and sock.family in _FAMILIES:
        return connection
    if not isinstance(sock, ssl.SSLSocket):
        raise Kept(f"its connections are of the kind {type(sock).__name__}; end TLS in a proxy")
    if not environ.get("wsgi.multithread"):
        raise Kept("TLS ends in its only thread; end TLS in a proxy")
    return connection


def socket_under(file: Any) -> Any:
    """Return the socket that a binary file reads from, None when it is another kind of file.

    Such files are made by ``socket.makefile()`` and socketserver: a buffer over a SocketIO.
    """
    raw = getattr(file, "raw", None)
    return getattr(raw, "_sock", None) if isinstance(raw, socket.SocketIO) else None


class Ended:
    """The response that the WSGI server sends into the void, empty."""

    def __init__(self, connection: ClientSocket, peer: socket.socket | None = None) -> None:
        self._connection = connection
        self._peer = peer

    def respond(self, start_response: Callable[..., Any], status: str) -> Ended:
        """Begin the response and return its body; `status` is what an access log shows."""
        self._connection.hang_up_after(start_response)
        headers = [] if status.startswith("1") else [("Content-Length", "0")]
        try:
            write = start_response(status, headers)
        except BaseException:  # so the server does not close it
            self.close()
            raise
        # To have the headers sent now, and not when the other end of the pair is closed. A server
        # may object that the client is gone, which is what it is to believe.
        with contextlib.suppress(Exception):
            write(b"")
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Called by the server after it has sent the response."""
        if self._peer is not None:
            self._peer.close()


def replace(fd: int) -> socket.socket:
    """Point a file descriptor at one end of a fresh socket pair: a client that has said it all.

    Returns the other end, to be closed when the server has answered.

    :raises OSError: (too many open files) with everything as it was.
    """
    ours, theirs = socket.socketpair()
    try:
        ours.shutdown(socket.SHUT_WR)  # the server reads the end of the stream from now on
        theirs.setblocking(os.get_blocking(fd))
        os.dup2(theirs.fileno(), fd, inheritable=False)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours
