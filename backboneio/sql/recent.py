"""Recent: the last changes of a backend, kept in memory for clients that come back."""

from __future__ import annotations

import threading
from collections import deque

from ..json import kept_length
from ..model import Change

#: Changes that are kept, and their bytes; older ones are read.
RECENT = 1_000
RECENT_BYTES = 1024 * 1024


class Recent:
    """The last changes of a backend, without a gap.

    ``_lock`` protects them; it is held for single steps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: deque[Change] = deque()
        self._bytes = 0

    def keep(self, change: Change) -> None:
        """Keep a change that is later than all others, and no more than may be kept."""
        with self._lock:
            kept = self._changes
            if kept and change.rev != kept[-1].rev + 1:  # between() counts on there being no gap
                kept.clear()
                self._bytes = 0
            kept.append(change)
            self._bytes += kept_length(change.text)
            while len(kept) > RECENT or self._bytes > RECENT_BYTES:
                self._bytes -= kept_length(kept.popleft().text)

    def between(self, rev: int, until: int) -> list[Change] | None:
        """Return the changes after *rev* up to *until*, or None when they are not all kept."""
        with self._lock:
            kept = list(self._changes)
        if not kept or kept[0].rev > rev + 1 or until > kept[-1].rev:
            return None
        first = rev - kept[0].rev + 1
        return kept[first : first + until - rev]

    def size(self) -> tuple[int, int]:
        """Return how many changes are kept, and their bytes."""
        with self._lock:
            return len(self._changes), self._bytes
