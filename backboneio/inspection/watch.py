"""Watch: the rows that the inspector's page shows, made while somebody looks."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from .. import forks
from ..backend import Backend, create_backend
from ..journal import MemoryJournal
from ..limits import Limits
from ..model import Change, Channel
from ..request import Request, Socket
from ..sync import Sync
from ..turns import Taking

#: Rows of what happened that are kept, of each kind.
KEPT = 200
#: Seconds between two looks.
PERIOD = 1.0
#: Turns that are shown, those that most wait for; and how many who wait for one.
TURNS, WAITING = 200, 10
#: Looks when nobody listens any more: a page that is thrown out with its user's comes back, and is
#: to see why.
LINGER = 5
#: Characters of a model that are shown.
SHOWN = 400

#: What a row is, by its id.
Rows = dict[str, dict[str, Any]]
#: Backends whose rows are what happened, oldest first.
_LOGS = ("changes", "events")
#: Figures that grow, shown as so many a second.
_GROWING = ("messages_in", "bytes_in", "deliveries", "bytes_out")


class Watch:
    """What happens in one process, as the rows of five backends.

    A thread, ``backboneio inspector``, looks once a second while a client listens to one of them,
    and ends soon after none does. Between its looks, changes and events are only noted.

    ``_lock`` protects ``_rows``, ``_number`` and ``_thread``. The inspector's own journals are
    appended to under it; nothing of the application's is called.

    :param syncs: returns what serves each backend of the application, by name.
    :param figures: returns figures of the process.
    :param user_id: returns whose page it is, by the environment of its handshake.
    :param connection: returns the transport's connection at an address, or None.

    :ivar backends: the five, by name.
    """

    def __init__(
        self,
        syncs: Callable[[], Mapping[str, Sync]],
        figures: Callable[[], dict[str, Any]],
        user_id: Callable[[dict[str, Any]], str | None],
        connection: Callable[[str], Any],
    ) -> None:
        self._syncs = syncs
        self._figures = figures
        self._user_id = user_id
        self._connection = connection
        self._happened: deque[tuple[str, dict[str, Any]]] = deque(maxlen=4 * KEPT)
        self._users: dict[Socket, str | None] = {}
        self.backends: dict[str, Backend] = {
            name: _backend() for name in ("figures", "clients", "turns", *_LOGS)
        }
        self._last: tuple[float, dict[str, Any]] | None = None
        forks.register(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Look at nothing, as long as nobody asks this process to."""
        self._lock = threading.Lock()
        self._rows: dict[str, Rows] = {name: {} for name in self.backends}
        self._thread: threading.Thread | None = None
        self._number = 0

    def look(self) -> None:
        """Look now, unless somebody looks already, and go on as long as somebody listens."""
        with self._lock:
            begins = self._thread is None
            if begins:
                self._last = None
                thread = threading.Thread(
                    target=self._run, name="backboneio inspector", daemon=True
                )
                thread.start()  # raises where there is none to be had
                self._thread = thread
        if begins:
            self._look()

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a backend, oldest first."""
        with self._lock:
            return list(self._rows[name].values())

    def row(self, name: str, id: str) -> dict[str, Any] | None:
        """Return one of them."""
        with self._lock:
            return self._rows[name].get(id)

    # What a sync tells: noted only

    def delivered(self, name: str, change: Change, heard: int) -> None:
        """A change was sent to so many clients."""
        told = change.channels
        self._note(
            "changes",
            backend=name,
            rev=change.rev,
            method=change.method,
            model=change.text[:SHOWN],
            bytes=len(change.text),
            channels=None if told is None else [_channel(channel) for channel in told],
            heard=heard,
            origin=None if change.origin is None else _shown(change.origin),
        )

    def reset(self, name: str, socket: Socket, channel: Channel, why: str) -> None:
        """A client that came back has to fetch anew."""
        self._event("reset", name, socket, f"{_channel(channel)}: {why}")

    def left(self, name: str, socket: Socket, why: str) -> None:
        """A client has gone."""
        self._event("left", name, socket, why)

    def _event(self, what: str, name: str, socket: Socket, why: str) -> None:
        self._note("events", what=what, backend=name, client=_shown(socket.sid), why=why)

    def _note(self, kind: str, **row: Any) -> None:
        self._happened.append((kind, {"at": _now(), **row}))

    # The looks

    def _run(self) -> None:
        left = LINGER
        while True:
            time.sleep(PERIOD)
            with self._lock:
                listened = any(backend.sockets() for backend in self.backends.values())
                left = LINGER if listened else left - 1
                if left < 0:
                    self._thread = None
                    for sync in self._syncs().values():
                        sync.watcher = None
                    self._happened.clear()
                    self._users.clear()
                    return
            self._look()

    def _look(self) -> None:
        """Tell whoever listens of what is another row than before."""
        syncs = self._syncs()
        with self._lock:
            if self._thread is None:  # nobody looks any more
                return
            for sync in syncs.values():  # those that came later, too
                sync.watcher = self
        found = {
            "figures": self._figure_rows(),
            "clients": self._client_rows(syncs),
            "turns": self._turn_rows(syncs),
        }
        with self._lock:
            for kind in _LOGS:
                found[kind] = dict(self._rows[kind])
            while self._happened:
                kind, row = self._happened.popleft()
                self._number += 1
                found[kind][str(self._number)] = {"id": str(self._number), **row}
            for name, rows in found.items():
                self._replace(name, dict(list(rows.items())[-KEPT:]) if name in _LOGS else rows)

    def _replace(self, name: str, rows: Rows) -> None:
        assert self._lock.locked()
        before, self._rows[name] = self._rows[name], rows
        backend = self.backends[name]
        for id in before.keys() - rows.keys():
            backend.emit("deleted", before[id])
        for id, row in rows.items():
            if id not in before:
                backend.emit("created", row)
            elif before[id] != row:
                backend.emit("updated", row)

    def _figure_rows(self) -> Rows:
        figures = self._figures()
        backends = figures.pop("backends")
        now = time.monotonic()
        if self._last is not None:
            then, last = self._last
            for name in _GROWING:
                if name in figures:
                    rate = (figures[name] - last[name]) / max(now - then, 0.001)
                    figures[f"{name} per second"] = round(rate, 1)
        self._last = now, dict(figures)
        process = f"process {os.getpid()}"
        rows: Rows = {process: {"id": process, "figures": figures}}
        for name, its in backends.items():
            rows[name] = {"id": name, "figures": its}
        return rows

    def _client_rows(self, syncs: Mapping[str, Sync]) -> Rows:
        rows: Rows = {}
        sockets = {socket for sync in syncs.values() for socket in sync.clients()}
        for gone in self._users.keys() - sockets:
            self._users.pop(gone, None)
        for name, sync in syncs.items():
            for socket in list(sync.sockets.values()):
                connection = self._connection(socket.address)
                id = f"{name} {_shown(socket.sid)}"
                rows[id] = {
                    "id": id,
                    "backend": name,
                    "client": _shown(socket.sid),
                    "user": self._user(socket),
                    "address": socket.environ.get("REMOTE_ADDR"),
                    "channels": [
                        _channel(one.channel)
                        for one in list(socket.channels.values())
                        if one.accepted
                    ],
                    "transport": "websocket"
                    if getattr(connection, "upgraded", False)
                    else "polling",
                    "backlog": getattr(connection, "backlog", 0),
                }
        return rows

    def _turn_rows(self, syncs: Mapping[str, Sync]) -> Rows:
        rows: Rows = {}
        for name, sync in syncs.items():
            for queue in sync.backend.turns.queues(TURNS, WAITING):
                id = f"{name} {queue.key}"
                rows[id] = {
                    "id": id,
                    "backend": name,
                    "model": queue.key[:SHOWN],
                    "holder": self._taking(queue.holder),
                    "waiting": queue.waiting,
                    "first": [self._taking(one) for one in queue.first],
                }
        return rows

    def _taking(self, taking: Taking) -> dict[str, Any]:
        """Return who has a turn or waits for it: a client, or None for server code."""
        req = taking.who if isinstance(taking.who, Request) else None
        socket = None if req is None else req.socket
        return {
            "client": None if socket is None else _shown(socket.sid),
            "user": None if socket is None else self._user(socket),
            "method": None if req is None else req.method,
            "since": _at(datetime.fromtimestamp(taking.since, timezone.utc)),
        }

    def _user(self, socket: Socket) -> str | None:
        """Return whose page it is."""
        if socket not in self._users:
            self._users[socket] = self._user_id(socket.environ)
        return self._users[socket]


def _backend() -> Backend:
    limits = Limits(max_changes=4 * KEPT)
    return create_backend("id", journal=MemoryJournal(limits))


def _shown(sid: str) -> str:
    """Return what a client is called: who knows its session id could pass for it."""
    return hashlib.sha256(sid.encode()).hexdigest()[:8]


def _channel(channel: Channel) -> str:
    return "(no name)" if channel is None else channel


def _now() -> str:
    return _at(datetime.now(timezone.utc))


def _at(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
