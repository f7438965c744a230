"""History: the changes that a journal in memory keeps, with a share for everyone."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from operator import attrgetter
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

    @property
    def rev(self) -> int:
        return self.change.rev


class _Lost(NamedTuple):
    """The last change of an audience that is not kept any more, of those that may be asked for."""

    time: float
    rev: int
    audience: Audience


@dataclass(slots=True)
class _Share:
    """The changes of one audience: their revs, oldest first, and what they cost in bytes."""

    audience: Audience
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
        self._greedy = _Share(None)  # the largest, as far as appending shows
        self._lost: dict[Audience, _Lost] = {}  # few
        self._due = math.inf  # not before then is the oldest of all too old

    def __len__(self) -> int:
        """The number of changes that are kept, with the resets that stand for others."""
        return len(self._kept) + len(self._lost)

    def append(self, change: Change, now: float) -> None:
        """Keep a change, which is newer than all others."""
        audience = change.channels
        if audience == ():
            return
        size = byte_length(change.text)
        kept, limits, weight = self._kept, self._limits, size + _OVERHEAD
        if not kept:
            self._due = min(self._due, now + limits.max_change_age)
        kept[change.rev] = _Kept(now, change, size)
        self.bytes += size
        self._weight += weight
        share = self._shares.get(audience)
        if share is None:
            share = self._shares[audience] = _Share(audience)
        share.revs.append(change.rev)
        share.weight += weight
        if share.weight > self._greedy.weight:
            self._greedy = share
        if (
            len(kept) + len(self._lost) > limits.max_changes
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
        if self._lost:
            found += [
                # Of those before the last one lost, some may have been after *rev*, too.
                Change("reset", JSONText("null"), audience, rev=min(lost.rev, until))
                for audience, lost in self._lost.items()
                if rev < min(lost.rev, until)
            ]
            found.sort(key=lambda change: change.rev)
        return found

    def trim(self, now: float) -> None:
        """Drop what is over the limits."""
        limits = self._limits
        while (
            len(self._kept) + len(self._lost) > limits.max_changes
            or self.bytes > limits.max_journal_bytes
        ):
            self._make_room()
        while now > self._due:
            if not self._kept and not self._lost:
                self._due = math.inf
                return
            self._due = self._first().time + limits.max_change_age
            if now > self._due:
                self._forget()

    def _make_room(self) -> None:
        greedy = self._greedy
        audience = greedy.audience
        if (
            audience is None
            or greedy.weight * len(self._shares) <= self._weight
            or len(self._lost) >= _MAX_RESETS
        ):
            self._forget()
        else:
            lost = self._drop(greedy.revs[0])
            self._lost[audience] = _Lost(lost.time, lost.rev, audience)

    def _first(self) -> _Kept | _Lost:
        """Return the oldest of all; there is one."""
        kept = next(iter(self._kept.values()), None)
        if not self._lost:
            assert kept is not None
            return kept
        lost = min(self._lost.values(), key=_rev)
        return lost if kept is None or lost.rev < kept.rev else kept

    def _forget(self) -> None:
        """Know nothing any more of what happened until the oldest of all, that included."""
        first = self._first()
        self.forgotten = first.rev
        if isinstance(first, _Kept):
            self._drop(first.rev)
        else:
            del self._lost[first.audience]

    def _drop(self, rev: int) -> _Kept:
        kept = self._kept.pop(rev)
        audience = kept.change.channels
        share = self._shares[audience]
        share.revs.popleft()  # both are the oldest of this audience
        weight = kept.size + _OVERHEAD
        share.weight -= weight
        self._weight -= weight
        self.bytes -= kept.size
        if not share.revs:
            del self._shares[audience]
        return kept


_rev = attrgetter("rev")
