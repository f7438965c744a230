"""Packets that were posted and not handled yet."""

from __future__ import annotations

from collections import deque

from .limits import TransportLimits

#: Shorter messages do not count while they are handled, nor what has come of them: each connection
#: may have so much.
UNCOUNTED = 65_536


class Inbox:
    """Posting threads put packets in, under the outbox's lock; the owner takes them out.

    The size is the difference of two numbers with one writer each: the bytes of what was posted,
    under the same lock, and of what the owner has taken out. What it handles takes room of what may
    be posted until it is done: one budget for both, as a message takes its bytes and more while it
    is handled.
    """

    __slots__ = ("_done", "_packets", "_posted", "handled")

    def __init__(self) -> None:
        self._packets: deque[bytes] = deque()
        self._posted = 0
        #: bytes that were taken out; the owner's
        self.handled = 0
        #: bytes of those that it is through with; the owner's
        self._done = 0

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._posted - self.handled

    def put(self, packets: list[bytes], size: int, limits: TransportLimits) -> bool:
        """Add packets of so many bytes; False: too many wait already. An empty one takes any."""
        handled = self.handled
        unfinished = handled - self._done
        if unfinished <= UNCOUNTED:
            unfinished = 0
        if self._packets and (
            self._posted - handled + unfinished + size
            > limits.max_inbox_messages * limits.max_message
            or len(self._packets) + len(packets) > limits.max_inbox_packets
        ):
            return False
        self._posted += size
        self._packets.extend(packets)
        return True

    def take(self) -> bytes:
        """Take the oldest packet, which is being handled until done()."""
        packet = self._packets.popleft()
        self.handled += len(packet)
        return packet

    def done(self) -> None:
        """Everything that was taken is handled."""
        self._done = self.handled
