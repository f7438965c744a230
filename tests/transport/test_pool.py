"""Slices for tasks: one thread at a time, others when handlers block."""

from __future__ import annotations

import contextvars
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backboneio.transport.outbox import Outbox
from backboneio.transport.pool import Pool
from backboneio.transport.task import Task, Worker
from backboneio.transport.timers import Timers

from ..support import PATIENCE, no_thread, together, wait_until

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


class Doing(Task):
    """A task that does what it is told in each slice."""

    def __init__(self, function: Callable[[Worker], object]) -> None:
        super().__init__()
        self._function = function

    def slice(self, worker: Worker) -> bool:
        return bool(self._function(worker))


class Watching:
    """A descriptor, as the pool sees it."""

    def __init__(self, fd: int, task: Task) -> None:
        self.fd = fd
        self.task = task
        self.backlog = 0
        self.readable = self.hangup = False
        self.drained = threading.Event()

    def drain(self) -> None:
        self.backlog = 0
        self.drained.set()


@pytest.fixture
def make_pool() -> Iterator[Callable[[int], Pool]]:
    stops: list[Callable[[], object]] = []

    def make(threads: int) -> Pool:
        timers, outbox = Timers(), Outbox()
        pool = Pool(threads, outbox, timers)
        for part in (timers, outbox, pool):
            part.start()
            stops.append(part.stop)
        return pool

    yield make
    for stop in stops:
        stop()


def test_a_task_has_one_slice_at_a_time(make_pool: Callable[[int], Pool], restless: None) -> None:
    pool = make_pool(8)
    counts = {"slices": 0, "inside": 0, "overlaps": 0}

    def work(worker: Worker) -> None:
        counts["inside"] += 1
        counts["overlaps"] += counts["inside"] > 1
        counts["slices"] += 1
        counts["inside"] -= 1

    task = Doing(work)
    together(*[lambda: [pool.schedule(task) for _ in range(500)]] * 4)
    wait_until(lambda: not task.owner.locked() and not pool.ready)
    assert counts["overlaps"] == 0
    assert 0 < counts["slices"] <= 2_000


def test_who_asks_during_a_slice_gets_another_one(make_pool: Callable[[int], Pool]) -> None:
    pool = make_pool(1)
    done = threading.Event()
    slices: list[str] = []

    def work(worker: Worker) -> None:
        slices.append(threading.current_thread().name)
        if len(slices) == 1:
            pool.schedule(task)
        else:
            done.set()

    task = Doing(work)
    pool.schedule(task)
    assert done.wait(PATIENCE)
    assert len(slices) == 2
    assert slices[0].startswith("backboneio-pool-")


def test_more_to_do_comes_after_the_others(make_pool: Callable[[int], Pool]) -> None:
    pool = make_pool(1)
    order: list[str] = []
    go, done = threading.Event(), threading.Event()

    def greedy(worker: Worker) -> bool:
        assert go.wait(PATIENCE)
        order.append("greedy")
        return len(order) < 4

    def modest(worker: Worker) -> None:
        order.append("modest")
        done.set()

    pool.schedule(Doing(greedy))
    pool.schedule(Doing(modest))
    go.set()
    assert done.wait(PATIENCE)
    assert order[:2] == ["greedy", "modest"]


