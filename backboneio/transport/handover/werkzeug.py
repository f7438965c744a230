"""Werkzeug's server, and so ``flask run`` and ``app.run()``."""

from __future__ import annotations

from typing import Any

from .client_socket import Buffered, ClientSocket, checked


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request that Werkzeug serves."""
    sock = environ.get("werkzeug.socket")
    if sock is None:
        return None
    return checked(Buffered(sock, environ.get("wsgi.input")), environ)
