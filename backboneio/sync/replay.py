"""Replay: what a client that comes back has missed, put together beside what goes on."""

from __future__ import annotations

import time

from ..journal import Journal
from ..json import JSONText, byte_length
from ..model import Change, Channel
from .protocol import change_text

#: Bytes that looking at a change costs, whoever was told of it.
_LOOK = 32


class Allowance:
    """How much may be replayed to one client: so many bytes, and more as time goes by.

    Putting a replay together takes time that others would have had. A client that comes back is
    far below this; one that asks again and again is told to fetch anew.

    :param size: how many bytes; so many come back in :attr:`PERIOD` seconds.
    """

    PERIOD = 10.0

    __slots__ = ("_at", "_left", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = float(size)
        self._at = time.monotonic()

    def left(self) -> int:
        """Return how many bytes may be replayed now."""
        now = time.monotonic()
        grown = self._left + self._size * (now - self._at) / self.PERIOD
        self._left, self._at = min(self._size, grown), now
        return int(self._left)

    def take(self, size: int) -> None:
        """Count what was replayed."""
        self._left -= size


class Joining:
    """A client that is about to hear a channel, and wants to know what it has missed.

    Reading the journal and putting the replay together takes time, so that happens on the client's
    thread, up to the rev that was delivered last; the strand leaves here what it delivers
    meanwhile, and the client enters the channel between two changes, with both.

    The order makes that whole: it is among the sync's joinings before :meth:`read` is told how far
    the sync has delivered, and the sync says that it delivers a change before it looks for
    joinings.

    :ivar missed: what was missed, as JSON; None when it is too much, or not known.
    :ivar size: what putting that together has cost, in bytes.
    """

    __slots__ = ("_limit", "_upto", "channel", "missed", "size", "tail")

    def __init__(self, channel: Channel, limit: int) -> None:
        self.channel = channel
        self.tail: list[Change] = []  # written by the strand
        self.missed: list[JSONText] | None = None
        self.size = 0
        self._limit = limit
        self._upto = 0

    def read(self, journal: Journal, seen: int, upto: int) -> None:
        """Read what the channel's listeners were told after *seen*, up to the rev *upto*."""
        self._upto = max(seen, upto)  # it may have seen more than was delivered here
        changes = journal.since(seen, upto)
        if changes is not None:
            self.missed = []
            self.size = _LOOK * len(changes)
            for change in changes:
                self._add(change)

    def finish(self) -> list[JSONText] | None:
        """Return what was missed, now also since; None when it is too much, or not known."""
        for change in self.tail:
            if change.rev > self._upto:
                self._add(change)
        return self.missed

    def _add(self, change: Change) -> None:
        if self.missed is not None and change.told(self.channel):
            if change.method == "reset" and change.text == "null":  # as if it were not known
                self.missed = None
                return
            text = change_text(change, None if change.channels is None else (self.channel,))
            self.size += byte_length(text)
            if self.size > self._limit:
                self.missed = None
            else:
                self.missed.append(text)
