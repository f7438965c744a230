"""MemoryJournal: the log of changes in the memory of this process."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from functools import partial

from .. import forks
from ..limits import Limits
from ..model import Change, Draft
from ..strand import Strand
from .base import Deliver
from .history import History

logger = logging.getLogger("backboneio.journal")


class MemoryJournal:
    """The changes of one backend, numbered in the order in which they were appended.

    ``epoch`` names the journal's lifetime. In a forked process it is another one: servers that load
    an application first and fork then start all their workers with the same journal. Bounded by
    count, age and bytes (:class:`~backboneio.Limits`).

    Delivery happens inside :meth:`append`, or on a thread that is delivering right then: a strand
    keeps the order of revs, and no lock is held meanwhile.

    :param strand: the one to deliver on, for whoever has more to do in that order; by default one
        of its own.

    ``_lock`` protects ``_rev`` and ``_history``, and is held over posting into the strand, so that
    its order is that of revs. It is taken inside turns, never around them, and nothing but memory
    is touched under it.
    """

    begun = 0

    def __init__(self, limits: Limits | None = None, strand: Strand | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._rev = 0
        self._history = History(self._limits)
        self.strand = strand or Strand()
        self._followers: tuple[Deliver, ...] = ()  # replaced as a whole
        self._begin_epoch()
        forks.register(self)

    def after_fork(self) -> None:
        """Count as another journal from now on, without what may be there by half."""
        self._lock = threading.Lock()
        self._history = History(self._limits, self._rev)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.epoch = secrets.token_urlsafe(9)

    def append(self, draft: Draft, token: object = None) -> None:
        """Give *draft* the next rev, keep it, and deliver it."""
        with self._lock:
            self._rev += 1
            change = draft.at(self._rev)
            self._history.append(change, time.monotonic())
            self.strand.post(partial(self._deliver, change, token))
        self.strand.run()

    def follow(self, deliver: Deliver) -> None:
        """Call *deliver* with every change from now on, in the order of revs."""
        with self._lock:
            self._followers = (*self._followers, deliver)

    def observe(self, observer: Callable[[Draft], object]) -> None:
        """Do nothing: no change comes around :meth:`append`."""

    def since(self, rev: int, until: int) -> list[Change] | None:
        """Return the changes after *rev* up to *until*, or None when it does not hold them all."""
        with self._lock:
            history = self._history
            history.trim(time.monotonic())
            return history.since(rev, until) if history.forgotten <= rev <= self._rev else None

    def stats(self) -> dict[str, int]:
        """Return how far the journal is and what it keeps."""
        with self._lock:
            history = self._history
            return {"rev": self._rev, "changes": len(history), "journal_bytes": history.bytes}

    def _deliver(self, change: Change, token: object) -> None:
        for deliver in self._followers:
            try:
                deliver(change, token)
            except Exception:
                logger.exception("a follower of the journal failed")
