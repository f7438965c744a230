"""Strand: jobs that run one at a time, in order, with no thread of their own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("backboneio.strand")


class Strand:
    """A queue of jobs that whichever thread finds it idle empties.

    :meth:`post` never blocks and runs nothing, so it may be called with locks held; that is how a
    queue order equals the order in which a lock was held. :meth:`run` executes what is queued: one
    thread at a time does so, the others return at once and leave their jobs to it. So jobs never
    overlap, state that only jobs touch needs no lock, and no lock is held while they run.
    (Boost.Asio calls this a strand.)

    A job must not block. One that raises is logged; the others are not disturbed.
    """

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], object]] = deque()  # append and popleft are atomic
        self._running = threading.Lock()  # held by the thread that runs jobs; never waited for

    def post(self, job: Callable[[], object]) -> None:
        """Queue *job*. Somebody has to call :meth:`run` soon after."""
        self._jobs.append(job)

    def run(self) -> None:
        """Run what is queued, unless another thread is doing so."""
        # The loop looks again after letting go: a job queued between the last look and the release
        # would otherwise wait for the next call.
        while self._jobs and self._running.acquire(blocking=False):
            try:
                while self._jobs:
                    job = self._jobs.popleft()
                    try:
                        job()
                    except Exception:
                        logger.exception("a job failed")
            finally:
                self._running.release()
