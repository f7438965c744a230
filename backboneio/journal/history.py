"""History: the changes that a journal in memory keeps, with a share for everyone."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field

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


#: A change, when it was made, and the bytes of its text.
_Kept = tuple[Change, float, int]


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
        # By rev, in their order; a reset is where the change was that it stands for.
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
        size = byte_length(change.text)
        self._kept[change.rev] = change, now, size
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
        for change, _, _ in reversed(self._kept.values()):
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
        while len(kept) > limits.max_changes or self.bytes > limits.max_journal_bytes:
            self._make_room()
        while kept and now > self._due:
            self._due = next(iter(kept.values()))[1] + limits.max_change_age
            if now > self._due:
                self._forget()

    def _make_room(self) -> None:
        greedy, resets = self._greedy, self._resets
        audience = greedy.audience
        weight = self.bytes + _OVERHEAD * len(self._kept)
        if (
            audience is None
            or greedy.weight * len(self._shares) <= weight * _FAIR
            or len(resets) >= _MAX_RESETS
        ):
            self._forget()
            return
        rev = greedy.revs[0]
        change, time, size = self._kept[rev]
        self._kept[rev] = Change("reset", _NULL, audience, rev=rev), time, 0
        self._count_out(change, size)
        if audience in resets:
            del self._kept[resets[audience]]
        resets[audience] = rev

    def _forget(self) -> None:
        """Know nothing any more of what happened until the oldest of all, that included."""
        self.forgotten, (change, _, size) = self._kept.popitem(last=False)
        if self._resets.get(change.channels) == change.rev:
            del self._resets[change.channels]
        else:
            self._count_out(change, size)

    def _count_out(self, change: Change, size: int) -> None:
        """Take the oldest change of an audience out of its share."""
        share = self._shares[change.channels]
        share.revs.popleft()
        share.weight -= size + _OVERHEAD
        self.bytes -= size
        if not share.revs:
            del self._shares[change.channels]
