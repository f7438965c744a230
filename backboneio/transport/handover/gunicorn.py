"""gunicorn with sync and gthread workers. (Others patch the threads of the process.)"""

from __future__ import annotations

from typing import Any

from .client_socket import ClientSocket, Kept, checked


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request that gunicorn serves.

    With HTTP/2 many requests share one. The body tells: only HTTP/1 has an unreader. What gunicorn
    itself says of it, ``HTTP_VERSION``, any client says with a header ``Version: 2``.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return None
    unreader = getattr(getattr(environ.get("wsgi.input"), "reader", None), "unreader", None)
    if unreader is None:
        raise Kept("HTTP/2 shares a connection among requests; let a proxy speak HTTP/1.1 to it")
    return checked(_ClientSocket(sock, unreader), environ)


class _ClientSocket(ClientSocket):
    def read_ahead(self) -> bytes:
        return bytes(self.source.read())
