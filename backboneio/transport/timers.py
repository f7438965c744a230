"""One thread for everything that is due later: heartbeats, timeouts, and the pool's watch."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from .signals import Signal

logger = logging.getLogger("backboneio.transport")

#: How long the thread sleeps at most when nothing is due.
_LONG = 3600.0


class Timers:
    """Calls functions later, in a thread of its own.

    Delays are few (the ping interval, the ping timeout, ...) while timers are many, so each delay
    has a queue, which is in order by itself: adding and expiring cost the same for ten clients as
    for ten thousand. There is no cancelling: a function finds out by itself that it came too late.
    No lock: deques are safe to append to and to pop from; only the timer thread pops.
    """

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Callable[[], object]]]] = {}
        self._signal = Signal()
        self._asleep_until = 0.0
        self._stopped = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._main, name="backboneio-timer", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._signal.set()

    def add(self, delay: float, function: Callable[[], object]) -> None:
        """Call `function` in `delay` seconds, in the timer thread. It must not block."""
        queue = self._queues.get(delay)
        if queue is None:
            queue = self._queues.setdefault(delay, deque())
        due = time.monotonic() + delay
        queue.append((due, function))
        if due < self._asleep_until:
            self._signal.set()

    def _main(self) -> None:
        while not self._stopped:
            try:
                due = self._run_due()
            except Exception:
                logger.exception("error in the timers")
                due = time.monotonic() + 1.0
            self._asleep_until = due
            # An entry added between _run_due() and this line has either seen an older
            # _asleep_until or is found here.
            for queue in list(self._queues.values()):
                if queue and queue[0][0] < due:
                    due = queue[0][0]
            self._signal.wait(max(0.0, due - time.monotonic()))
            self._asleep_until = 0.0

    def _run_due(self) -> float:
        """Call what is due; return when the next one is."""
        following = time.monotonic() + _LONG
        for queue in list(self._queues.values()):
            now = time.monotonic()
            while queue and queue[0][0] <= now:
                _due, function = queue.popleft()
                try:
                    function()
                except Exception:
                    logger.exception("error in a timer")
            if queue:
                following = min(following, queue[0][0])
        return following
