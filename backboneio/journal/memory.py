"""MemoryJournal: the log of changes in the memory of this process."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from .. import forks
from ..json import byte_length
from ..limits import Limits
from ..model import Change, Draft
from ..strand import Strand
from .base import Deliver

logger = logging.getLogger("backboneio.journal")


class MemoryJournal:
    """The changes of one backend, numbered in the order in which they were appended.

    ``epoch`` names the journal's lifetime. In a forked process it is another one: servers that load
    an application first and fork then start all their workers with the same journal. Bounded by
    count, age and bytes (:class:`~backboneio.Limits`).

    Delivery happens inside :meth:`append`, or on a thread that is delivering right then: a strand
    keeps the order of revs, and no lock is held meanwhile.

    ``_lock`` protects ``_rev``, ``_kept``, ``_bytes`` and ``_forgotten``, and is held over posting
    into the strand, so that its order is that of revs. It is taken inside turns, never around them,
    and nothing but memory is touched under it.
    """

    begun = 0

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._rev = 0
        self._kept: deque[tuple[float, Change]] = deque()  # with the revs _forgotten + 1 ... _rev
        self._bytes = 0
        self._forgotten = 0  # the last rev that was dropped
        self._strand = Strand()
        self._followers: tuple[Deliver, ...] = ()  # replaced as a whole
        self._begin_epoch()
        forks.register(self)

    def after_fork(self) -> None:
        """Count as another journal from now on, without what may be there by half."""
        self._lock = threading.Lock()
        self._kept = deque()
        self._bytes = 0
        self._forgotten = self._rev
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.epoch = secrets.token_urlsafe(9)

    def append(self, draft: Draft, token: object = None) -> None:
        """Give *draft* the next rev, keep it, and deliver it."""
        with self._lock:
            self._rev += 1
            change = draft.at(self._rev)
            now = time.monotonic()
            self._kept.append((now, change))
            self._bytes += byte_length(change.text)
            self._trim(now)
            self._strand.post(partial(self._deliver, change, token))
        self._strand.run()

    def follow(self, deliver: Deliver) -> None:
        """Call *deliver* with every change from now on, in the order of revs."""
        with self._lock:
            self._followers = (*self._followers, deliver)

    def observe(self, observer: Callable[[Draft], object]) -> None:
        """Do nothing: no change comes around :meth:`append`."""

    def since(self, rev: int, until: int) -> list[Change] | None:
        """Return the changes after *rev* up to *until*, or None when it does not hold them all."""
        with self._lock:
            self._trim(time.monotonic())
            if not self._forgotten <= rev <= self._rev:
                return None
            first, last = rev - self._forgotten, until - self._forgotten
            kept = itertools.islice(self._kept, first, max(first, last))
            return [change for _, change in kept]

    def stats(self) -> dict[str, int]:
        """Return how far the journal is and what it keeps."""
        with self._lock:
            return {"rev": self._rev, "changes": len(self._kept), "journal_bytes": self._bytes}

    def _deliver(self, change: Change, token: object) -> None:
        for deliver in self._followers:
            try:
                deliver(change, token)
            except Exception:
                logger.exception("a follower of the journal failed")

    def _trim(self, now: float) -> None:
        """Drop what is over the limits; under ``_lock``."""
        assert self._lock.locked()
        kept, limits = self._kept, self._limits
        oldest = now - limits.max_change_age
        while kept and (
            len(kept) > limits.max_changes
            or self._bytes > limits.max_journal_bytes
            or kept[0][0] < oldest
        ):
            _, dropped = kept.popleft()
            self._bytes -= byte_length(dropped.text)
            self._forgotten = dropped.rev
