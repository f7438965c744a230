"""Strand: jobs that run one at a time, in order, with no thread of their own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from . import forks

logger = logging.getLogger("backboneio.strand")

#: Jobs that may be queued before a thread that posts more waits for its turn to run them.
HIGH_WATER = 256


class Strand:
    """A queue of jobs that whichever thread finds it idle empties.

    :meth:`post` never blocks and runs nothing, so it may be called with locks held; that is how a
    queue order equals the order in which a lock was held. :meth:`run` executes what is queued: one
    thread at a time does so, the others return at once and leave their jobs to it. So jobs never
    overlap, state that only jobs touch needs no lock, and no lock is held while they run.
    (Boost.Asio calls this a strand.)

    When more jobs come than one thread can run, those who post them wait and take over from it:
    nobody is kept for ever with the jobs of others, and the queue stays short.

    A job waits for nobody, and in a backend's strand it does no I/O: all its clients would wait
    along. One that raises is logged; the others are not disturbed.
    """

    def __init__(self) -> None:
        self._begin()
        forks.register(self)

    def after_fork(self) -> None:
        """Begin anew: what is queued, and whoever runs it, are the parent's."""
        self._begin()

    def _begin(self) -> None:
        self._jobs: deque[Callable[[], object]] = deque()  # its steps are atomic, without a GIL too
        self._running = threading.Lock()  # held by the thread that runs jobs
        self._runner = 0  # its ident
        self._waiting: deque[None] = deque()  # one for every thread that waits to take over

    def is_inside(self) -> bool:
        """Whether this thread is running a job."""
        return self._runner == threading.get_ident()

    def do(self, job: Callable[[], object]) -> None:
        """Run *job* after what is queued, now or on the thread that runs jobs."""
        self._jobs.append(job)
        self.run()

    def post(self, job: Callable[[], object]) -> None:
        """Queue *job*. Somebody has to call :meth:`run` soon after."""
        self._jobs.append(job)

    def run(self) -> None:
        """Run what is queued, unless another thread is doing so and keeps up."""
        # The loop looks again after letting go: a job queued between the last look and the release
        # would otherwise wait for the next call.
        jobs, running = self._jobs, self._running
        while jobs and (running.acquire(blocking=False) or self._take_over()):
            self._runner = threading.get_ident()
            try:
                ran = 0
                while jobs and (ran < HIGH_WATER or not self._waiting):
                    ran += 1
                    try:
                        jobs.popleft()()
                    except Exception:
                        logger.exception("a job failed")
            finally:
                self._runner = 0
                running.release()
            if self._waiting:  # somebody takes over, now or soon
                return

    def _take_over(self) -> bool:
        """Wait for the lock when too much is queued; False when another thread keeps up."""
        if len(self._jobs) < HIGH_WATER or self._runner == threading.get_ident():
            return False
        self._waiting.append(None)
        try:
            self._running.acquire()
        finally:  # a signal's handler may raise, in the main thread
            self._waiting.pop()
        return True
