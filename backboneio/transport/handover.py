"""Taking a client's connection away from the WSGI server, under its feet.

The file descriptor is duplicated for the hub; then the server's own number is pointed at one end of
a fresh socket pair. Whatever the server still does with "the connection" (writing the response,
draining, shutting down, closing, keeping it alive) happens to that pair, which looks like a client
that has sent all it wanted. Werkzeug, gunicorn sync and gunicorn gthread all see a request that
ended.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections.abc import Iterator
from typing import Any

_FAMILIES = {socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_UNIX", socket.AF_INET)}


def find(environ: dict[str, Any]) -> Any:
    """Return the client's socket (an SSLSocket with TLS), None where the server keeps it."""
    if environ.get("HTTP_VERSION") == "2":
        return None  # gunicorn's mark for HTTP/2, where many requests share one socket
    sock = environ.get("werkzeug.socket") or environ.get("gunicorn.socket")
    return sock if isinstance(sock, socket.socket) else None


def takeable(sock: Any) -> bool:
    """Whether the bytes on the file descriptor are what client and application say."""
    return type(sock) is socket.socket and sock.family in _FAMILIES and sock.fileno() >= 0


class Ended:
    """The body of the response that the WSGI server sends into the void."""

    def __init__(self, peer: socket.socket | None = None) -> None:
        self._peer = peer

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Called by the server after it has sent the response."""
        if self._peer is not None:
            self._peer.close()


def take(environ: dict[str, Any], sock: socket.socket) -> tuple[int, bytes, Ended]:
    """Move a connection out of the server.

    Returns its new file descriptor, what the server had read ahead from it, and the body to return
    to the server. Raises OSError (too many open files) with everything as it was.
    """
    fd = os.dup(sock.fileno())
    try:
        ended = _replace(sock)
    except OSError:
        os.close(fd)
        raise
    return fd, _read_ahead(environ), ended


def _replace(sock: socket.socket) -> Ended:
    ours, theirs = socket.socketpair()
    try:
        ours.shutdown(socket.SHUT_WR)  # the server reads the end of the stream from now on
        os.dup2(theirs.fileno(), sock.fileno(), inheritable=False)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Ended(ours)


def _read_ahead(environ: dict[str, Any]) -> bytes:
    """Return what the server's parser has read beyond the request (frames sent with the upgrade).

    By now the server's socket is at its end, so reading "everything" returns just the buffer.
    """
    stream = environ.get("wsgi.input")
    unreader = getattr(getattr(stream, "reader", None), "unreader", None)
    try:
        if unreader is not None:  # gunicorn's Body
            return bytes(unreader.read())
        if "werkzeug.socket" in environ and hasattr(stream, "peek"):  # the handler's rfile
            return bytes(stream.read())  # type: ignore[union-attr]
    except (OSError, ValueError):
        pass
    return b""


def relay(sock: Any, ours: socket.socket) -> Ended:
    """Carry bytes between a TLS connection and the hub, in this thread, until either ends.

    TLS lives in the server's Python objects, so such a connection cannot leave it; one WSGI thread
    stays with it. `ours` is one end of a socket pair whose other end is the hub's.
    """
    to_hub, to_client = bytearray(), bytearray()
    try:
        sock.settimeout(0.0)
        ours.setblocking(False)
        client_open = hub_open = True
        while True:
            if client_open and not to_hub:
                client_open = _receive(sock, to_hub)
            if hub_open and not to_client:
                hub_open = _receive(ours, to_client)
            if to_hub:
                _send(ours, to_hub)
            if to_client:
                _send(sock, to_client)
            # TLS may hold decrypted bytes that no poll() sees; they are asked for when to_hub is
            # empty, so wait only when that was just tried or cannot be.
            if not (client_open or to_hub) or not (hub_open or to_client):
                break
            if to_hub or not sock.pending():
                _wait(sock, ours, to_hub, to_client, client_open, hub_open)
    except OSError:
        pass
    finally:
        ours.close()
    try:
        sock.shutdown(socket.SHUT_RDWR)
        return _replace(sock)
    except OSError:
        return Ended()


def _wait(
    sock: Any,
    ours: Any,
    to_hub: bytearray,
    to_client: bytearray,
    client_open: bool,
    hub_open: bool,
) -> None:
    poll = select.poll()
    waiting = False
    for end, wants_input, wants_output in (
        (sock, client_open and not to_hub, bool(to_client)),
        (ours, hub_open and not to_client, bool(to_hub)),
    ):
        mask = (select.POLLIN if wants_input else 0) | (select.POLLOUT if wants_output else 0)
        if mask:
            poll.register(end.fileno(), mask)
            waiting = True
    if waiting:
        poll.poll()


def _receive(sock: Any, buffer: bytearray) -> bool:
    """Read what there is; return whether the connection is still open."""
    try:
        data = sock.recv(65536)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return True
    buffer += data
    return bool(data)


def _send(sock: Any, buffer: bytearray) -> bool:
    """Write what goes; return whether anything did."""
    try:
        count = sock.send(bytes(buffer[:65536]))
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    del buffer[:count]
    return bool(count)
