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
#: How much more than an equal share of the room an audience may take.
_FAIR = 1.125
#: How many audiences may have lost something; beyond it the oldest change is forgotten for all.
_MAX_RESETS = 256

_NULL = JSONText("null")


class _Kept(NamedTuple):
    change: Change
    time: float
    size: int


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
    the audience of everyone, or all take about as much, the oldest change is forgotten, whoever
    heard of it, and with it all knowledge of what came before.

    What was told to nobody is not kept. Nothing here is safe for threads: the journal's lock is.

    :ivar forgotten: the last rev that nothing is known of any more.
    """

    def __init__(self, limits: Limits, forgotten: int = 0) -> None:
        self.forgotten = forgotten
        self.bytes = 0
        self._limits = limits
        self._kept: OrderedDict[int, _Kept] = OrderedDict()  # by rev
        self._shares: dict[Audience, _Share] = {}
        self._greedy = _Share(None)  # the largest, as far as appending shows
        self._resets: dict[Audience, _Kept] = {}  # few; each stands for what its audience lost
        self._due = -math.inf  # not before then is the oldest of all too old

    def __len__(self) -> int:
        """The number of changes that are kept, with the resets that stand for others."""
        return len(self._kept) + len(self._resets)

    def append(self, change: Change, now: float) -> None:
        """Keep a change, which is newer than all others."""
        audience = change.channels
        if audience == ():
            return
        size = byte_length(change.text)
        self._kept[change.rev] = _Kept(change, now, size)
        self.bytes += size
        share = self._shares.get(audience)
        if share is None:
            share = self._shares[audience] = _Share(audience)
        share.revs.append(change.rev)
        share.weight += size + _OVERHEAD
        if share.weight > self._greedy.weight:
            self._greedy = share
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
            found += [
                # Of those before the last one lost, some may have been after *rev*, too.
                reset.change._replace(rev=min(reset.change.rev, until))
                for reset in self._resets.values()
                if rev < min(reset.change.rev, until)
            ]
            found.sort(key=lambda change: change.rev)
        return found

    def trim(self, now: float) -> None:
        """Drop what is over the limits."""
        limits, kept, resets = self._limits, self._kept, self._resets
        while len(kept) + len(resets) > limits.max_changes or self.bytes > limits.max_journal_bytes:
            self._make_room()
        while now > self._due and (kept or resets):
            first = self._first()
            self._due = first.time + limits.max_change_age
            if now > self._due:
                self._forget(first)

    def _make_room(self) -> None:
        greedy, resets = self._greedy, self._resets
        weight = self.bytes + _OVERHEAD * len(self._kept)
        if (
            greedy.audience is None
            or greedy.weight * len(self._shares) <= weight * _FAIR
            or len(resets) >= _MAX_RESETS
        ):
            self._forget(self._first())
        else:
            lost = self._drop(greedy.revs[0])
            reset = Change("reset", _NULL, greedy.audience, rev=lost.change.rev)
            resets[greedy.audience] = _Kept(reset, lost.time, 0)

    def _first(self) -> _Kept:
        """Return the oldest of all, which may be a reset; there is one."""
        first = next(iter(self._kept.values()), None)
        for reset in self._resets.values():
            if first is None or reset.change.rev < first.change.rev:
                first = reset
        assert first is not None
        return first

    def _forget(self, first: _Kept) -> None:
        """Know nothing any more of what happened until the oldest of all, that included."""
        self.forgotten = first.change.rev
        if self._resets.get(first.change.channels) is first:
            del self._resets[first.change.channels]
        else:
            self._drop(first.change.rev)

    def _drop(self, rev: int) -> _Kept:
        """Drop the oldest change of an audience."""
        kept = self._kept.pop(rev)
        audience = kept.change.channels
        share = self._shares[audience]
        share.revs.popleft()
        share.weight -= kept.size + _OVERHEAD
        self.bytes -= kept.size
        if not share.revs:
            del self._shares[audience]
        return kept
