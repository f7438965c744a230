"""The hub: one epoll, one outbox, one timer for all connections of a process."""

from __future__ import annotations

import _thread
import os
import select
import sys
from typing import TYPE_CHECKING, Any

from .. import forks
from . import native
from .limits import Limits
from .outbox import Outbox
from .pool import TICK, Pool
from .timers import Timers

if TYPE_CHECKING:
    from .link import Link


def why_not() -> str | None:
    """Why connections of this process cannot be served by a hub; None when they can."""
    if not hasattr(select, "epoll"):
        return "this system (or a patched 'select' module) has no epoll"
    if not native.available:
        return "the C library's send() cannot be called on this system"
    if not hasattr(os, "eventfd"):
        return "this Python has no os.eventfd"
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent has patched the threads of this process"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet has patched the threads of this process"
    return None


class Hub:
    """What serves the connections; nothing runs before start().

    _starting: taken to start (or to stop) once.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.links: dict[int, Link] = {}
        self.drops = 0
        self.outbox = Outbox()
        self._starting = _thread.allocate_lock()
        self._started: bool = False
        forks.register(self)

    pool: Pool
    timers: Timers

    def start(self) -> None:
        """Start, unless that is done. Called with the first connection, hence after any fork."""
        if not self._started:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if not self._started:  # else: by another thread, meanwhile
                self.pool = Pool(self)
                self.timers = Timers(self.pool.tick, TICK)
                self.timers.start()
                self.outbox.start()
                self.pool.start()
                self._started = True

    @property
    def started(self) -> bool:
        """Whether threads run."""
        return self._started

    def stop(self) -> None:
        """End all threads (the daemon threads in handlers, after these)."""
        with self._starting:
            if self._started:
                self._started = False
                self.pool.stop()
                self.timers.stop()
                self.outbox.stop()

    def wake(self) -> None:
        """Have the outbox sent soon: by this thread, if it is the pool's, when its batch ends."""
        if self._started:
            worker = self.pool.current()
            if worker is not None and worker.fresh:
                return
            self.outbox.wake_writer()

    def register(self, link: Link) -> None:
        """Watch a link. Called by the thread that flushes."""
        self.links[link.fd] = link
        self.pool.register(link.fd)

    def forget(self, fd: int) -> None:
        """Stop watching; called before the file descriptor is closed."""
        if self.links.pop(fd, None) is not None:
            try:
                self.pool.unregister(fd)
            except (OSError, ValueError):
                pass

    def backlog(self) -> int:
        """Bytes that wait for sockets to take them."""
        return sum(link.backlog for link in list(self.links.values()))

    def stats(self) -> dict[str, Any]:
        """Figures for Server.stats()."""
        outbox = self.outbox
        figures: dict[str, Any] = {
            "threads": 0,
            "threads_busy": 0,
            "threads_limit": self.limits.threads,
            "queue_in": 0,
            "queue_out": len(outbox.entries),
            "bytes_in": 0,
            "bytes_out": outbox.bytes_out,
            "messages_in": 0,
            "deliveries": outbox.deliveries,
            "drops": self.drops,
        }
        if self._started:
            pool = self.pool
            figures.update(
                threads=len(pool.workers),
                threads_busy=pool.busy,
                queue_in=len(pool.ready),
                bytes_in=pool.sum("bytes_in"),
                messages_in=pool.sum("messages_in"),
            )
        return figures

    def after_fork(self) -> None:
        """In a forked child: the connections, threads and held locks are the parent's."""
        if self._started:
            self.pool.close()
            for link in self.links.values():
                fd, link.fd = link.fd, -1
                if fd >= 0:
                    os.close(fd)  # without a shutdown, which would reach the parent's client
        self.links = {}
        self.outbox = Outbox()
        self._starting = _thread.allocate_lock()
        self._started = False
