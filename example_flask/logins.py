"""The logins that have ended, so that what still has their cookie cannot use it."""

from __future__ import annotations

import heapq
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any


class Logins:
    """A WebSocket keeps the cookie that it was opened with, and so does whoever has copied one.

    So logins that have ended are remembered, in memory, until the server stops. That is bounded:
    beyond *remembered* of them, the oldest is forgotten, and every login that began no later has
    ended with it. Somebody may have to log in again; nobody who has logged out is back.

    One lock protects all of it, for a few steps at a time.
    """

    def __init__(self, remembered: int = 10_000) -> None:
        self._remembered = remembered
        self._lock = threading.Lock()
        self._ended: set[str] = set()
        self._by_age: list[tuple[float, str]] = []  # a heap of the same ones: the oldest first
        self._ended_until = 0.0  # when the newest began of those that are forgotten

    def begin(self) -> dict[str, Any]:
        """Return what a session has to keep of a login that begins now."""
        return {"login": secrets.token_urlsafe(16), "began": time.time()}

    def end(self, session: Mapping[str, Any]) -> None:
        """End the login of a session, if it has one that goes on."""
        with self._lock:
            if not self._goes_on(session):
                return
            login = session["login"]
            self._ended.add(login)
            heapq.heappush(self._by_age, (session["began"], login))
            if len(self._by_age) > self._remembered:
                self._ended_until, forgotten = heapq.heappop(self._by_age)
                self._ended.discard(forgotten)

    def goes_on(self, session: Mapping[str, Any]) -> bool:
        """Whether a session has a login that has not ended."""
        with self._lock:
            return self._goes_on(session)

    def _goes_on(self, session: Mapping[str, Any]) -> bool:
        login, began = session.get("login"), session.get("began", 0.0)
        return login is not None and login not in self._ended and began > self._ended_until
