"""The queue of everything that leaves: order, and one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from backboneio.transport.outbox import HIGH_WATER, Backlog, Outbox

from ..support import together, wait_until


class Client:
    """A receiver that is its own sink."""

    def __init__(self) -> None:
        self.sink = self
        self.pieces: list[bytes] | None = None
        self.rounds: list[list[bytes]] = []

    def deliver(self, frames: list[bytes]) -> None:
        self.rounds.append(frames)

    @property
    def received(self) -> list[bytes]:
        return [frame for frames in self.rounds for frame in frames]


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    outbox = Outbox()
    yield outbox
    outbox.stop()


def test_one_order_for_each_receiver(outbox: Outbox) -> None:
    a, b = Client(), Client()
    seen: list[Any] = []
    outbox.put([a, b], b"1")
    outbox.put([a], b"2")
    outbox.call(lambda: seen.append(a.received[:]))
    outbox.put([b, a], b"3")
    outbox.flush()
    assert a.received == [b"1", b"2", b"3"]
    assert b.received == [b"1", b"3"]
    assert seen == [[b"1", b"2"]], "a function comes after what was put in before it, and only that"
    assert a.rounds == [[b"1", b"2"], [b"3"]], "a round's frames come together"
    assert outbox.deliveries == 5


def test_run_returns_and_raises(outbox: Outbox) -> None:
    for _ in range(2):
        assert outbox.run(lambda a, b: a + b, 1, 2) == 3
        with pytest.raises(ZeroDivisionError):
            outbox.run(lambda: 1 // 0)
        outbox.start()  # and again, by the writer, as this is the main thread


def test_the_main_thread_leaves_its_work_to_the_writer(outbox: Outbox) -> None:
    assert threading.current_thread() is threading.main_thread()
    outbox.start()
    names: list[str] = []
    note = lambda: names.append(threading.current_thread().name)  # noqa: E731
    outbox.run(note)
    outbox.call(note)
    outbox.flush()
    wait_until(lambda: len(names) == 2)
    assert names == ["backboneio-writer"] * 2
    worker = threading.Thread(target=outbox.run, args=(note,), name="another")
    worker.start()
    worker.join()
    assert names[2] == "another"


def test_the_main_thread_is_not_left_waiting_when_the_writer_ends(outbox: Outbox) -> None:
    for _ in range(20):
        outbox.start()
        stopper = threading.Thread(target=outbox.stop)
        stopper.start()
        assert outbox.run(lambda: "done") == "done"
        stopper.join()


def test_whoever_is_faster_than_the_writer_helps(outbox: Outbox) -> None:
    client = Client()
    for number in range(3 * HIGH_WATER):
        outbox.put([client], b"%d" % number)
        assert len(outbox.entries) <= HIGH_WATER + 1
    outbox.flush()
    assert client.received == [b"%d" % number for number in range(3 * HIGH_WATER)]


def test_errors_harm_nobody_else(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Client):
        def deliver(self, frames: list[bytes]) -> None:
            raise ValueError("broken")

    broken, fine = Broken(), Client()
    outbox.call(lambda: 1 // 0)
    outbox.put([broken, fine], b"1")
    outbox.put([broken, fine], b"2")
    outbox.flush()
    assert fine.received == [b"1", b"2"]
    assert "error in the outbox" in caplog.text
    assert "error while sending" in caplog.text
    assert broken.pieces is None


def test_what_comes_while_somebody_sends_is_sent(outbox: Outbox, restless: None) -> None:
    client = Client()

    def send(name: bytes) -> None:
        for number in range(500):
            outbox.put([client], name + b"%d" % number)
            outbox.flush()

    together(*(lambda name=name: send(name) for name in (b"a", b"b", b"c")))  # type: ignore[misc]
    for name in (b"a", b"b", b"c"):
        mine = [frame for frame in client.received if frame[:1] == name]
        assert mine == [name + b"%d" % number for number in range(500)]
    assert not outbox.entries


def test_the_lock_is_held_where_it_has_to_be(outbox: Outbox) -> None:
    with pytest.raises(AssertionError):
        vars(Outbox)["_drain"](outbox)


def test_a_frame_that_several_wait_for_counts_once() -> None:
    backlog = Backlog(10)
    frame, other = b"x" * 8, b"y" * 8
    backlog.keep(frame)
    backlog.keep(frame)
    assert (backlog.total, backlog.full) == (8, False)
    backlog.keep(other)
    assert (backlog.total, backlog.full) == (16, True)
    backlog.release(frame)
    assert backlog.total == 16
    backlog.release(frame)
    backlog.release(other)
    assert backlog.total == 0
