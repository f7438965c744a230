"""waitress, whose main thread reads and writes all connections while others handle requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .client_socket import ClientSocket, Kept, checked

#: Seconds for waitress' main thread, which never does more than reading and writing.
_PATIENCE = 5.0


def find(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request that waitress serves."""
    channel = getattr(environ.get("waitress.client_disconnected"), "__self__", None)
    if channel is None:
        return None
    if channel.socket is None:
        raise Kept("the client is gone")
    return checked(_ClientSocket(channel.socket, channel), environ)


class _ClientSocket(ClientSocket):
    def exchange(self, function: Callable[[], Any]) -> Any:
        """Do it in the main thread, when that watches a connection whose request is under way.

        Without ``channel_request_lookahead`` it does not. Else it might be about to close the file
        descriptor, or to hand on what it has just received.
        """
        channel = self.source
        if not channel.adj.channel_request_lookahead:
            return function()
        outcome: list[Any] = []
        done = threading.Event()

        def run() -> None:
            try:
                outcome.append(function())
            except OSError as err:
                outcome.append(err)
            done.set()

        channel.server.trigger.pull_trigger(run)
        if not done.wait(_PATIENCE):
            raise OSError("waitress' main thread does not answer")
        if isinstance(outcome[0], OSError):
            raise outcome[0]
        return outcome[0]

    def read_ahead(self) -> bytes:
        """Take back what waitress holds as the beginning of a next request."""
        channel = self.source
        with channel.requests_lock:  # the main thread may still be parsing
            begun, channel.request = channel.request, None
            if len(channel.requests) > 1 or getattr(begun, "headers_finished", False):
                raise OSError("what came along with the request was taken for another request")
        return b"" if begun is None else bytes(begun.header_plus)
