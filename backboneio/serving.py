"""Serving: the backends that one ``socketio.Server`` serves for an application, by name."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import socketio

from . import forks
from .application import Application
from .backend import Backend
from .journal import Journal
from .limits import Limits
from .socketio import attach
from .sync import Sync
from .users import reaches, served_on

#: What a Socket.IO namespace may be called; a comma ends it on the wire, a question mark too.
_NAME = re.compile(r"[^\s,?#/\x00-\x1f][^\s,?#\x00-\x1f]{0,254}")


class Serving:
    """The backends of an application on one server; more may come at any time, from any thread.

    ``_lock`` protects which names are taken, for single steps: no journal is made under it. What
    is served is replaced as a whole, so reading it needs no lock.

    :param event: the prefix of the events in the browser.
    :param debug: whether clients see the messages and stacks of unexpected exceptions; None: what
        the application says when they happen.
    :param journal: makes the journal of each backend that has none.
    :raises TypeError: for limits that are none.
    :raises ValueError: for an event prefix that cannot be one.

    :ivar syncs: what serves each backend, by name.
    """

    def __init__(
        self,
        sio: socketio.Server,
        application: Application,
        *,
        event: str,
        debug: bool | None,
        limits: Limits | None,
        journal: Callable[[str], Journal] | None,
    ) -> None:
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits are given as backboneio.Limits(...), not {limits!r:.100}")
        if not isinstance(event, str) or not event or re.search(r"\s", event):
            raise ValueError(
                f"{event!r:.100} cannot be an event prefix: a name without spaces is needed"
            )
        self._sio = sio
        self._application = application
        self._event = event
        self._debug = application.debug if debug is None else bool(debug).__bool__
        self._limits = limits
        self._journal = journal
        self._lock = threading.Lock()
        self._taken: dict[str, Backend] = {}
        self._has_clients = False  # whether requests come to this process
        self.syncs: dict[str, Sync] = {}
        self._labelled: tuple[tuple[str, Sync], ...] = ()
        forks.register(self)
        served_on(application)

    def after_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()

    def add(self, backends: Mapping[str, Backend]) -> None:
        """Serve more backends. One that is served under its name already stays as it is.

        :raises ValueError: for a name that cannot be one, or that another backend has.
        :raises TypeError: for what is no backend.
        """
        check(backends)
        with self._lock:
            for name, backend in backends.items():
                if self._taken.get(name, backend) is not backend:
                    raise ValueError(f"the name {name!r} is taken by another backend already")
            new = {name: backends[name] for name in backends if name not in self._taken}
            self._taken.update(new)
        try:
            syncs = {name: self._sync(name, backend) for name, backend in new.items()}
            connections = attach(self._sio, syncs)
        except BaseException:
            with self._lock:
                for name in new:
                    del self._taken[name]
            raise
        self._application.served += syncs.values()
        if connections not in self._application.connections:
            self._application.connections.append(connections)
        for sync in syncs.values():
            reaches(self._application, sync.journal)
        with self._lock:
            self.syncs = {**self.syncs, **syncs}
            # As the browser's encodeURIComponent() writes the names.
            labelled = ((quote(name, safe="!'()*~"), sync) for name, sync in self.syncs.items())
            self._labelled = tuple(labelled)
        if self._has_clients:
            self.has_clients()

    def _sync(self, name: str, backend: Backend) -> Sync:
        return Sync(
            backend,
            name,
            event=self._event,
            debug=self._debug,
            limits=self._limits,
            context=self._application.context,
            is_current=self._application.is_current,
            make_journal=self._journal,
        )

    def has_clients(self) -> None:
        """Note that clients come to this process, and not to another one."""
        self._has_clients = True
        for sync in self.syncs.values():
            sync.backend.is_served = True

    def labels(self) -> str:
        """Return what ``Backbone-Rev`` says now; empty while nobody listens here."""
        labels = [(name, sync.label()) for name, sync in self._labelled]
        return ", ".join(f"{name}={label}" for name, label in labels if label is not None)

    def stats(self) -> dict[str, Any]:
        """Return the figures of each backend, by name."""
        return {name: sync.stats() for name, sync in self.syncs.items()}


def check(backends: Mapping[str, Backend]) -> None:
    """Refuse what cannot be served.

    :raises ValueError: for a name that cannot be a namespace.
    :raises TypeError: for what is no backend.
    """
    if not isinstance(backends, Mapping):
        raise TypeError(f"backends are given as a dict of name and Backend, not {backends!r:.100}")
    for name, backend in backends.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ValueError(
                f"{name!r:.100} cannot be a backend's name: it becomes a Socket.IO namespace, so "
                "it is a string of 1 to 255 characters without spaces, commas, '?' and '#' that "
                "does not start with '/'"
            )
        if not isinstance(backend, Backend):
            raise TypeError(f"backend {name!r} has to be a Backend, not {backend!r:.100}")
