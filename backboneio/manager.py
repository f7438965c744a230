"""ThreadSafeManager: python-socketio's rooms, for clients that come and go on many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any


class ThreadSafeManager:
    """Mixed into a client manager, so that clients may come, go and join rooms on many threads.

    python-socketio's managers create and drop rooms in several steps: two clients that enter a room
    at once, or one that enters as the last one leaves, could lose their membership. They also look
    through every room for each client that goes; here the rooms of a client are known.

    ``_lock`` protects the manager's dictionaries. It is re-entrant, and nothing is sent under it.
    """

    _lock: threading.RLock
    _rooms_of: dict[tuple[str, str], set[str | None]]
    # Of python-socketio's BaseManager:
    callbacks: dict[str, Any]

    @classmethod
    def guard(cls, manager: Any) -> None:
        """Make *manager* thread-safe; before it has clients."""
        if not isinstance(manager, cls):
            manager._lock = threading.RLock()
            manager._rooms_of = {}
            kind = type(manager)
            manager.__class__ = type(kind.__name__, (cls, kind), {"__module__": kind.__module__})

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Add a client to a room."""
        with self._lock:
            super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)  # type: ignore[misc]
            self._rooms_of.setdefault((namespace, sid), set()).add(room)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        """Remove a client from a room."""
        with self._lock:
            super().basic_leave_room(sid, namespace, room)  # type: ignore[misc]
            rooms = self._rooms_of.get((namespace, sid))
            if rooms is not None:
                rooms.discard(room)
                if not rooms:
                    del self._rooms_of[namespace, sid]

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Remove a client from all its rooms."""
        with self._lock:
            for room in list(self._rooms_of.get((namespace, sid), ())):
                self.basic_leave_room(sid, namespace, room)
            # The rest of what super() does, which would look through all rooms first.
            self.callbacks.pop(sid, None)
            for name in ("pending_connect", "pending_disconnect"):
                pending = getattr(self, name, {})  # the former since python-socketio 5.18
                waiting = pending.get(namespace, [])
                if sid in waiting:
                    waiting.remove(sid)
                    if not waiting:
                        del pending[namespace]

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Return who is in a room, or in one of several, by sid and Engine.IO session."""
        with self._lock:
            return iter(list(super().get_participants(namespace, room)))  # type: ignore[misc]

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """Return the rooms of a client."""
        with self._lock:
            rooms = self._rooms_of.get((namespace, sid), ())
            return [room for room in rooms if room is not None]


def _locked(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return getattr(super(ThreadSafeManager, self), name)(*args, **kwargs)

    method.__name__ = name
    return method


for _name in (
    "pre_connect",
    "connect",
    "is_connected",
    "pre_disconnect",
    "sid_from_eio_sid",
    "eio_sid_from_sid",
    "_generate_ack_id",
):
    setattr(ThreadSafeManager, _name, _locked(_name))
