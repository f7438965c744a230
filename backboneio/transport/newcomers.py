"""Clients that were let in and have said nothing yet: how many there may be, and who makes room."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from .limits import TransportLimits


class NoRoom(Exception):
    """Nobody else can be let in now."""


class Newcomers:
    """Counts newcomers, in all and by address.

    A polling client is let in by a request that costs it nothing: it may leave at once and leave
    a session behind for as long as a handshake may take. So who has not come back since then is
    the first to go when there is no room.

    _lock: protects everything here; held for a few steps on dictionaries.
    """

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._address: dict[Hashable, str] = {}
        self._count: dict[str, int] = {}
        #: who has not come back yet, oldest first: of all, and by address
        self._absent: dict[Hashable, None] = {}
        self._absent_by_address: dict[str, dict[Hashable, None]] = {}

    def __len__(self) -> int:
        return len(self._address)

    def enter(self, client: Hashable, address: str, *, comes_back: bool, full: bool) -> object:
        """Count a client in.

        :param comes_back: whether it has to come back with another request.
        :param full: whether there is no room for another connection of whatever kind.
        :returns: who has to go for it, None when nobody has.
        :raises NoRoom: when nobody can.
        """
        limits = self._limits
        with self._lock:
            gone: Hashable = None
            if self._count.get(address, 0) >= limits.max_newcomers_per_address:
                gone = next(iter(self._absent_by_address.get(address, ())), None)
                if gone is None:
                    raise NoRoom
            elif full or len(self._address) >= limits.max_newcomers:
                gone = next(iter(self._absent), None)
                if gone is None:
                    raise NoRoom
            if gone is not None:
                self._remove(gone)
            self._address[client] = address
            self._count[address] = self._count.get(address, 0) + 1
            if comes_back:
                self._absent[client] = None
                self._absent_by_address.setdefault(address, {})[client] = None
            return gone

    def came_back(self, client: Hashable) -> None:
        """A client has sent another request."""
        with self._lock:
            self._present(client)

    def discard(self, client: Hashable) -> None:
        """A client is no newcomer any more: it has sent its first message, or is gone."""
        with self._lock:
            self._remove(client)

    def after_fork(self) -> None:
        """In a forked child: the clients are the parent's."""
        self.__init__(self._limits)  # type: ignore[misc]

    def _present(self, client: Hashable) -> None:
        assert self._lock.locked()
        if client in self._absent:
            del self._absent[client]
            address = self._address[client]
            others = self._absent_by_address[address]
            del others[client]
            if not others:
                del self._absent_by_address[address]

    def _remove(self, client: Hashable) -> None:
        self._present(client)
        address = self._address.pop(client, None)
        if address is not None:
            self._count[address] -= 1
            if not self._count[address]:
                del self._count[address]
