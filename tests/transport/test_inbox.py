"""What was posted and not handled yet."""

from __future__ import annotations

from backboneio.transport import TransportLimits
from backboneio.transport.inbox import Inbox

LIMITS = TransportLimits(max_message=100, max_inbox_messages=2, max_inbox_packets=5)


def put(inbox: Inbox, *sizes: int) -> bool:
    return inbox.put([bytes(size) for size in sizes], sum(sizes), LIMITS)


def test_packets_come_out_in_order() -> None:
    inbox = Inbox()
    assert inbox.put([b"1", b"2"], 2, LIMITS)
    assert inbox.put([b"3"], 1, LIMITS)
    assert [inbox.take() for _ in range(3)] == [b"1", b"2", b"3"]
    assert (len(inbox), inbox.size, inbox.handled) == (0, 0, 3)


def test_bytes_are_bounded() -> None:
    inbox = Inbox()
    assert put(inbox, 100)
    assert put(inbox, 100)
    assert not put(inbox, 1)
    inbox.take()
    assert put(inbox, 100)


def test_a_long_message_counts_until_it_is_handled() -> None:
    limits = TransportLimits(max_message=100_000, max_inbox_messages=2)

    def put(size: int) -> bool:
        return inbox.put([bytes(size)], size, limits)

    inbox = Inbox()
    assert put(100_000)
    inbox.take()
    assert put(100_000), "nothing waits"
    assert (inbox.size, inbox.handled) == (100_000, 100_000)
    assert not put(1)
    inbox.done()
    assert put(60_000)
    assert put(40_000)
    inbox.take()
    assert not put(1)
    inbox.done()
    inbox.take()  # a short one
    assert put(100_000)


def test_packets_are_bounded() -> None:
    inbox = Inbox()
    assert put(inbox, 1, 1, 1)
    assert not put(inbox, 1, 1, 1)
    assert put(inbox, 1, 1)


def test_an_empty_one_takes_any() -> None:
    assert put(Inbox(), *[1] * 6)
    assert put(Inbox(), 500)
