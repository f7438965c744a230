"""History: the changes that a journal in memory keeps, with a share for everyone."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from ..json import JSONText, byte_length
from ..limits import Limits
from ..model import Change, Channel

#: Who was told: what shares are kept by.
Audience = tuple[Channel, ...] | None

#: Bytes that a change costs beside its text.
_OVERHEAD = 512
#: How many audiences may have lost something; beyond it the oldest change is forgotten for all.
_MAX_RESETS = 256


class _Kept(NamedTuple):
    time: float
    change: Change
    size: int


@dataclass
class _Share:
    """The changes of one audience: their revs, oldest first, and what they cost in bytes."""

    revs: deque[int] = field(default_factory=deque)
    weight: int = 0


class History:
    """The changes that were made last, bounded by count, age and bytes.

    When there is too much of them, the audience whose changes take most of the room loses its
    oldest, so that nobody pushes out what others may need. A ``reset`` of its channels, with the
    rev of the last change lost, stands for those: whoever has missed it fetches anew. When that is
    the audience of everyone, or all take as much, the oldest change is forgotten, whoever heard of
    it, and with it all knowledge of what came before.

    What was told to nobody is not kept. Nothing here is safe for threads: the journal's lock is.

    :ivar forgotten: the last rev that nothing is known of any more.
    """

    def __init__(self, limits: Limits, forgotten: int = 0) -> None:
        self.forgotten = forgotten
        self.bytes = 0
        self._limits = limits
        self._kept: OrderedDict[int, _Kept] = OrderedDict()  # by rev
        self._shares: dict[Audience, _Share] = {}
        self._weight = 0  # of all of them
        self._greedy: Audience = None  # whose share was the largest, as far as appending shows
        self._resets: dict[Audience, _Kept] = {}  # by what they stand for; few
        self._due = math.inf  # when the oldest of all is too old

    def __len__(self) -> int:
        """The number of changes that are kept, with the resets that stand for others."""
        return len(self._kept) + len(self._resets)

    def append(self, change: Change, now: float) -> None:
        """Keep a change, which is newer than all others."""
        audience = change.channels
        if audience == ():
            return
        size = byte_length(change.text)
        self._kept[change.rev] = _Kept(now, change, size)
        self.bytes += size
        share = self._shares.get(audience)
        if share is None:
            share = self._shares[audience] = _Share()
        share.revs.append(change.rev)
        share.weight += size + _OVERHEAD
        self._weight += size + _OVERHEAD
        greedy = self._shares.get(self._greedy)
        if greedy is None or share.weight > greedy.weight:
            self._greedy = audience
        if len(self._kept) == 1:
            self._due = min(self._due, now + self._limits.max_change_age)
        limits = self._limits
        if (
            len(self._kept) + len(self._resets) > limits.max_changes
            or self.bytes > limits.max_journal_bytes
            or now > self._due
        ):
            self.trim(now)

    def since(self, rev: int, until: int) -> list[Change]:
        """Return what is kept of the changes after *rev* up to *until*, oldest first."""
        found = []
        for kept in reversed(self._kept.values()):
            if kept.change.rev <= rev:
                break
            if kept.change.rev <= until:
                found.append(kept.change)
        found.reverse()
        if self._resets:
            resets = (kept.change for kept in self._resets.values())
            found += [reset for reset in resets if rev < reset.rev <= until]
            found.sort(key=lambda change: change.rev)
        return found

    def trim(self, now: float) -> None:
        """Drop what is over the limits."""
        limits = self._limits
        while self._kept or self._resets:
            if len(self) > limits.max_changes or self.bytes > limits.max_journal_bytes:
                self._make_room()
            elif now > self._due:
                self._forget(self._first())
            else:
                return
            self._due = math.inf
            if self._kept or self._resets:
                self._due = self._first().time + limits.max_change_age

    def _make_room(self) -> None:
        greedy = self._shares.get(self._greedy)
        if (
            greedy is None
            or self._greedy is None
            or greedy.weight * len(self._shares) <= self._weight
            or len(self._resets) >= _MAX_RESETS
        ):
            self._forget(self._first())
        else:
            lost = self._drop(greedy.revs[0])
            reset = Change("reset", JSONText("null"), self._greedy, rev=lost.change.rev)
            self._resets[self._greedy] = _Kept(lost.time, reset, 0)

    def _first(self) -> _Kept:
        """Return the oldest of all; there is one."""
        firsts = list(self._resets.values())
        if self._kept:
            firsts.append(next(iter(self._kept.values())))
        return firsts[0] if len(firsts) == 1 else min(firsts, key=lambda kept: kept.change.rev)

    def _forget(self, first: _Kept) -> None:
        """Know nothing any more of what happened until *first*, the oldest of all."""
        rev = self.forgotten = first.change.rev
        if rev in self._kept:
            self._drop(rev)
        else:
            del self._resets[first.change.channels]

    def _drop(self, rev: int) -> _Kept:
        kept = self._kept.pop(rev)
        audience = kept.change.channels
        share = self._shares[audience]
        share.revs.popleft()  # both are the oldest of this audience
        share.weight -= kept.size + _OVERHEAD
        self._weight -= kept.size + _OVERHEAD
        self.bytes -= kept.size
        if not share.revs:
            del self._shares[audience]
        return kept
