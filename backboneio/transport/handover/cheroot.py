"""cheroot, the server of CherryPy."""

from __future__ import annotations

from typing import Any

from .client_socket import Buffered, ClientSocket, Kept, checked, socket_under


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request that cheroot serves."""
    body = environ.get("wsgi.input")
    if not type(body).__module__.startswith("cheroot."):
        return None
    file = getattr(body, "rfile", None)  # of a body whose length is known, and none has length 0
    sock = socket_under(file)
    if sock is None:
        raise Kept("the socket of this request cannot be found")
    return checked(Buffered(sock, file), environ)
