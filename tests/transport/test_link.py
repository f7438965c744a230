"""One socket: what it cannot send yet, what that may cost, and its end."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from backboneio.transport import TransportLimits
from backboneio.transport.hub import Hub
from backboneio.transport.link import SMALL, Link
from backboneio.transport.task import Task, Worker

from ..support import PATIENCE, wait_until

Make = Callable[[], tuple[Link, socket.socket]]


class Idle(Task):
    def slice(self, worker: Worker) -> bool:
        return False


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(TransportLimits(max_backlog=100_000, max_total_backlog=10_000_000))
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def make(hub: Hub) -> Iterator[Make]:
    """A link that is watched, and the peer's socket."""
    with contextlib.ExitStack() as stack:

        def make() -> tuple[Link, socket.socket]:
            ours, theirs = socket.socketpair()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            theirs.settimeout(PATIENCE)
            stack.enter_context(theirs)
            link = Link(hub, ours.detach(), Idle())
            hub.run(hub.watch, link)
            stack.callback(hub.run, link.close)
            return link, theirs

        yield make


def read(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(count - len(data))
        assert piece, "closed"
        data += piece
    return bytes(data)


def test_what_the_socket_does_not_take_is_sent_when_it_does(hub: Hub, make: Make) -> None:
    link, peer = make()
    frames = [bytes([number]) * size for number, size in enumerate([10, 400_000, 20, 30, 5_000])]
    hub.run(link.deliver, frames[:2])
    assert link.backlog > 0
    hub.run(link.deliver, frames[2:])
    assert read(peer, sum(map(len, frames))) == b"".join(frames)
    wait_until(lambda: link.backlog == 0)
    assert hub.backlog.total == 0
    hub.run(link.write, b"after")
    assert read(peer, 5) == b"after"


def test_a_frame_that_many_wait_for_is_there_once(hub: Hub, make: Make) -> None:
    links = [make() for _ in range(20)]
    frame, small = b"x" * 1_000_000, b"y" * (SMALL - 1)
    for link, _ in links:
        hub.run(link.deliver, [frame])
    assert hub.backlog.total == len(frame)
    for link, _ in links:
        hub.run(link.deliver, [small])
    assert hub.backlog.total == len(frame) + 20 * len(small)
    for _, peer in links:
        assert read(peer, len(frame) + len(small)) == frame + small
    wait_until(lambda: hub.backlog.total == 0)


def test_many_small_frames_that_wait_are_kept_as_one(hub: Hub, make: Make) -> None:
    link, peer = make()
    hub.run(link.write, b"x" * 500_000)
    for number in range(1_000):
        hub.run(link.write, b"%03d" % number)
    assert len(link._unsent or ()) == 2
    read(peer, 500_000)
    assert read(peer, 3_000) == b"".join(b"%03d" % number for number in range(1_000))


def test_who_does_not_read_is_cut_off(hub: Hub, make: Make) -> None:
    link, peer = make()
    hub.run(link.write, b"x" * 1_000_000)  # may be of any size
    hub.run(link.write, b"y" * 100_000)
    assert link.backlog > 0
    hub.run(link.write, b"y" * 100)
    assert link.backlog == hub.backlog.total == 0
    assert hub.stats()["drops"] == 1
    with contextlib.suppress(ConnectionError):
        while peer.recv(65_536):
            pass
    hub.run(link.write, b"into the void")


def test_who_makes_too_much_wait_for_all_is_cut_off(hub: Hub, make: Make) -> None:
    first, second = make()[0], make()[0]
    hub.run(first.write, b"x" * 9_000_000)
    hub.run(second.write, b"y" * 3_000_000)
    assert first.backlog > 0
    assert second.backlog > 0
    hub.run(second.write, b"z")
    assert (first.backlog > 0, second.backlog) == (True, 0)


def test_the_last_bytes_leave_before_the_end(hub: Hub, make: Make) -> None:
    link, peer = make()
    hub.run(link.finish, b"x" * 1_000_000)
    hub.run(link.write, b"too late")
    assert read(peer, 1_000_000) == b"x" * 1_000_000
    assert peer.recv(1) == b""
    wait_until(lambda: link.fd == -1)
    assert hub.links == 0


def test_closing_twice_closes_nobody_else(hub: Hub, make: Make) -> None:
    link, _ = make()
    fd = link.fd
    hub.run(link.close)
    other = os.open(os.devnull, os.O_RDONLY)
    try:
        assert other == fd
        hub.run(link.close)
        hub.run(link.broken)
        hub.run(link.write, b"x")
        os.fstat(other)
    finally:
        os.close(other)
