"""Manager: python-socketio's rooms, for clients that come and go on many threads."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import socketio

from .. import forks

#: What reads or writes the dictionaries of a client manager, in several steps.
_STEPS = (
    "basic_close_room",
    "basic_disconnect",
    "basic_enter_room",
    "basic_leave_room",
    "connect",
    "eio_sid_from_sid",
    "get_rooms",
    "is_connected",
    "pre_connect",  # since python-socketio 5.18
    "pre_disconnect",
    "sid_from_eio_sid",
    "_generate_ack_id",
)
#: What they keep of clients.
_KEPT = ("rooms", "eio_to_sid", "callbacks", "pending_connect", "pending_disconnect", "_rooms_of")


class RoomGuard:
    """Lets clients come, go and join rooms on many threads.

    python-socketio's managers create and drop rooms in several steps: two clients that enter a room
    at once, or one that enters as the last one leaves, could lose their membership.

    ``lock`` protects the manager's dictionaries. It is re-entrant, it is the last one taken, and
    nothing is sent under it.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self.lock = threading.RLock()
        for name in _STEPS:
            method = getattr(manager, name, None)
            if method is not None:
                setattr(manager, name, self._locked(method))
        manager.get_participants = self._listed(manager.get_participants)
        forks.register(self)

    def after_fork(self) -> None:
        """Know nobody in a forked child: the clients are the parent's."""
        self.lock = threading.RLock()
        for name in _KEPT:
            getattr(self._manager, name, {}).clear()

    def _locked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def locked(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                return method(*args, **kwargs)

        return locked

    def _listed(self, method: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        """Lock a generator: what it yields is gathered at once."""

        @functools.wraps(method)
        def listed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with self.lock:
                return iter(list(method(*args, **kwargs)))

        return listed


def guard(manager: Any) -> None:
    """Guard a manager, before it has clients.

    :param manager: any client manager; its methods are wrapped, its class stays what it is.
    """
    if not hasattr(manager, "_backboneio_guard"):
        manager._backboneio_guard = RoomGuard(manager)


class OwnRoom(dict[str, str]):
    """The room that each client has of its own: what python-socketio makes two dictionaries for."""

    __slots__ = ()

    @property
    def _fwdm(self) -> dict[str, str]:
        """What it reads of a room: who is in it, and their connections."""
        return self


class Manager(socketio.Manager):  # type: ignore[misc]
    """The client manager of our own servers: it knows the rooms of each client.

    python-socketio looks through every room there is for each client that goes, and every client
    has one of its own. Call :func:`guard` before it has clients.
    """

    def __init__(self) -> None:
        super().__init__()
        #: besides the room without a name, which all are in, and their own
        self._rooms_of: dict[tuple[str, str], set[str]] = {}

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Add a client to a room."""
        if room == sid and eio_sid is not None:
            self.rooms[namespace][sid] = OwnRoom({sid: eio_sid})
            return
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        if room is not None and room != sid:
            self._rooms_of.setdefault((namespace, sid), set()).add(room)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        """Remove a client from a room."""
        super().basic_leave_room(sid, namespace, room)
        rooms = self._rooms_of.get((namespace, sid))
        if rooms is not None and room is not None:
            rooms.discard(room)
            if not rooms:
                del self._rooms_of[namespace, sid]

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Remove a client from all its rooms, and all that is kept for it."""
        for room in (*self._rooms_of.get((namespace, sid), ()), sid, None):
            self.basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        for pending in (getattr(self, "pending_connect", {}), self.pending_disconnect):
            waiting = pending.get(namespace, [])
            if sid in waiting:
                waiting.remove(sid)
                if not waiting:
                    del pending[namespace]

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """Return the rooms of a client."""
        own = [sid] if sid in self.rooms.get(namespace, ()) else []
        return [*own, *self._rooms_of.get((namespace, sid), ())]