def test_a_thread_that_is_not_to_be_had_is_told_once_and_comes_when_it_is(
    make_pool: Callable[[int], Pool], caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again every few milliseconds."""
    pool = make_pool(2)
    inside, go = threading.Semaphore(0), threading.Event()

    def block(worker: Worker) -> None:
        inside.release()
        assert go.wait(PATIENCE)

    tried = threading.Semaphore(0)
    with no_thread("backboneio-pool-", tried.release):
        for _ in range(2):
            pool.schedule(Doing(block))
        for _ in range(3):
            assert tried.acquire(timeout=PATIENCE)
    for _ in range(2):
        assert inside.acquire(timeout=PATIENCE)
    assert [record.getMessage() for record in caplog.records] == [
        "cannot start another thread: can't start new thread"
    ]
    go.set()
    wait_until(lambda: not pool.busy)


def test_threads_come_while_slices_block(make_pool: Callable[[int], Pool]) -> None:
    pool = make_pool(4)
    inside, go = threading.Semaphore(0), threading.Event()

    def block(worker: Worker) -> None:
        inside.release()
        assert go.wait(PATIENCE)

    for _ in range(6):
        pool.schedule(Doing(block))
    for _ in range(4):
        assert inside.acquire(timeout=PATIENCE)
    assert pool.busy == len(pool.workers) == 4
    go.set()
    wait_until(lambda: not pool.busy)


def test_no_more_threads_come_before_those_that_were_let_in(
    make_pool: Callable[[int], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine they come late: thirty would be let in meanwhile, and none be of use."""
    pool = make_pool(30)
    start = threading.Thread.start
    late: list[threading.Thread] = []
    more, inside, go = threading.Event(), threading.Semaphore(0), threading.Event()

    def start_late(thread: threading.Thread) -> None:
        if not thread.name.startswith("backboneio-pool-"):
            return start(thread)
        if late:
            more.set()
        late.append(thread)

    def block(worker: Worker) -> None:
        inside.release()
        assert go.wait(PATIENCE)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    for _ in range(3):
        pool.schedule(Doing(block))
    assert inside.acquire(timeout=PATIENCE)
    wait_until(lambda: late)
    assert not more.wait(0.2)
    assert len(late) == 1
    monkeypatch.undo()
    start(late[0])
    for _ in range(2):
        assert inside.acquire(timeout=PATIENCE)
    go.set()
    wait_until(lambda: not pool.busy)


def test_an_error_ends_no_thread(
    make_pool: Callable[[int], Pool], caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(1)
    done = threading.Event()

    def fail(worker: Worker) -> None:
        raise SystemExit

    task = Doing(fail)
    pool.schedule(task)
    pool.schedule(Doing(lambda worker: done.set()))
    assert done.wait(PATIENCE)
    wait_until(lambda: not task.owner.locked())
    assert "error in a handler" in caplog.text


def test_threads_begin_with_an_empty_context(make_pool: Callable[[int], Pool]) -> None:
    variable.set("of a request")
    pool = make_pool(1)
    found: list[str] = []
    done = threading.Event()

    def look(worker: Worker) -> None:
        found.append(variable.get("nothing"))
        done.set()

    pool.schedule(Doing(look))
    assert done.wait(PATIENCE)
    assert found == ["nothing"]


def test_descriptors(make_pool: Callable[[int], Pool]) -> None:
    pool = make_pool(1)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    received: list[bytes] = []
    got = threading.Semaphore(0)

    def read(worker: Worker) -> None:
        data = worker.receive(ours.fileno())
        if data is not None:
            received.append(data)
            got.release()

    watching = Watching(ours.fileno(), Doing(read))
    theirs.sendall(b"before")
    pool.watch(watching)
    assert got.acquire(timeout=PATIENCE)
    theirs.sendall(b"after")
    assert got.acquire(timeout=PATIENCE)
    watching.backlog = 1
    pool.await_output(ours.fileno())
    assert watching.drained.wait(PATIENCE), "it takes output already, and that is reported"
    theirs.close()
    assert got.acquire(timeout=PATIENCE)
    assert received == [b"before", b"after", b""]
    assert watching.hangup
    pool.forget(ours.fileno())
    pool.forget(ours.fileno())
    assert not pool.watched
    pool.await_output(ours.fileno())
    ours.close()


class CountedEpoll:
    """select.epoll, whose poll() gives the interpreter lock away; counts how often it is asked."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.polls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    def poll(self, *args: Any) -> Any:
        self.polls += 1
        return self._epoll.poll(*args)


def test_what_is_ready_is_found_with_the_interpreter_lock_kept(
    make_pool: Callable[[int], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    epoll = CountedEpoll()
    monkeypatch.setattr("backboneio.transport.pool.select.epoll", lambda: epoll)
    pool = make_pool(1)
    ours, theirs = socket.socketpair()
    polls: list[int] = []
    done = threading.Event()

    def read(worker: Worker) -> None:
        worker.receive(ours.fileno())
        polls.append(epoll.polls)
        if len(polls) < 100:
            theirs.sendall(b"more")  # so that there is something when the pool looks next
        else:
            done.set()

    pool.watch(Watching(ours.fileno(), Doing(read)))
    theirs.sendall(b"first")
    assert done.wait(PATIENCE)
    assert polls == [polls[0]] * 100
    pool.forget(ours.fileno())
    ours.close()
    theirs.close()
