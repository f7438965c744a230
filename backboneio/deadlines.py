"""Deadlines: what is to happen when something has not happened in time."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from . import forks

logger = logging.getLogger("backboneio.deadlines")

#: Seconds after which the thread looks whether there is anything left to wait for.
LINGER = 1.0


class Deadline:
    """Something that happens at a time, unless it is called off before."""

    __slots__ = ("_deadlines", "function", "when")

    def __init__(self, deadlines: Deadlines, when: float, function: Callable[[], object]) -> None:
        self._deadlines = deadlines
        self.when = when
        self.function: Callable[[], object] | None = function

    def cancel(self) -> None:
        """Call it off; from any thread. It may be happening already."""
        self._deadlines.cancel(self)


class Deadlines:
    """Functions that are called when their time has come, by one thread for the whole process.

    The thread starts with the first deadline and ends when none is left. It calls the functions one
    after the other, with no lock held: they must not block. Where no thread is to be had, deadlines
    are late: the next one tries again. Whoever has set one may be in a queue by then, and nothing
    raised here would take it out.

    ``_lock`` protects ``_heap``, ``_cancelled``, ``_thread`` and every deadline's ``function``. It
    is held for single steps; nothing is taken inside it.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._begin()
        forks.register(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._heap: list[tuple[float, int, Deadline]] = []
        self._cancelled = 0  # of those in the heap
        self._thread: threading.Thread | None = None
        self._is_short = False  # whether the last thread that was wanted was not to be had

    def after_fork(self) -> None:
        """Begin anew: the thread, and all who wait for it, are the parent's."""
        self._begin()

    def after(self, seconds: float, function: Callable[[], object]) -> Deadline:
        """Call *function* in so many seconds."""
        deadline = Deadline(self, time.monotonic() + seconds, function)
        with self._lock:
            heapq.heappush(self._heap, (deadline.when, next(self._numbers), deadline))
            if self._thread is None:
                self._start()
            elif self._heap[0][2] is deadline:
                self._changed.notify()
        return deadline

    def _start(self) -> None:
        """Start the thread, if there is one to be had; under the lock."""
        thread = threading.Thread(target=self._run, name="backboneio deadlines", daemon=True)
        try:
            thread.start()
        except RuntimeError as err:
            if not self._is_short:
                logger.warning("cannot start another thread: %s", err)
            self._is_short = True
        else:
            self._thread = thread
            self._is_short = False

    def cancel(self, deadline: Deadline) -> None:
        """Forget a deadline."""
        with self._lock:
            if deadline.function is None:
                return
            deadline.function = None
            self._cancelled += 1
            # What is called off stays in the heap until its time has come, or it is the most of it.
            if self._cancelled > 64 and self._cancelled > len(self._heap) // 2:
                self._heap = [entry for entry in self._heap if entry[2].function is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def _run(self) -> None:
        while (functions := self._due()) is not None:
            for function in functions:
                try:
                    function()
                except Exception:
                    logger.exception("a deadline's function failed")

    def _due(self) -> list[Callable[[], object]] | None:
        """Wait, and return what is to be called now; None when there is nothing to wait for."""
        due: list[Callable[[], object]] = []
        with self._lock:
            heap, now = self._heap, time.monotonic()
            while heap and (heap[0][0] <= now or heap[0][2].function is None):
                deadline = heapq.heappop(heap)[2]
                if deadline.function is None:
                    self._cancelled -= 1
                else:
                    due.append(deadline.function)
                    deadline.function = None
            if due:
                return due
            if self._cancelled == len(heap):  # nobody waits any more
                heap.clear()
                self._cancelled = 0
                self._thread = None
                return None
            self._changed.wait(min(heap[0][0] - now, LINGER))
        return due


#: The deadlines of this process.
deadlines = Deadlines()
