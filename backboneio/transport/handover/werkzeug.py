"""Werkzeug's server, and so ``flask run`` and ``app.run()``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .client_socket import Buffered, ClientSocket, checked


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request that Werkzeug serves."""
    sock = environ.get("werkzeug.socket")
    if sock is None:
        return None
    return checked(Buffered(sock, environ.get("wsgi.input")), environ)


def may_not_close(environ: dict[str, Any]) -> bool:
    """Whether the server of a request may forget to close the response (PEP 3333).

    Werkzeug's reads what the client still sends before it closes one, and never gets there when the
    connection was reset by then: browsers do that who do not care for the page of a redirect.
    """
    return "werkzeug.socket" in environ


class ClosedResponse:
    """A response that is closed by the server, or else when the server lets go of it.

    Only the thread of its request touches it.
    """

    __slots__ = ("_close", "_response")

    def __init__(self, response: Iterable[bytes]) -> None:
        self._response = response
        self._close = getattr(response, "close", None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        """Close it, once."""
        close, self._close = self._close, None
        if close is not None:
            close()

    __del__ = close
