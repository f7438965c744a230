"""wsgiref, and what is built on it: Bottle's ``run()``, Django's ``runserver``."""

from __future__ import annotations

from typing import Any

from .client_socket import Buffered, ClientSocket, checked, socket_under


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request that one of wsgiref's servers serves.

    They say so in SERVER_SOFTWARE. (A file over a socket alone is not enough to go by: behind SCGI,
    say, there is another protocol on that socket.)
    """
    if not str(environ.get("SERVER_SOFTWARE")).startswith("WSGIServer/"):
        return None
    file = environ.get("wsgi.input")
    # runserver lets nobody read beyond the body: a LimitedStream, which has kept stream.read
    file = getattr(getattr(file, "_read", None), "__self__", file)
    sock = socket_under(file)
    return None if sock is None else checked(Buffered(sock, file), environ)
