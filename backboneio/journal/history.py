"""History: the changes that a journal in memory keeps, with a share for everyone."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from ..json import JSONText, kept_length
from ..limits import Limits
from ..model import Change, Channel

#: Who was told: what shares are kept by.
Audience = tuple[Channel, ...] | None

#: Bytes that a change costs beside its text.
_OVERHEAD = 512
#: How much more than an equal share of the room an audience may take.
_FAIR = 1.125
#: Such a part of the changes is forgotten when there are too many.
_PART = 100
#: How many audiences may have lost something; beyond it the oldest change is forgotten for all.
_MAX_RESETS = 256

_NULL = JSONText("null")


@dataclass(slots=True, eq=False)
class _Share:
    """The changes of one audience: their revs, oldest first, and what they cost in bytes."""

    audience: Audience
    revs: deque[int] = field(default_factory=deque)
    weight: int = 0


#: A change, when it was made, the bytes of its text, and the share that it counts in: None for a
#: reset, which stands for others.
_Kept = tuple[Change, float, int, _Share | None]


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
        # By rev, in their order; a reset is where the change was that it stands for. A dictionary
        # finds the first of its keys by walking over those that are gone; this one does not.
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._resets: dict[Audience, int] = {}  # their revs; few
        self._shares: dict[Audience, _Share] = {}
        self._greedy = _Share(None)  # the largest, as far as appending shows
        self._due = -math.inf  # not before then is the oldest of all too old

    def __len__(self) -> int:
        """The number of changes that are kept, with the resets that stand for others."""
        return len(self._kept)

    def append(self, change: Change, now: float) -> None:
        """Keep a change, which is newer than all others."""
        audience = change.channels
        if audience == ():
            return
        size = kept_length(change.text)
        rev = change.rev
        share = self._shares.get(audience)
        if share is None:
            share = self._shares[audience] = _Share(audience)
        self._kept[rev] = change, now, size, share
        self.bytes += size
        share.revs.append(rev)
        share.weight += size + _OVERHEAD
        if share.weight > self._greedy.weight:
            self._greedy = share
        self.trim(now)

    def since(self, rev: int, until: int) -> list[Change]:
        """Return what is kept of the changes after *rev* up to *until*, oldest first."""
        found = []
        for change, *_ in reversed(self._kept.values()):
            if change.rev <= rev:
                break
            if change.rev <= until:
                found.append(change)
            elif rev < until and self._resets.get(change.channels) == change.rev:
                # Of those before the last one lost, some may have been after *rev*, too.
                found.append(change._replace(rev=until))
        found.reverse()
        return found

    def trim(self, now: float) -> None:
        """Drop what is over the limits."""
        kept, limits = self._kept, self._limits
        while len(kept) > limits.max_changes:  # for several at once, which takes half the time
            self._make_room(1 + limits.max_changes // _PART)
        while self.bytes > limits.max_journal_bytes:
            self._make_room(1)
        while kept and now > self._due:
            self._due = kept[self._first()][1] + limits.max_change_age
            if now > self._due:
                self._forget(1)

    def _make_room(self, most: int) -> None:
        """Drop the oldest changes: so many of all, or one of whoever has taken too much."""
        greedy, resets = self._greedy, self._resets
        audience = greedy.audience
        weight = self.bytes + _OVERHEAD * len(self._kept)
        if (
            audience is None
            or greedy.weight * len(self._shares) <= weight * _FAIR
            or len(resets) >= _MAX_RESETS
        ):
            self._forget(most)
            return
        rev = greedy.revs[0]
        _, time, size, share = self._kept[rev]
        self._kept[rev] = Change("reset", _NULL, audience, rev=rev), time, 0, None
        assert share is greedy
        self._count_out(greedy, size)
        if audience in resets:
            del self._kept[resets[audience]]
        resets[audience] = rev

    def _first(self) -> int:
        """Return the oldest rev that is kept; there is one."""
        return next(iter(self._kept))

    def _forget(self, count: int) -> None:
        """Know nothing any more of what happened until the oldest changes, these included."""
        for _ in range(count):
            self.forgotten = rev = self._first()
            change, _, size, share = self._kept.pop(rev)
            if share is None:
                del self._resets[change.channels]
            else:
                self._count_out(share, size)

    def _count_out(self, share: _Share, size: int) -> None:
        """Take the oldest change of an audience out of its share."""
        share.revs.popleft()
        share.weight -= size + _OVERHEAD
        self.bytes -= size
        if not share.revs:
            del self._shares[share.audience]
