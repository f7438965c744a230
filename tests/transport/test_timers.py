"""Functions that are called later."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from backboneio.transport.timers import Timers

from ..support import PATIENCE


@pytest.fixture
def timers() -> Iterator[Timers]:
    timers = Timers()
    timers.start()
    yield timers
    timers.stop()


def test_they_come_when_due_and_not_before(timers: Timers) -> None:
    order: list[str] = []
    done = threading.Event()
    started = time.monotonic()
    late: list[float] = []
    timers.add(0.2, lambda: (late.append(time.monotonic()), done.set()))
    timers.add(0.05, lambda: order.append("b"))
    timers.add(0.01, lambda: order.append("a"))
    timers.add(0.05, lambda: order.append("c"))
    assert done.wait(PATIENCE)
    assert order == ["a", "b", "c"]
    assert late[0] - started >= 0.2


def test_a_sooner_one_wakes_the_thread(timers: Timers) -> None:
    done = threading.Event()
    timers.add(1_000, lambda: None)
    timers.add(0.01, done.set)
    assert done.wait(PATIENCE)


def test_a_function_that_fails(timers: Timers, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    timers.add(0.01, lambda: 1 // 0)
    timers.add(0.01, done.set)
    assert done.wait(PATIENCE)
    assert "error in a timer" in caplog.text


def test_one_that_comes_again(timers: Timers) -> None:
    done = threading.Event()
    times: list[int] = []

    def again() -> None:
        times.append(1)
        if len(times) < 5:
            timers.add(0.005, again)
        else:
            done.set()

    timers.add(0.005, again)
    assert done.wait(PATIENCE)
    assert len(times) == 5
