"""What the connections of a server share: the application's handlers, limits, and a hub."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .hub import Hub
from .limits import TransportLimits
from .newcomers import Newcomers

#: What stands for a client.
Client = TypeVar("Client")


class Service(Generic[Client]):
    """What the connections of a server share.

    :ivar connections: all of them, by session id. Single operations only, by any thread.
    """

    def __init__(
        self,
        hub: Hub,
        limits: TransportLimits,
        handlers: dict[str, Callable[..., Any]],
        logger: logging.Logger,
        ping_interval: float,
        ping_timeout: float,
    ) -> None:
        self.hub = hub
        self.limits = limits
        self.handlers = handlers
        self.logger = logger
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.connections: dict[str, Client] = {}
        self.newcomers = Newcomers(limits)
        self.stopping = False
        #: bytes that all clients have posted and that were not handled; under the outbox's lock
        self.posted = 0

    def after_fork(self) -> None:
        """In a forked child: the clients are the parent's."""
        self.connections.clear()
        self.newcomers.after_fork()
        self.posted = 0

    def connect(self, sid: str, environ: dict[str, Any]) -> Any:
        """Run the connect handler; False when it fails."""
        handler = self.handlers.get("connect")
        if handler is None:
            return None
        try:
            return handler(sid, environ)
        except BaseException:
            self.logger.exception("connect handler error")
            return False

    def disconnected(self, sid: str, reason: str) -> None:
        """Run the disconnect handler."""
        handler = self.handlers.get("disconnect")
        if handler is not None:
            try:
                handler(sid, reason)
            except BaseException:
                self.logger.exception("disconnect handler error")
