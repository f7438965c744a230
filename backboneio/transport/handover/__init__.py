"""Taking a client's connection away from the WSGI server, under its feet.

The file descriptor is duplicated for the hub; then the server's own number is pointed at one end of
a fresh socket pair. Whatever the server still does with "the connection" (writing the response,
draining, shutting down, closing, keeping it alive) happens to that pair, which looks like a client
that has sent all it wanted.

Each server has an adapter, a module with a function ``find(environ)``: it returns a
:class:`~.client_socket.ClientSocket`, None when the request is not that server's, or raises
:class:`~.client_socket.Kept` when it is, and its connection cannot leave. Nothing that a client
sends takes part in that. A new server is a new module in ``_ADAPTERS``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

from . import cheroot, gunicorn, handed, uwsgi, waitress, werkzeug, wsgiref
from .client_socket import ClientSocket, Ended, Kept, replace
from .relay import relay

__all__ = [
    "ClientSocket",
    "Ended",
    "Kept",
    "closed",
    "find",
    "find_for_websocket",
    "relay",
    "take",
    "takeable",
    "threads",
    "truthful",
]

_ADAPTERS = (
    handed.find,
    werkzeug.find,
    gunicorn.find,
    uwsgi.find,
    waitress.find,
    wsgiref.find,
    cheroot.find,
)


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the client's connection, None where the server keeps it."""
    try:
        return _find(environ)
    except Kept:
        return None


def find_for_websocket(environ: dict[str, Any]) -> ClientSocket:
    """Return the client's connection.

    :raises Kept: where there can be no WebSocket: why, and what to do about it, for a log.
    """
    try:
        connection = _find(environ)
    except Kept as kept:
        raise Kept(f"the WSGI server ({_name(environ)}) keeps its connections: {kept}") from None
    if connection is None:
        raise Kept(
            f"the WSGI server ({_name(environ)}) keeps its connections to itself; "
            "let gunicorn or another one of docs/deployment.md serve /socket.io/"
        )
    if connection.no_websocket:
        raise Kept(f"{_name(environ)}: {connection.no_websocket}")
    return connection


def _name(environ: dict[str, Any]) -> str:
    """Return what the WSGI server is called."""
    known = "uWSGI" if "uwsgi.version" in environ else "unknown"
    return environ.get("SERVER_SOFTWARE") or known


def _find(environ: dict[str, Any]) -> ClientSocket | None:
    for adapter in _ADAPTERS:
        connection = adapter(environ)
        if connection is not None:
            return connection
    return None


def truthful(environ: dict[str, Any], start_response: Callable[..., Any]) -> Callable[..., Any]:
    """Return a start_response that says when the server is going to close the connection."""
    if not uwsgi.closes(environ):
        return start_response

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        if not any(name.lower() == "connection" for name, _ in headers):
            headers = [*headers, ("Connection", "close")]
        return start_response(status, headers, *exc_info)

    return start


def closed(environ: dict[str, Any], response: Iterable[bytes]) -> Iterable[bytes]:
    """Return a response that is closed in any case, as the server has to and may not do."""
    return werkzeug.ClosedResponse(response) if werkzeug.may_not_close(environ) else response


def takeable(connection: ClientSocket | None) -> TypeGuard[ClientSocket]:
    """Whether a connection can leave the server; one with TLS in Python is relayed instead."""
    return connection is not None and connection.plain


def threads(environ: dict[str, Any]) -> int | None:
    """Return the number of the server's threads in this process; None for several."""
    if not environ.get("wsgi.multithread"):
        return 1
    mod_wsgi = sys.modules.get("mod_wsgi")  # a module that exists in its processes only
    return getattr(mod_wsgi, "threads_per_process", None)


def take(connection: ClientSocket) -> tuple[int, bytes, Ended]:
    """Move a connection out of the server.

    Returns its new file descriptor, what the server had read ahead from it, and the response that
    the server is to send.

    :raises OSError: (too many open files) with everything as it was.
    """

    def exchange() -> tuple[int, socket.socket]:
        number = connection.fileno()
        fd = os.dup(number)
        try:
            return fd, replace(number)
        except OSError:
            os.close(fd)
            raise

    fd, peer = connection.exchange(exchange)
    ended = Ended(connection, peer)
    try:
        return fd, connection.read_ahead(), ended
    except OSError:
        _hang_up(fd)  # rather than to go on with a part of what the client has said
        return fd, b"", ended


def _hang_up(fd: int) -> None:
    view = socket.socket(fileno=fd)
    with contextlib.suppress(OSError):
        view.shutdown(socket.SHUT_RDWR)
    view.detach()
