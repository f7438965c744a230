"""gunicorn with sync and gthread workers. (Others patch the threads of the process.)"""

from __future__ import annotations

from collections.abc import Callable
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

    def hang_up_after(self, start_response: Callable[..., Any]) -> None:
        """Ask for ``Connection: close``, which no application may say in a header (PEP 3333).

        A gthread worker would wait for another request, and give the end of the stream to a thread.
        It does so where a middleware has put a function of its own before gunicorn's.
        """
        force_close = getattr(getattr(start_response, "__self__", None), "force_close", None)
        if force_close is not None:
            force_close()
