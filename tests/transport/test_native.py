"""The C library, called with the interpreter lock held."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack

from backboneio.transport import native


def test_poll_tells_what_select_tells() -> None:
    with ExitStack() as stack:
        epoll = stack.enter_context(select.epoll())
        pairs = [socket.socketpair() for _ in range(300)]
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            epoll.register(ours.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        poll = native.poller()
        assert poll(epoll.fileno()) == []
        pairs[3][1].sendall(b"input")
        pairs[7][1].close()
        epoll.modify(pairs[9][0].fileno(), select.EPOLLOUT)
        assert sorted(poll(epoll.fileno())) == sorted(epoll.poll(0)) != []
        for _, theirs in pairs:
            theirs.close()
        found = poll(epoll.fileno())
        assert len(found) == native.MAX_EVENTS
        assert {fd for fd, _ in found} < {ours.fileno() for ours, _ in pairs}
