"""uWSGI: ``--http-socket``, ``--http --http-websockets``, or ``--socket`` behind a proxy."""

from __future__ import annotations

import sys
from typing import Any

from .client_socket import ClientSocket, Kept

#: Options that put something else than HTTP's own bytes on the connection.
_OTHER_PROTOCOLS = (
    "https-socket",
    "suwsgi-socket",
    "fastcgi-socket",
    "fastcgi-nph-socket",
    "scgi-socket",
    "scgi-nph-socket",
    "raw-socket",
    "puwsgi-socket",
    "protocol",
    "socket-protocol",
)

#: Options with which something else than a thread a request waits for the connections.
_OTHER_LOOPS = ("async", "gevent", "asyncio", "loop", "tornado", "greenlet")


def closes(environ: dict[str, Any]) -> bool:
    """Whether uWSGI closes the connection after each response, and does not say so.

    It does with ``--http-socket``, and its router does without ``--http-keepalive``, though they
    answer in HTTP/1.1: whoever sends the next request on that connection finds it reset.
    """
    uwsgi = _module(environ)
    if uwsgi is None:
        return False
    options = uwsgi.opt
    router = "http" in options or "https" in options
    return "http-socket" in options or (router and "http-keepalive" not in options)


def _module(environ: dict[str, Any]) -> Any:
    """Return the module that a process of uWSGI has; None in any other."""
    return sys.modules.get("uwsgi") if "uwsgi.version" in environ else None


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request that uWSGI serves."""
    uwsgi = _module(environ)
    if uwsgi is None:
        return None
    if not uwsgi.has_threads:  # older versions' default
        raise Kept("Python's threads stand still there between two requests; add --enable-threads")
    for name in _OTHER_LOOPS:
        if name in uwsgi.opt:
            raise Kept(f"--{name} watches them; use --threads")
    for name in _OTHER_PROTOCOLS:
        if name in uwsgi.opt:
            raise Kept(f"--{name} is not HTTP alone; use --http-socket, --http or --socket")
    return _ClientSocket(uwsgi)


class _ClientSocket(ClientSocket):
    """What a client has sent before our answer, against RFC 6455 4.1, is lost.

    (`websocket_recv_nb` would read it, and a stray continuation frame crashes the process in it.)
    """

    def __init__(self, uwsgi: Any) -> None:
        super().__init__(None)
        self._fd: int = uwsgi.connection_fd()  # known to the thread of the request only
        options = uwsgi.opt
        if "http" in options and not {"http-websockets", "http-raw-body"} & set(options):
            self.no_websocket = "its router ends WebSockets; add --http-websockets"

    def fileno(self) -> int:
        """Return uWSGI's file descriptor."""
        return self._fd
