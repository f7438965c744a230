"""Polls that wait in threads of a WSGI server which keeps its connections."""

from __future__ import annotations

import threading

from .limits import TransportLimits
from .poll import WaitingPoll


class WaitingRoom:
    """How long which polls hold a thread; the server has others to serve with its threads.

    A few wait long: they hear of everything at once. The others share a short time, so that a
    request that queues behind all of them waits for that time in sum and no longer, however many
    clients there are. A server with one thread has only the latter.

    _lock: protects _patient, the number of those that wait long.
    """

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: other threads' requests are the parent's."""
        self._lock = threading.Lock()
        self._patient = 0

    def wait(self, poll: WaitingPoll, threads: int | None, clients: int) -> list[bytes] | None:
        """Wait in this thread; return what to answer, None when there is nothing to say.

        `threads` are those that the server has (None: several), `clients` those of this process.
        """
        limits = self._limits
        places = (
            limits.waiting_polls if threads is None else min(limits.waiting_polls, threads // 2)
        )
        with self._lock:
            patient = self._patient < places
            self._patient += patient
        try:
            seconds = limits.poll_wait if patient else limits.short_poll_wait / max(1, clients)
            return poll.wait(seconds)
        finally:
            with self._lock:
                self._patient -= patient
