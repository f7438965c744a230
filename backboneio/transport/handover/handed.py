"""A request that another process of the application has handed on, see ``neighbours``."""

from __future__ import annotations

import socket
from typing import Any

from .client_socket import ClientSocket

#: What holds the connection in the environ; no client can send a key like that.
KEY = "backboneio.handed"


class HandedSocket(ClientSocket):
    """A connection that came with what its first server had read from it ahead of time."""

    def __init__(self, sock: socket.socket, ahead: bytes) -> None:
        super().__init__(sock)
        self._ahead = ahead

    def read_ahead(self) -> bytes:
        """Return that."""
        return self._ahead


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request that was handed on."""
    connection: ClientSocket | None = environ.get(KEY)
    return connection
