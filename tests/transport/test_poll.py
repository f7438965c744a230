"""Packets that wait for a GET, and GETs that wait for packets."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from backboneio.transport import TransportLimits, payload
from backboneio.transport.frames import BINARY, TEXT, server_frame
from backboneio.transport.hub import Hub
from backboneio.transport.poll import NOOP, MovedPoll, Overlap, PollQueue, WaitingPoll
from backboneio.transport.task import Task, Worker

from ..support import PATIENCE, wait_until


def frame(text: str) -> bytes:
    return server_frame(TEXT, text.encode())


class Asked:
    """A GET that remembers its answer."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []

    def respond(self, frames: list[bytes]) -> None:
        self.answers.append(frames)


class Idle(Task):
    def slice(self, worker: Worker) -> bool:
        return False


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(
        TransportLimits(max_message=1_000, max_backlog=2_000, max_backlog_packets=10, max_packets=4)
    )
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def overflows() -> list[int]:
    return []


@pytest.fixture
def queue(hub: Hub, overflows: list[int]) -> PollQueue:
    return PollQueue(hub, lambda: overflows.append(1))


def test_what_waits_answers_the_next_poll(hub: Hub, queue: PollQueue) -> None:
    queue.deliver([frame("4a"), frame("4b")])
    queue.deliver([frame("4c")])
    assert queue.backlog == hub.backlog.total == 12
    assert queue.due() == [frame("4a"), frame("4b"), frame("4c")]
    assert queue.due() == []
    assert queue.backlog == hub.backlog.total == 0


def test_a_poll_waits_for_what_comes(queue: PollQueue) -> None:
    poll = Asked()
    queue.wait(poll)
    with pytest.raises(Overlap):
        queue.due()
    queue.deliver([frame("4a")])
    queue.deliver([frame("4b")])
    assert poll.answers == [[frame("4a")]]
    assert queue.due() == [frame("4b")]


def test_answers_are_bounded(queue: PollQueue) -> None:
    queue.deliver([frame(f"4{number}") for number in range(6)])
    assert len(queue.due()) == 4
    assert len(queue.due()) == 2
    queue.deliver([frame("4" + "x" * 600), frame("4" + "y" * 600)])
    assert [len(queue.due()), len(queue.due())] == [1, 1]
    queue.deliver([frame("4" + "x" * 5_000)])
    assert [len(queue.due()), len(queue.due())] == [1, 0]


def test_too_much(hub: Hub, queue: PollQueue, overflows: list[int]) -> None:
    for _ in range(10):
        queue.deliver([frame("4")])
    queue.deliver([frame("4")])
    assert len(overflows) == 1
    while queue.due():
        pass
    queue.deliver([frame("4" + "\u20ac" * 500)])  # 1,505 bytes; it is bytes that count
    queue.deliver([frame("4" + "\u20ac" * 300)])
    assert len(overflows) == 2
    assert hub.stats()["drops"] == 2


def test_polls_end_at_once_while_the_client_moves(queue: PollQueue) -> None:
    poll = Asked()
    queue.wait(poll)
    queue.hurry()
    assert poll.answers == [[NOOP]]
    assert queue.due() == [NOOP]
    queue.deliver([frame("4a")])
    assert queue.due() == [frame("4a")]
    queue.rest()
    assert queue.due() == []


def test_what_waits_is_handed_on(hub: Hub, queue: PollQueue) -> None:
    poll = Asked()
    queue.deliver([frame("4a")])
    queue.wait(poll)
    assert queue.close() == [frame("4a")]
    assert hub.backlog.total == 0
    queue.release([])
    queue.release([])
    assert poll.answers == [[NOOP]]


def moved(hub: Hub, encoding: str | None) -> tuple[MovedPoll, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    poll = MovedPoll(hub, ours.detach(), Idle(), [("X-A", "b")], encoding)
    hub.run(hub.watch, poll)
    return poll, theirs


def answer(sock: socket.socket) -> tuple[http.client.HTTPResponse, bytes]:
    response = http.client.HTTPResponse(sock)
    response.begin()
    body = response.read()
    response.close()
    sock.close()
    return response, body


def test_the_hub_answers_a_parked_poll(hub: Hub) -> None:
    poll, sock = moved(hub, None)
    hub.run(poll.respond, [frame("4a"), server_frame(BINARY, b"\x00")])
    response, body = answer(sock)
    assert (response.status, response.headers["X-A"], body) == (200, "b", b"4a\x1ebAA==")
    wait_until(lambda: poll.fd == -1)


def test_others_are_sent_to_while_an_answer_is_compressed(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()
    original = payload.compress
    names: list[str] = []

    def compress(body: bytes, encoding: str | None) -> tuple[bytes, list[tuple[str, str]]]:
        names.append(threading.current_thread().name)
        entered.set()
        assert go.wait(PATIENCE)
        return original(body, encoding)

    monkeypatch.setattr("backboneio.transport.poll.compress", compress)
    poll, sock = moved(hub, "gzip")
    other, other_sock = moved(hub, "gzip")
    hub.run(poll.respond, [frame("4" + "x" * 5_000)])
    assert entered.wait(PATIENCE)
    hub.run(other.respond, [frame("4short")])  # nobody holds the outbox' lock
    assert answer(other_sock)[1] == b"4short"
    go.set()
    response, body = answer(sock)
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == b"4" + b"x" * 5_000
    assert names[0].startswith("backboneio-pool-")


def test_a_poll_in_a_thread_of_the_server() -> None:
    poll = WaitingPoll()
    assert poll.wait(0) is None
    poll.respond([NOOP])
    assert poll.wait(PATIENCE) == [NOOP]
