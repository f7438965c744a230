"""Replay: what a client that comes back has missed, put together beside what goes on."""

from __future__ import annotations

from ..journal import Journal
from ..json import JSONText, byte_length
from ..model import Change, Channel
from .protocol import change_text


class Joining:
    """A client that is about to hear a channel, and wants to know what it has missed.

    Reading the journal and putting the replay together takes time, so that happens on the client's
    thread, up to the rev that was delivered last; the strand leaves here what it delivers
    meanwhile, and the client enters the channel between two changes, with both.

    The order makes that whole: it is among the sync's joinings before :meth:`read` is told how far
    the sync has delivered, and the sync says that it delivers a change before it looks for
    joinings.
    """

    __slots__ = ("_limit", "_upto", "channel", "missed", "tail")

    def __init__(self, channel: Channel, limit: int) -> None:
        self.channel = channel
        self.tail: list[Change] = []  # written by the strand
        self.missed: list[JSONText] | None = None
        self._limit = limit
        self._upto = 0

    def read(self, journal: Journal, seen: int, upto: int) -> None:
        """Read what the channel's listeners were told after *seen*, up to the rev *upto*."""
        self._upto = upto
        changes = journal.since(seen, upto)
        self.missed = None if changes is None else []
        for change in changes or ():
            self._add(change)

    def finish(self) -> list[JSONText] | None:
        """Return what was missed, now also since; None when it is too much, or not known."""
        for change in self.tail:
            if change.rev > self._upto:
                self._add(change)
        return self.missed

    def _add(self, change: Change) -> None:
        if self.missed is not None and change.told(self.channel):
            text = change_text(change, None if change.channels is None else (self.channel,))
            self._limit -= byte_length(text)
            if self._limit < 0:
                self.missed = None
            else:
                self.missed.append(text)
