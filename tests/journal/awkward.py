"""AwkwardJournal: as inconvenient as a journal may be, to try everything that relies on one.

It delivers late, from a thread of its own, in batches, and with the changes of others in between.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections import deque
from collections.abc import Callable

from backboneio.journal.base import Deliver
from backboneio.limits import Limits
from backboneio.model import Change, Draft

#: Seconds that what was appended is kept before it gets its rev, at most.
LATE = 0.004
#: How many changes get their revs in one go, at most.
BATCH = 7
#: The channel on which the others make their changes.
ELSEWHERE = "elsewhere"


class AwkwardJournal:
    """A journal in memory whose changes have no rev yet when ``append`` returns.

    ``_lock`` protects everything but the followers; it is held for single steps only. One thread at
    a time delivers, for as long as there is something to deliver.

    :param others: how likely it is that somebody else's change stands before one of ours.
    """

    def __init__(self, limits: Limits | None = None, *, others: float = 0.5) -> None:
        self.begun = 0
        self.epoch = secrets.token_urlsafe(9)
        self._limits = limits or Limits()
        self._others = others
        self._lock = threading.Lock()
        self._appended: deque[tuple[Draft, object]] = deque()
        self._changes: list[Change] = []  # with the revs 1, 2, 3, ...
        self._followers: list[Deliver] = []
        self._delivering = False
        self._random = random.Random(0)
        self._pause = threading.Event()  # nobody sets it: it is waited for as long as it takes

    def append(self, draft: Draft, token: object = None) -> None:
        """Keep *draft*; it gets its rev in a while."""
        with self._lock:
            self._appended.append((draft, token))
            if self._delivering:
                return
            self._delivering = True
        threading.Thread(target=self._deliver, name="awkward journal", daemon=True).start()

    def follow(self, deliver: Deliver) -> None:
        """Call *deliver* with every change from now on."""
        self._followers.append(deliver)

    def observe(self, observer: Callable[[Draft], object]) -> None:
        """Do nothing: whatever is made in this process is appended."""

    def since(self, rev: int, until: int) -> list[Change] | None:
        """Return the changes after *rev* up to *until*, or None when it does not hold them all."""
        with self._lock:
            known = len(self._changes)
            if not max(0, known - self._limits.max_changes) <= rev <= known:
                return None
            return self._changes[rev : max(rev, until)]

    def stats(self) -> dict[str, int]:
        """Return how far it is."""
        with self._lock:
            return {"rev": len(self._changes)}

    def _deliver(self) -> None:
        while batch := self._sequence():
            for change, token in batch:
                for deliver in list(self._followers):
                    try:
                        deliver(change, token)
                    except Exception:
                        pass

    def _sequence(self) -> list[tuple[Change, object]]:
        """Wait a little, and give some of what was appended its revs; empty at the end."""
        self._pause.wait(self._random.uniform(0, LATE))
        batch: list[tuple[Change, object]] = []
        with self._lock:
            while self._appended and len(batch) < BATCH:
                if self._random.random() < self._others:
                    draft = Draft.of("update", {"id": "theirs"}, channels=(ELSEWHERE,))
                    batch.append(self._place(draft, None))
                batch.append(self._place(*self._appended.popleft()))
            self._delivering = bool(batch)
        return batch

    def _place(self, draft: Draft, token: object) -> tuple[Change, object]:
        change = draft.at(len(self._changes) + 1)
        self._changes.append(change)
        return change, token
