"""Waking one thread, and knowing the thread that signal handlers interrupt."""

from __future__ import annotations

import _thread
import threading

from .. import forks


class Signal:
    """Wakes one waiting thread. Any thread may call set(); it never blocks, and once is enough."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let the waiting thread, or the next one to wait, go on."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # set already

    def wait(self, timeout: float = -1) -> bool:
        """Wait for set(); False when time is up before."""
        return self._lock.acquire(True, timeout)


class _Main:
    """The main thread, known by its ident: to ask for that takes four calls, with every flush.

    In a forked child it is the thread that has forked.
    """

    def __init__(self) -> None:
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self.ident = threading.main_thread().ident


_main = _Main()


def interruptible() -> bool:
    """Whether signal handlers run in this thread: in the main one, between any two steps.

    One that raises would leave half done what is being done. So the main thread, which gunicorn's
    sync worker serves requests in, only adds to queues; other threads do the work.
    """
    return _thread.get_ident() == _main.ident
