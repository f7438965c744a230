"""The hub: one pool, one outbox, one timer for all connections of a process."""

from __future__ import annotations

import _thread
import os
import select
import sys
from collections.abc import Callable, Iterable
from typing import Any

from .. import forks
from . import native
from .limits import TransportLimits
from .outbox import Backlog, Outbox, Receiver
from .pool import Pool
from .signals import interruptible
from .task import Task, Watched
from .timers import Timers


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
    """What links and connections are served by; nothing runs before start().

    _starting: taken to start, or to stop, once; held while threads start. No other lock is taken
    inside but the pool's own.
    """

    def __init__(self, limits: TransportLimits) -> None:
        self.limits = limits
        self._starting = _thread.allocate_lock()
        self._renew()
        forks.register(self)

    def _renew(self) -> None:
        """Make parts in which nothing runs."""
        #: what waits for all clients together; it belongs to the thread that sends
        self.backlog = Backlog(self.limits.max_total_backlog)
        self._outbox = Outbox()
        self._timers = Timers()
        self._pool: Pool | None = None

    # Its life

    def start(self) -> None:
        """Start, unless that is done. Called with the first connection, hence after any fork.

        :raises OSError: when the process has no more descriptors.
        :raises RuntimeError: when the system has no more threads.
        """
        if self._pool is None:
            with self._starting:
                if self._pool is None:  # else: by another thread, meanwhile
                    pool = Pool(self.limits.threads, self._outbox, self._timers)
                    try:
                        self._timers.start()
                        self._outbox.start()
                        pool.start()
                    except RuntimeError:  # whoever comes next begins anew
                        self._timers.stop()
                        self._outbox.stop()
                        self._renew()
                        raise
                    self._pool = pool

    @property
    def started(self) -> bool:
        """Whether threads run."""
        return self._pool is not None

    def stop(self) -> None:
        """End all threads (the daemon threads in handlers, after these)."""
        with self._starting:
            if self._pool is not None:
                self._pool.stop()
                self._timers.stop()
                self._outbox.stop()
                self._pool = None

    def after_fork(self) -> None:
        """In a forked child: the connections, threads and held locks are the parent's."""
        if self._pool is not None:
            self._pool.close()
            for link in self._pool.watched.values():
                fd, link.fd = link.fd, -1
                if fd >= 0:
                    os.close(fd)  # without a shutdown, which would reach the parent's client
        self._starting = _thread.allocate_lock()
        self._renew()

    # What is asked of it, by any thread

    def send(self, receivers: Iterable[Receiver], frame: bytes) -> None:
        """Send a frame to each receiver, in the order of the calls. Does not block."""
        self._outbox.put(receivers, frame)
        self._wake()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function soon, after what was put in before, by the thread that sends."""
        self._outbox.call(function, *args)
        self._wake()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function now, while nobody sends; return its result."""
        return self._outbox.run(function, *args)

    def flush(self) -> None:
        """Send what there is, by this thread if that may be."""
        self._outbox.flush()

    def later(self, delay: float, function: Callable[[], object]) -> None:
        """Call a function in `delay` seconds, in the timer thread. It must not block."""
        self._timers.add(delay, function)

    def schedule(self, task: Task) -> None:
        """Give a task a slice (another one, if it is in one)."""
        pool = self._pool
        if pool is None:
            return
        if interruptible():
            self.call(pool.schedule, task)
        else:
            pool.schedule(task)

    def queue(self, task: Task) -> None:
        """Give a task a slice whose owner lock the caller holds."""
        pool = self._pool
        if pool is not None:
            pool.queue(task)

    def _wake(self) -> None:
        """Have the outbox sent: by this thread, if it is the pool's, when its batch ends."""
        pool = self._pool
        if pool is not None:
            worker = pool.here.worker
            if worker is None or not worker.fresh:
                self._outbox.wake_writer()

    # What belongs to the thread that sends: for links and connections

    @property
    def sending(self) -> bool:
        """Whether somebody sends, as whoever calls such functions has to; for assertions."""
        return self._outbox.sending

    def watch(self, link: Watched) -> None:
        """Report what happens to a link."""
        if self._pool is not None:
            self._pool.watch(link)

    def await_output(self, fd: int) -> None:
        """Call drain() of a link when its socket takes output, which may be at once."""
        if self._pool is not None:
            self._pool.await_output(fd)

    def forget(self, fd: int) -> None:
        """Report no more; called before the file descriptor is closed."""
        if self._pool is not None:
            self._pool.forget(fd)

    def dropped(self) -> None:
        """Count a client that was disconnected because it did not read."""
        self._outbox.drops += 1

    # Figures

    @property
    def links(self) -> int:
        """How many connections there are, those included that are about to be closed."""
        return 0 if self._pool is None else len(self._pool.watched)

    @property
    def idle(self) -> bool:
        """Whether everything was sent."""
        if self._outbox.entries:
            return False
        pool = self._pool
        return pool is None or not any(link.backlog for link in list(pool.watched.values()))

    def stats(self) -> dict[str, Any]:
        """Figures for Server.stats()."""
        outbox, pool = self._outbox, self._pool
        return {
            "threads": 0 if pool is None else len(pool.workers),
            "threads_busy": 0 if pool is None else pool.busy,
            "threads_limit": self.limits.threads,
            "queue_in": 0 if pool is None else len(pool.ready),
            "queue_out": len(outbox.entries),
            "backlog": self.backlog.total,
            "bytes_in": 0 if pool is None else pool.sum("bytes_in"),
            "bytes_out": self.backlog.sent,
            "messages_in": 0 if pool is None else pool.sum("messages_in"),
            "deliveries": outbox.deliveries,
            "drops": outbox.drops,
        }
